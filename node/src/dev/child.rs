//! One node as a child process: started, followed line by line, stopped.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    process::{ExitStatus, Stdio},
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{Options, console, layout::Place};

/// How nodes log here unless somebody says otherwise: their output is a pipe, but people read it; and they need not read of every election.
const LOG_DEFAULTS: [(&str, &str); 2] = [("QUORUS_LOG_FORMAT", "human"), ("RUST_LOG", "info,quorus_raft=warn,quorus_node::leader=warn")];

/// A child's end.
#[derive(Debug)]
pub(super) struct Exited {
    pub id: u16,
    pub status: std::io::Result<ExitStatus>,
}

/// How children are stopped: in order, or at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop {
    pub in_order: CancellationToken,
    pub at_once: CancellationToken,
}

/// Starts a node. Its end is told on `exits`. Returns its process id.
pub(super) fn start(
    place: &Place,
    peers: &str,
    options: &Options,
    stop: &Stop,
    exits: &mpsc::UnboundedSender<Exited>,
) -> anyhow::Result<u32> {
    let program = std::env::current_exe().context("finding the program of this process")?;
    let mut command = Command::new(program);
    command
        .arg("serve")
        .args(["--node-id", &place.id.to_string(), "--peers", peers, "--bootstrap-expect", &options.nodes.to_string()])
        .args(["--listen", &place.grpc.to_string(), "--http-listen", &place.http.to_string()])
        .arg("--data-dir")
        .arg(&place.data)
        .args(defaults(&options.flags))
        .args(&options.flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own process group: Ctrl-C comes to this process alone, which then stops the children in order.
        .process_group(0);
    if !options.quiet && anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never {
        command.env("CLICOLOR_FORCE", "1");
    }
    for (name, text) in LOG_DEFAULTS {
        if std::env::var_os(name).is_none() {
            command.env(name, text);
        }
    }
    die_with_parent(&mut command);
    let mut child = command.spawn().context("starting a node")?;
    let pid = child.id().context("the node ended at once")?;
    let log = OpenOptions::new().create(true).append(true).open(&place.log).with_context(|| format!("opening {}", place.log.display()))?;
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(follow(stdout, place.id, log.try_clone()?, options.quiet));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(follow(stderr, place.id, log, options.quiet));
    }
    tokio::spawn(watch(child, place.id, stop.clone(), exits.clone()));
    Ok(pid)
}

/// Makes the kernel kill the child when this process ends, however it ends.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "only between fork and exec can a process ask for this")]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let ask = move || {
        // SAFETY: prctl and getppid are async-signal-safe and touch no memory of this process.
        let (asked, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        // The parent may have died before the kernel was asked.
        if asked == 0 && u32::try_from(now) == Ok(parent) { Ok(()) } else { Err(std::io::Error::other("the parent is gone")) }
    };
    // SAFETY: the closure allocates nothing unless it fails, and takes no locks.
    unsafe { command.pre_exec(ask) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(command: &mut Command) {
    command.kill_on_drop(true);
}

/// Copies a node's output to its log file and, unless it is to be quiet, to the terminal.
async fn follow(output: impl AsyncRead + Unpin, id: u16, mut log: File, quiet: bool) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // A full disk must not block the node's output, which would block the node.
        let _ = writeln!(log, "{}", anstream::adapter::strip_str(&line));
        if !quiet {
            console::log_line(id, &line);
        }
    }
}

async fn watch(mut child: Child, id: u16, stop: Stop, exits: mpsc::UnboundedSender<Exited>) {
    let ended = tokio::select! {
        status = child.wait() => Some(status),
        () = stop.in_order.cancelled() => None,
    };
    let status = match ended {
        Some(status) => status,
        None => {
            terminate(&child);
            tokio::select! {
                status = child.wait() => status,
                () = stop.at_once.cancelled() => match child.start_kill() {
                    Ok(()) => child.wait().await,
                    Err(error) => Err(error),
                },
            }
        }
    };
    // Nobody listens any more: then nobody minds.
    let _ = exits.send(Exited { id, status });
}

#[expect(unsafe_code, reason = "the standard library can only kill, not ask")]
fn terminate(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // SAFETY: the child was not waited for yet, so that the id is still its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}

/// What differs from a cluster for work: what people try things with runs on the same machine, and nobody there vouches for them. Flags of the
/// caller win.
fn defaults(flags: &[String]) -> Vec<&'static str> {
    const DEFAULTS: [[&str; 2]; 2] = [["--http-allow-private", "127.0.0.0/8,::1/128"], ["--unverified-approvals", "allow"]];
    let is_given = |name: &str| flags.iter().any(|flag| flag == name || flag.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
    DEFAULTS.into_iter().filter(|[name, _]| !is_given(name)).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_of_the_caller_takes_the_place_of_a_default() {
        let with = |flags: &[&str]| defaults(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
        assert_eq!(with(&[]), ["--http-allow-private", "127.0.0.0/8,::1/128", "--unverified-approvals", "allow"]);
        assert_eq!(with(&["--unverified-approvals=refuse"]), ["--http-allow-private", "127.0.0.0/8,::1/128"]);
        assert_eq!(with(&["--unverified-approvals", "refuse", "--http-allow-private", "10.0.0.0/8"]), [""; 0]);
    }
}
