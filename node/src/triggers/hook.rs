//! `POST /hooks/{namespace}/{name}`: an event comes in, a run starts or gets a signal.
//!
//! | answer | when |
//! |---|---|
//! | 202 | at least one run was started or signalled |
//! | 200 | all events were known already, or the filter says no |
//! | 401 | the signature or token is missing or wrong |
//! | 404 | there is no such trigger |
//! | 409 | a run of the id exists and the policy forbids another |
//! | 413 | the body is too large |
//! | 422 | the body is not what the trigger takes, or what it maps to can't be started |
//! | 429, 503 | not now: senders come back, and known events start nothing twice |

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::StreamExt;
use quorus_proto::{
    log::StoredTrigger,
    v1::{
        SignalRunRequest, SignalWithStartRunRequest, StartRunRequest, lifecycle_service_server::LifecycleService,
        run_service_server::RunService,
    },
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tonic::{Code, Request, Status};

use super::{
    auth::{self, AuthError},
    definition,
    event::{Post, events},
    map::{Mapped, Owner, map},
};
use crate::{
    api::{ApiContext, Lifecycle, Runs, errors, errors::reason},
    observe::names,
};

/// Larger bodies are refused; events are about something, they don't carry it.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a sender may take for its body.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// So many posts at a time; the next ones come back.
const POSTS_MAX: usize = 256;
/// So many events of a post are started at a time.
const SIDE_BY_SIDE: usize = 8;
/// How long the starts of a post may take.
const START_WITHIN: Duration = Duration::from_secs(8);
/// When senders should come back, in seconds.
const COME_BACK_AFTER: &str = "2";

/// The part of the HTTP port that takes events. It is there from the start, and opens when the node has a cluster.
#[derive(Clone)]
pub struct Hooks {
    context: Arc<OnceLock<Arc<ApiContext>>>,
    room: Arc<Semaphore>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { context: Arc::default(), room: Arc::new(Semaphore::new(POSTS_MAX)) }
    }
}

impl Hooks {
    /// From now on events are taken.
    pub fn open(&self, context: Arc<ApiContext>) {
        // The second one would be the same: a process has one node.
        drop(self.context.set(context));
    }

    /// The routes.
    pub fn router(&self) -> Router {
        Router::new().route("/hooks/{namespace}/{name}", post(take)).with_state(self.clone())
    }
}

/// An answer that says no.
struct No {
    status: StatusCode,
    reason: String,
    message: String,
}

impl No {
    fn new(status: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into() }
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &json!({"error": {"reason": self.reason, "message": self.message}}));
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(COME_BACK_AFTER));
        }
        response
    }
}

async fn take(State(hooks): State<Hooks>, Path((namespace, name)): Path<(String, String)>, headers: HeaderMap, body: Body) -> Response {
    let result = take_event(&hooks, &namespace, &name, &headers, body).await;
    let (outcome, response) = match result {
        Ok((outcome, response)) => (outcome, response),
        Err(no) => {
            let outcome = if no.status == StatusCode::UNAUTHORIZED { "unauthorized" } else { "refused" };
            tracing::debug!(
                namespace,
                trigger = name,
                status = no.status.as_u16(),
                reason = no.reason,
                "an event is refused: {}",
                no.message
            );
            (outcome, no.into_response())
        }
    };
    metrics::counter!(names::TRIGGER_EVENTS, "outcome" => outcome).increment(1);
    response
}

async fn take_event(hooks: &Hooks, namespace: &str, name: &str, headers: &HeaderMap, body: Body) -> Result<(&'static str, Response), No> {
    let busy = |_| No::new(StatusCode::TOO_MANY_REQUESTS, reason::OVERLOADED, "this node has as many posts as it takes");
    let _room = hooks.room.try_acquire().map_err(busy)?;
    let context = hooks.context.get().ok_or_else(|| No::new(StatusCode::SERVICE_UNAVAILABLE, reason::NO_LEADER, "the node starts"))?;
    let state = find(context, namespace, name).await?;
    let (_, definition) = definition::decode(state.definition.clone()).map_err(|error| {
        tracing::error!(namespace, trigger = name, error, "a trigger's definition can't be read");
        No::new(StatusCode::INTERNAL_SERVER_ERROR, reason::INTERNAL, "the trigger can't be read; the node's log says more")
    })?;
    let post = read(headers, body).await?;
    auth::check(&definition.auth, &post, context.clock.now()).await.map_err(|error| match error {
        AuthError::Unauthorized(message) => No::new(StatusCode::UNAUTHORIZED, reason::UNAUTHENTICATED, message),
        AuthError::Secret(error) => {
            tracing::error!(namespace, trigger = name, error = &error as &dyn std::error::Error, "a trigger's secret is missing");
            No::new(StatusCode::SERVICE_UNAVAILABLE, reason::SECRET_UNAVAILABLE, "this node can't check who you are; its log says more")
        }
    })?;
    if let Some(pause) = &state.pause {
        let why = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
        return Err(No::new(StatusCode::SERVICE_UNAVAILABLE, reason::TRIGGER_PAUSED, format!("the trigger is paused{why}")));
    }
    let invalid = |message: String| No::new(StatusCode::UNPROCESSABLE_ENTITY, reason::INVALID_EVENT, message);
    let events = events(definition.format, definition.per, &post).map_err(invalid)?;
    let owner = Owner { namespace, name, principal: state.applied_by.as_ref() };
    let mapped = events.iter().map(|event| map(&owner, &definition, event)).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    let traceparent = post.header("traceparent").unwrap_or_default();
    answer(start_all(context, mapped, traceparent).await)
}

/// A trigger, from this node's copy, which is made fresh before it says that there is none.
async fn find(context: &Arc<ApiContext>, namespace: &str, name: &str) -> Result<StoredTrigger, No> {
    let read = || {
        context.system.trigger(namespace, name).map_err(|error| {
            tracing::error!(%error, "triggers can't be read");
            No::new(StatusCode::INTERNAL_SERVER_ERROR, reason::INTERNAL, "the node has a fault; its log says more")
        })
    };
    if let Some(found) = read()? {
        return Ok(found);
    }
    let unavailable = || No::new(StatusCode::SERVICE_UNAVAILABLE, reason::NO_LEADER, "no majority of the cluster can be reached");
    let group = context.system_group().map_err(|_| unavailable())?;
    group.read_barrier().await.map_err(|_| unavailable())?;
    read()?.ok_or_else(|| {
        let message = format!("there is no trigger {name:?} in namespace {namespace:?}");
        No::new(StatusCode::NOT_FOUND, reason::TRIGGER_NOT_FOUND, message)
    })
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Post, No> {
    let too_large = || {
        let message = format!("the body is larger than {BODY_BYTES_MAX} bytes");
        No::new(StatusCode::PAYLOAD_TOO_LARGE, reason::PAYLOAD_TOO_LARGE, message)
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    let body = match tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        // A body of unknown length that goes on and on, or a sender that went away and hears nothing.
        Ok(Err(_)) => return Err(too_large()),
        Err(_) => return Err(No::new(StatusCode::REQUEST_TIMEOUT, reason::INVALID_EVENT, "the body did not come in time")),
    };
    let headers = headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    Ok(Post::new(headers, body))
}

/// What became of one event.
struct Outcome {
    event_id: Option<String>,
    result: Result<Started, Status>,
}

enum Started {
    Ignored,
    Run { run_id: String, existing: bool },
    Signalled { run_id: String, signal: String },
}

async fn start_all(context: &Arc<ApiContext>, mapped: Vec<Mapped>, traceparent: &str) -> Vec<Outcome> {
    let start = |Mapped { event_id, start, signal }: Mapped| async move {
        let start = start.map(|request| StartRunRequest { traceparent: traceparent.to_owned(), ..request });
        let result = match (start, signal) {
            (None, None) => Ok(Started::Ignored),
            (Some(request), None) => start_one(context, request).await,
            (start, Some(signal)) => signal_one(context, start, signal).await,
        };
        Outcome { event_id, result }
    };
    futures::stream::iter(mapped).map(start).buffered(SIDE_BY_SIDE).collect().await
}

async fn start_one(context: &Arc<ApiContext>, start: StartRunRequest) -> Result<Started, Status> {
    let run_id = start.run_id.clone();
    let mut request = Request::new(start);
    request.set_timeout(START_WITHIN);
    let answer = Runs { context: context.clone() }.start_run(request).await?.into_inner();
    Ok(Started::Run { run_id, existing: answer.existing })
}

/// The signal's id is the event's: the run takes it once, however often it comes.
async fn signal_one(context: &Arc<ApiContext>, start: Option<StartRunRequest>, signal: SignalRunRequest) -> Result<Started, Status> {
    let lifecycle = Lifecycle { context: context.clone() };
    let signalled = Started::Signalled { run_id: signal.run_id.clone(), signal: signal.name.clone() };
    match start {
        None => {
            let mut request = Request::new(signal);
            request.set_timeout(START_WITHIN);
            lifecycle.signal_run(request).await?;
        }
        Some(start) => {
            let SignalRunRequest { name, signal_id, payload, .. } = signal;
            let mut request = Request::new(SignalWithStartRunRequest { start: Some(start), name, signal_id, payload });
            request.set_timeout(START_WITHIN);
            lifecycle.signal_with_start_run(request).await?;
        }
    }
    Ok(signalled)
}

/// One answer for all events of a post: no, if for any of them; those that were started are known when it comes again.
fn answer(outcomes: Vec<Outcome>) -> Result<(&'static str, Response), No> {
    let mut runs = Vec::new();
    let (mut started, mut ignored) = (0, 0);
    let mut refused: Option<No> = None;
    for Outcome { event_id, result } in outcomes {
        match result {
            Ok(Started::Ignored) => ignored += 1,
            Ok(Started::Run { run_id, existing }) => {
                started += usize::from(!existing);
                runs.push(json!({"run_id": run_id, "event_id": event_id, "duplicate": existing}));
            }
            Ok(Started::Signalled { run_id, signal }) => {
                started += 1;
                runs.push(json!({"run_id": run_id, "event_id": event_id, "signal": signal}));
            }
            Err(status) => {
                let no = refusal(&status);
                // What may go better later comes first, so that the sender comes back.
                if refused.as_ref().is_none_or(|known| no.status.is_server_error() && !known.status.is_server_error()) {
                    refused = Some(no);
                }
            }
        }
    }
    if let Some(no) = refused {
        return Err(no);
    }
    let (status, outcome) = match (started, runs.len()) {
        (0, 0) => (StatusCode::OK, "ignored"),
        (0, _) => (StatusCode::OK, "duplicate"),
        _ => (StatusCode::ACCEPTED, "accepted"),
    };
    let mut body = json!({"status": outcome, "runs": runs, "ignored": ignored});
    if let Some(run_id) = body.pointer("/runs/0/run_id").cloned() {
        body["run_id"] = run_id;
    }
    Ok((outcome, json_response(status, &body)))
}

fn refusal(status: &Status) -> No {
    let reason = errors::reason_of(status).unwrap_or_else(|| reason::INTERNAL.to_owned());
    let http = match status.code() {
        Code::AlreadyExists => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::OutOfRange => StatusCode::UNPROCESSABLE_ENTITY,
        Code::PermissionDenied | Code::Unauthenticated => StatusCode::FORBIDDEN,
        Code::Internal | Code::DataLoss | Code::Unimplemented => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Ok | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded | Code::Aborted | Code::Unavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    No::new(http, &reason, status.message())
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}
