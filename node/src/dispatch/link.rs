//! The leader's side of a link to a gateway: sessions, credits, heartbeats and outcomes come in; tasks and acknowledgements go out.
//!
//! Rule: a refusal is a read. That a lease is lost, or an outcome stale, is said only after a read of the shard that a quorum confirmed and
//! that began after the question came, and only if this leadership still stands then ([`LedShard::confirmed`]).

use std::{collections::BTreeSet, pin::pin};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use quorus_engine::{Command, Outcome, Payload};
use quorus_proto::{
    peer::{self, LinkRequest, LinkResponse, link_request, link_response},
    v1,
};

use super::{Dispatcher, LeaseName, LinkSender, Session, SessionKey};
use crate::{
    api::from_proto,
    leader::{Ask, LedShard, Refusal, Reply, Request},
};

/// Serves a link until it ends, or its gateway opens another one.
pub async fn serve(dispatcher: Dispatcher, requests: impl Stream<Item = LinkRequest>, link: LinkSender) {
    let (number, replaced) = dispatcher.link_opened(link.clone());
    let mut requests = pin!(requests);
    while let Some(Some(request)) = replaced.run_until_cancelled(requests.next()).await {
        if let Some(message) = request.message {
            handle(&dispatcher, number, &link, message);
        }
    }
    dispatcher.link_closed(number);
}

fn handle(dispatcher: &Dispatcher, number: u64, link: &LinkSender, message: link_request::Message) {
    use link_request::Message;
    let key = |session| SessionKey { link: number, session };
    match message {
        Message::Hello(hello) => {
            tracing::debug!(gateway = hello.node_id, "gateway linked");
            dispatcher.link_is_of(number, hello.node_id);
        }
        Message::SessionOpened(opened) => {
            let held: Vec<_> = opened.held.iter().filter_map(LeaseName::decode).collect();
            let session = Session {
                worker: quorus_engine::WorkerId { name: opened.worker, incarnation: opened.incarnation },
                worker_session: opened.worker_session,
                queues: opened.queues,
                labels: opened.labels,
                credits: 0,
                owed: 0,
                link: link.clone(),
            };
            dispatcher.session_opened(key(opened.session), session, &held, opened.shard);
        }
        Message::SessionClosed(closed) => dispatcher.session_closed(key(closed.session)),
        Message::Grant(grant) => dispatcher.granted(key(grant.session), grant.credits),
        Message::Recall(recall) => dispatcher.recalled(key(recall.session), recall.credits),
        Message::Renew(renew) => renew_leases(dispatcher, key(renew.session), link, renew),
        Message::Outcome(report) => {
            // The room that the task took is free again: the decision about its outcome may spend it on the run's next step.
            if report.credit {
                dispatcher.granted(key(report.session), 1);
            }
            complete(dispatcher, key(report.session), report, link);
        }
    }
}

fn renew_leases(dispatcher: &Dispatcher, key: SessionKey, link: &LinkSender, renew: peer::RenewLeases) {
    let election_max = dispatcher.times().election_max;
    let mut names = Vec::with_capacity(renew.leases.len());
    for name in renew.leases.iter().filter_map(LeaseName::decode) {
        // A leader that a quorum has not acknowledged lately may be a leader no more: it stays silent.
        let led = dispatcher.shards().get(name.shard);
        if led.is_some_and(|led| led.group.quorum_acked_within(election_max)) {
            names.push(name);
        }
    }
    let (mut renewed, unknown) = dispatcher.renew(key, &names);
    let mut with_checkpoint = BTreeSet::new();
    for progress in renew.progress {
        let Some(name) = LeaseName::decode(&progress.lease) else { continue };
        dispatcher.progress(&name);
        let Some(checkpoint) = progress.checkpoint else { continue };
        if checkpoint.data.len() > Payload::BYTES_MAX {
            tracing::warn!(run = %name.key, step = %name.attempt.step, bytes = checkpoint.data.len(), "a checkpoint is too large to be kept");
            continue;
        }
        with_checkpoint.insert(progress.lease.clone());
        // A checkpoint is acknowledged with its lease, after commit.
        let place = renewed.iter().position(|other| *other == name);
        if let Some(place) = place {
            renewed.swap_remove(place);
            let answer = renewed_leases(renew.session, renew.heartbeat_id, vec![progress.lease], Vec::new());
            let link = link.clone();
            let reply = Reply::new(move |result| {
                if result.is_ok() {
                    link.send(answer).ok();
                }
            });
            let command = Command::Checkpoint { attempt: name.attempt.clone(), checkpoint: from_proto::payload(checkpoint) };
            let request = Request { uid: Some(name.uid), ask: Ask::Command(command), credit: None, reply, permit: None };
            dispatcher.shards().deliver(name.shard, &name.key, request);
        }
    }
    if !renewed.is_empty() {
        let names = renewed.iter().map(LeaseName::encode).collect();
        link.send(renewed_leases(renew.session, renew.heartbeat_id, names, Vec::new())).ok();
    }
    for name in unknown {
        let Some(led) = dispatcher.shards().get(name.shard) else { continue };
        let (dispatcher, link) = (dispatcher.clone(), link.clone());
        let (session, heartbeat) = (renew.session, renew.heartbeat_id);
        let had_checkpoint = with_checkpoint.contains(&name.encode());
        tokio::spawn(async move {
            if !led.confirmed().await {
                return;
            }
            let (renewed, lost) = dispatcher.renew(key, std::slice::from_ref(&name));
            if let Some(answer) = second_answer(session, heartbeat, had_checkpoint, &renewed, &lost) {
                link.send(answer).ok();
            }
        });
    }
}

/// The answer about a lease that was not known at first. If it is known now, the checkpoint that came along was not kept meanwhile, and an answer would
/// acknowledge it: without one the worker sends it again.
fn second_answer(session: u64, heartbeat_id: u64, had_checkpoint: bool, renewed: &[LeaseName], lost: &[LeaseName]) -> Option<LinkResponse> {
    let encode = |names: &[LeaseName]| names.iter().map(LeaseName::encode).collect();
    let acknowledges = had_checkpoint && !renewed.is_empty();
    (!acknowledges).then(|| renewed_leases(session, heartbeat_id, encode(renewed), encode(lost)))
}

fn complete(dispatcher: &Dispatcher, key: SessionKey, report: peer::ReportOutcome, link: &LinkSender) {
    let Some(outcome) = report.outcome else { return };
    let session = report.session;
    let lease = outcome.lease.clone();
    let parsed = LeaseName::decode(&lease).zip(from_proto::outcome(outcome.result));
    let Some((name, outcome)) = parsed else {
        link.send(outcome_ack(session, lease, Err("the outcome is malformed: it names no lease, or has no result".to_owned()))).ok();
        return;
    };
    // Not led here: the gateway asks whoever announces the leadership.
    // Nor is anything decided without a quorum: the gateway keeps the outcome.
    let led = dispatcher.shards().get(name.shard).filter(|led| led.has_quorum(dispatcher.times().election_max));
    let Some(led) = led else { return };
    let link = link.clone();
    let failed_with_output = matches!(&outcome, Outcome::Failed(_));
    tracing::trace!(run = %name.key, step = %name.attempt.step, attempt = name.attempt.attempt, failed = failed_with_output, "outcome");
    let Some(command) = dispatcher.reported(key, &name, outcome) else { return };
    let shard = led.clone();
    let reply = Reply::new(move |answer| match answer {
        Ok(_) => {
            link.send(outcome_ack(session, lease, Ok(()))).ok();
        }
        Err(Refusal::Rejected(rejection)) => refuse(shard, link, session, lease, rejection.to_string()),
        // No answer: the gateway keeps the outcome and reports it to the next leader.
        Err(Refusal::NotLeader { .. } | Refusal::OutcomeUnknown | Refusal::Broken(_)) => {}
    });
    led.deliver(&name.key, Request { uid: Some(name.uid), ask: Ask::Command(command), credit: None, reply, permit: None });
}

fn refuse(led: LedShard, link: LinkSender, session: u64, lease: Bytes, reason: String) {
    tokio::spawn(async move {
        if led.confirmed().await {
            link.send(outcome_ack(session, lease, Err(reason))).ok();
        }
    });
}

fn renewed_leases(session: u64, heartbeat_id: u64, renewed: Vec<Bytes>, lost: Vec<Bytes>) -> LinkResponse {
    let renewed = peer::RenewedLeases { session, heartbeat_id, renewed, lost };
    LinkResponse { message: Some(link_response::Message::Renewed(renewed)) }
}

fn outcome_ack(session: u64, lease: Bytes, result: Result<(), String>) -> LinkResponse {
    let accepted = result.is_ok();
    let ack = v1::OutcomeAck { lease, accepted, reason: result.err().unwrap_or_default() };
    LinkResponse { message: Some(link_response::Message::Outcome(peer::ReportedOutcome { session, ack: Some(ack) })) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A renewal acknowledges the checkpoint that came with its heartbeat, so one that nobody kept must not be answered.
    #[test]
    fn a_lease_that_was_unknown_when_its_checkpoint_came_is_not_told_as_renewed() {
        let attempt = quorus_engine::AttemptRef { step: "s".into(), attempt: 1, token: quorus_engine::Token(2) };
        let name = LeaseName { shard: 1, key: crate::leader::RunKey::new("default", "r"), uid: quorus_engine::RunUid(3), attempt };
        let one = std::slice::from_ref(&name);
        assert!(second_answer(1, 7, true, one, &[]).is_none());
        assert!(second_answer(1, 7, false, one, &[]).is_some());
        assert!(second_answer(1, 7, true, &[], one).is_some(), "that it is lost is told in any case");
    }
}
