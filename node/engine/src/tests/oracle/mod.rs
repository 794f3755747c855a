//! Each step of random plans is repeated, failed, abandoned, timed out, stopped, waited for and compensated; the engine must do what a
//! small, independent model says.
//!
//! After each outcome what the engine has open is compared with what is live in the model, so order and number of attempts and
//! compensations are compared, too; at the end, how the run ended.

mod definition;
mod engine;
mod model;
mod node;
mod plans;

use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;

use self::engine::Engine;
use self::model::Model;
use self::node::{ChildEnd, Doing, Live, Node, Told, Verdict};
use crate::RunStatus;

/// Nothing here is larger; a run that takes more does not end.
const OUTCOMES_MAX: usize = 5_000;

fn chance(seed: u64, what: &str, time: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, what, time).hash(&mut hasher);
    hasher.finish()
}

/// How an attempt ends, as a function of the seed: so both sides are told the same.
fn told(chance: u64, live: &Live, undoing: bool) -> Told {
    let percent = chance % 100;
    let bit = chance >> 32 & 1 == 1;
    match live.doing {
        Doing::Attempt if live.stopping => match percent {
            0..30 => Told::Succeeded,
            30..45 => Told::Cut,
            45..55 => Told::Failed { fatal: percent < 50, nothing_done: bit },
            _ => Told::Stopped { nothing_done: bit },
        },
        Doing::Attempt => match percent {
            0..60 => Told::Succeeded,
            60..70 if undoing => Told::Succeeded,
            60..74 => Told::Failed { fatal: false, nothing_done: bit },
            74..82 => Told::Failed { fatal: !undoing, nothing_done: bit },
            82..90 => Told::TimedOut,
            90..95 => Told::Released,
            _ => Told::Abandoned,
        },
        Doing::Sleep => Told::Succeeded,
        Doing::Child => match percent {
            0..50 if !live.stopping || percent < 15 => Told::Succeeded,
            85..88 => Told::Child(ChildEnd::Terminated),
            88..93 => Told::Child(ChildEnd::Refused),
            70..85 => Told::Child(ChildEnd::Failed { fatal: bit }),
            _ => Told::Child(ChildEnd::Cancelled),
        },
        Doing::Approval => Told::Word { who: u8::try_from(chance >> 40 & 3).unwrap_or(0), yes: percent < 85 },
        Doing::Signal => panic!("a signal is sent to the run"),
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Happening {
    Tell(String, Option<Doing>, Told),
    Signal(&'static str, u8),
    Cancel(bool),
}

/// `None` if nothing is waited for.
fn happening(model: &Model<'_>, seed: u64, time: usize) -> Option<Happening> {
    let roll = chance(seed, "roll", time);
    let signal = || Happening::Signal(if roll >> 8 & 1 == 0 { "go" } else { "stop" }, u8::from(roll >> 9 & 1 == 0));
    let timed = model.timed();
    let waits = model.verdict() == Some(Verdict::NeedsAttention);
    let (instance, live) = model.live().iter().min_by_key(|(instance, _)| chance(seed, instance, time))?;
    match roll % 200 {
        0..10 => return Some(signal()),
        10..12 if !waits => return Some(Happening::Cancel(roll >> 10 & 3 > 0)),
        12..24 => {
            if let Some(instance) = timed.iter().min_by_key(|instance| chance(seed, instance, time)) {
                let doing = model.live().get(instance).map(|live| live.doing);
                return Some(Happening::Tell(instance.clone(), doing, Told::StepTimedOut));
            }
        }
        _ => {}
    }
    Some(match live.doing {
        Doing::Signal => signal(),
        doing => {
            let told = told(chance(!seed, instance, time), live, instance.ends_with(":compensate"));
            Happening::Tell(instance.clone(), Some(doing), told)
        }
    })
}

fn compare(nodes: &[Node], seed: u64) -> Result<(), TestCaseError> {
    let mut engine = Engine::new(nodes);
    let mut model = Model::new(nodes);
    let mut trace: Vec<Happening> = Vec::new();
    for time in 0..OUTCOMES_MAX {
        prop_assert_eq!(&engine.live(), model.live(), "after {:?}", trace);
        prop_assert_eq!(engine.timed(), model.timed(), "after {:?}", trace);
        let Some(next) = happening(&model, seed, time) else { break };
        trace.push(next.clone());
        match next {
            Happening::Tell(instance, doing, told) => {
                model.tell(&instance, told);
                engine.tell(&instance, doing, told);
            }
            Happening::Signal(name, number) => {
                model.signal(name, number);
                engine.signal(name, number);
            }
            Happening::Cancel(compensate) => {
                model.cancel(compensate);
                engine.cancel(compensate);
            }
        }
    }
    let status = match model.verdict() {
        Some(Verdict::Succeeded) => RunStatus::Succeeded,
        Some(Verdict::Failed) => RunStatus::Failed,
        Some(Verdict::Cancelled) => RunStatus::Cancelled,
        Some(Verdict::NeedsAttention) => RunStatus::NeedsAttention,
        None => return Err(TestCaseError::fail(format!("the model is stuck after {trace:?}: {model:#?}"))),
    };
    prop_assert_eq!(engine.world.run.head().status, status, "after {:?}", trace);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_does_what_the_model_says(nodes in plans::plans(), seed in any::<u64>()) {
        compare(&nodes, seed)?;
    }
}
