//! A whole node on a simulated host: the real one, on a disk, a clock and a network that the simulation owns.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use parking_lot::Mutex;
use quorus_engine::Timestamp;
use quorus_node::{clock::Clock, config::Config, gateway::StepLogs, node, observe::Readiness, platform::Platform, triggers::Hooks};
use quorus_raft::{NodeId, Options, WriterMode, disk::MemoryDisk};
use tokio_util::sync::CancellationToken;

use super::{
    chance,
    net::{SimulatedNet, SimulatedPort},
    story::{self, Story},
};

/// A node's clock: true time and an offset, which faults move.
#[derive(Clone, Default)]
pub(super) struct OffClock {
    offset_ms: Arc<AtomicI64>,
}

impl OffClock {
    /// Off by so many milliseconds from here on.
    pub(super) fn set(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }
}

impl Clock for OffClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(story::now().as_millis()).unwrap_or(i64::MAX);
        let wall = chance::WALL_AT_ZERO_S.cast_signed() * 1000 + elapsed;
        Timestamp(wall + self.offset_ms.load(Ordering::Relaxed))
    }

    fn unique(&self) -> u128 {
        chance::unique()
    }
}

/// What of a node outlives its process.
#[derive(Clone)]
pub(super) struct Machine {
    /// Which node.
    pub(super) node: NodeId,
    /// Its disk.
    pub(super) disk: Arc<MemoryDisk>,
    /// Its clock.
    pub(super) clock: OffClock,
}

/// How running nodes are told to stop.
pub(super) type Stops = Arc<Mutex<BTreeMap<NodeId, CancellationToken>>>;

/// Runs a node until it ends, and says why it did.
pub(super) async fn run(machine: Machine, config: Config, replication: Options, stops: Stops, story: Story) -> turmoil::Result {
    let stop = CancellationToken::new();
    stops.lock().insert(machine.node, stop.clone());
    story.note(format_args!("node-{} starts", machine.node));
    let platform = Platform {
        disk: machine.disk,
        clock: Arc::new(machine.clock),
        net: Arc::new(SimulatedNet),
        listener: Arc::new(SimulatedPort::bind().await?),
        logs: StepLogs::none(),
        replication: Options { writer: WriterMode::Task, ..replication },
    };
    let ended = node::run_on(platform, config, Readiness::default(), Hooks::default(), stop).await;
    story.node_ended(machine.node, ended.map_or_else(|error| chain(&error), |()| "stopped in order".to_owned()));
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
