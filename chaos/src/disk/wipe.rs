//! A node that lost its data folder: everything in it is removed while the node is stopped; the folder itself stays, since it may be a mount.
//!
//! What follows is the product's business. A node must not come back under its old id with an empty folder, having forgotten its votes.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};

use super::stopped::must_be_stopped;

/// Removes everything in a stopped node's data folder. Tells how many entries there were.
pub fn wipe(data_dir: &Path) -> anyhow::Result<usize> {
    must_be_stopped(data_dir)?;
    if !data_dir.join("db").join("CURRENT").exists() {
        bail!("{} is not a node's data folder; nothing was removed", data_dir.display());
    }
    let mut removed = 0;
    for entry in fs::read_dir(data_dir)? {
        let path = entry?.path();
        let done = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        done.with_context(|| format!("removing {}", path.display()))?;
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_data_folder_is_wiped() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("db")).unwrap();
        fs::write(folder.path().join("db/precious"), "x").unwrap();
        wipe(folder.path()).unwrap_err();
        assert!(folder.path().join("db/precious").exists());
        fs::write(folder.path().join("db/CURRENT"), "MANIFEST-000001\n").unwrap();
        fs::write(folder.path().join("lines"), "x").unwrap();
        assert_eq!(wipe(folder.path()).unwrap(), 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
