//! Who this node is, for other nodes: asked at bootstrap and as a sign of life.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use quorus_proto::peer::{ProbeRequest, ProbeResponse, node_service_server::NodeService};
use tonic::{Request, Response, Status};

use crate::{clock_bound::ClockBound, identity::Identity};

/// Answers probes. Cheap to clone.
#[derive(Clone)]
pub struct Prober {
    identity: Arc<Mutex<Identity>>,
    address: Arc<str>,
    clock: ClockBound,
    draining: Arc<AtomicBool>,
}

impl Prober {
    /// Answers for a folder's identity.
    pub fn new(identity: Identity, address: &str, clock: ClockBound) -> Self {
        Self { identity: Arc::new(Mutex::new(identity)), address: address.into(), clock, draining: Arc::default() }
    }

    /// The node is about to stop: to others it is as good as gone, so that they send no leaderships here.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The node has joined a cluster.
    pub fn update(&self, identity: Identity) {
        *self.identity.lock() = identity;
    }
}

#[tonic::async_trait]
impl NodeService for Prober {
    async fn probe(&self, _request: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Status::unavailable("the node is about to stop"));
        }
        let identity = self.identity.lock().clone();
        Ok(Response::new(ProbeResponse {
            node_id: identity.node_id,
            incarnation: identity.incarnation,
            cluster_id: identity.cluster_id.unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.address.to_string(),
            now_ms: self.clock.machine_now().0,
            clock_outside: self.clock.outside().borrow().is_some(),
        }))
    }
}
