//! The steps of a run as a tree: what a container holds stands under it, what undoes a step stands under the step.

use std::collections::BTreeMap;

use quorus_client::v1::{StepState, StepStatus};

/// Ends the id of what undoes a step.
const COMPENSATION: &str = ":compensate";

/// Steps in the order in which they are shown, with how deep each stands.
///
/// What undoes a step is left out until it has begun, as are the guards and the steps of `on_attention`.
pub(crate) fn ordered(steps: &[StepState]) -> Vec<(usize, &StepState)> {
    let known: BTreeMap<&str, &StepState> = steps.iter().map(|step| (step.step.as_str(), step)).collect();
    let mut children: BTreeMap<&str, Vec<&StepState>> = BTreeMap::new();
    for step in steps.iter().filter(|step| is_shown(step)) {
        // What stands under something that is not there stands at the root.
        let above = above(step);
        let above = if known.contains_key(above) { above } else { "" };
        children.entry(above).or_default().push(step);
    }
    let mut ordered = Vec::with_capacity(steps.len());
    let mut waiting: Vec<(usize, &StepState)> = roots(&children);
    while let Some((depth, step)) = waiting.pop() {
        ordered.push((depth, step));
        let below = children.get(step.step.as_str()).into_iter().flatten().rev();
        waiting.extend(below.map(|child| (depth + 1, *child)));
    }
    ordered
}

/// How a step is called at its place in the tree: without what stands above it.
pub(crate) fn label(step: &StepState) -> &str {
    if step.step.ends_with(COMPENSATION) {
        return "undo";
    }
    match step.step.strip_prefix(&step.parent).and_then(|rest| rest.strip_prefix('.')) {
        Some(rest) => rest,
        None => &step.step,
    }
}

fn roots<'a>(children: &BTreeMap<&str, Vec<&'a StepState>>) -> Vec<(usize, &'a StepState)> {
    children.get("").into_iter().flatten().rev().map(|step| (0, *step)).collect()
}

fn above(step: &StepState) -> &str {
    step.step.strip_suffix(COMPENSATION).unwrap_or(&step.parent)
}

fn is_shown(step: &StepState) -> bool {
    let begun = !matches!(step.status(), StepStatus::Unspecified | StepStatus::Pending);
    match step.role.as_str() {
        "compensation" | "guard" | "on_attention" => begun && !(step.status() == StepStatus::Cancelled && step.ready_at.is_none()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(id: &str, parent: &str) -> StepState {
        StepState { step: id.into(), parent: parent.into(), status: StepStatus::Succeeded as i32, ..StepState::default() }
    }

    #[test]
    fn what_a_container_holds_stands_under_it() {
        let undo = StepState { role: "compensation".into(), ..step("shift:compensate", "canary") };
        let pending = StepState { role: "compensation".into(), status: StepStatus::Pending as i32, ..step("first:compensate", "") };
        let steps = [
            step("first", ""),
            step("canary", ""),
            step("shift", "canary"),
            step("regions", ""),
            step("regions[0]", "regions"),
            step("regions[0].deploy", "regions[0]"),
            undo,
            pending,
            step("last", ""),
        ];
        let shown: Vec<_> = ordered(&steps).into_iter().map(|(depth, step)| format!("{}{}", " ".repeat(depth), label(step))).collect();
        assert_eq!(shown, ["first", "canary", " shift", "  undo", "regions", " regions[0]", "  deploy", "last"]);
    }

    #[test]
    fn a_step_whose_container_is_not_there_stands_at_the_root() {
        let steps = [step("a[5].b", "a[5]")];
        assert_eq!(ordered(&steps).len(), 1);
        assert_eq!(label(&steps[0]), "b");
    }
}
