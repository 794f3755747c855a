//! Who is meant: `2`, `1,3`, `leader`, `leader:5`, `follower:5`, `leader-of-run:ID`, `random`, `random:2`, `minority`, `all`.

use std::{collections::BTreeMap, str::FromStr};

use anyhow::{Context as _, bail};

use super::dice::Dice;

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Those with these numbers.
    These(Vec<u64>),
    /// The leader of a shard; of one that chance picks if there is no number.
    Leader(Option<u32>),
    /// One that chance picks of those that do not lead a shard.
    Follower(u32),
    /// The leader of the shard that a run is on.
    LeaderOfRun(String),
    /// So many, by chance.
    Random(usize),
    /// The largest number that can be missed, by chance.
    Minority,
    /// All.
    All,
}

/// What is known about those that can be meant.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Their numbers.
    pub all: Vec<u64>,
    /// Leaders by shard, as far as they are known.
    pub leaders: BTreeMap<u32, u64>,
    /// The shard of the run that a selector names.
    pub shard_of_run: Option<u32>,
}

impl FromStr for Selector {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (word, rest) = text.split_once(':').map_or((text, None), |(word, rest)| (word, Some(rest)));
        let number = |rest: &str| rest.parse::<u32>().with_context(|| format!("`{rest}` in `{text}` is no number"));
        Ok(match (word, rest) {
            ("all", None) => Self::All,
            ("minority", None) => Self::Minority,
            ("random", None) => Self::Random(1),
            ("random", Some(count)) => Self::Random(usize::try_from(number(count)?)?),
            ("leader", None) => Self::Leader(None),
            ("leader", Some(shard)) => Self::Leader(Some(number(shard)?)),
            ("follower", Some(shard)) => Self::Follower(number(shard)?),
            ("leader-of-run", Some(run)) if !run.is_empty() => Self::LeaderOfRun(run.to_owned()),
            _ => {
                let numbers = text.split(',').map(|one| one.trim().trim_start_matches("node-").trim_start_matches("worker-").parse());
                Self::These(numbers.collect::<Result<_, _>>().map_err(|_| {
                    anyhow::anyhow!("`{text}` names nobody; write 2, 1,3, leader, leader:5, follower:5, leader-of-run:ID, random, random:2, minority, or all")
                })?)
            }
        })
    }
}

impl Selector {
    /// Who that is, in rising order.
    pub fn choose(&self, known: &Known, dice: &mut Dice) -> anyhow::Result<Vec<u64>> {
        let leader = |shard: u32| known.leaders.get(&shard).copied().with_context(|| format!("shard {shard} has no known leader"));
        let mut chosen = match self {
            Self::These(these) => {
                if let Some(unknown) = these.iter().find(|one| !known.all.contains(one)) {
                    bail!("there is no number {unknown}; there are {:?}", known.all);
                }
                these.clone()
            }
            Self::Leader(Some(shard)) => vec![leader(*shard)?],
            Self::Leader(None) => {
                // Shard 0 is the system group: people mean the shards that have runs.
                let shards: Vec<u32> = known.leaders.keys().copied().filter(|shard| *shard > 0).collect();
                vec![leader(*dice.pick(&shards).context("no shard has a known leader")?)?]
            }
            Self::Follower(shard) => {
                let leader = leader(*shard)?;
                let others: Vec<u64> = known.all.iter().copied().filter(|one| *one != leader).collect();
                vec![*dice.pick(&others).context("nobody but the leader is there")?]
            }
            Self::LeaderOfRun(run) => vec![leader(known.shard_of_run.with_context(|| format!("the shard of run {run} is not known"))?)?],
            Self::Random(count) => dice.some(&known.all, *count),
            Self::Minority => dice.some(&known.all, minority(known.all.len())),
            Self::All => known.all.clone(),
        };
        chosen.sort_unstable();
        chosen.dedup();
        if chosen.is_empty() {
            bail!("{self:?} chooses nobody of {:?}", known.all);
        }
        Ok(chosen)
    }
}

/// How many of `count` nodes can be missed.
pub fn minority(count: usize) -> usize {
    count.saturating_sub(1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(text: &str) -> anyhow::Result<Vec<u64>> {
        let known = Known { all: vec![1, 2, 3, 4, 5], leaders: BTreeMap::from([(0, 1), (7, 3)]), shard_of_run: Some(7) };
        text.parse::<Selector>()?.choose(&known, &mut Dice::new(1))
    }

    #[test]
    fn selectors_find_whom_they_name() {
        assert_eq!(choose("2").unwrap(), [2]);
        assert_eq!(choose("3,node-1,3").unwrap(), [1, 3]);
        assert_eq!(choose("leader:0").unwrap(), [1]);
        assert_eq!(choose("leader").unwrap(), [3], "the system group is only taken when it is named");
        assert_eq!(choose("leader-of-run:r").unwrap(), [3]);
        assert_eq!(choose("minority").unwrap().len(), 2);
        assert_eq!(choose("random:4").unwrap().len(), 4);
        assert_eq!(choose("all").unwrap(), [1, 2, 3, 4, 5]);
        assert_ne!(choose("follower:7").unwrap(), [3]);
    }

    #[test]
    fn who_is_not_there_is_not_found() {
        for (text, part) in [
            ("6", "no number 6"),
            ("leader:8", "no known leader"),
            ("leader:x", "no number"),
            ("somebody", "names nobody"),
            ("", "names nobody"),
        ] {
            let error = format!("{:#}", choose(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_minority_leaves_a_majority() {
        assert_eq!([1, 2, 3, 4, 5, 7].map(minority), [0, 0, 1, 1, 2, 3]);
    }
}
