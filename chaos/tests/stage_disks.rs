//! Disks of a stage are unmounted however the stage ends. The nodes here are none: they only stay, or go.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use quorus_chaos::disk::lossy::mount::unavailable;

/// How long a slow machine may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn stage(folder: &Path, node: &str) -> Child {
    let programs = folder.join("programs");
    fs::create_dir_all(&programs).unwrap();
    for name in ["quorusd", "quorus"] {
        fs::write(programs.join(name), format!("#!/bin/sh\n{node}\n")).unwrap();
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorus-chaos"));
    command.args(["cluster", "up", "--disks", "lossy", "--nodes", "3", "--dir"]).arg(folder.join("stage"));
    command.arg("--bin-dir").arg(programs).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn mounts(folder: &Path) -> usize {
    let here = folder.canonicalize().unwrap().display().to_string();
    fs::read_to_string("/proc/mounts").unwrap().lines().filter(|line| line.contains(&here)).count()
}

fn becomes(folder: &Path, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while mounts(folder) != count {
        assert!(Instant::now() < deadline, "{} mounts instead of {count}", mounts(folder));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_stage_that_is_killed_leaves_no_mount_behind() {
    if let Some(reason) = unavailable() {
        eprintln!("skipped: {reason}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut stage = stage(folder.path(), "exec sleep 1000");
    becomes(folder.path(), 3);
    stage.kill().unwrap();
    stage.wait().unwrap();
    becomes(folder.path(), 0);
}

#[test]
fn a_stage_that_does_not_come_up_leaves_no_mount_behind() {
    if let Some(reason) = unavailable() {
        eprintln!("skipped: {reason}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut stage = stage(folder.path(), "exit 3");
    assert!(!stage.wait().unwrap().success());
    let told = fs::read_to_string(folder.path().join("stage/disk-3.log")).unwrap();
    assert!(told.contains("mounted at"), "{told}");
    becomes(folder.path(), 0);
}
