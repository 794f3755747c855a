//! What must come out of a workflow of the model, as far as it can be foreseen.
//!
//! An evaluator of its own: it shares no code and no idea of state with the engine. It knows no time. Where the outcome would depend on which of two
//! things is first, it says nothing. It works scope by scope:
//!
//! - Each step's end is worked out as if nothing disturbed it.
//! - If no failure is unhandled, that is what happens.
//! - If exactly one is, what that step needs (directly or not) has surely ended before it, so that much is certain; what ran beside it is not. If
//!   several are, only what all of them need is certain.
//! - What was surely done in a scope that fails is surely undone: by the scope itself when the failure is handled, else by the one around it.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Accept, Definition, Item, Kind, Need, Retry, RunOn, Step, Work};
use crate::record::Prediction;

const SUCCEEDED: &str = "STEP_STATUS_SUCCEEDED";
const FAILED: &str = "STEP_STATUS_FAILED";
const SKIPPED: &str = "STEP_STATUS_SKIPPED";

/// Status of a run that ended well.
pub const RUN_SUCCEEDED: &str = "RUN_STATUS_SUCCEEDED";
/// Status of a run that failed.
pub const RUN_FAILED: &str = "RUN_STATUS_FAILED";
/// Status of a run that waits for somebody.
pub const RUN_NEEDS_ATTENTION: &str = "RUN_STATUS_NEEDS_ATTENTION";

/// Predicted statuses of runs, by workflow and variant: what parents need to know of their children.
pub type Known = BTreeMap<(String, u32), String>;

/// Predicts a run of this variant. Children must be in `known`.
pub fn predict(definition: &Definition, variant: u32, known: &Known) -> Prediction {
    let oracle = Oracle { variant, known };
    let body = oracle.scope(&definition.steps, &Place::default());
    let mut facts = body.facts;
    let status = match (body.end, definition.hold) {
        (ScopeEnd::Unsure, _) => "",
        // Something inside had to be undone, and perhaps could not be.
        _ if body.risky => "",
        (ScopeEnd::Succeeded, _) => RUN_SUCCEEDED,
        (ScopeEnd::Failed, true) => RUN_NEEDS_ATTENTION,
        (ScopeEnd::Failed, false) if body.undo.broken => RUN_NEEDS_ATTENTION,
        (ScopeEnd::Failed, false) if body.may_break => "",
        (ScopeEnd::Failed, false) => RUN_FAILED,
    };
    if body.end == ScopeEnd::Failed && status == RUN_FAILED {
        facts.merge(body.undo.facts);
    }
    if body.risky {
        // A run that needs attention stops where it is.
        facts = Facts::default();
    }
    if status == RUN_SUCCEEDED || status == RUN_FAILED {
        facts.merge(oracle.scope(&definition.finally, &Place::default()).facts);
    }
    Prediction { status: status.to_owned(), steps: facts.steps, failures: facts.failures }
}

/// What is certain.
#[derive(Clone, Debug, Default)]
struct Facts {
    steps: BTreeMap<String, String>,
    failures: BTreeMap<String, u32>,
}

impl Facts {
    fn merge(&mut self, other: Self) {
        self.steps.extend(other.steps);
        self.failures.extend(other.failures);
    }

    fn status(&mut self, path: &str, status: &str) {
        self.steps.insert(path.to_owned(), status.to_owned());
    }

    fn failed(&mut self, path: &str, times: u32) {
        if times > 0 {
            self.failures.insert(path.to_owned(), times);
        }
    }
}

/// What undoing something surely does.
#[derive(Clone, Debug, Default)]
struct Undoing {
    facts: Facts,
    /// It surely can't be undone.
    broken: bool,
}

impl Undoing {
    fn merge(&mut self, other: Self) {
        self.facts.merge(other.facts);
        self.broken |= other.broken;
    }
}

/// How a step ends if nothing disturbs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Succeeded,
    /// It failed, and that was handled.
    Handled,
    /// It failed, and its scope with it.
    Fatal,
    /// By its own condition.
    SkippedByItself,
    /// Because of what came before.
    SkippedUpstream,
    /// What it needs fails the scope.
    Blocked,
    /// Not foreseen, and it can't fail its scope.
    Harmless,
    /// Not foreseen.
    Unsure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScopeEnd {
    Succeeded,
    Failed,
    Unsure,
}

/// How a step or scope ends, with what is certain then.
#[derive(Clone, Debug)]
struct Outcome<E> {
    end: E,
    facts: Facts,
    /// What undoing it surely does.
    undo: Undoing,
    /// Some of what may have been done in it can't be undone.
    may_break: bool,
    /// Something that can't be undone may have had to be, although the failure was handled.
    risky: bool,
}

impl<E> Outcome<E> {
    fn new(end: E) -> Self {
        Self { end, facts: Facts::default(), undo: Undoing::default(), may_break: false, risky: false }
    }
}

/// Where steps are.
#[derive(Clone, Debug, Default)]
struct Place {
    prefix: String,
    item: Option<Item>,
}

struct Oracle<'k> {
    variant: u32,
    known: &'k Known,
}

impl Oracle<'_> {
    fn scope(&self, steps: &[Step], place: &Place) -> Outcome<ScopeEnd> {
        let mut outcomes: BTreeMap<&str, Outcome<End>> = BTreeMap::new();
        let mut needed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for step in steps {
            let mut before = BTreeSet::new();
            for need in &step.needs {
                before.insert(need.step.as_str());
                before.extend(needed.get(need.step.as_str()).into_iter().flatten().copied());
            }
            needed.insert(&step.id, before);
            let outcome = self.step(step, &outcomes, place);
            outcomes.insert(&step.id, outcome);
        }
        let fatal: Vec<&str> = outcomes.iter().filter(|(_, outcome)| outcome.end == End::Fatal).map(|(id, _)| *id).collect();
        let unsure = outcomes.values().any(|outcome| outcome.end == End::Unsure);
        let end = match (fatal.is_empty(), unsure) {
            (true, true) => ScopeEnd::Unsure,
            (true, false) => ScopeEnd::Succeeded,
            (false, _) => ScopeEnd::Failed,
        };
        let certain: BTreeSet<&str> = match (end, fatal.as_slice()) {
            (ScopeEnd::Succeeded, _) => outcomes.keys().copied().collect(),
            (ScopeEnd::Failed, [only]) if !unsure => certain_with(only, steps, &needed),
            // What all of them need, and what needs nothing that is not certain.
            (ScopeEnd::Failed, [first, more @ ..]) if !unsure => {
                let all = |id: &&str| more.iter().all(|other| needed[other].contains(*id));
                needed[first].iter().copied().filter(all).collect()
            }
            _ => BTreeSet::new(),
        };
        let mut scope = Outcome::new(end);
        scope.may_break = outcomes.values().any(|outcome| outcome.may_break);
        scope.risky = outcomes.values().any(|outcome| outcome.risky);
        for (id, outcome) in outcomes {
            if certain.contains(id) {
                scope.facts.merge(outcome.facts);
                scope.undo.merge(outcome.undo);
            }
        }
        scope
    }

    fn step(&self, step: &Step, before: &BTreeMap<&str, Outcome<End>>, place: &Place) -> Outcome<End> {
        let path = format!("{}{}", place.prefix, step.id);
        let ends: Vec<(&Need, End)> = step.needs.iter().map(|need| (need, before[need.step.as_str()].end)).collect();
        if let Some(end) = gate(step, &ends) {
            let mut outcome = Outcome::new(end);
            if end == End::SkippedUpstream {
                outcome.facts.status(&path, SKIPPED);
            }
            return outcome;
        }
        if step.only_variant.is_some_and(|variant| variant != self.variant) {
            let mut outcome = Outcome::new(End::SkippedByItself);
            outcome.facts.status(&path, SKIPPED);
            return outcome;
        }
        let mut outcome = self.kind(step, &path, place);
        match outcome.end {
            End::Succeeded => outcome.facts.status(&path, SUCCEEDED),
            End::Fatal => {
                outcome.facts.status(&path, FAILED);
                let inside = step.kind.inside().is_some();
                if inside && step.retry.is_some_and(|policy| policy.max_attempts > 1) {
                    // Each round fails anew: the sum over all rounds is not what a prediction counts.
                    outcome.facts.failures.clear();
                    outcome.undo.facts.failures.clear();
                    outcome.risky |= outcome.may_break;
                }
                if step.continue_on_error {
                    outcome.end = End::Handled;
                    if inside {
                        // The scope undoes itself.
                        outcome.risky |= outcome.may_break;
                        let undone = std::mem::take(&mut outcome.undo);
                        outcome.facts.merge(undone.facts);
                    } else {
                        outcome.undo = Undoing::default();
                    }
                }
            }
            _ => {}
        }
        outcome
    }

    fn kind(&self, step: &Step, path: &str, place: &Place) -> Outcome<End> {
        match &step.kind {
            Kind::Task(work) => self.task(step, work, path, place),
            Kind::Wait { .. } | Kind::Set | Kind::Signal => Outcome::new(End::Succeeded),
            Kind::Approval { approve } => Outcome::new(if *approve { End::Succeeded } else { End::Fatal }),
            Kind::Silence { .. } | Kind::Fail => Outcome::new(End::Fatal),
            Kind::Group(steps) => {
                let scope = self.scope(steps, place);
                let end = end_of(scope.end);
                Outcome { end, facts: scope.facts, undo: scope.undo, may_break: scope.may_break, risky: scope.risky }
            }
            Kind::ForEach { items, max_failures, steps, .. } => self.for_each(items, *max_failures, steps, path),
            Kind::Repeat { wanted, most, steps } => self.repeat(*wanted, *most, steps, path, place),
            Kind::Child { workflow, variant } => {
                let status = self.known.get(&(workflow.clone(), *variant)).map(String::as_str);
                Outcome::new(match status {
                    Some(RUN_SUCCEEDED) => End::Succeeded,
                    Some(RUN_FAILED) => End::Fatal,
                    _ => End::Unsure,
                })
            }
        }
    }

    fn task(&self, step: &Step, work: &Work, path: &str, place: &Place) -> Outcome<End> {
        let done = attempts(work, step.policy(), place.item);
        let mut outcome = Outcome::new(if done.succeeds { End::Succeeded } else { End::Fatal });
        outcome.facts.failed(path, done.failures);
        // A failed attempt leaves the step in doubt unless its worker is sure; what is in doubt is undone, too.
        if let Some(undo) = &step.undo
            && (done.succeeds || !work.nothing_done)
        {
            let undone = attempts(&undo.work, undo.retry, place.item);
            let undo_path = format!("{path}:compensate");
            outcome.undo.facts.status(&undo_path, if undone.succeeds { SUCCEEDED } else { FAILED });
            outcome.undo.facts.failed(&undo_path, undone.failures);
            outcome.undo.broken = !undone.succeeds;
            outcome.may_break = !undone.succeeds;
        }
        outcome
    }

    fn for_each(&self, items: &[Item], max_failures: u32, steps: &[Step], path: &str) -> Outcome<End> {
        let mut whole = Outcome::new(End::Succeeded);
        let mut failed = 0;
        for (number, item) in items.iter().enumerate() {
            let item_path = format!("{path}[{number}]");
            let mut scope = self.scope(steps, &Place { prefix: format!("{item_path}."), item: Some(*item) });
            whole.may_break |= scope.may_break;
            whole.risky |= scope.risky;
            match scope.end {
                ScopeEnd::Unsure => whole.end = End::Unsure,
                ScopeEnd::Succeeded => {
                    scope.facts.status(&item_path, SUCCEEDED);
                    whole.facts.merge(scope.facts);
                    whole.undo.merge(scope.undo);
                }
                ScopeEnd::Failed => {
                    failed += 1;
                    // Tolerated, it has undone itself.
                    whole.risky |= scope.may_break;
                    scope.facts.status(&item_path, FAILED);
                    whole.facts.merge(scope.facts);
                    whole.facts.merge(scope.undo.facts);
                }
            }
        }
        if whole.end == End::Unsure || failed > max_failures {
            // Which items had begun when one too many failed is a matter of time.
            let end = if failed > max_failures { End::Fatal } else { End::Unsure };
            return Outcome { end, facts: Facts::default(), undo: Undoing::default(), ..whole };
        }
        whole
    }

    fn repeat(&self, wanted: u32, most: u32, steps: &[Step], path: &str, place: &Place) -> Outcome<End> {
        let mut whole = Outcome::new(if wanted > most { End::Fatal } else { End::Succeeded });
        for number in 0..wanted.min(most) {
            let round_path = format!("{path}[{number}]");
            let mut scope = self.scope(steps, &Place { prefix: format!("{round_path}."), item: place.item });
            whole.may_break |= scope.may_break;
            whole.risky |= scope.risky;
            match scope.end {
                ScopeEnd::Succeeded => scope.facts.status(&round_path, SUCCEEDED),
                ScopeEnd::Failed => scope.facts.status(&round_path, FAILED),
                ScopeEnd::Unsure => {}
            }
            whole.facts.merge(scope.facts);
            whole.undo.merge(scope.undo);
            if scope.end != ScopeEnd::Succeeded {
                whole.end = end_of(scope.end);
                break;
            }
        }
        whole
    }
}

fn end_of(scope: ScopeEnd) -> End {
    match scope {
        ScopeEnd::Succeeded => End::Succeeded,
        ScopeEnd::Failed => End::Fatal,
        ScopeEnd::Unsure => End::Unsure,
    }
}

/// What is certain when exactly one step fails its scope: what it needs, itself, and who only waited to see it fail.
fn certain_with<'s>(fatal: &'s str, steps: &'s [Step], needed: &BTreeMap<&'s str, BTreeSet<&'s str>>) -> BTreeSet<&'s str> {
    let mut certain = needed[fatal].clone();
    certain.insert(fatal);
    let sees_it = |step: &&Step| {
        let direct = |id: &str| step.needs.iter().any(|need| need.step == id);
        step.run_on != RunOn::Success && direct(fatal) && step.needs.iter().all(|need| certain.contains(need.step.as_str()))
    };
    let watchers: Vec<&str> = steps.iter().filter(sees_it).map(|step| step.id.as_str()).collect();
    certain.extend(watchers);
    certain
}

/// How a step ends that does not run, given the ends of what it needs; none if it runs.
fn gate(step: &Step, needs: &[(&Need, End)]) -> Option<End> {
    let any = |wanted: &[End]| needs.iter().any(|(_, end)| wanted.contains(end));
    match step.run_on {
        RunOn::Success if any(&[End::Fatal, End::Blocked]) => Some(End::Blocked),
        RunOn::Success if any(&[End::Unsure, End::Harmless]) => Some(End::Unsure),
        RunOn::Success => (!needs.iter().all(|(need, end)| is_accepted(need, *end))).then_some(End::SkippedUpstream),
        // Whether something is "blocked by a failure before it" is left open here.
        _ if any(&[End::Blocked, End::Unsure, End::Harmless, End::SkippedUpstream]) => Some(End::Harmless),
        RunOn::Failure if any(&[End::Fatal, End::Handled]) => None,
        RunOn::Failure => Some(End::SkippedUpstream),
        RunOn::Always => None,
    }
}

fn is_accepted(need: &Need, end: End) -> bool {
    if need.accept.is_empty() {
        return matches!(end, End::Succeeded | End::Handled | End::SkippedByItself);
    }
    need.accept.iter().any(|accept| match accept {
        Accept::Succeeded => end == End::Succeeded,
        Accept::Failed => end == End::Handled,
        Accept::Skipped => matches!(end, End::SkippedByItself | End::SkippedUpstream),
    })
}

/// How the attempts of a task end.
struct Attempts {
    succeeds: bool,
    failures: u32,
}

fn attempts(work: &Work, policy: Retry, item: Option<Item>) -> Attempts {
    let (fail_attempts, for_good) = match (work.by_item, item) {
        (true, Some(item)) => (item.fail_attempts, item.fail_for_good),
        _ => (work.fail_attempts, work.fail_for_good),
    };
    if fail_attempts >= policy.max_attempts {
        return Attempts { succeeds: false, failures: policy.max_attempts };
    }
    Attempts { succeeds: !for_good, failures: fail_attempts + u32::from(for_good) }
}
