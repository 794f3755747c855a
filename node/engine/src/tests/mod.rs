//! Tests of the engine as a whole: recorded scripts, random runs, and large plans.

mod builtin;
mod definition;
mod language;
mod laws;
mod oracle;
mod plans;
mod properties;
mod scale;
mod script;
mod scripts;
mod show;
mod world;
