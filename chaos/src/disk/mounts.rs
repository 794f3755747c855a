//! Mounting and unmounting by system calls.

use std::{ffi::CString, fs, io, os::unix::ffi::OsStrExt as _, path::Path};

use anyhow::Context as _;

/// True if something is mounted at a place, dead or alive.
pub fn mounted_at(at: &Path) -> bool {
    let wanted = at.to_string_lossy().replace(' ', "\\040");
    fs::read_to_string("/proc/mounts").is_ok_and(|mounts| mounts.lines().any(|line| line.split(' ').nth(1) == Some(&wanted)))
}

/// Unmounts what is mounted at a place, also if it is dead or in use; nothing if nothing is.
#[cfg(target_os = "linux")]
pub fn detach(at: &Path) -> anyhow::Result<()> {
    while mounted_at(at) {
        let name = c_path(at)?;
        // SAFETY: a string that lives through the call.
        #[expect(unsafe_code, reason = "the standard library does not unmount")]
        let done = unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH) };
        if done != 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("unmounting {}", at.display()));
        }
    }
    Ok(())
}

/// Mounts a file system in memory, or gives the one that is there another size.
#[cfg(target_os = "linux")]
pub(super) fn mount_tmpfs(at: &Path, bytes: u64, again: bool) -> anyhow::Result<()> {
    let (name, options) = (c_path(at)?, CString::new(format!("size={bytes}"))?);
    let flags = if again { libc::MS_REMOUNT } else { 0 };
    // SAFETY: strings that live through the call.
    #[expect(unsafe_code, reason = "the standard library does not mount")]
    let done = unsafe { libc::mount(c"quorus-full".as_ptr(), name.as_ptr(), c"tmpfs".as_ptr(), flags, options.as_ptr().cast()) };
    if done != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("mounting {bytes} bytes of memory at {}", at.display()));
    }
    Ok(())
}

fn c_path(path: &Path) -> anyhow::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
