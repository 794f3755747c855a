//! The working state of one run: what is stored, and what follows from it.
//!
//! [`Run`] is a cache of the leader. It can be rebuilt from the stored head and entries at any time, and changes only by
//! [`Run::apply`]. What follows from the stored state (how many needs each step still waits for, which steps are open) is kept along, so
//! that an event costs as much as the step has dependents, however large the run is.

mod documents;
mod draft;
mod joins;
mod owed;
mod state;
mod timers;

pub(crate) use documents::Documents;
pub(crate) use draft::Draft;
pub(crate) use joins::Join;
pub use owed::Owed;
pub use state::Run;
