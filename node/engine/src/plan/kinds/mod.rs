//! One file per family of kinds: checks what the kind owns, and compiles it.

mod child;
mod containers;
mod emit;
mod gate;
mod http;
mod people;
mod simple;
mod task;

use super::expressions::{At, Compiler};
use super::task::{PlannedPool, PlannedTask, RetryPolicy};
use super::types::PlannedKind;
use super::{BUILTIN_QUEUE, BuiltIn};
use crate::expr::Template;
use crate::{Kind, Millis};

/// An attempt that says nothing for this long has lost its purpose.
const TASK_ATTEMPT: Millis = Millis(60 * 60 * 1_000);
/// A request that is not answered by then will not be.
const CALL_ATTEMPT: Millis = Millis(30 * 1_000);
/// All tries of a request.
const CALL: Millis = Millis(60 * 60 * 1_000);
/// A gate that did not open by then is forgotten.
const GATE: Millis = Millis(24 * 60 * 60 * 1_000);
/// A queue without workers is somebody's mistake; a day is enough to notice.
const SCHEDULE: Millis = Millis(24 * 60 * 60 * 1_000);
const PRIORITY: u8 = 3;

/// What stands around a kind that hands attempts to somebody, in a step or a compensation.
#[derive(Default)]
pub(super) struct Around<'d> {
    pub(super) with: Option<&'d serde_json::Value>,
    pub(super) retry: RetryPolicy,
    pub(super) timeout: Option<Millis>,
    pub(super) attempt_timeout: Option<Millis>,
    pub(super) schedule_timeout: Option<Millis>,
    pub(super) heartbeat_timeout: Option<Millis>,
}

impl Compiler<'_> {
    /// Compiles a kind, or reports why that is impossible. `vertex` is the step's own position.
    pub(super) fn kind(&mut self, at: &At, vertex: usize, kind: &Kind, around: &Around<'_>) -> Option<PlannedKind> {
        match kind {
            Kind::Task(task) => Some(PlannedKind::Task(Box::new(self.task(at, task, around)))),
            Kind::Http(http) => {
                let with = self.http(at, http);
                Some(PlannedKind::Task(Box::new(self.builtin(BuiltIn::Http, with, around))))
            }
            Kind::Gate(gate) => {
                let with = self.gate(at, "gate", gate, None);
                Some(PlannedKind::Task(Box::new(self.builtin(BuiltIn::Gate, with, around))))
            }
            Kind::Emit(emit) => {
                let with = self.emit(at, emit);
                Some(PlannedKind::Task(Box::new(self.builtin(BuiltIn::Emit, with, around))))
            }
            Kind::Wait(wait) => self.wait(at, wait).map(PlannedKind::Wait),
            Kind::Set(value) => Some(PlannedKind::Set(super::PlannedTemplate(self.template(at, ".set", value)))),
            Kind::Signal(signal) => Some(PlannedKind::Signal(self.signal(at, vertex, signal))),
            Kind::Approval(approval) => Some(PlannedKind::Approval(self.approval(at, vertex, approval))),
            Kind::Group(group) => Some(PlannedKind::Group(self.group(at, vertex, group))),
            Kind::ForEach(each) => self.for_each(at, vertex, each).map(|each| PlannedKind::ForEach(Box::new(each))),
            Kind::Repeat(repeat) => self.repeat(at, vertex, repeat).map(PlannedKind::Repeat),
            Kind::Workflow(child) => Some(PlannedKind::Workflow(self.child(at, child, around.with))),
            Kind::Fail(fail) => Some(PlannedKind::Fail(self.fail(at, fail))),
        }
    }

    /// A task that the node executes itself.
    pub(super) fn builtin(&mut self, builtin: BuiltIn, with: Template, around: &Around<'_>) -> PlannedTask {
        let attempt = match builtin {
            BuiltIn::Http | BuiltIn::Emit => CALL_ATTEMPT,
            BuiltIn::Gate => around.timeout.unwrap_or(GATE),
        };
        PlannedTask {
            task_type: builtin.task_type().to_owned(),
            queue: BUILTIN_QUEUE.to_owned(),
            priority: PRIORITY,
            retry: around.retry.clone(),
            attempt_timeout: around.attempt_timeout.unwrap_or(attempt),
            schedule_timeout: around.schedule_timeout.unwrap_or(SCHEDULE),
            heartbeat_timeout: None,
            selectors: std::collections::BTreeMap::new(),
            pools: Vec::<PlannedPool>::new(),
            builtin: Some(builtin),
            secrets: std::mem::take(&mut self.secrets).into_iter().collect(),
            with: Some(with),
        }
    }
}

/// The timeout of a step of this kind that names none.
pub(super) fn default_timeout(kind: &Kind) -> Option<Millis> {
    match kind {
        Kind::Http(_) | Kind::Emit(_) => Some(CALL),
        Kind::Gate(_) => Some(GATE),
        Kind::Task(_)
        | Kind::Wait(_)
        | Kind::Set(_)
        | Kind::Signal(_)
        | Kind::Approval(_)
        | Kind::Group(_)
        | Kind::ForEach(_)
        | Kind::Repeat(_)
        | Kind::Workflow(_)
        | Kind::Fail(_) => None,
    }
}
