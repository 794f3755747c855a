//! Which runs are started when, and what is done to them: all of it from the seed, before anything begins.

use super::{mix::Mix, model::Definition, plan::Catalogue, random::Rng};

/// How runs arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// At a rate, whatever the cluster does.
    Open {
        /// Runs per second.
        rate: f64,
        /// How many of the arrivals bring a burst along.
        bursts: f64,
        /// Runs of a burst, at most.
        burst_max: u64,
        /// How many of the arrivals come after a pause.
        pauses: f64,
        /// The longest pause.
        pause_ms: u64,
    },
    /// So many clients, each of which starts a run when its last one has ended.
    Closed {
        /// How many.
        clients: u32,
    },
}

impl Load {
    /// A rate with some bursts and pauses.
    pub fn at_rate(rate: f64) -> Self {
        Self::Open { rate, bursts: 0.02, burst_max: 25, pauses: 0.01, pause_ms: 3_000 }
    }
}

/// What is done to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A signal.
    Signal {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
    },
    /// A cancel.
    Cancel,
    /// A terminate.
    Terminate,
    /// A pause.
    Pause,
    /// Its end.
    Resume,
}

/// A run that is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPlan {
    /// From 0.
    pub number: u64,
    /// Its id.
    pub run_id: String,
    /// Makes the start idempotent.
    pub request_id: String,
    /// Of what.
    pub workflow: String,
    /// Its input.
    pub variant: u32,
    /// When, for an open load.
    pub at_ms: u64,
    /// What is done to it, by the time after its start.
    pub acts: Vec<(u64, Act)>,
}

/// Draws the runs.
pub fn draw(catalogue: &Catalogue, mix: &Mix, seed: u64, count: u64, load: Load) -> Vec<RunPlan> {
    let root = Rng::new(seed);
    let mut arrivals = Arrivals { rng: root.fork("arrivals", 0), load, now_ms: 0.0, burst: 0 };
    let workflows = catalogue.startable();
    if workflows.is_empty() {
        return Vec::new();
    }
    let one = |number| {
        let mut rng = root.fork("run", number);
        let planned = &workflows[rng.index(workflows.len())];
        let definition = &planned.definition;
        let variant = rng.between(0, u64::from(definition.variants.max(1)) - 1) as u32;
        let acts = acts(definition, mix, &mut rng);
        RunPlan {
            number,
            run_id: format!("run-{seed:x}-{number}"),
            request_id: rng.hex(),
            workflow: definition.name.clone(),
            variant,
            at_ms: arrivals.next(),
            acts,
        }
    };
    (0..count).map(one).collect()
}

fn acts(definition: &Definition, mix: &Mix, rng: &mut Rng) -> Vec<(u64, Act)> {
    let mut acts = Vec::new();
    for (name, times) in definition.signals() {
        for _ in 0..times {
            acts.push((rng.between(0, 1_500), Act::Signal { name: name.clone(), id: rng.hex() }));
        }
    }
    let soon = |rng: &mut Rng| rng.between(0, 2_000);
    if rng.chance(mix.cancels) {
        acts.push((soon(rng), Act::Cancel));
    } else if rng.chance(mix.terminates) {
        acts.push((soon(rng), Act::Terminate));
    }
    if rng.chance(mix.pauses) {
        let at = soon(rng);
        acts.push((at, Act::Pause));
        acts.push((at + rng.between(100, 2_000), Act::Resume));
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}

struct Arrivals {
    rng: Rng,
    load: Load,
    now_ms: f64,
    burst: u64,
}

impl Arrivals {
    fn next(&mut self) -> u64 {
        let Load::Open { rate, bursts, burst_max, pauses, pause_ms } = self.load else { return 0 };
        if self.burst > 0 {
            self.burst -= 1;
        } else {
            self.now_ms += self.rng.exponential(1_000.0 / rate.max(0.001));
            if self.rng.chance(pauses) {
                self.now_ms += self.rng.between(0, pause_ms) as f64;
            }
            if self.rng.chance(bursts) {
                self.burst = self.rng.between(1, burst_max);
            }
        }
        self.now_ms as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_runs_and_another_one_gives_others() {
        let mix = Mix::normal();
        let make = |seed| {
            let catalogue = Catalogue::draw(&mix, seed, "q").unwrap();
            let yaml: Vec<String> = catalogue.workflows.iter().map(|planned| planned.yaml.clone()).collect();
            (yaml, draw(&catalogue, &mix, seed, 50, Load::at_rate(20.0)))
        };
        assert_eq!(make(3), make(3));
        assert_ne!(make(3), make(4));
    }

    #[test]
    fn an_open_load_keeps_its_rate_and_has_bursts() {
        let mix = Mix::small();
        let catalogue = Catalogue::draw(&mix, 1, "q").unwrap();
        let load = Load::Open { rate: 50.0, bursts: 0.1, burst_max: 10, pauses: 0.0, pause_ms: 0 };
        let runs = draw(&catalogue, &mix, 1, 2_000, load);
        assert!(runs.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
        // 50 arrivals a second, each with half a run of a burst on average.
        let seconds = runs.last().unwrap().at_ms as f64 / 1_000.0;
        assert!((20.0..33.0).contains(&seconds), "{seconds}");
        let together = runs.windows(2).filter(|pair| pair[0].at_ms == pair[1].at_ms).count();
        assert!(together > 200, "{together}");
    }
}
