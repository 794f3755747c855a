//! The state of every link, as the faults that are in force want it together.
//!
//! Faults overlap. When one ends, a link is only as good as the others leave it; so links are never changed by a fault, but always computed from all.

use std::{collections::BTreeMap, time::Duration};

/// What a fault does to messages from one host to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// They take so long.
    Slow(Duration),
    /// They wait until the fault is over.
    Hold,
    /// They are lost.
    Cut,
}

/// From one host to another.
pub(super) type Way = (String, String);

/// What faults do to links, by fault and by link.
#[derive(Default)]
pub(super) struct Links {
    effects: BTreeMap<u64, Vec<(Way, Effect)>>,
    in_force: BTreeMap<Way, [Option<Effect>; 2]>,
}

impl Links {
    /// A fault does this from here on.
    pub(super) fn set(&mut self, fault: u64, effects: Vec<(Way, Effect)>) {
        self.effects.insert(fault, effects);
    }

    /// A fault is over.
    pub(super) fn clear(&mut self, fault: u64) {
        self.effects.remove(&fault);
    }

    /// Brings every link of the simulation to where it is to be.
    pub(super) fn apply(&mut self, simulation: &turmoil::Sim<'_>, latency_max: Duration) {
        let mut wanted: BTreeMap<Way, [Option<Effect>; 2]> = self.in_force.keys().map(|pair| (pair.clone(), [None, None])).collect();
        for ((from, to), effect) in self.effects.values().flatten() {
            let (pair, way) = if from < to { ((from.clone(), to.clone()), 0) } else { ((to.clone(), from.clone()), 1) };
            let worst = &mut wanted.entry(pair).or_default()[way];
            *worst = (*worst).max(Some(*effect));
        }
        for (pair, wanted) in &mut wanted {
            // The simulation can only hold both ways of a link.
            if wanted.contains(&Some(Effect::Hold)) && !wanted.contains(&Some(Effect::Cut)) {
                *wanted = [Some(Effect::Hold); 2];
            }
            let was = self.in_force.get(pair).copied().unwrap_or_default();
            if was != *wanted {
                change(simulation, pair, was, *wanted, latency_max);
            }
        }
        wanted.retain(|_, wanted| *wanted != [None, None]);
        self.in_force = wanted;
    }
}

fn change(simulation: &turmoil::Sim<'_>, pair: &Way, was: [Option<Effect>; 2], wanted: [Option<Effect>; 2], latency_max: Duration) {
    let (a, b) = (pair.0.as_str(), pair.1.as_str());
    if was.contains(&Some(Effect::Hold)) {
        simulation.release(a, b);
    }
    simulation.repair(a, b);
    let slow = |effects: [Option<Effect>; 2]| {
        effects.into_iter().flatten().find_map(|effect| if let Effect::Slow(by) = effect { Some(by) } else { None })
    };
    match (slow(was), slow(wanted)) {
        (_, Some(by)) => simulation.set_link_latency(a, b, by),
        (Some(_), None) => {
            simulation.set_link_latency(a, b, Duration::from_millis(1));
            simulation.set_link_max_message_latency(a, b, latency_max);
        }
        (None, None) => {}
    }
    if wanted == [Some(Effect::Hold); 2] {
        simulation.hold(a, b);
    }
    match wanted.map(|effect| effect == Some(Effect::Cut)) {
        [true, true] => simulation.partition(a, b),
        [true, false] => simulation.partition_oneway(a, b),
        [false, true] => simulation.partition_oneway(b, a),
        [false, false] => {}
    }
}
