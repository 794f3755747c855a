//! Definitions as people write them.
//!
//! Text becomes the message `quorus.v1.Workflow` ([`fn@read`]), the message becomes the engine's [`quorus_engine::Definition`]
//! ([`fn@compile`]), and everything that is wrong on the way is reported at once, with its line, its column and what to do about it
//! ([`fn@load`] does all three, for the command line and for the server). The way back is [`to_yaml`] and [`to_json_value`].
//!
//! ```
//! let text = r#"
//! api_version: quorus/v1
//! kind: Workflow
//! metadata: {name: hello}
//! spec:
//!   steps:
//!     - id: greet
//!       task: {type: exec}
//!       with: {command: [echo, "hello ${input.name}"]}
//! "#;
//! let loaded = quorus_spec::load(text, "hello.yaml").unwrap();
//! assert_eq!(loaded.workflow.metadata.unwrap().name, "hello");
//!
//! let diagnostics = quorus_spec::load(&text.replace("task:", "taks:"), "hello.yaml").unwrap_err();
//! assert_eq!(diagnostics[0].to_string(), "hello.yaml:8:7: error[unknown-field]: unknown field `taks` in `spec.steps[0]`");
//! println!("{}", diagnostics[0].render(text, false));
//! ```
//!
//! Invariants: reading a text takes bounded time, depth and memory; no text makes it panic; what [`to_yaml`] prints reads back as the same
//! message; what a field is called and what it takes comes from the descriptors alone, so that a new field needs no code here.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod canonical;
mod check;
mod comments;
mod compile;
mod diagnostic;
mod duration;
mod engine;
mod explain;
pub mod export;
mod expression;
mod finding;
mod header;
mod json_schema;
mod load;
mod node;
mod parse;
mod planned;
mod print;
mod read;
mod redact;
pub mod render;
mod resource;
mod scalar;
mod schema;
mod size;
mod source_map;
mod span;
mod typed;
mod validate;
mod walk;
pub mod wfformat;

pub use canonical::{canonical, digest_hex};
pub use check::check;
pub use compile::{DEFAULT_NAMESPACE, compile};
pub use diagnostic::{Diagnostic, Related, Severity, render_all};
pub use duration::{DurationError, format_duration, parse_duration};
pub use engine::{Plan, Problem};
pub use explain::{ExplainError, Explanation, Member, about, explain, members, messages};
pub use header::{API_VERSION, KIND};
pub use json_schema::json_schema;
pub use load::{Loaded, diagnose, load, load_all};
pub use parse::TEXT_BYTES_MAX;
pub use planned::planned_step;
pub use print::{to_json_value, to_yaml};
pub use read::{Read, read, read_all};
pub use redact::{has_write_only, redact};
pub use resource::{ReadResource, read_resources};
pub use source_map::SourceMap;
pub use span::Span;
pub use typed::{place_problems, read_resource};
pub use validate::{Schema, Violation};
