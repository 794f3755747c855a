//! What all built-in attempts of a node share.

use std::sync::Arc;

use quorus_secrets::Secrets;

use super::{
    attempt::{Attempt, Ending, Fault},
    emit::Signals,
    outgoing::Outgoing,
    {Reach, emit, gate, http},
};

/// The tools of executors.
pub struct Services {
    pub(super) outgoing: Outgoing,
    pub(super) secrets: Secrets,
    pub(super) signals: Arc<dyn Signals>,
}

impl Services {
    /// Tools that call what is in reach.
    pub fn new(reach: Reach, secrets: Secrets, signals: Arc<dyn Signals>) -> Self {
        Self { outgoing: Outgoing::new(reach), secrets, signals }
    }

    /// Executes an attempt by its task type.
    pub(super) async fn execute(&self, attempt: &Attempt) -> Ending {
        match attempt.task().r#type.as_str() {
            http::TASK_TYPE => http::execute(self, attempt).await,
            gate::TASK_TYPE => gate::execute(self, attempt).await,
            emit::TASK_TYPE => emit::execute(self, attempt).await,
            other => {
                let message = format!("this version of the node does not execute `{other}`");
                Fault::new("QuorusUnknownTaskType", message).nothing_done().ending()
            }
        }
    }
}
