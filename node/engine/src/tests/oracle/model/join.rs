//! What the ends of a step's needs mean for it.

use super::super::node::Run;
use super::step::Status;

pub(super) enum Join {
    Start,
    Skip { upstream: bool, by_failure: bool },
}

pub(super) fn join(run_on: Run, needs: &[Status]) -> Join {
    let accepted =
        |need: &Status| matches!(need, Status::Succeeded | Status::Failed { handled: true } | Status::Skipped { upstream: false, .. });
    let by_failure = |need: &Status| matches!(need, Status::Failed { .. } | Status::Skipped { by_failure: true, .. });
    let blocks = |need: &Status| !accepted(need) && (by_failure(need) || *need == Status::Cancelled);
    match run_on {
        Run::Always => Join::Start,
        Run::Failure if needs.iter().any(by_failure) => Join::Start,
        Run::Failure => Join::Skip { upstream: true, by_failure: false },
        Run::Success if needs.iter().all(accepted) => Join::Start,
        Run::Success => Join::Skip { upstream: true, by_failure: needs.iter().any(blocks) },
    }
}
