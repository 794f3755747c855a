//! What this crate takes from the engine's planner, in one place.

pub use quorus_engine::{Plan, Problem};

/// Plans a definition; warnings come with either result.
pub(crate) fn plan(definition: &quorus_engine::Definition) -> (Option<Plan>, Vec<Problem>) {
    match quorus_engine::plan(definition) {
        Ok(plan) => {
            let warnings = plan.warnings.clone();
            (Some(plan), warnings)
        }
        Err(problems) => (None, problems),
    }
}
