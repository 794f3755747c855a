//! A full disk, cheaply: a small file system in memory under a node's data folder, made larger when the fault is over.
//!
//! The bytes are the machine's memory, so keep it small. Needs root; where mounting is not possible the fault is skipped with the reason.

use std::{fs, io, path::Path};

use anyhow::{Context as _, bail};

use super::mounts::{detach, mount_tmpfs, mounted_at};

/// Mounts `bytes` of memory at a folder, which is made if it is not there.
pub fn mount(at: &Path, bytes: u64) -> anyhow::Result<()> {
    if mounted_at(at) {
        bail!("something is mounted at {} already; use resize, or unmount it", at.display());
    }
    fs::create_dir_all(at).with_context(|| format!("making {}", at.display()))?;
    mount_tmpfs(at, bytes, false)
}

/// Gives it another size; what is in it stays. A size below what is used leaves it full.
pub fn resize(at: &Path, bytes: u64) -> anyhow::Result<()> {
    if !mounted_at(at) {
        bail!("nothing is mounted at {}", at.display());
    }
    mount_tmpfs(at, bytes, true)
}

/// Unmounts it; what was in it is gone.
pub fn unmount(at: &Path) -> anyhow::Result<()> {
    detach(at)
}

/// Fills whatever is mounted at a folder, but for `leave` bytes, with one file. The size of the file is returned; removing it is the healing.
pub fn fill(at: &Path, leave: u64) -> anyhow::Result<u64> {
    use io::Write as _;
    let path = at.join(BALLAST);
    let mut file = fs::File::create(&path).with_context(|| format!("making {}", path.display()))?;
    let block = vec![0xa5_u8; 64 << 10];
    let mut size = 0;
    loop {
        match file.write(&block) {
            Ok(0) => break,
            Ok(written) => size += written as u64,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
            Err(error) => return Err(error).with_context(|| format!("filling {}", path.display())),
        }
    }
    size = size.saturating_sub(leave);
    file.set_len(size)?;
    Ok(size)
}

/// Removes what [`fill`] made.
pub fn drain(at: &Path) -> anyhow::Result<()> {
    fs::remove_file(at.join(BALLAST)).with_context(|| format!("removing the ballast in {}", at.display()))
}

/// The file that takes the space.
const BALLAST: &str = "quorus-chaos-ballast";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::lossy::mount::unavailable;

    #[test]
    fn a_small_disk_is_full_until_it_is_made_larger() {
        if let Some(reason) = unavailable() {
            eprintln!("skipped: {reason}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("disk");
        mount(&at, 1 << 20).unwrap();
        let full = fs::write(at.join("big"), vec![1; 2 << 20]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        resize(&at, 8 << 20).unwrap();
        fs::write(at.join("big"), vec![1; 2 << 20]).unwrap();
        let taken = fill(&at, 128 << 10).unwrap();
        assert!(taken > 5 << 20, "{taken}");
        fs::write(at.join("small"), vec![1; 64 << 10]).unwrap();
        fs::write(at.join("more"), vec![1; 256 << 10]).unwrap_err();
        drain(&at).unwrap();
        fs::write(at.join("more"), vec![1; 256 << 10]).unwrap();
        unmount(&at).unwrap();
        assert!(!mounted_at(&at) && fs::read_dir(&at).unwrap().next().is_none());
    }
}
