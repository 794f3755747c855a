//! A tower layer that refuses what is meant for another cluster.
//!
//! A node's address can come to belong to a node of another cluster, for example after its death, where addresses are given out anew. That node may
//! lead a shard of the same number, and would carry out what it is sent: a start, say, which its sender's cluster then knows nothing of. So nodes name
//! their cluster in the `:authority` of what they send each other, and what is for another one is sent back as by a node that does not lead. Probes
//! pass, since they ask who is there; clients name no cluster.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::{Either, Ready, ready};
use quorus_raft::CLUSTER_AUTHORITY;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use crate::api::errors;

/// What answers without regard to the cluster.
const PROBES: &str = "/quorus.peer.v1.NodeService/";

/// Wraps services with the check.
#[derive(Clone, Debug)]
pub(crate) struct RefuseMisdirected(Arc<str>);

impl RefuseMisdirected {
    /// For a node of this cluster.
    pub(crate) fn of(cluster: &str) -> Self {
        Self(cluster.into())
    }
}

/// A service of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Directed<S> {
    inner: S,
    cluster: Arc<str>,
}

impl<S> Layer<S> for RefuseMisdirected {
    type Service = Directed<S>;

    fn layer(&self, inner: S) -> Directed<S> {
        Directed { inner, cluster: self.0.clone() }
    }
}

impl<S, In, Out> Service<Request<In>> for Directed<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    Out: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let meant = request.uri().authority().and_then(|authority| authority.as_str().strip_prefix(CLUSTER_AUTHORITY));
        if meant.is_none_or(|meant| *meant == *self.cluster) || request.uri().path().starts_with(PROBES) {
            return Either::Left(self.inner.call(request));
        }
        Either::Right(ready(Ok(errors::misdirected().into_http())))
    }
}

#[cfg(test)]
mod tests {
    use tonic::body::Body;
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// The gRPC status of the answer; none if the service was asked.
    async fn refused(uri: &str) -> Option<String> {
        let inner = service_fn(|_: Request<()>| async { Ok::<_, std::convert::Infallible>(Response::new(Body::default())) });
        let service = RefuseMisdirected::of("a1").layer(inner);
        let answer = service.oneshot(Request::builder().uri(uri).body(()).unwrap()).await.unwrap();
        answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn what_is_for_another_cluster_is_sent_back() {
        let start = "/quorus.v1.RunService/StartRun";
        assert_eq!(refused(&format!("http://quorus-cluster-b2{start}")).await.as_deref(), Some("14"));
        for mine in [format!("http://quorus-cluster-a1{start}"), format!("http://10.0.0.1:7401{start}"), start.to_owned()] {
            assert_eq!(refused(&mine).await, None, "{mine}");
        }
        assert_eq!(refused("http://quorus-cluster-b2/quorus.peer.v1.NodeService/Probe").await, None, "it asks who is there");
    }
}
