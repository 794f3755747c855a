//! `quorus-chaos validate`.

use std::{path::PathBuf, process::ExitCode};

use super::super::{library, read};

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    /// Files, or names of shipped experiments
    #[arg(required = true)]
    pub experiments: Vec<PathBuf>,
    /// Warnings count as errors
    #[arg(long)]
    pub strict: bool,
}

/// Prints all remarks about files. 0 if there is no error, else 1.
pub fn validate(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let mut good = true;
    for path in &args.experiments {
        let name = path.display().to_string();
        let shipped = library::SHIPPED.iter().find(|(shipped, _)| *shipped == name && !path.exists());
        let (experiment, findings) = shipped.map_or_else(|| read::read_file(path), |(_, text)| read::read(text));
        anstream::eprint!("{}", findings.render(&name));
        good &= if args.strict { findings.list.is_empty() } else { !findings.has_errors() };
        if let Some(experiment) = experiment {
            anstream::println!("{name}: ok: {}", experiment.title);
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
