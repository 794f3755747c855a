//! The report of a game day: one HTML file without anything from outside, for screens of any width, light or dark, and for paper.
//!
//! - [`material`]: what the results folder holds, as far as a report needs it.
//! - [`series`]: operations per second, latency, gaps, spans of faults: a few numbers from any number of operations.
//! - [`runs`]: single runs to look into, those that matter first.
//! - [`timeline`]: the picture over time, drawn here, so that it is there without scripts, too.
//! - [`page`] and [`sections`]: the text around it; [`html`]: how text gets into it.
//!
//! Invariants: every text from outside is escaped. The page's size is bounded, however many operations there were, and it says what it leaves out.
//! Nothing is told by colour alone.

pub mod html;
pub mod material;
pub mod page;
pub mod runs;
pub mod sections;
pub mod series;
pub mod timeline;
mod verb;

pub use verb::{ReportArgs, report, write};
