//! A random nemesis: one fault after the other, drawn from a seed, with quiet times between them.
//!
//! What is drawn depends on the seed alone: the same seed draws the same kinds, times and seeds of targets. Whom `leader` or `random` mean still depends
//! on what the cluster looks like at that time; the record says who it was.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context as _, bail};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    catalogue::{KINDS, Kind, Scope},
    dice::Dice,
    order::Order,
    probes::Question,
};
use crate::stage::{Remote, clocks::APART_MAX_MS, target::TargetArgs};

/// How long a cluster may take to be whole again after all is undone.
const READY_PATIENCE: Duration = Duration::from_secs(120);
/// A fault that has been undone shows what it did a moment later, too.
const SETTLE: Duration = Duration::from_millis(500);

/// Kinds that a nemesis draws from if nobody names any: on servers only.
pub const SERVER_KINDS: &[&str] = &[
    "kill",
    "stop",
    "pause",
    "restart",
    "partition",
    "partition-one-way",
    "partition-bridge",
    "isolate-leader",
    "latency",
    "bandwidth",
    "stall",
    "refuse",
    "reset",
    "half-close",
];

/// What is to be drawn.
#[derive(Clone, Debug)]
pub struct Nemesis {
    /// Draws everything.
    pub seed: u64,
    /// From these kinds.
    pub kinds: Vec<&'static Kind>,
    /// About so long from one fault to the next, and about half of it in force.
    pub interval: Duration,
    /// Until so many faults are made.
    pub count: Option<u64>,
    /// Until this time is over.
    pub duration: Option<Duration>,
}

/// A turn of the nemesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing happens for a time.
    Quiet(Duration),
    /// A fault, and the pause after it.
    Fault(Order, Duration),
}

/// What it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// Faults made, by kind.
    pub made: BTreeMap<String, u64>,
    /// Faults that could not be made, by kind.
    pub skipped: BTreeMap<String, u64>,
    /// Quiet turns.
    pub quiet: u64,
    /// How long the cluster took to be whole after the last fault.
    pub ready_after_ms: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (made, skipped) = (self.made.values().sum::<u64>(), self.skipped.values().sum::<u64>());
        write!(
            f,
            "seed {}: {made} faults, {skipped} skipped, {} quiet turns, whole again after {} ms",
            self.seed, self.quiet, self.ready_after_ms
        )
    }
}

impl Nemesis {
    /// Kinds by name, separated by commas; `servers` are those that can be drawn on any target without touching workers, `disks` those that need disks
    /// that can be broken.
    pub fn kinds_of(text: &str, target: &str) -> anyhow::Result<Vec<&'static Kind>> {
        let mut kinds = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "servers" => {
                    for name in SERVER_KINDS {
                        kinds.push(Kind::of(name)?);
                    }
                    kinds.retain(|kind| kind.needs.contains(&target));
                }
                "disks" => kinds.extend(KINDS.iter().filter(|kind| kind.needs.contains(&"lossy"))),
                name => kinds.push(Kind::of(name)?),
            }
        }
        if kinds.is_empty() {
            bail!("no kinds are named");
        }
        Ok(kinds)
    }

    /// All turns, without end.
    pub fn turns(&self) -> impl Iterator<Item = Turn> + '_ {
        let mut dice = Dice::new(self.seed);
        std::iter::from_fn(move || {
            let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
            let pause = Duration::from_millis(interval / 4 + dice.below(interval / 2 + 1));
            if dice.below(4) == 0 {
                return Some(Turn::Quiet(pause));
            }
            let kind = dice.pick(&self.kinds)?;
            // From a quarter to three quarters; what workers need to lose a lease takes longer.
            let for_ms = interval / 4 + dice.below(interval / 2 + 1);
            let for_ms = if kind.name == "worker-pause" { kind.for_ms + for_ms } else { for_ms.max(1) };
            let target = match (kind.scope, kind.target) {
                // Leaders are where it hurts: as often as everybody else.
                (Scope::Nodes | Scope::Links, "random" | "minority") if dice.below(2) == 0 => Some("leader".to_owned()),
                _ => None,
            };
            let order = Order {
                kind: kind.name.to_owned(),
                target,
                for_ms: kind.lasting.then_some(for_ms),
                seed: dice.draw(),
                tied: true,
                ..Order::default()
            };
            Some(Turn::Fault(self.spice(kind, order, &mut dice), pause))
        })
    }

    /// Runs, undoes everything, and waits until the cluster is whole.
    pub async fn run(&self, target: &TargetArgs, mut say: impl FnMut(&str)) -> anyhow::Result<Summary> {
        let mut remote = target.remote().await?;
        let mut summary = Summary { seed: self.seed, ..Summary::default() };
        let begin = Instant::now();
        for turn in self.turns() {
            let made: u64 = summary.made.values().sum();
            let over = self.duration.is_some_and(|duration| begin.elapsed() >= duration) || self.count.is_some_and(|count| made >= count);
            if over {
                break;
            }
            match turn {
                Turn::Quiet(pause) => {
                    summary.quiet += 1;
                    sleep(pause).await;
                }
                Turn::Fault(order, pause) => self.turn(&mut remote, &order, pause, &mut summary, &mut say).await?,
            }
        }
        remote.heal_all().await.context("undoing everything")?;
        summary.ready_after_ms = self.become_whole(target).await?;
        Ok(summary)
    }

    async fn turn(
        &self,
        remote: &mut Remote,
        order: &Order,
        pause: Duration,
        summary: &mut Summary,
        say: &mut impl FnMut(&str),
    ) -> anyhow::Result<()> {
        match remote.make(order).await {
            Ok(made) => {
                *summary.made.entry(order.kind.clone()).or_default() += 1;
                say(&format!("fault {}: {} on {} {}", made.fault, made.kind, made.targets.join(", "), made.note));
                if made.for_ms.is_some() {
                    remote.wait(made.fault).await?;
                }
            }
            Err(error) => {
                *summary.skipped.entry(order.kind.clone()).or_default() += 1;
                say(&format!("skipped {}: {error:#}", order.kind));
                // Not made, and not to be tried in a hurry.
                remote.report().await.context("the stage")?;
            }
        }
        sleep(pause).await;
        Ok(())
    }

    async fn become_whole(&self, target: &TargetArgs) -> anyhow::Result<u64> {
        let begin = Instant::now();
        sleep(SETTLE).await;
        for question in [Question::Ready { node: Vec::new(), at_least: None }, Question::NoLeaderlessShard] {
            let answer = question.ask(target, READY_PATIENCE).await?;
            if !answer.yes {
                bail!("not whole {} s after everything was undone: {}", READY_PATIENCE.as_secs(), answer.value);
            }
        }
        Ok(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Gives some kinds parameters of their own.
    fn spice(&self, kind: &Kind, mut order: Order, dice: &mut Dice) -> Order {
        let mut set = |name: &str, value: String| {
            order.parameters.insert(name.to_owned(), value);
        };
        let mut word = |words: [&str; 2]| words[usize::from(dice.below(2) == 1)].to_owned();
        match kind.name {
            "partition" | "isolate-leader" | "partition-bridge" => set("how", word(["hold", "refuse"])),
            "partition-one-way" | "half-close" | "stall" => set("direction", word(["out", "in"])),
            "power-loss" => {
                set("keep", word(["nothing", "50%"]));
                set("torn", word(["no", "yes"]));
            }
            "clock-offset" => {
                set("direction", word(["ahead", "behind"]));
                set("by-ms", (50 + dice.below(APART_MAX_MS - 50)).to_string());
            }
            "bit-flip" => {
                set("file", word(["wal", "sst"]));
                set("damage", word(["bit", "cut"]));
            }
            "disk-slow" => set("fsync-ms", (10 + dice.below(300)).to_string()),
            "restart" | "rolling-restart" => set("graceful", word(["yes", "no"])),
            "latency" => {
                set("delay-ms", (10 + dice.below(300)).to_string());
                set("jitter-ms", dice.below(100).to_string());
            }
            "bandwidth" => set("bytes-per-second", (16 * 1024 + dice.below(256 * 1024)).to_string()),
            "worker-cut" => set("from", word(["all", "leader"])),
            _ => {}
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nemesis(seed: u64, kinds: Vec<&'static Kind>) -> Nemesis {
        Nemesis { seed, kinds, interval: Duration::from_secs(4), count: None, duration: None }
    }

    #[test]
    fn a_seed_draws_the_same_turns_and_another_seed_others() {
        let servers = || Nemesis::kinds_of("servers", "stage").unwrap();
        let turns = |seed| nemesis(seed, servers()).turns().take(200).collect::<Vec<_>>();
        assert_eq!(turns(1), turns(1));
        assert_ne!(turns(1), turns(2));
    }

    #[test]
    fn every_draw_is_something_that_the_catalogue_allows_and_a_quarter_is_quiet() {
        let all = nemesis(3, KINDS.iter().collect());
        let (mut quiet, mut met) = (0, std::collections::BTreeSet::new());
        for turn in all.turns().take(2000) {
            match turn {
                Turn::Quiet(_) => quiet += 1,
                Turn::Fault(order, _) => {
                    let kind = Kind::of(&order.kind).unwrap();
                    kind.settle(&order.parameters).unwrap();
                    assert_eq!(order.for_ms.is_some(), kind.lasting);
                    met.insert(order.kind);
                }
            }
        }
        assert!((400..600).contains(&quiet), "{quiet} of 2000");
        assert_eq!(met.len(), KINDS.len());
    }

    #[test]
    fn on_a_dev_cluster_only_processes_are_drawn() {
        let kinds = Nemesis::kinds_of("servers", "dev").unwrap();
        assert_eq!(kinds.iter().map(|kind| kind.name).collect::<Vec<_>>(), ["kill", "stop", "pause", "restart"]);
        assert!(Nemesis::kinds_of("", "dev").is_err() && Nemesis::kinds_of("boredom", "dev").is_err());
    }
}
