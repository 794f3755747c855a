//! What the groups of a process share.

use std::sync::Arc;

use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, GroupConfig, Options, Peers, codec,
    disk::{Batch, Disk, Durability, Table},
    keys::{self, Meta},
    network::Links,
    writer::Writer,
};

/// What the groups of a process share.
pub(crate) struct Shared {
    options: Arc<Options>,
    raft_config: Arc<openraft::Config>,
    disk: Arc<dyn Disk>,
    writer: Writer,
    links: Arc<Links>,
    /// Permits to send a snapshot.
    pub(crate) sending: Arc<Semaphore>,
    /// Permits to receive a snapshot.
    pub(crate) receiving: Arc<Semaphore>,
    started: Instant,
    stop: CancellationToken,
}

impl Shared {
    pub(crate) fn new(options: Options, raft_config: openraft::Config, disk: Arc<dyn Disk>, writer: Writer, links: Arc<Links>) -> Self {
        let permits = || Arc::new(Semaphore::new(options.snapshots_at_once));
        let (sending, receiving) = (permits(), permits());
        let (started, stop) = (Instant::now(), CancellationToken::new());
        Self { options: Arc::new(options), raft_config: Arc::new(raft_config), disk, writer, links, sending, receiving, started, stop }
    }

    pub(crate) fn options(&self) -> &Arc<Options> {
        &self.options
    }

    pub(crate) fn raft_config(&self) -> &Arc<openraft::Config> {
        &self.raft_config
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    pub(crate) fn links(&self) -> &Arc<Links> {
        &self.links
    }

    pub(crate) fn peers(&self) -> &Arc<Peers> {
        self.links.peers()
    }

    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Makes sure that what is stored belongs to this replica. Returns whether nothing was stored.
    pub(crate) async fn claim(&self, config: &GroupConfig) -> Result<bool, Error> {
        let group = config.group;
        let key = keys::meta(group, Meta::Replica);
        let stored = self.disk.get(Table::Meta, &key).map_err(|source| Error::Disk { group, source })?;
        let Some(stored) = stored else {
            let mut batch = Batch::new();
            batch.put(Table::Meta, key, config.replica.to_be_bytes().to_vec());
            let written = self.writer.write(batch, Durability::Synced).await;
            return written.map(|()| true).map_err(|error| Error::Stopped { group, reason: error.to_string() });
        };
        let found =
            codec::decode_replica(&stored).map_err(|error| Error::Corrupt { group, replica: config.replica, reason: error.to_string() })?;
        if found != config.replica {
            return Err(Error::OtherReplica { group, wanted: config.replica, found });
        }
        Ok(false)
    }
}
