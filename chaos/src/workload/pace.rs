//! How long a run of a workflow takes at most while nothing disturbs it, and which bound of active runs leaves its queue in motion.
//!
//! Runs of a bounded workflow end one after the other. If each of them takes long, or one of them waits for somebody and keeps its slot meanwhile, those
//! behind it are not at their end when the patience of a game day is: nothing could be said about them, whatever the cluster did.
//!
//! Invariant: the figure is too high rather than too low. It takes steps one after the other that may run side by side, and each wait in full.

use std::collections::BTreeMap;

use super::model::{Definition, Kind, Retry, Step, Work};

/// The longest run of each child, in milliseconds, by the workflow's name.
pub type Paces = BTreeMap<String, u64>;

/// How long a conductor may take until it answers what waits for it: a signal or an approval. See [`super::runs`] and [`super::driver::Manner`].
const ANSWER_MS: u64 = 1_500;
/// A bound lets a run pass in this time at the latest.
const PASS_MS: u64 = 1_000;
/// With more slots than this a bound would bound nothing.
const SLOTS_MAX: u64 = 16;

/// The bound that a workflow can have if `wanted` is drawn: as many slots as let a run pass each second. None if its runs take too long for any, or may
/// need attention.
pub fn bound(wanted: u32, definition: &Definition, children: &Paces) -> Option<u32> {
    let slots = longest_ms(definition, children).div_ceil(PASS_MS).max(u64::from(wanted));
    let slots = (slots <= SLOTS_MAX && !may_need_attention(definition)).then_some(slots)?;
    u32::try_from(slots).ok()
}

/// The longest that a run takes, compensations included, in milliseconds.
pub fn longest_ms(definition: &Definition, children: &Paces) -> u64 {
    let body = definition.walk().into_iter().map(|(step, times)| u64::from(times).saturating_mul(step_ms(step, children)));
    let finally = definition.finally.iter().map(|step| step_ms(step, children));
    body.chain(finally).fold(0, u64::saturating_add)
}

fn may_need_attention(definition: &Definition) -> bool {
    let breaks = |step: &Step| step.undo.as_ref().is_some_and(|undo| undo.work.fail_attempts >= undo.retry.max_attempts);
    definition.hold || definition.walk().into_iter().any(|(step, _)| breaks(step))
}

/// One time; what is inside of a container counts for itself.
fn step_ms(step: &Step, children: &Paces) -> u64 {
    let undo = step.undo.as_ref().map_or(0, |undo| work_ms(&undo.work, undo.retry));
    let forward = match &step.kind {
        Kind::Task(work) => work_ms(work, step.policy()),
        Kind::Wait { ms } | Kind::Silence { timeout_ms: ms } => *ms,
        Kind::Signal | Kind::Approval { .. } => ANSWER_MS,
        Kind::Child { workflow, .. } => {
            let policy = step.policy();
            let one = children.get(workflow).copied().unwrap_or_default();
            one.saturating_mul(u64::from(policy.max_attempts)).saturating_add(pauses_ms(policy, policy.max_attempts))
        }
        Kind::Group(_) | Kind::ForEach { .. } | Kind::Repeat { .. } => {
            let policy = step.retry.unwrap_or(Retry::NEVER);
            pauses_ms(policy, policy.max_attempts)
        }
        Kind::Set | Kind::Fail => 0,
    };
    forward.saturating_add(undo)
}

fn work_ms(work: &Work, policy: Retry) -> u64 {
    // An item says itself how often it fails; hardly more than once.
    let failing = if work.by_item { 1 } else { work.fail_attempts };
    let attempts = failing.saturating_add(1).min(policy.max_attempts).saturating_add(u32::from(work.release));
    work.ms.saturating_mul(u64::from(attempts)).saturating_add(pauses_ms(policy, attempts))
}

/// Between so many attempts.
fn pauses_ms(policy: Retry, attempts: u32) -> u64 {
    let pause = |number: u32| if policy.doubled { policy.initial_ms.saturating_mul(1 << number.min(32)) } else { policy.initial_ms };
    (0..attempts.saturating_sub(1)).map(pause).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{mix::Mix, model::Undo, plan::Catalogue};

    fn task(ms: u64, fail_attempts: u32) -> Step {
        Step {
            id: "task".to_owned(),
            needs: Vec::new(),
            only_variant: None,
            run_on: Default::default(),
            continue_on_error: false,
            retry: Some(Retry { max_attempts: 3, initial_ms: 100, doubled: true, jitter: false }),
            undo: None,
            kind: Kind::Task(Work { ms, fail_attempts, ..Work::default() }),
        }
    }

    fn of(steps: Vec<Step>) -> Definition {
        Definition { steps, variants: 1, ..Definition::default() }
    }

    #[test]
    fn attempts_pauses_iterations_and_children_are_counted() {
        let none = Paces::new();
        assert_eq!(longest_ms(&of(vec![task(50, 0)]), &none), 50);
        assert_eq!(longest_ms(&of(vec![task(50, 2)]), &none), 3 * 50 + 100 + 200);
        assert_eq!(longest_ms(&of(vec![task(50, 1_000)]), &none), 3 * 50 + 100 + 200, "no more attempts than the policy has");
        let silence = Step { kind: Kind::Silence { timeout_ms: 700 }, ..task(0, 0) };
        let repeat = Step { kind: Kind::Repeat { wanted: 4, most: 5, steps: vec![silence] }, retry: None, ..task(0, 0) };
        assert_eq!(longest_ms(&of(vec![repeat]), &none), 4 * 700);
        let child = Step { kind: Kind::Child { workflow: "c".to_owned(), variant: 0 }, retry: Some(Retry::NEVER), ..task(0, 0) };
        assert_eq!(longest_ms(&of(vec![child]), &Paces::from([("c".to_owned(), 900)])), 900);
    }

    #[test]
    fn a_bound_lets_runs_pass_or_is_none() {
        let none = Paces::new();
        assert_eq!(bound(2, &of(vec![task(50, 0)]), &none), Some(2), "as drawn");
        assert_eq!(bound(1, &of(vec![task(3_500, 0)]), &none), Some(4), "so many that one passes each second");
        assert_eq!(bound(1, &of(vec![task(60_000, 0)]), &none), None, "no bound is wide enough");
        assert_eq!(bound(1, &Definition { hold: true, ..of(vec![task(50, 0)]) }, &none), None, "it may stop with its slot");
        let broken = Undo { work: Work { fail_attempts: 1_000, ..Work::default() }, retry: Retry::DEFAULT };
        assert_eq!(bound(1, &of(vec![Step { undo: Some(broken), ..task(50, 0) }]), &none), None, "so may it");
    }

    /// What a game day starts by default must have bounded workflows, or their queues are never tried.
    #[test]
    fn mixes_keep_bounded_workflows() {
        for mix in [Mix::small(), Mix::normal()] {
            let bounded =
                |seed| Catalogue::draw(&mix, seed, "q").unwrap().workflows.iter().filter(|w| w.definition.active_max.is_some()).count();
            let sum: usize = (1..=40).map(bounded).sum();
            assert!(sum >= 20, "{sum} bounded workflows in 40 catalogues");
        }
    }
}
