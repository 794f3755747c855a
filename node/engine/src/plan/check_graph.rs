//! The graph: cycles, levels, and who comes before whom. Iterative, since a chain may have 10,000 steps.

use super::Problem;
use super::flatten::Flat;

/// A definition with more cycles than this has one mistake that was copied.
const CYCLES_MAX: usize = 20;

/// What is known of a graph without cycles.
pub(super) struct Graph {
    /// For each step, who needs it, in plan order.
    pub(super) dependents: Vec<Vec<usize>>,
    /// For each step, the length of the longest chain before it.
    pub(super) levels: Vec<u32>,
    /// Positions so that needs come first.
    pub(super) order: Vec<usize>,
}

/// Orders the graph. With cycles, `order` lacks their steps and what comes after them.
pub(super) fn order(needs: &[Vec<usize>]) -> Graph {
    let mut dependents = vec![Vec::new(); needs.len()];
    for (step, needed) in needs.iter().enumerate() {
        for &need in needed {
            dependents[need].push(step);
        }
    }
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut levels = vec![0_u32; needs.len()];
    let mut order: Vec<usize> = (0..needs.len()).filter(|&step| missing[step] == 0).collect();
    let mut next = 0;
    while let Some(&step) = order.get(next) {
        next += 1;
        for &dependent in &dependents[step] {
            levels[dependent] = levels[dependent].max(levels[step] + 1);
            missing[dependent] -= 1;
            if missing[dependent] == 0 {
                order.push(dependent);
            }
        }
    }
    Graph { dependents, levels, order }
}

/// Names each cycle by its path, `a -> b -> a`: a needs b, b needs a.
pub(super) fn cycles(flat: &Flat<'_>, needs: &[Vec<usize>], problems: &mut Vec<Problem>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    let mut marks = vec![Mark::New; needs.len()];
    let mut found: Vec<Vec<usize>> = Vec::new();
    for start in 0..needs.len() {
        // Each entry is a step on the current path and how many of its needs were followed.
        let mut path: Vec<(usize, usize)> = Vec::new();
        if marks[start] == Mark::New {
            marks[start] = Mark::OnPath;
            path.push((start, 0));
        }
        while let Some((step, followed)) = path.last_mut() {
            let Some(&need) = needs[*step].get(*followed) else {
                marks[*step] = Mark::Done;
                path.pop();
                continue;
            };
            *followed += 1;
            match marks[need] {
                Mark::Done => {}
                Mark::New => {
                    marks[need] = Mark::OnPath;
                    path.push((need, 0));
                }
                Mark::OnPath => {
                    let begin = path.iter().position(|(step, _)| *step == need).unwrap_or_default();
                    found.push(path[begin..].iter().map(|(step, _)| *step).collect());
                }
            }
        }
    }
    for cycle in found.iter().take(CYCLES_MAX) {
        problems.push(describe(flat, needs, cycle));
    }
    if found.len() > CYCLES_MAX {
        problems.push(Problem::error("spec.steps", "cycle", format!("and {} more cycles", found.len() - CYCLES_MAX)));
    }
}

fn describe(flat: &Flat<'_>, needs: &[Vec<usize>], cycle: &[usize]) -> Problem {
    let first = cycle.iter().enumerate().min_by_key(|(_, step)| **step).map_or(0, |(at, _)| at);
    let rotated: Vec<usize> = cycle[first..].iter().chain(&cycle[..first]).copied().collect();
    let (start, second) = (rotated[0], rotated[1 % rotated.len()]);
    let ids: Vec<&str> = rotated.iter().chain([&start]).map(|&step| flat.vertices[step].id.as_str()).collect();
    let wanted = &flat.vertices[second].id;
    let written = flat.vertices[start].step().map(|step| step.needs.as_slice()).unwrap_or_default();
    let position = written.iter().position(|need| need.step == *wanted).unwrap_or_default();
    debug_assert!(needs[start].contains(&second));
    let path = format!("{}.needs[{position}]", flat.vertices[start].path);
    Problem::error(path, "cycle", format!("steps wait for each other: {}", ids.join(" -> "))).with_hint("remove one of these needs")
}

/// Who comes before whom, answered without keeping it for every pair unless somebody asks for a distant one.
pub(super) struct Ancestors<'a> {
    needs: &'a [Vec<usize>],
    order: &'a [usize],
    sets: Option<Vec<Vec<u64>>>,
}

impl<'a> Ancestors<'a> {
    pub(super) fn new(needs: &'a [Vec<usize>], order: &'a [usize]) -> Self {
        Self { needs, order, sets: None }
    }

    /// True if `step` can only start after `before` ended.
    pub(super) fn precedes(&mut self, before: usize, step: usize) -> bool {
        if self.needs[step].contains(&before) {
            return true;
        }
        let sets = self.sets.get_or_insert_with(|| ancestor_sets(self.needs, self.order));
        sets[step].get(before / 64).is_some_and(|word| word >> (before % 64) & 1 == 1)
    }
}

/// One bit per pair: 12 MB for 10,000 steps, only while the plan is made.
fn ancestor_sets(needs: &[Vec<usize>], order: &[usize]) -> Vec<Vec<u64>> {
    let words = needs.len().div_ceil(64);
    let mut sets = vec![vec![0_u64; words]; needs.len()];
    for &step in order {
        let mut set = std::mem::take(&mut sets[step]);
        for &need in &needs[step] {
            for (word, other) in set.iter_mut().zip(&sets[need]) {
                *word |= other;
            }
            set[need / 64] |= 1 << (need % 64);
        }
        sets[step] = set;
    }
    sets
}
