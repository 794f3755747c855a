//! From the model to what a checker knows about it.

use super::model::{Definition, Kind, Retry, RunOn, Step};
use crate::record::{Shape, StepShape};

/// The shape, without predictions.
pub fn shape(definition: &Definition) -> Shape {
    let mut steps = Vec::new();
    add(&definition.steps, "", "", &mut steps);
    add(&definition.finally, "", "", &mut steps);
    Shape { workflow: definition.name.clone(), steps, predictions: Default::default() }
}

/// Steps under `prefix`, in the group `within` or in none.
fn add(steps: &[Step], prefix: &str, within: &str, shapes: &mut Vec<StepShape>) {
    for step in steps {
        let path = format!("{prefix}{}", step.id);
        let attempted = matches!(step.kind, Kind::Task(_) | Kind::Child { .. });
        let (attempts_max, retry_after_ms) = if attempted { bounds(step.policy()) } else { (0, 0) };
        shapes.push(StepShape {
            step: path.clone(),
            kind: step.kind.word().to_owned(),
            within: within.to_owned(),
            needs: step.needs.iter().map(|need| format!("{prefix}{}", need.step)).collect(),
            compensated: step.undo.is_some(),
            attempts_max,
            retry_after_ms,
            wait_ms: if let Kind::Wait { ms } = step.kind { ms } else { 0 },
        });
        if let Some(undo) = &step.undo {
            let (attempts_max, retry_after_ms) = bounds(undo.retry);
            let (kind, within) = ("task".to_owned(), within.to_owned());
            shapes.push(StepShape {
                step: format!("{path}:compensate"),
                kind,
                within,
                attempts_max,
                retry_after_ms,
                ..StepShape::default()
            });
        }
        if let Some((inside, many)) = step.kind.inside() {
            let (below, within) = if many { (format!("{path}[]."), "") } else { (prefix.to_owned(), path.as_str()) };
            add(inside, &below, within, shapes);
        }
    }
    debug_assert!(steps.iter().all(|step| step.run_on == RunOn::Success || !step.needs.is_empty()));
}

/// Most attempts of a generation, and the shortest pause before another one.
fn bounds(policy: Retry) -> (u32, u64) {
    (policy.max_attempts, if policy.jitter { 0 } else { policy.initial_ms })
}
