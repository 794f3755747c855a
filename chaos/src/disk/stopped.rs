//! A data folder that no node has open. Damage is only done to such: under a running node it would test the page cache, not the node.

use std::{fs::File, os::fd::AsRawFd as _, path::Path};

use anyhow::{Context as _, bail};

/// Fails if a node has the folder open: RocksDB holds a lock as long as it lives.
pub(super) fn must_be_stopped(data_dir: &Path) -> anyhow::Result<()> {
    let path = data_dir.join("db").join("LOCK");
    let file = match File::options().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
    };
    if holder(&file)? != 0 {
        bail!("a node has {} open; stop it first", data_dir.display());
    }
    Ok(())
}

/// Process id of whoever holds a lock on a file, or 0.
#[expect(unsafe_code, reason = "the standard library does not ask for POSIX locks")]
fn holder(file: &File) -> anyhow::Result<i32> {
    // SAFETY: zero is a value of each field; the struct lives through the call, which fills it.
    let lock = unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = libc::F_WRLCK as libc::c_short;
        if libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut lock) != 0 {
            return Err(std::io::Error::last_os_error()).context("asking who holds the lock");
        }
        lock
    };
    Ok(if lock.l_type == libc::F_UNLCK as libc::c_short { 0 } else { lock.l_pid.max(1) })
}
