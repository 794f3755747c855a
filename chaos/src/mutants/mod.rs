//! `quorus-chaos mutants`: plants one bug after another in simulated clusters, and shows which invariant caught it.
//!
//! A check that can't fail proves nothing. So for each mutant seeds are simulated until an invariant is violated; a mutant that survives all of its
//! seeds fails the command. Before that the same seeds run without a mutant and must hold: else a catch would prove nothing either.
//!
//! The simulation is another process of this program, since a process has one mutant for ever; `QUORUS_MUTANT` chooses it.

mod outcome;
mod recorded;
mod run;

pub use outcome::{Caught, Outcome};
pub use run::{Args, run};
