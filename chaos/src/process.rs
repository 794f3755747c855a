//! A real process that dies with this one, by `kill -9` when asked.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// The programs under test.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The node.
    pub quorusd: PathBuf,
    /// The client and worker.
    pub quorus: PathBuf,
}

impl Programs {
    /// Takes the programs that were built beside this one, under names of its own in `folder`: a build in the meantime can't change them.
    pub fn borrow_into(folder: &Path) -> anyhow::Result<Self> {
        let this = std::env::current_exe().context("finding this program")?;
        Self::borrow_from(this.parent().context("finding the folder of this program")?, folder)
    }

    /// The same with programs from another folder.
    pub fn borrow_from(built: &Path, folder: &Path) -> anyhow::Result<Self> {
        let borrow = |name: &str| {
            let (from, to) = (built.join(name), folder.join(name));
            if !from.exists() {
                bail!("{} is not built; run: cargo build --workspace --locked --bins", from.display());
            }
            // An older one, of an earlier life of the folder.
            if to.exists() {
                std::fs::remove_file(&to).with_context(|| format!("replacing {}", to.display()))?;
            }
            // A link costs nothing, but does not cross file systems.
            if std::fs::hard_link(&from, &to).is_err() {
                std::fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
            }
            Ok(to)
        };
        Ok(Self { quorusd: borrow("quorusd")?, quorus: borrow("quorus")? })
    }
}

/// A child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
}

impl Process {
    /// Starts a command; what it writes goes to the end of a log file.
    pub fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("opening {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // Its own process group: a Ctrl-C at the terminal is this process's business alone.
        command.process_group(0).kill_on_drop(true);
        die_with_parent(&mut command);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        let pid = child.id().with_context(|| format!("{name} ended at once"))?;
        Ok(Self { name: name.to_owned(), child, pid })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Fails if it has ended by itself.
    pub fn must_live(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself: {status}", self.name),
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        send(self.child.id().with_context(|| format!("{} has ended", self.name))?, signal)
            .with_context(|| format!("signalling {}", self.name))
    }

    /// Kills it with signal 9: no handler runs, nothing is flushed.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("killing {}", self.name))
    }

    /// Asks it to stop, and kills it after `patience`. True if it stopped in order.
    pub async fn stop(mut self, patience: Duration) -> anyhow::Result<bool> {
        // One that is paused could not hear that it is asked to stop.
        for signal in [Signal::Stop, Signal::Continue] {
            // It has ended already: that is what is waited for.
            let _ = self.signal(signal);
        }
        match timeout(patience, self.child.wait()).await {
            Ok(status) => Ok(status?.success()),
            Err(_) => {
                self.child.kill().await?;
                Ok(false)
            }
        }
    }
}

/// What a process can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End now: SIGKILL.
    Kill,
    /// End in order: SIGTERM.
    Stop,
    /// Stand still: SIGSTOP.
    Pause,
    /// Go on: SIGCONT.
    Continue,
}

/// Sends a signal to a process that somebody else started.
#[expect(unsafe_code, reason = "the standard library can only kill its own children")]
pub fn send(pid: u32, signal: Signal) -> std::io::Result<()> {
    let number = match signal {
        Signal::Kill => libc::SIGKILL,
        Signal::Stop => libc::SIGTERM,
        Signal::Pause => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
    };
    // 0 and negative numbers mean groups of processes.
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
    // SAFETY: kill touches no memory of this process.
    if unsafe { libc::kill(pid, number) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Makes the kernel kill the child when the thread that starts it ends, however it ends. Start processes from the main thread.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "only between fork and exec can a process ask for this")]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let ask = move || {
        // SAFETY: prctl and getppid are async-signal-safe and touch no memory of this process.
        let (asked, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        if asked == 0 && u32::try_from(now) == Ok(parent) { Ok(()) } else { Err(std::io::Error::other("the parent is gone")) }
    };
    // SAFETY: the closure allocates nothing unless it fails, and takes no locks.
    unsafe { command.pre_exec(ask) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}
