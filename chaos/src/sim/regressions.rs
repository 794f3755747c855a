//! Seeds that found a bug once. They are played again by everybody who changes something.

use anyhow::Context as _;

use super::command::Args;

/// Seed, simulated minutes, what was violated, commit; `#` begins a comment.
const LIST: &str = include_str!("regressions.txt");

/// A run of each of them, otherwise as `args` say.
///
/// # Errors
/// If the list can't be read.
pub(super) fn wanted(args: &Args) -> anyhow::Result<Vec<Args>> {
    let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (seed, minutes) = words.next().zip(words.next()).with_context(|| format!("a seed without minutes: `{line}`"))?;
            Ok(args.of_seed(seed.parse()?, minutes.parse()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn every_line_can_be_played() {
        let args = Line::parse_from(["sim", "--regressions"]).args;
        let wanted = wanted(&args).unwrap();
        let listed = LIST.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).count();
        assert_eq!(wanted.len(), listed);
        assert!(Line::try_parse_from(["sim", "--regressions", "--seed", "3"]).is_err());
    }
}
