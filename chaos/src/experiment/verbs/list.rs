//! `quorus-chaos list`.

use std::{path::PathBuf, process::ExitCode};

use super::super::{library, read::read};

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// A folder with experiments; without, those that are shipped
    pub folder: Option<PathBuf>,
    /// Only those with this tag; several must all be there
    #[arg(long)]
    pub tag: Vec<String>,
    /// Only the names, one a line, for scripts
    #[arg(long)]
    pub names: bool,
}

/// Lists experiments with titles and tags.
pub fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut entries = library::shipped();
    if let Some(folder) = &args.folder {
        entries = library::in_folder(folder)?;
    }
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in entries {
        let (experiment, _) = read(&entry.text);
        match experiment {
            Some(experiment) if !args.tag.iter().all(|tag| experiment.tags.contains(tag)) => {}
            Some(_) if args.names => anstream::println!("{}", entry.name),
            Some(experiment) => anstream::println!("{:width$}  {}  [{}]", entry.name, experiment.title, experiment.tags.join(", ")),
            None if args.names => {}
            None => anstream::println!("{:width$}  can't be read; see: quorus-chaos validate {}", entry.name, entry.label()),
        }
    }
    Ok(ExitCode::SUCCESS)
}
