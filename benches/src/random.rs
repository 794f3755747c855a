//! Random plans for `mixed`: directed graphs of tasks and `set` steps, drawn from a seed.
//!
//! Invariant: the same seed gives the same plans in every version of this program, or results could not be repeated. So the generator is
//! written here (SplitMix64), and a test holds one plan fast.

use std::collections::BTreeSet;

/// How far back a step looks for what it needs: plans are long rather than broad.
const WINDOW: usize = 8;
/// Most needs of a step.
const NEEDS_MAX: u64 = 3;
/// One of so many steps is computed by the node, not by a worker.
const ONE_IS_SET: u64 = 8;
/// One of so many steps needs nothing, though there are steps before it.
const ONE_IS_ROOT: u64 = 10;

/// A step of a random plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Drawn {
    /// Steps that must end before, by index, all of them smaller than its own.
    pub(crate) needs: Vec<usize>,
    /// A task, else a `set`.
    pub(crate) task: bool,
}

/// Draws a plan of 2 to `steps_max` steps. `number` tells plans of one seed apart.
pub(crate) fn plan(seed: u64, number: usize, steps_max: usize) -> Vec<Drawn> {
    // Seeds and numbers that are neighbours must not give plans that are alike.
    let mut random = SplitMix64(SplitMix64(seed).next() ^ SplitMix64(number as u64 ^ 0x5EED).next());
    let count = 2 + random.below((steps_max.max(2) - 1) as u64) as usize;
    (0..count).map(|index| step(index, &mut random)).collect()
}

fn step(index: usize, random: &mut SplitMix64) -> Drawn {
    // The first is a task, so that every plan has one.
    let task = random.below(ONE_IS_SET) > 0 || index == 0;
    let root = random.below(ONE_IS_ROOT) == 0 || index == 0;
    let count = if root { 0 } else { 1 + random.below(NEEDS_MAX) };
    let first = index.saturating_sub(WINDOW);
    let needs: BTreeSet<usize> = (0..count).map(|_| first + random.below((index - first).max(1) as u64) as usize).collect();
    Drawn { needs: needs.into_iter().collect(), task }
}

/// For each task, the tasks whose ends it waits for, directly or through `set` steps, which take no time of their own.
pub(crate) fn tasks_before(plan: &[Drawn]) -> Vec<Vec<usize>> {
    let mut before: Vec<BTreeSet<usize>> = Vec::new();
    for step in plan {
        let mut tasks = BTreeSet::new();
        for need in &step.needs {
            match plan.get(*need) {
                Some(Drawn { task: true, .. }) => drop(tasks.insert(*need)),
                _ => tasks.extend(before.get(*need).into_iter().flatten().copied()),
            }
        }
        before.push(tasks);
    }
    before.into_iter().map(|tasks| tasks.into_iter().collect()).collect()
}

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below a small bound, so that the bias of the remainder is none that matters.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn plans_can_be_executed_and_differ_in_size_and_shape() {
        let mut sizes = BTreeSet::new();
        let (mut roots, mut joins, mut sets) = (0, 0, 0);
        for number in 0..200 {
            let plan = plan(7, number, 20);
            assert!((2..=20).contains(&plan.len()) && plan[0].task, "{plan:?}");
            for (index, step) in plan.iter().enumerate() {
                assert!(step.needs.iter().all(|need| *need < index), "a plan has no cycle: {plan:?}");
                assert!(step.needs.is_sorted_by(|a, b| a < b), "no need comes twice: {plan:?}");
                roots += usize::from(index > 0 && step.needs.is_empty());
                joins += usize::from(step.needs.len() > 1);
                sets += usize::from(!step.task);
            }
            sizes.insert(plan.len());
        }
        assert_eq!(sizes.len(), 19, "every size is drawn");
        assert!(roots > 50 && joins > 500 && sets > 100, "{roots} roots, {joins} joins, {sets} sets");
    }

    #[test]
    fn a_seed_gives_the_same_plans_for_ever() {
        let needs: Vec<Vec<usize>> = plan(1, 0, 8).into_iter().map(|step| step.needs).collect();
        let golden: [&[usize]; 6] = [&[], &[0], &[0, 1], &[0, 1, 2], &[3], &[2]];
        assert_eq!(needs, golden);
        assert_ne!(plan(1, 0, 20), plan(1, 1, 20));
        assert_ne!(plan(1, 0, 20), plan(2, 0, 20));
    }

    #[test]
    fn a_task_waits_for_tasks_also_through_sets() {
        let step = |needs: &[usize], task| Drawn { needs: needs.to_vec(), task };
        let plan = [step(&[], true), step(&[0], false), step(&[1], false), step(&[0, 2], true), step(&[2, 3], true), step(&[], false)];
        assert_eq!(tasks_before(&plan), [vec![], vec![0], vec![0], vec![0], vec![0, 3], vec![]]);
    }
}
