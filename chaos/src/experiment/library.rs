//! The experiments that are shipped inside of the program, and those in folders.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

macro_rules! shipped {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../../experiments/", $name, ".json")))),*] };
}

/// Experiments that are shipped, by name.
pub const SHIPPED: &[(&str, &str)] = shipped![
    "all-nodes-at-once",
    "bit-flip",
    "cable-pulled",
    "clock-jump",
    "disk-full",
    "disk-slow",
    "follower-kill",
    "graceful-drain",
    "leader-isolated",
    "leader-kill",
    "leader-kill-repeated",
    "misbehaving-workers",
    "one-way-partition",
    "overload",
    "partial-partition",
    "paused-leader",
    "power-loss-everywhere",
    "random-nemesis",
    "random-nemesis-disks",
    "rolling-restart",
    "slow-links",
    "stalled-link",
    "worker-cut-off",
    "worker-kill",
    "worker-paused-beyond-lease",
];

/// An experiment that can be run.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name: that of the file without its ending.
    pub name: String,
    /// The file, unless it is shipped.
    pub path: Option<PathBuf>,
    /// What it says.
    pub text: Cow<'static, str>,
}

impl Entry {
    /// How messages name it.
    pub fn label(&self) -> String {
        self.path.as_ref().map_or_else(|| format!("{} (shipped)", self.name), |path| path.display().to_string())
    }
}

/// All shipped experiments.
pub fn shipped() -> Vec<Entry> {
    SHIPPED.iter().map(|(name, text)| Entry { name: (*name).to_owned(), path: None, text: Cow::Borrowed(text) }).collect()
}

/// All files in a folder that may be experiments.
pub fn in_folder(folder: &Path) -> anyhow::Result<Vec<Entry>> {
    let mut paths = Vec::new();
    for file in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = file?.path();
        if path.extension().is_some_and(|end| ["json", "yaml", "yml"].iter().any(|known| end == *known)) {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| from_file(path)).collect()
}

/// A file, or a shipped experiment by its name.
pub fn find(name: &str) -> anyhow::Result<Entry> {
    let path = Path::new(name);
    if path.is_file() {
        return from_file(path);
    }
    if let Some((name, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        return Ok(Entry { name: (*name).to_owned(), path: None, text: Cow::Borrowed(text) });
    }
    let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    bail!("there is no file and no shipped experiment `{name}`; shipped are: {}", names.join(", "))
}

fn from_file(path: &Path) -> anyhow::Result<Entry> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Entry { name, path: Some(path.to_owned()), text: Cow::Owned(text) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        super::{model::Provider, read::read},
        *,
    };

    #[test]
    fn every_shipped_experiment_is_read_without_a_remark_and_says_what_it_risks() {
        for entry in shipped() {
            let (experiment, findings) = read(&entry.text);
            assert!(findings.list.is_empty(), "{}", findings.render(&entry.name));
            let experiment = experiment.unwrap();
            let day = &experiment.game_day;
            assert!(!day.blast_radius.is_empty() && !day.abort_conditions.is_empty(), "{}", entry.name);
            assert!(experiment.hypothesis.is_some() && !experiment.rollbacks.is_empty() && !experiment.tags.is_empty(), "{}", entry.name);
            assert!(!day.expects.is_empty(), "{} proves nothing about its coverage", entry.name);
            for activity in experiment.method.iter().chain(&experiment.rollbacks) {
                let Provider::Process { path, .. } = &activity.provider else { panic!("{}: {} is no process", entry.name, activity.name) };
                assert_eq!(path, "quorus-chaos", "{}: {}", entry.name, activity.name);
                assert!(!activity.timeout.is_null(), "{}: {} has no bound", entry.name, activity.name);
            }
        }
    }

    #[test]
    fn all_files_of_the_folder_are_shipped_and_can_be_found() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
        let files: BTreeSet<String> = in_folder(&folder).unwrap().into_iter().map(|entry| entry.name).collect();
        let names: BTreeSet<String> = shipped().into_iter().map(|entry| entry.name).collect();
        assert_eq!(files, names);
        assert!(names.len() >= 14, "{names:?}");
        assert_eq!(find("leader-kill").unwrap().path, None);
        assert!(find("no-such").unwrap_err().to_string().contains("leader-kill"));
    }
}
