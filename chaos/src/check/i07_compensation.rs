//! I7: compensation is exact and reversed.
//!
//! A step with a compensation *owes* from its recorded end on if it succeeded, or is in doubt: an attempt of the generation failed without saying that
//! nothing was done, ran out of time, or lost its worker. (One that was cancelled in the middle may owe.) A container owes from its end on if something
//! in it does. Who begins anew owes no more. Then:
//! - a compensation begins only for what owes, and, unless a part of the run is rewound or the entries are items of one `for_each`, only if nothing in
//!   the same scope that must be undone has a later end (so it begins after those have been undone);
//! - in the ledger, the same: a compensation begins after the last one of its scope has ended;
//! - when a scope says that it is undone, is tried again, or the run ends as failed or cancelled: nothing that must be undone owes;
//! - each is undone once; a run never ends as succeeded with a step of its own scope undone.
//!
//! Sources: histories, shapes (`compensated`, `within`), ledger. Limits: a run without a shape is not judged. After somebody's cancel without compensation,
//! a terminate, or a run that needed attention, the end of the run is not judged. If a shape has groups and does not say what is in them, only steps that
//! need each other are compared.

use std::collections::BTreeMap;

use quorus_proto::v1::{EventType, HistoryEvent, RunStatus, StepStatus};

use super::{
    findings::{Findings, Invariant},
    joined::{Joined, RunView},
    path,
    verdict::Counterexample,
};

pub(super) const INVARIANT: Invariant = Invariant { id: "I7", title: "compensation is exact and reversed", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for run in joined.runs.values() {
        let Some(plan) = run.plan.as_deref().filter(|plan| plan.shape.steps.iter().any(|step| step.compensated)) else { continue };
        let mut undoing = Undoing {
            joined,
            run,
            blind: plan.has_unknown_groups(),
            owed: BTreeMap::new(),
            doubts: BTreeMap::new(),
            undone: BTreeMap::new(),
            rewinds: false,
            excused: false,
        };
        for event in &run.record.events {
            undoing.follow(event, findings);
        }
        in_the_ledger(joined, run, findings);
    }
}

/// What is owed, as the history goes on.
struct Undoing<'j, 'e> {
    joined: &'j Joined<'e>,
    run: &'j RunView<'e>,
    /// Nobody knows what is in which group.
    blind: bool,
    /// By scope and the sequence of the end.
    owed: BTreeMap<(String, u64), Entry<'e>>,
    /// True if the doubt is certain.
    doubts: BTreeMap<&'e str, bool>,
    /// Steps of the run's own scope that were undone, with the event that says so.
    undone: BTreeMap<&'e str, &'e HistoryEvent>,
    rewinds: bool,
    /// People had a say in what is undone.
    excused: bool,
}

#[derive(Clone, Copy)]
struct Entry<'e> {
    step: &'e str,
    must: bool,
    end: &'e HistoryEvent,
}

impl<'e> Undoing<'_, 'e> {
    fn follow(&mut self, event: &'e HistoryEvent, findings: &mut Findings) {
        let step = event.step.as_str();
        match event.r#type() {
            EventType::AttemptEnded => self.doubt(event),
            EventType::StepEnded => match path::undoes(step) {
                None => self.ended(event),
                Some(undone) if matches!(event.step_status(), StepStatus::Succeeded | StepStatus::Skipped) => {
                    self.undo(undone, event, findings)
                }
                Some(_) => {}
            },
            EventType::StepQueued | EventType::StepLeased | EventType::ChildCompensationRequested => {
                if let Some(undone) = path::undoes(step) {
                    self.begins(undone, event, findings);
                }
            }
            EventType::StepReopened | EventType::ScopeReopened => self.forget(step),
            EventType::ScopeRetried => {
                self.nothing_owed(step, event, findings);
                self.forget(step);
            }
            EventType::PhaseChanged => self.phase(step, event, findings),
            EventType::RunReopened => {
                self.rewinds = event.phase == "rewinding";
                if event.phase == "running" {
                    self.undone.clear();
                }
            }
            EventType::RunCancelRequested => self.excused |= event.no_compensate,
            EventType::AttentionRequested | EventType::Repaired => self.excused = true,
            EventType::RunEnded => self.run_ended(event, findings),
            _ => {}
        }
    }

    fn doubt(&mut self, event: &'e HistoryEvent) {
        let nothing_done = event.failure.as_ref().is_some_and(|failure| failure.nothing_done);
        let certain = match event.outcome.as_str() {
            "failed" => !nothing_done,
            "timed_out" | "abandoned" => true,
            "cancelled" => false,
            _ => return,
        };
        if event.outcome != "failed" || !nothing_done {
            let known = self.doubts.entry(&event.step).or_default();
            *known |= certain;
        }
    }

    fn ended(&mut self, event: &'e HistoryEvent) {
        let step = event.step.as_str();
        let planned = self.run.planned(step).filter(|planned| planned.compensated && !step.ends_with(']'));
        let is_container = self.run.steps.get(step).is_some_and(|view| view.of_type(EventType::ScopeStarted).next().is_some());
        let must = match (planned, event.step_status()) {
            (Some(_), StepStatus::Succeeded) => Some(true),
            // Whether anything in it, or the child, was done is not known.
            (Some(planned), StepStatus::Failed | StepStatus::Cancelled) if is_container || planned.kind == "workflow" => Some(false),
            (Some(_), StepStatus::Failed | StepStatus::Cancelled) => self.doubts.get(step).copied(),
            (None, StepStatus::Succeeded | StepStatus::Failed | StepStatus::Cancelled) if is_container => self.must_inside(step),
            _ => None,
        };
        if let Some(must) = must {
            self.owed.insert((self.run.scope(step), event.sequence), Entry { step, must, end: event });
        }
    }

    /// Whether anything directly in a container owes, and must.
    fn must_inside(&self, container: &str) -> Option<bool> {
        self.of_scope(container).map(|entry| entry.must).max()
    }

    fn of_scope<'s>(&'s self, scope: &str) -> impl Iterator<Item = &'s Entry<'e>> + use<'s, 'e> {
        self.owed.range((scope.to_owned(), 0)..=(scope.to_owned(), u64::MAX)).map(|(_, entry)| entry)
    }

    fn find(&self, step: &str) -> Option<Entry<'e>> {
        self.of_scope(&self.run.scope(step)).filter(|entry| entry.step == step).last().copied()
    }

    fn is_container(&self, step: &str) -> bool {
        step.ends_with(']') || self.run.steps.get(step).is_some_and(|view| view.of_type(EventType::ScopeStarted).next().is_some())
    }

    /// The undoing of an entry begins.
    fn begins(&mut self, undone: &str, event: &HistoryEvent, findings: &mut Findings) {
        let Some(entry) = self.find(undone) else {
            // A container that undoes itself has not ended.
            findings.expect(self.is_container(undone), || {
                let last = self.run.steps.get(undone).into_iter().flat_map(|view| &view.events).map(|(_, event)| *event).take(8);
                Counterexample::new(self.run.name(), "a step is undone that was not done, or was undone before")
                    .step(undone)
                    .with(last.chain([event]).map(|event| self.joined.clock.event(event)))
            });
            return;
        };
        let scope = self.run.scope(undone);
        let side_by_side = undone.ends_with(']');
        if self.rewinds || side_by_side {
            return;
        }
        let later = self.of_scope(&scope).find(|other| {
            other.must && other.step != undone && other.end.sequence > entry.end.sequence && (!self.blind || self.needs(other.step, undone))
        });
        findings.expect(later.is_none(), || {
            Counterexample::new(self.run.name(), "a step is undone before what ended later has been undone")
                .step(undone)
                .with(later.into_iter().map(|later| later.end).chain([entry.end, event]).map(|event| self.joined.clock.event(event)))
        });
    }

    /// True if the later step needs the earlier one, directly.
    fn needs(&self, later: &str, earlier: &str) -> bool {
        let needs = self.run.planned(later).map(|planned| planned.needs.as_slice()).unwrap_or_default();
        needs.iter().any(|need| path::beside(later, need).as_deref() == Some(earlier))
    }

    /// An entry is undone.
    fn undo(&mut self, undone: &'e str, event: &'e HistoryEvent, findings: &mut Findings) {
        findings.expect(self.find(undone).is_some() || self.is_container(undone), || {
            let ends = self.run.steps.get(event.step.as_str()).into_iter().flat_map(|view| view.of_type(EventType::StepEnded));
            Counterexample::new(self.run.name(), "a step was undone twice, or was never done")
                .step(undone)
                .with(ends.map(|(_, event)| event).chain([event]).map(|event| self.joined.clock.event(event)))
        });
        self.forget(undone);
        if self.run.scope(undone).is_empty() && !self.blind {
            self.undone.insert(undone, event);
        }
    }

    fn phase(&mut self, scope: &'e str, event: &'e HistoryEvent, findings: &mut Findings) {
        match event.phase.as_str() {
            "compensating" if !scope.is_empty() && self.find(scope).is_some() => self.begins(scope, event, findings),
            "compensated" => {
                self.nothing_owed(scope, event, findings);
                if !scope.is_empty() {
                    self.forget(scope);
                }
            }
            "running" if scope.is_empty() => self.rewinds = false,
            _ => {}
        }
    }

    /// Nothing directly in a scope must be undone any more.
    fn nothing_owed(&mut self, scope: &str, event: &HistoryEvent, findings: &mut Findings) {
        // A compensation of the scope's own stands for those in it.
        let own = self.run.planned(scope).is_some_and(|planned| planned.compensated) && !scope.ends_with(']') && !scope.is_empty();
        let left: Vec<_> = self.of_scope(scope).filter(|entry| entry.must && !own).copied().collect();
        findings.expect(left.is_empty(), || {
            let names: Vec<_> = left.iter().map(|entry| entry.step).collect();
            Counterexample::new(self.run.name(), format!("this was done, and is not undone: {}", names.join(", ")))
                .step(scope)
                .with(left.iter().map(|entry| entry.end).chain([event]).map(|event| self.joined.clock.event(event)))
        });
    }

    fn run_ended(&mut self, event: &'e HistoryEvent, findings: &mut Findings) {
        match event.run_status() {
            RunStatus::Succeeded => findings.expect(self.undone.is_empty(), || {
                let names: Vec<_> = self.undone.keys().copied().collect();
                Counterexample::new(self.run.name(), format!("the run succeeded, and this was undone: {}", names.join(", ")))
                    .with(self.undone.values().copied().chain([event]).map(|event| self.joined.clock.event(event)))
            }),
            RunStatus::Failed | RunStatus::Cancelled if !self.excused => self.nothing_owed("", event, findings),
            _ => {}
        }
    }

    /// An entry, and everything in it, owes no more.
    fn forget(&mut self, step: &str) {
        self.doubts.remove(step);
        let plan = self.run.plan.as_deref();
        self.owed.retain(|(scope, _), entry| {
            entry.step != step && scope != step && !path::around(plan, entry.step).iter().any(|around| around == step)
        });
    }
}

/// Compensations of a scope do not overlap in what workers wrote down.
fn in_the_ledger(joined: &Joined<'_>, run: &RunView<'_>, findings: &mut Findings) {
    let mut last: BTreeMap<String, (&str, u64)> = BTreeMap::new();
    let mut granted: Vec<_> = run
        .steps
        .iter()
        .filter(|(step, _)| path::undoes(step).is_some())
        .flat_map(|(step, view)| view.attempts.iter().map(move |attempt| (attempt.leased.token, *step, attempt)))
        .collect();
    granted.sort_by_key(|(token, ..)| *token);
    for (token, step, attempt) in granted {
        let executions = joined.executions(run.uid(), step);
        let Some(execution) = executions.iter().find(|execution| execution.token == token) else { continue };
        let scope = run.scope(step);
        if let Some((before, until)) = last.get(&scope).filter(|(before, _)| *before != step) {
            findings.expect(execution.lines().all(|line| line.mono_us >= *until), || {
                let earlier = joined.executions(run.uid(), before).iter();
                Counterexample::new(run.name(), format!("a worker began to undo this while {before} was being executed"))
                    .step(step)
                    .with(earlier.chain([execution]).flat_map(|execution| execution.testimony()))
            });
        }
        if attempt.outcome() == "succeeded"
            && let Some(end) = execution.end
        {
            last.insert(scope, (step, end.mono_us));
        }
    }
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::{EventType, RunStatus, StepStatus};

    use crate::check::testing::{Scene, assert_only, event};
    use crate::record::{Evidence, Shape, StepShape};

    fn shape() -> Shape {
        let step = |step: &str, kind: &str, within: &str, compensated: bool| StepShape {
            step: step.to_owned(),
            kind: kind.to_owned(),
            within: within.to_owned(),
            compensated,
            ..StepShape::default()
        };
        let steps = vec![
            step("a", "task", "", true),
            step("b", "task", "", true),
            step("c", "task", "", false),
            step("g", "group", "", false),
            step("x", "task", "g", true),
            step("y", "task", "g", true),
        ];
        Shape { workflow: "w".to_owned(), steps, ..Shape::default() }
    }

    /// `a` and `b` are done, `c` fails without a trace; then these are undone, in this order.
    fn undoing(order: &[&str]) -> Evidence {
        let mut scene = Scene::new();
        scene.shape(shape());
        let run = scene.start("r", "w");
        scene.task(&run, "a");
        scene.task(&run, "b");
        scene.fail(&run, "c", true);
        scene.push(&run, event(EventType::RunFailing).run_status(RunStatus::Failing));
        if !order.is_empty() {
            scene.push(&run, event(EventType::PhaseChanged).phase("compensating"));
            for step in order {
                scene.task(&run, &format!("{step}:compensate"));
            }
            scene.push(&run, event(EventType::PhaseChanged).phase("compensated"));
        }
        scene.end(&run, RunStatus::Failed);
        scene.evidence()
    }

    #[test]
    fn the_reverse_order_of_the_ends_is_legal_and_everything_else_is_found() {
        assert_only(&undoing(&["b", "a"]), &[]);
        assert_only(&undoing(&["a", "b"]), &["I7"]);
        assert_only(&undoing(&["b"]), &["I7"]);
        assert_only(&undoing(&["b", "a", "c"]), &["I7"]);
        assert_only(&undoing(&[]), &["I7"]);
    }

    #[test]
    fn a_step_in_doubt_must_be_undone_and_one_that_did_nothing_must_not() {
        let with = |nothing_done: bool, undo: bool| {
            let mut scene = Scene::new();
            scene.shape(shape());
            let run = scene.start("r", "w");
            scene.fail(&run, "a", nothing_done);
            scene.push(&run, event(EventType::RunFailing).run_status(RunStatus::Failing));
            if undo {
                scene.push(&run, event(EventType::PhaseChanged).phase("compensating"));
                scene.task(&run, "a:compensate");
                scene.push(&run, event(EventType::PhaseChanged).phase("compensated"));
            }
            scene.end(&run, RunStatus::Failed);
            scene.evidence()
        };
        assert_only(&with(false, true), &[]);
        assert_only(&with(true, false), &[]);
        assert_only(&with(false, false), &["I7"]);
        assert_only(&with(true, true), &["I7"]);
    }

    #[test]
    fn a_group_is_one_entry_at_its_end() {
        let with = |order: &[&str]| {
            let mut scene = Scene::new();
            scene.shape(shape());
            let run = scene.start("r", "w");
            scene.push(&run, event(EventType::ScopeStarted).step("g"));
            scene.task(&run, "x");
            scene.task(&run, "b");
            scene.task(&run, "y");
            scene.push(&run, event(EventType::StepEnded).step("g").step_status(StepStatus::Succeeded));
            scene.fail(&run, "c", true);
            scene.push(&run, event(EventType::RunFailing).run_status(RunStatus::Failing));
            scene.push(&run, event(EventType::PhaseChanged).phase("compensating"));
            for step in order {
                match *step {
                    "<g" => scene.push(&run, event(EventType::PhaseChanged).step("g").phase("compensating")),
                    "g>" => scene.push(&run, event(EventType::PhaseChanged).step("g").phase("compensated")),
                    step => scene.task(&run, &format!("{step}:compensate")),
                }
            }
            scene.push(&run, event(EventType::PhaseChanged).phase("compensated"));
            scene.end(&run, RunStatus::Failed);
            scene.evidence()
        };
        // `b` ended before `y`, and yet is undone after `x`: the group stands at its end.
        assert_only(&with(&["<g", "y", "x", "g>", "b"]), &[]);
        assert_only(&with(&["b", "<g", "y", "x", "g>"]), &["I7"]);
        assert_only(&with(&["<g", "x", "y", "g>", "b"]), &["I7"]);
        assert_only(&with(&["<g", "y", "g>", "b"]), &["I7"]);
    }

    #[test]
    fn a_run_that_succeeded_and_was_undone_is_found() {
        let mut scene = Scene::new();
        scene.shape(shape());
        let run = scene.start("r", "w");
        scene.task(&run, "a");
        scene.task(&run, "a:compensate");
        scene.succeed(&run);
        assert_only(&scene.evidence(), &["I7"]);
    }

    #[test]
    fn compensations_that_overlap_in_the_ledger_are_found() {
        let mut evidence = undoing(&["b", "a"]);
        let until = evidence.ledger.iter().rfind(|line| line.step == "b:compensate").unwrap().mono_us;
        let begin = evidence.ledger.iter_mut().find(|line| line.step == "a:compensate").unwrap();
        begin.mono_us = until - 1;
        assert_only(&evidence, &["I7"]);
    }

    #[test]
    fn a_cancel_without_compensation_and_a_terminate_leave_what_was_done() {
        let with = |no_compensate: bool, status: RunStatus| {
            let mut scene = Scene::new();
            scene.shape(shape());
            let run = scene.start("r", "w");
            scene.task(&run, "a");
            if status == RunStatus::Terminated {
                scene.terminate(&run);
            } else {
                scene.cancel(&run);
                scene.last_event(&run).no_compensate = no_compensate;
                scene.end(&run, status);
            }
            scene.evidence()
        };
        assert_only(&with(true, RunStatus::Cancelled), &[]);
        assert_only(&with(false, RunStatus::Terminated), &[]);
        assert_only(&with(false, RunStatus::Cancelled), &["I7"]);
    }
}
