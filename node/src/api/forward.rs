//! Any node accepts any request: one that another node has to answer is sent there by calling the same method.
//!
//! The node that the client spoke to keeps asking until its deadline, through elections and broken connections; the node in the middle answers
//! at once. A request is sent again only if it was not carried out, or if carrying it out twice is the same as once.
//!
//! Invariant: whoever waits holds room for it, so an outage of any length gathers a bounded number of requests, and the others are told at once.

use std::{future::Future, time::Duration};

use quorus_raft::{Group, NodeId, Peers};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tonic::{
    Code, Request, Status,
    metadata::{MetadataMap, MetadataValue},
    transport::Channel,
};

use super::{
    Admission,
    errors::{self, reason},
};

/// Says that a request came by another node, which takes this one for the leader.
const FORWARDED: &str = "quorus-forwarded";
/// Says that a request came by a node that has no replica of the shard.
const RELAYED: &str = "quorus-relayed";
/// A client that names no deadline gets this one.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// The longest deadline that is kept; clients ask again.
const DEADLINE_MAX: Duration = Duration::from_secs(60);
/// How much sooner than the caller gives up this node does.
const ANSWER_SOONER: Duration = Duration::from_millis(200);
/// Pause before asking again.
const ASK_AGAIN: Duration = Duration::from_millis(25);
/// A node in the middle waits this long for its own leadership to open, and no longer.
const OPENS_WITHIN: Duration = Duration::from_millis(500);

/// What a request came with.
#[derive(Clone)]
pub(crate) struct Journey {
    /// True if another node sent it.
    pub(crate) forwarded: bool,
    /// True if a node without a replica sent it to this one for having one.
    pub(crate) relayed: bool,
    /// Until when the caller waits.
    pub(crate) deadline: Instant,
    metadata: MetadataMap,
}

impl Journey {
    /// Reads a request's metadata.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        let metadata = request.metadata();
        let timeout = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(parse_timeout);
        let timeout = timeout.unwrap_or(DEADLINE_DEFAULT).min(DEADLINE_MAX);
        // A bit sooner than the caller gives up, so that the answer says what is wrong and not just that time ran out.
        let deadline = Instant::now() + timeout - (timeout / 5).min(ANSWER_SOONER);
        Self { forwarded: metadata.contains_key(FORWARDED), relayed: metadata.contains_key(RELAYED), deadline, metadata: metadata.clone() }
    }

    /// The text of a metadata entry.
    pub(crate) fn metadata(&self, name: &str) -> Option<String> {
        self.metadata.get(name)?.to_str().ok().map(str::to_owned)
    }

    /// The same request, to a node that has a replica where this one has none; that one brings it to the leader.
    pub(crate) fn relay<T>(&self, message: T) -> Request<T> {
        let mut request = self.onward(message);
        request.metadata_mut().remove(FORWARDED);
        request.metadata_mut().insert(RELAYED, MetadataValue::from_static("1"));
        request
    }

    /// The same request, to another node.
    pub(crate) fn onward<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
        for name in ["traceparent", "tracestate"] {
            if let Some(value) = self.metadata.get(name) {
                request.metadata_mut().insert(name, value.clone());
            }
        }
        request.set_timeout(self.deadline.saturating_duration_since(Instant::now()));
        request
    }
}

/// What a request needs to get to the leader of its group.
pub(crate) struct Way<'a> {
    /// The group.
    pub(crate) group: &'a Group,
    /// This node.
    pub(crate) me: NodeId,
    /// The ways to the others.
    pub(crate) peers: &'a Peers,
    /// Where it takes room as soon as it has to wait; none for a request that holds some already.
    pub(crate) room: Option<&'a Admission>,
}

impl Way<'_> {
    /// Takes room for a wait. Who finds none is told what it would have waited for.
    fn place(&self, journey: &Journey, leader: Option<NodeId>) -> Result<Option<OwnedSemaphorePermit>, Status> {
        match self.room {
            // The node that sent it holds room for it.
            Some(_) if journey.forwarded => Ok(None),
            Some(room) => match room.waiting() {
                Ok(place) => Ok(Some(place)),
                Err(full) => Err(if leader.is_some() { full } else { errors::no_leader(self.group.id()) }),
            },
            None => Ok(None),
        }
    }
}

/// Has a request answered by the leader of a group.
///
/// `here` answers it on this node, and `None` from it means that this node does not lead; `there` sends it to the node on the channel.
/// `idempotent` says that carrying it out twice is the same as once.
///
/// # Errors
/// What the leader says; NO_LEADER if none could be found before the deadline, or if too many wait for one; OVERLOADED if too many wait for the
/// answers of other nodes.
pub(crate) async fn by_leader<T, Here, There>(
    way: Way<'_>,
    journey: &Journey,
    idempotent: bool,
    here: impl Fn() -> Here,
    there: impl Fn(Channel) -> There,
) -> Result<T, Status>
where
    Here: Future<Output = Option<Result<T, Status>>>,
    There: Future<Output = Result<T, Status>>,
{
    let mut leadership = way.group.leadership();
    let give_up = if journey.forwarded { journey.deadline.min(Instant::now() + OPENS_WITHIN) } else { journey.deadline };
    let mut doubt = Doubt::default();
    let mut place = None;
    loop {
        let leader = leadership.borrow_and_update().leader;
        let Ok(answered) = tokio::time::timeout_at(journey.deadline, here()).await else {
            // It waits for a majority that may come back: whether it will be carried out is open.
            return Err(errors::outcome_unknown());
        };
        if answered.is_none() && place.is_none() {
            place = way.place(journey, leader).map_err(|status| doubt.hear(status))?;
        }
        let answer = match answered {
            Some(answer) => answer,
            None => match Onward::of(leader, way.me, journey.forwarded) {
                Onward::To(node) => match way.peers.channel(node) {
                    Ok(channel) => match tokio::time::timeout_at(journey.deadline, there(channel)).await {
                        Ok(answer) => answer,
                        // It was sent, and nobody said what became of it.
                        Err(_) => Err(errors::outcome_unknown()),
                    },
                    Err(error) => return Err(errors::internal(&error)),
                },
                Onward::Elsewhere => return Err(doubt.hear(errors::no_leader(way.group.id()))),
                Onward::Nowhere => Err(errors::no_leader(way.group.id())),
            },
        };
        match answer {
            Err(status) if may_repeat(&status, idempotent) => {
                let status = doubt.hear(status);
                if Instant::now() + ASK_AGAIN >= give_up {
                    return Err(status);
                }
                if place.is_none() {
                    place = way.place(journey, leader).map_err(|status| doubt.hear(status))?;
                }
                // Whichever comes first: somebody leads, or a moment passed.
                tokio::time::timeout(ASK_AGAIN, leadership.changed()).await.ok();
            }
            answer => return answer.map_err(|status| doubt.hear(status)),
        }
    }
}

/// Where a request goes that this node can't answer.
#[derive(Debug, PartialEq, Eq)]
enum Onward {
    /// To the leader.
    To(NodeId),
    /// Back: this node was taken for the leader and another one is. Whoever sent it is nearer to it, and must not wait here for what it can have there.
    Elsewhere,
    /// It waits: nobody leads, or this node does and has not opened yet.
    Nowhere,
}

impl Onward {
    fn of(leader: Option<NodeId>, me: NodeId, forwarded: bool) -> Self {
        match leader.filter(|node| *node != me) {
            Some(node) if !forwarded => Self::To(node),
            Some(_) => Self::Elsewhere,
            None => Self::Nowhere,
        }
    }
}

/// Whether an earlier try of the same request may have been carried out.
#[derive(Default)]
struct Doubt(bool);

impl Doubt {
    /// Takes down how a try ended, and returns what may be said of the whole request. "Nothing was done" is true of the last try only: once a try is
    /// in doubt, it would be a promise that nobody can give.
    fn hear(&mut self, status: Status) -> Status {
        match errors::reason_of(&status).as_deref() {
            Some(reason::OUTCOME_UNKNOWN) | None => {
                self.0 = true;
                status
            }
            Some(reason::NO_LEADER | reason::DRAINING | reason::OVERLOADED) if self.0 => errors::outcome_unknown(),
            // Said by a leader that knows the state, an earlier try included.
            Some(_) => status,
        }
    }
}

/// True if a request that was answered like this may be sent again.
fn may_repeat(status: &Status, idempotent: bool) -> bool {
    match errors::reason_of(status).as_deref() {
        Some(reason::NO_LEADER | reason::DRAINING) => true,
        Some(reason::OUTCOME_UNKNOWN) => idempotent,
        Some(_) => false,
        // Not from a node's mouth: the connection broke on the way.
        None => idempotent && matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown),
    }
}

/// Reads a gRPC timeout such as `500m` or `10S`.
fn parse_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let amount: u64 = text.get(..text.len() - unit.len_utf8())?.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(amount.checked_mul(3600)?),
        'M' => Duration::from_secs(amount.checked_mul(60)?),
        'S' => Duration::from_secs(amount),
        'm' => Duration::from_millis(amount),
        'u' => Duration::from_micros(amount),
        'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse_timeout("500m"), Some(Duration::from_millis(500)));
        assert_eq!(parse_timeout("10S"), Some(Duration::from_secs(10)));
        for bad in ["", "S", "1x", "99999999999999999999S", "-1S", "1é"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_refusal_after_a_try_in_doubt_does_not_say_that_nothing_was_done() {
        let reason_of = |status: Status| errors::reason_of(&status);
        let mut doubt = Doubt::default();
        for refusal in [errors::no_leader(1), errors::overloaded("requests")] {
            assert_eq!(reason_of(doubt.hear(refusal.clone())), reason_of(refusal), "every try was refused");
        }
        doubt.hear(Status::unavailable("connection reset"));
        for refusal in [errors::no_leader(1), errors::overloaded("requests")] {
            assert_eq!(reason_of(doubt.hear(refusal)).as_deref(), Some(reason::OUTCOME_UNKNOWN));
        }
        assert_eq!(reason_of(doubt.hear(errors::run_not_found("n", "r"))).as_deref(), Some(reason::RUN_NOT_FOUND));
    }

    #[test]
    fn a_request_that_was_sent_to_a_leader_of_before_is_sent_back_at_once() {
        assert_eq!(Onward::of(Some(2), 1, false), Onward::To(2));
        assert_eq!(Onward::of(Some(2), 1, true), Onward::Elsewhere, "its sender would wait for a leadership that does not come");
        for forwarded in [false, true] {
            assert_eq!(Onward::of(None, 1, forwarded), Onward::Nowhere);
            assert_eq!(Onward::of(Some(1), 1, forwarded), Onward::Nowhere, "it opens soon");
        }
    }

    #[test]
    fn only_what_is_safe_is_repeated() {
        assert!(may_repeat(&errors::no_leader(1), false), "it was not carried out");
        assert!(!may_repeat(&errors::outcome_unknown(), false));
        assert!(may_repeat(&errors::outcome_unknown(), true));
        assert!(may_repeat(&Status::unavailable("connection refused"), true));
        assert!(!may_repeat(&errors::run_not_found("n", "r"), true));
    }
}
