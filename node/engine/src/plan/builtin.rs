//! The steps that the node executes itself: `http`, `gate` and `emit` (and guards) are planned as tasks.
//!
//! Such a task has [`BuiltIn`] in [`super::PlannedTask::builtin`], waits in [`BUILTIN_QUEUE`], and its `with` renders to the request of
//! its executor. **These documents are the contract between the planner and the executors.** All members are present unless marked `?`;
//! texts were rendered already, and may hold the marker of a secret (see [`SECRET_MARKER`]) wherever "secrets" is said.
//!
//! # `quorus.http`
//!
//! ```text
//! {
//!   method: "POST",                  upper case
//!   url: "https://...",
//!   headers: {name: text},           secrets
//!   body?: any JSON,                 a text is sent as it is, everything else as JSON
//!   expect: ["2xx", "404"],          statuses that mean success
//!   max_body_bytes: 1048576,
//!   allow_private: false,
//!   on_crash: "retry" | "fail",      what a later attempt does if an earlier one may have sent the request and has no recorded answer
//! }
//! ```
//!
//! Output: `{status, headers: {name: text}, body}`; the body is JSON if the answer says so, else text. The `Idempotency-Key` is made of the
//! run's uid, the step instance and its generation, so it is the same in every attempt.
//!
//! # `quorus.gate`
//!
//! ```text
//! {
//!   queries: {name: {prometheus: {url, query, headers, allow_private}} | {http: {url, headers, value, allow_private}}},
//!   single: true,                    one query without a name: its name in `queries` is "value", and conditions read `value`
//!   condition: "value < 0.01",       CEL source for [`crate::GateCondition`]
//!   fail_if?: "value > 0.5",         the same
//!   interval_ms: 15000,
//!   hold_for_ms: 300000,             0: a single look is enough
//!   no_data: "wait" | "fail",
//!   guard: false,
//!   breach_for_ms: 0,                only if `guard`
//! }
//! ```
//!
//! `value` of an `http` query is CEL source for [`crate::ResponseValue`]. Secrets may stand in headers. A gate succeeds when its
//! condition held for `hold_for_ms` without a break; it fails with `QuorusGateFailed` when `fail_if` is true. A guard never succeeds: it
//! fails with `QuorusGuardBreached` when its condition was false throughout `breach_for_ms`. What can't be asked (the endpoint is down) is a
//! retryable failure `QuorusGateUnavailable`. Output: `{values: {name: number}}`.
//!
//! # `quorus.emit`
//!
//! ```text
//! {
//!   type, source, subject,           attributes of the event
//!   data?: any JSON,
//!   sinks: [{http: url, headers: {name: text}, allow_private}],     secrets in headers
//!   signal?: {run_id, name, start: false, workflow?, input?},
//! }
//! ```
//!
//! The event's id is made like the `Idempotency-Key`. The signal's id is the event's, so that a repetition is recognised. Output: `{id}`.

use std::fmt;

/// The queue of everything that the node executes itself.
pub const BUILTIN_QUEUE: &str = "quorus.builtin";

/// How the marker of a secret begins; the name and `}}` follow. Whoever executes an attempt replaces the markers of exactly the names
/// that the task lists. A rendered value can't hold a marker that the definition did not put there.
pub const SECRET_MARKER: &str = "{{quorus.secret:";

/// A kind of step that the node executes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// Calls a URL.
    Http,
    /// Watches metrics; also a guard.
    Gate,
    /// Sends a CloudEvent.
    Emit,
}

impl BuiltIn {
    /// The task type.
    pub fn task_type(self) -> &'static str {
        match self {
            Self::Http => "quorus.http",
            Self::Gate => "quorus.gate",
            Self::Emit => "quorus.emit",
        }
    }

    /// The kind as definitions call it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Gate => "gate",
            Self::Emit => "emit",
        }
    }
}

impl fmt::Display for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}
