//! Dispatch: brings ready steps and workers together, on the nodes that lead shards.
//!
//! Reading order: [`name`] (what a lease is called), [`sessions`] (who has room), [`waiting`] (what waits), [`leases`] (what is being executed and
//! until when), [`dispatcher`] (the three together), [`link`] and [`service`] (gateways), [`ticker`] (the clock). The workers' side is
//! [`crate::gateway`].

mod dispatcher;
mod leases;
mod link;
mod name;
mod service;
mod sessions;
mod ticker;
mod waiting;

pub use dispatcher::{CreditDraw, Dispatcher, ReservedCredit, Times};
pub use leases::{Entry, Leases, Overdue};
pub use link::serve as serve_link;
pub use name::LeaseName;
pub use service::LinkService;
pub use sessions::{Credit, LinkSender, Session, SessionKey, Sessions};
pub use ticker::Ticker;
pub use waiting::{Waiting, WaitingTask};
