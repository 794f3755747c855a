//! The gRPC server of a node: every service on one port, with health and reflection.

use std::{sync::Arc, time::Duration};

use quorus_proto::{
    DESCRIPTORS,
    peer::{
        courier_service_server::CourierServiceServer, dispatch_service_server::DispatchServiceServer,
        node_service_server::NodeServiceServer,
    },
    v1::{
        audit_service_server::AuditServiceServer, cluster_service_server::ClusterServiceServer,
        concurrency_service_server::ConcurrencyServiceServer, index_service_server::IndexServiceServer,
        lifecycle_service_server::LifecycleServiceServer, limit_service_server::LimitServiceServer, log_service_server::LogServiceServer,
        queue_service_server::QueueServiceServer, run_service_server::RunServiceServer, schedule_service_server::ScheduleServiceServer,
        trigger_service_server::TriggerServiceServer, worker_admin_service_server::WorkerAdminServiceServer,
        worker_service_server::WorkerServiceServer, workflow_service_server::WorkflowServiceServer,
    },
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    api::{
        ApiContext, Audit, ClusterView, ConcurrencyKeys, Deliveries, LINK_BYTES_MAX, Lifecycle, Limits, MESSAGE_BYTES_MAX, Prober, Queues,
        RunIndex, Runs, Schedules, StepLines, Triggers, WorkerAdmin, Workers, Workflows, errors,
    },
    connection::Listen,
    dispatch::{Dispatcher, LinkService, Times},
    misdirected::RefuseMisdirected,
    observe::MeasureRpcs,
};

/// Windows of a stream and of a connection: one payload of the largest size must not stall the others.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// How long open calls may take after the server was told to stop.
const STOP_WITHIN: Duration = Duration::from_millis(500);
/// Names under which health is told: the node as a whole, and each service.
const SERVICES: [&str; 9] = [
    "",
    "quorus.v1.WorkflowService",
    "quorus.v1.RunService",
    "quorus.v1.IndexService",
    "quorus.v1.LifecycleService",
    "quorus.v1.WorkerService",
    "quorus.v1.ClusterService",
    "quorus.v1.ScheduleService",
    "quorus.v1.TriggerService",
];

/// Why the server can't serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port can't be used.
    #[error("the listening socket can't be used")]
    Socket(#[from] std::io::Error),
    /// Descriptors are not what reflection expects.
    #[error("reflection can't be served")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("the transport failed: {0}")]
    Transport(String),
}

/// What is served.
pub struct Server {
    /// Clients.
    pub api: Arc<ApiContext>,
    /// Other nodes' probes.
    pub prober: Prober,
    /// Other nodes' gateways.
    pub dispatcher: Dispatcher,
    /// How long leases live.
    pub times: Times,
    /// Ends when the node is about to stop.
    pub draining: CancellationToken,
    /// The node's cluster.
    pub cluster_id: String,
}

/// A server at work.
pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    health: Option<HealthReporter>,
}

/// Answers probes, and says UNAVAILABLE to everybody else, while there is no cluster.
///
/// # Errors
/// If the socket can't be used.
pub fn serve_probes(listener: &dyn Listen, prober: Prober, stop: &CancellationToken) -> Result<Running, Error> {
    let stop = stop.child_token();
    let incoming = listener.incoming()?;
    let later = || async { errors::no_leader(0).into_http::<tonic::body::Body>() };
    let routes = Routes::new(NodeServiceServer::new(prober)).into_axum_router().fallback(later);
    let router = tonic::transport::Server::builder().add_routes(routes.into());
    let task = tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));
    Ok(Running { stop, task, health: None })
}

impl Server {
    /// Serves on a listener until `stop`.
    ///
    /// # Errors
    /// If the socket can't be used.
    pub async fn start(self, listener: &dyn Listen, stop: &CancellationToken) -> Result<Running, Error> {
        let stop = stop.child_token();
        let Self { api, prober, dispatcher, times, draining, cluster_id } = self;
        let (health, health_service) = tonic_health::server::health_reporter();
        // Before the first question: a reporter begins with the answer that all is well.
        set_serving(&health, false).await;
        let reflect = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let workers = Workers {
            node: format!("node-{}", api.node_id),
            gateway: api.gateway.clone(),
            admission: api.admission.clone(),
            times,
            draining,
        };
        let replication = api.host.services();
        macro_rules! sized {
            ($service:expr) => {
                $service.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
            };
        }
        let router = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .layer(MeasureRpcs)
            .layer(RefuseMisdirected::of(&cluster_id))
            .add_service(health_service)
            .add_service(reflect().build_v1()?)
            .add_service(reflect().build_v1alpha()?)
            .add_service(sized!(WorkflowServiceServer::new(Workflows { context: api.clone() })))
            .add_service(sized!(RunServiceServer::new(Runs { context: api.clone() })))
            .add_service(sized!(IndexServiceServer::new(RunIndex { context: api.clone() })))
            .add_service(sized!(LifecycleServiceServer::new(Lifecycle { context: api.clone() })))
            .add_service(sized!(WorkerServiceServer::new(workers)))
            .add_service(sized!(ScheduleServiceServer::new(Schedules { context: api.clone() })))
            .add_service(sized!(TriggerServiceServer::new(Triggers { context: api.clone() })))
            .add_service(api.port.service())
            .add_service(sized!(CourierServiceServer::new(Deliveries { context: api.clone() })))
            .add_service(sized!(LogServiceServer::new(StepLines { context: api.clone() })))
            .add_service(api.permits.service())
            .add_service(QueueServiceServer::new(Queues { context: api.clone() }))
            .add_service(WorkerAdminServiceServer::new(WorkerAdmin { context: api.clone() }))
            .add_service(LimitServiceServer::new(Limits { context: api.clone() }))
            .add_service(ConcurrencyServiceServer::new(ConcurrencyKeys { context: api.clone() }))
            .add_service(AuditServiceServer::new(Audit { context: api.clone() }).max_encoding_message_size(MESSAGE_BYTES_MAX))
            .add_service(ClusterServiceServer::new(ClusterView { context: api }))
            .add_service(NodeServiceServer::new(prober))
            .add_service(
                DispatchServiceServer::new(LinkService::new(dispatcher))
                    .max_decoding_message_size(LINK_BYTES_MAX)
                    .max_encoding_message_size(LINK_BYTES_MAX),
            )
            .add_service(replication);
        let incoming = listener.incoming()?;
        let task = tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));
        Ok(Running { stop, task, health: Some(health) })
    }
}

async fn set_serving(health: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}

impl Running {
    /// Tells health checkers whether requests are welcome.
    pub async fn set_serving(&self, serving: bool) {
        if let Some(health) = &self.health {
            set_serving(health, serving).await;
        }
    }

    /// Resolves if the server ends without having been told to.
    pub async fn failed(&mut self) -> Error {
        match (&mut self.task).await {
            Ok(Ok(())) => Error::Transport("it ended".to_owned()),
            Ok(Err(error)) => Error::Transport(format!("{error:?}")),
            Err(error) => Error::Transport(error.to_string()),
        }
    }

    /// Stops: open calls get a moment, streams are cut.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_WITHIN, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}
