//! A tower layer that counts and times gRPC calls.
//!
//! A call counts when the head of its answer is ready: for unary calls that is its end, for streams its beginning. The code of an error is in
//! the head (tonic sends errors as trailers-only answers); an answer without one counts as OK.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tonic::{
    Code,
    codegen::http::{HeaderMap, Request, Response},
};
use tower::{Layer, Service};

use super::names;

/// Wraps services with measuring.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeasureRpcs;

/// A service whose calls are measured.
#[derive(Clone, Debug)]
pub struct Measured<S> {
    inner: S,
}

impl<S> Layer<S> for MeasureRpcs {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner }
    }
}

impl<S, In, Out> Service<Request<In>> for Measured<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let started = Instant::now();
        let path = request.uri().path().to_owned();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or(Code::Internal, |answer| code(answer.headers()));
            let method = method(&path, code).to_owned();
            metrics::counter!(names::RPC_REQUESTS, "method" => method.clone(), "code" => code_name(code)).increment(1);
            metrics::histogram!(names::RPC_DURATION, "method" => method).record(started.elapsed().as_secs_f64());
            answer
        })
    }
}

fn code(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// The label for a path. What no service implements is one value, or anybody could fill the memory with labels.
fn method(path: &str, code: Code) -> &str {
    let known = path.starts_with("/quorus.") || path.starts_with("/grpc.");
    if known && code != Code::Unimplemented { path.trim_start_matches('/') } else { "unknown" }
}

/// The code as gRPC writes it, which is how operators search for it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_share_one_label() {
        assert_eq!(method("/quorus.v1.RunService/StartRun", Code::Ok), "quorus.v1.RunService/StartRun");
        assert_eq!(method("/quorus.v1.RunService/Guess", Code::Unimplemented), "unknown");
        assert_eq!(method("/wp-login.php", Code::Ok), "unknown");
    }

    #[test]
    fn an_error_is_read_from_the_head_of_the_answer() {
        let mut headers = HeaderMap::new();
        assert_eq!(code(&headers), Code::Ok);
        headers.insert("grpc-status", tonic::codegen::http::HeaderValue::from_static("5"));
        assert_eq!(code_name(code(&headers)), "NOT_FOUND");
    }
}
