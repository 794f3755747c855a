//! What needs a person: a run that can't go on by itself, or an item that failed for good in a run that goes on without it.

use std::{sync::Arc, time::Duration};

use quorus_engine::{AttentionCause, Failure, OnItemFailure, Plan, PlannedKind, RunStatus, StepId, Timestamp};

use super::{PlanCache, PlanError, planned};
use crate::{
    observe::names,
    store::{RunPlace, RunSummary, ShardStore, StoreError, digest},
};

/// Places looked at in one go.
const PART: usize = 500;
/// Dead letters that are counted; nobody reads a larger number in another way.
const COUNTED_MAX: usize = 10_000;

/// Something that needs a person.
pub(crate) struct DeadLetter {
    /// Its run.
    pub run: RunSummary,
    /// The item; or the step that a run's attention is about, if it is about one.
    pub step: Option<StepId>,
    /// Why it is one.
    pub cause: &'static str,
    /// The last error.
    pub failure: Option<Failure>,
    /// Since when.
    pub since: Timestamp,
}

impl DeadLetter {
    /// The one at a place of the index; `None` if its workflow drops items that fail, or somebody discarded it.
    pub(crate) fn at(store: &ShardStore, plans: &PlanCache, place: &RunPlace) -> Result<Option<Self>, PlanError> {
        let Some(run) = store.run_summary(place.uid)? else { return Ok(None) };
        let Some(item) = &place.step else {
            // A run that was settled keeps what its attention was about.
            let needs = run.head.status == RunStatus::NeedsAttention;
            let Some(attention) = run.head.attention.clone().filter(|_| needs) else { return Ok(None) };
            let cause = match attention.cause {
                AttentionCause::Hold => "hold",
                AttentionCause::NoReturn => "no_return",
                AttentionCause::CompensationFailed => "compensation_failed",
                AttentionCause::CompensationTimeout => "compensation_timeout",
            };
            let failure = attention.failure.or_else(|| run.head.failure.clone());
            return Ok(Some(Self { run, step: attention.step, cause, failure, since: attention.since }));
        };
        // Somebody gave the whole run up.
        if run.head.status == RunStatus::Terminated {
            return Ok(None);
        }
        let Some(state) = store.step(place.uid, item)? else { return Ok(None) };
        if store.discarded_generation(place.uid, item)? == Some(state.generation) {
            return Ok(None);
        }
        let plan: Arc<Plan> = plans.get(store, digest(&run.info, &run.head))?;
        if !keeps(&plan, item) {
            return Ok(None);
        }
        let since = state.ended_at.unwrap_or(run.head.started_at);
        Ok(Some(Self { run, step: Some(item.clone()), cause: "item_failed", failure: state.failure, since }))
    }
}

/// True if the container of an item keeps those that fail.
fn keeps(plan: &Plan, item: &StepId) -> bool {
    let container = item.as_item().and_then(|(container, _)| planned(plan, &container));
    container.is_some_and(|step| match &step.kind {
        PlannedKind::ForEach(each) => each.on_item_failure == OnItemFailure::DeadLetter,
        _ => false,
    })
}

/// Tells operators how many there are in a shard, and how old the oldest is.
pub(crate) fn measure(store: &ShardStore, plans: &PlanCache, now: Timestamp) -> Result<(), StoreError> {
    let (mut count, mut oldest, mut after) = (0, None::<Timestamp>, None);
    while count < COUNTED_MAX {
        let places = store.dead_letters_after(after.as_ref(), PART)?;
        let Some(last) = places.last().cloned() else { break };
        for place in &places {
            match DeadLetter::at(store, plans, place) {
                Ok(Some(letter)) => {
                    count += 1;
                    oldest = Some(oldest.map_or(letter.since, |known| known.min(letter.since)));
                }
                Ok(None) => {}
                Err(PlanError::Store(error)) => return Err(error),
                // Of a plan that can't be used: it was told when the run was looked at.
                Err(_) => count += 1,
            }
        }
        after = Some(last);
    }
    let age = oldest.map_or(0, |oldest| u64::try_from(now.0.saturating_sub(oldest.0)).unwrap_or(0));
    tell(store.group(), count, Duration::from_millis(age));
    Ok(())
}

/// Sets the figures of a shard; a shard that is led elsewhere has none here.
pub(crate) fn tell(shard: u32, count: usize, oldest: Duration) {
    metrics::gauge!(names::DEAD_LETTERS, "shard" => shard.to_string()).set(count as f64);
    metrics::gauge!(names::DEAD_LETTERS_OLDEST, "shard" => shard.to_string()).set(oldest.as_secs_f64());
}
