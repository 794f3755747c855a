//! Dispatch: brings ready steps and workers together, on the nodes that lead shards.
//!
//! Reading order: [`name`] (what a lease is called), [`mod@line`] (where a task waits), [`sessions`] (who has room), [`waiting`] (what waits),
//! [`permits`] (what is held of limits), [`leases`] (what is being executed and until when), [`dispatcher`] (the tables together), [`serving`]
//! (matching), [`credits`] (room on its way), [`flow`] (pauses and limits), [`linked`], [`link`] and [`service`] (gateways), [`ticker`] (the clock).
//! The workers' side is [`crate::gateway`].

mod credits;
mod dispatcher;
mod flow;
mod leases;
mod line;
mod link;
mod linked;
mod name;
mod permits;
mod service;
mod serving;
mod sessions;
mod tables;
mod ticker;
mod waiting;

pub use credits::{CreditDraw, ReservedCredit};
pub use dispatcher::{Dispatcher, Times};
pub use flow::{PermitGroup, PermitReport};
pub use leases::{Entry, Leases, Overdue};
pub use line::{LimitRef, LimitRefs, Line, Selectors, fits};
pub use link::serve as serve_link;
pub use name::LeaseName;
pub use permits::{Ended, PermitEnd, Permits};
pub use service::LinkService;
pub use sessions::{Credit, LinkSender, Session, SessionKey, Sessions};
pub use ticker::Ticker;
pub use waiting::{AGE, Depth, PRIORITIES, Waiting, WaitingTask};
