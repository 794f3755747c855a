//! Seeds that caught a mutant once: tried first, so that the whole table takes little time.
//!
//! A line of `seeds.txt` is a mutant, a seed and how many minutes are simulated. A change of the product or of the simulation may move them; then the
//! table says so, seeds are searched, and `--record` writes the file anew.

use anyhow::{Context as _, bail};
use quorus_mutants::Mutant;

/// A seed that caught a mutant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Recorded {
    pub(super) mutant: Mutant,
    pub(super) seed: u64,
    pub(super) minutes: f64,
}

/// All that are known.
pub(super) fn all() -> anyhow::Result<Vec<Recorded>> {
    include_str!("seeds.txt").lines().map(|line| read(line).with_context(|| format!("chaos/src/mutants/seeds.txt: {line:?}"))).collect()
}

fn read(line: &str) -> anyhow::Result<Recorded> {
    let [name, seed, minutes] = line.split_whitespace().collect::<Vec<_>>()[..] else { bail!("expected a mutant, a seed and minutes") };
    let mutant = Mutant::named(name).context("there is no such mutant")?;
    Ok(Recorded { mutant, seed: seed.parse()?, minutes: minutes.parse()? })
}

/// A line of the file.
pub(super) fn line(recorded: &Recorded) -> String {
    format!("{} {} {}\n", recorded.mutant.name(), recorded.seed, recorded.minutes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_recorded_seed_is_of_another_mutant_and_is_written_as_it_is_read() {
        let all = all().unwrap();
        assert_eq!(all.iter().map(|recorded| recorded.mutant).collect::<BTreeSet<_>>().len(), all.len());
        for recorded in all {
            assert_eq!(read(&line(&recorded)).unwrap(), recorded);
        }
    }
}
