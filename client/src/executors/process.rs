//! A child process with its own process group: what it starts dies with it.
//!
//! The group is what is signalled, so that the children of a shell stop, too. When the value is dropped before the process was waited for
//! (the worker drops an attempt that does not stop in time) the group is killed. When the worker itself is killed, the kernel kills the
//! process (on Linux), because an attempt must not outlive whoever holds its lease. The kernel takes the end of the *thread* that started
//! the process for its parent's, so processes are started on the runtime's own threads, which live as long as it does.

use std::{io, process::ExitStatus};

use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// A running process. See the module.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: libc::pid_t,
}

impl Process {
    /// Starts the command in a group of its own.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        command.process_group(0).kill_on_drop(true);
        die_with_parent(command);
        let child = command.spawn()?;
        // A child that has not been waited for has an id.
        let group = child.id().and_then(|id| libc::pid_t::try_from(id).ok()).ok_or_else(|| io::Error::other("the process has no id"))?;
        Ok(Self { child, group })
    }

    pub(super) fn pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take())
    }

    /// Waits for the process itself; what it left behind in its group goes on.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the whole group to stop.
    pub(super) fn terminate(&self) {
        signal(self.group, libc::SIGTERM);
    }

    /// Stops the whole group.
    pub(super) fn kill(&self) {
        signal(self.group, libc::SIGKILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[expect(unsafe_code, reason = "std can't signal a group; kill(2) takes no pointers and fails harmlessly if the group is gone")]
fn signal(group: libc::pid_t, signal: libc::c_int) {
    // SAFETY: no memory is passed. The group id is that of a child of ours, above 1, so that neither every process nor our own group is meant.
    unsafe {
        libc::kill(-group, signal);
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "only code between fork and exec can ask the kernel for this")]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: the closure runs in the child between fork and exec; it makes only async-signal-safe calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the request.
            if libc::getppid().unsigned_abs() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}
