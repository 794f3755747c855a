//! The working state of one run: what is stored, and what follows from it.
//!
//! [`Run`] is a cache of the leader. It can be rebuilt from the stored head and entries at any time, and changes only by
//! [`Run::apply`]. What follows from the stored state ([`index`]) is kept along, so that an event costs as much as the step has dependents,
//! however large the run is. A [`Draft`] is a run with decisions in the making over it.

mod documents;
mod draft;
mod index;
mod instance;
mod joins;
mod layered;
mod owed;
mod state;
mod states;
mod timers;
mod view;

pub(crate) use draft::Draft;
pub(crate) use index::Place;
pub use instance::goes_forward;
pub(crate) use instance::{Instance, ScopeId, entry_at, in_scope, steps_total};
pub(crate) use joins::{Verdict, verdict};
pub use owed::Owed;
pub use state::{Progress, Run};
pub(crate) use states::States;
pub(crate) use view::View;
