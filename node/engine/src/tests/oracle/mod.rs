//! Each step of random plans is repeated, failed, abandoned, timed out, stopped and compensated; the engine must do what a small,
//! independent model says.
//!
//! After each outcome the engine's leases are compared with the model's live attempts, so order and number of attempts and compensations are
//! compared, too; at the end, how the run ended.

mod model;
mod node;
mod plans;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;
use serde_json::json;

use self::model::Model;
use self::node::{Live, Node, Told, Verdict};
use super::world::{World, worker};
use crate::{Command, Failure, Outcome, RunStatus, StepId, StepStatus};

/// Nothing here is larger; a run that takes more does not end.
const OUTCOMES_MAX: usize = 5_000;

fn chance(seed: u64, instance: &str, time: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, instance, time).hash(&mut hasher);
    hasher.finish()
}

/// How an attempt ends, as a function of the seed: so both sides are told the same.
fn told(chance: u64, live: &Live, undoing: bool) -> Told {
    let percent = chance % 100;
    let bit = chance >> 32 & 1 == 1;
    if live.stopping {
        return if percent < 30 { Told::Succeeded } else { Told::Stopped { nothing_done: bit } };
    }
    match percent {
        0..60 => Told::Succeeded,
        60..70 if undoing => Told::Succeeded,
        60..76 => Told::Failed { fatal: false, nothing_done: bit },
        76..84 if undoing => Told::Failed { fatal: false, nothing_done: bit },
        76..84 => Told::Failed { fatal: true, nothing_done: bit },
        84..92 => Told::TimedOut,
        _ => Told::Abandoned,
    }
}

fn leases(world: &World) -> BTreeMap<String, Live> {
    let leased = world.run.steps().iter().filter(|(_, state)| state.status == StepStatus::Leased);
    leased.map(|(id, state)| (id.to_string(), Live { stopping: state.cancel_deadline.is_some() })).collect()
}

fn tell(world: &mut World, instance: &str, told: Told) {
    let attempt = world.attempt(&StepId::from(instance));
    let failure = |fatal, nothing_done| Failure { kind: "Told".to_owned(), non_retryable: fatal, nothing_done, ..Failure::default() };
    let complete = |outcome| Command::Complete { attempt: attempt.clone(), outcome };
    let command = match told {
        Told::Succeeded => complete(Outcome::Succeeded(None)),
        Told::Failed { fatal, nothing_done } => complete(Outcome::Failed(failure(fatal, nothing_done))),
        Told::TimedOut => Command::AttemptTimeout { attempt },
        Told::Abandoned => Command::Abandon { attempt, reason: "gone".to_owned() },
        Told::Stopped { nothing_done } => complete(Outcome::Cancelled { nothing_done }),
    };
    room(world);
    world.act(&command).unwrap();
}

/// Whatever is ready is leased at once.
fn room(world: &mut World) {
    world.pool.0.insert("default".to_owned(), vec![worker("w"); 64]);
}

fn compare(nodes: &[Node], seed: u64) -> Result<(), TestCaseError> {
    let mut world = World::of(&plans::definition(nodes), &json!({}));
    room(&mut world);
    world.start();
    let mut model = Model::new(nodes);
    let mut trace: Vec<String> = Vec::new();
    for time in 0..OUTCOMES_MAX {
        // What was left to the next decision, and what is tried again at once.
        while world.timers().first().is_some_and(|(due, ..)| *due <= world.now) {
            room(&mut world);
            world.fire_next().unwrap().unwrap();
        }
        // What still executes may go on while people are waited for.
        if model.verdict() == Some(Verdict::NeedsAttention) {
            break;
        }
        let live = model.live().clone();
        prop_assert_eq!(&leases(&world), &live, "after {:?}", trace);
        let Some((instance, attempt)) = live.iter().min_by_key(|(instance, _)| chance(seed, instance, time)) else { break };
        let told = told(chance(!seed, instance, time), attempt, instance.ends_with(":compensate"));
        trace.push(format!("{instance} {told:?}"));
        model.tell(instance, told);
        tell(&mut world, instance, told);
    }
    let status = match model.verdict() {
        Some(Verdict::Succeeded) => RunStatus::Succeeded,
        Some(Verdict::Failed) => RunStatus::Failed,
        Some(Verdict::NeedsAttention) => RunStatus::NeedsAttention,
        None => return Err(TestCaseError::fail(format!("the model is stuck after {trace:?}: {model:#?}"))),
    };
    prop_assert_eq!(world.run.head().status, status, "after {:?}", trace);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_does_what_the_model_says(nodes in plans::plans(), seed in any::<u64>()) {
        compare(&nodes, seed)?;
    }
}
