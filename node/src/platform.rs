//! What a node stands on: its disk, its clock, its way to others and theirs to it.
//!
//! In life these are the machine's. A simulation brings its own, and starts the same node on them.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
};

use quorus_raft::{
    Net, Options,
    disk::{Disk, RocksDisk, RocksOptions},
};

use crate::{
    clock::{self, Clock},
    config::Config,
    connection::{Listen, TcpListener},
    gateway::StepLogs,
    net::StaticNet,
    node::{Error, addresses},
};

/// What a node stands on.
pub struct Platform {
    /// Where everything is stored.
    pub disk: Arc<dyn Disk>,
    /// Wall time, and ids.
    pub clock: Arc<dyn Clock>,
    /// How other nodes are reached.
    pub net: Arc<dyn Net>,
    /// How this node is reached, over gRPC.
    pub listener: Arc<dyn Listen>,
    /// Where lines of steps go.
    pub logs: StepLogs,
    /// How replication behaves. Who the node is, and its times, come from the configuration.
    pub replication: Options,
}

impl Platform {
    /// The machine. Takes the port first, so that a second process finds that out before it looks at the data folder.
    ///
    /// # Errors
    /// If the port is taken, or the data folder can't be used.
    pub fn of_machine(config: &Config) -> Result<Self, Error> {
        let listener = StdListener::bind(config.listen).map_err(|source| listen_error(config.listen, source))?;
        let path = config.node.data_dir.join("db");
        let data_error = |source| Error::DataFolder { path: path.clone(), source };
        let disk = RocksDisk::open(&path, &RocksOptions::default()).map_err(data_error)?;
        let logs_error = |source| Error::StepLogs { path: config.node.data_dir.join("logs"), source };
        Ok(Self {
            disk: Arc::new(disk),
            clock: clock::of_this_process(),
            net: Arc::new(StaticNet::new(addresses(config))),
            listener: Arc::new(TcpListener::new(listener)),
            logs: StepLogs::open(&config.node.data_dir).map_err(logs_error)?,
            replication: Options::default(),
        })
    }
}

/// A port that can't be taken.
pub(crate) fn listen_error(address: SocketAddr, source: std::io::Error) -> Error {
    Error::Listen { address, source }
}
