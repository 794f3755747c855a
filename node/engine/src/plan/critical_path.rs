//! The longest chain of needs.

use super::Plan;
use crate::StepId;

impl Plan {
    /// The longest chain of needs in the run's own scope, first to last; the earliest in plan order if there are several.
    pub fn critical_path(&self) -> Vec<StepId> {
        let last = self.body.iter().map(|&index| &self.steps[index]).max_by_key(|step| (step.level, std::cmp::Reverse(step.index)));
        let mut path = Vec::new();
        let mut step = last;
        while let Some(current) = step {
            path.push(current.id.clone());
            step = current
                .needs
                .iter()
                .map(|need| &self.steps[need.index])
                .filter(|need| need.level + 1 == current.level)
                .min_by_key(|need| need.index);
        }
        path.reverse();
        path
    }
}
