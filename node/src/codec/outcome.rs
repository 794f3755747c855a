//! How an attempt ended.

use quorus_engine::Outcome;
use quorus_proto::log::{self, outcome};

use super::{CodecError, failure_from_proto, failure_to_proto, payload_from_proto, payload_to_proto};

pub(super) fn outcome_to_proto(value: &Outcome) -> log::Outcome {
    let kind = match value {
        Outcome::Succeeded(output) => outcome::Kind::Succeeded(outcome::Succeeded { output: output.as_ref().map(payload_to_proto) }),
        Outcome::Failed(failure) => outcome::Kind::Failed(failure_to_proto(failure)),
        Outcome::TimedOut(failure) => outcome::Kind::TimedOut(failure_to_proto(failure)),
        Outcome::Abandoned(reason) => outcome::Kind::Abandoned(outcome::Abandoned { reason: reason.clone() }),
        Outcome::Released(checkpoint) => {
            outcome::Kind::Released(outcome::Released { checkpoint: checkpoint.as_ref().map(payload_to_proto) })
        }
        Outcome::Cancelled { nothing_done } => outcome::Kind::Cancelled(outcome::Stopped { nothing_done: *nothing_done }),
    };
    log::Outcome { kind: Some(kind) }
}

pub(super) fn outcome_from_proto(proto: log::Outcome) -> Result<Outcome, CodecError> {
    Ok(match proto.kind.ok_or(CodecError::UnknownKind { what: "outcome" })? {
        outcome::Kind::Succeeded(succeeded) => Outcome::Succeeded(succeeded.output.map(payload_from_proto)),
        outcome::Kind::Failed(failure) => Outcome::Failed(failure_from_proto(failure)),
        outcome::Kind::TimedOut(failure) => Outcome::TimedOut(failure_from_proto(failure)),
        outcome::Kind::Abandoned(abandoned) => Outcome::Abandoned(abandoned.reason),
        outcome::Kind::Released(released) => Outcome::Released(released.checkpoint.map(payload_from_proto)),
        outcome::Kind::Cancelled(stopped) => Outcome::Cancelled { nothing_done: stopped.nothing_done },
    })
}
