//! `quorus-chaos report`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use super::{material::Material, page};

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// A results folder
    pub dir: PathBuf,
}

/// Writes `report.html` again from what the folder holds.
pub fn report(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    anstream::println!("{}", write(&args.dir)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes `report.html` into a results folder.
pub fn write(folder: &Path) -> anyhow::Result<PathBuf> {
    let material = Material::read(folder)?;
    let path = folder.join("report.html");
    fs::write(&path, page::render(&material)).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
