//! A lossy disk in the tree of files, served by a process of its own until it is told to quit.
//!
//! **Invariant:** no mount stays behind. The process unmounts when it quits, on SIGTERM and SIGINT; if it is killed, its janitor, a second small process,
//! sees its pipe close and unmounts; and whoever mounts at a place first removes a dead mount that is still there.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        net::{UnixListener, UnixStream},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use fuser::{BackgroundSession, Config, MountOption};
use parking_lot::Mutex;

use super::{
    control::{Answer, Order},
    kernel::Kernel,
    volume::Volume,
};
use crate::disk::{
    chance::Chance,
    mounts::{detach, mounted_at},
};

/// How long a killed process may take to be gone.
const DEATH_PATIENCE: Duration = Duration::from_secs(20);

/// Why this machine can't mount a lossy disk, if it can't: such a fault is skipped, with this as the reason.
pub fn unavailable() -> Option<String> {
    if let Err(error) = fs::File::options().read(true).write(true).open("/dev/fuse") {
        return Some(format!("/dev/fuse can't be opened ({error}); load the module fuse and run as root"));
    }
    // SAFETY: takes and touches nothing.
    #[expect(unsafe_code, reason = "the standard library does not tell who runs this process")]
    let user = unsafe { libc::geteuid() };
    (user != 0).then(|| "mounting needs root".to_owned())
}

/// A mounted disk. Dropping it unmounts.
pub struct Mounted {
    volume: Arc<Mutex<Volume>>,
    session: Option<BackgroundSession>,
    at: PathBuf,
}

impl Mounted {
    /// Mounts the disk that is kept in `backing` at the folder `at`; both are made if they are not there.
    pub fn new(backing: &Path, at: &Path) -> anyhow::Result<Self> {
        if let Some(reason) = unavailable() {
            bail!("can't mount: {reason}");
        }
        // A dead mount can't even be looked at, so this comes first.
        detach(at).with_context(|| format!("removing the dead mount at {}", at.display()))?;
        fs::create_dir_all(at).with_context(|| format!("making {}", at.display()))?;
        let volume = Volume::open(backing).with_context(|| format!("opening the backing folder {}", backing.display()))?;
        let volume = Arc::new(Mutex::new(volume));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("quorus-lossy".to_owned()), MountOption::DefaultPermissions, MountOption::NoAtime];
        let session =
            fuser::spawn_mount(Kernel::new(volume.clone()), at, &config).with_context(|| format!("mounting at {}", at.display()))?;
        Ok(Self { volume, session: Some(session), at: at.to_owned() })
    }

    /// Follows an order. [`Order::Quit`] is the caller's business.
    pub fn follow(&self, order: &Order) -> Answer {
        let lost = match order {
            Order::PowerLoss { keep, torn, seed, kill } => {
                self.volume.lock().power_off();
                let died = kill.as_ref().map_or(Ok(()), |pid| kill_and_wait(*pid));
                let mut volume = self.volume.lock();
                let lost = died.and_then(|()| Ok(volume.lose_power(*keep, *torn, &mut Chance::new(*seed))?));
                if kill.is_some() && lost.is_ok() {
                    volume.power_on();
                }
                lost
            }
            Order::PowerOn => {
                self.volume.lock().power_on();
                Ok(Default::default())
            }
            Order::Faults(faults) => {
                self.volume.lock().faults = *faults;
                Ok(Default::default())
            }
            Order::Show | Order::Quit => Ok(Default::default()),
        };
        let volume = self.volume.lock();
        let answer = Answer { used: volume.used(), faults: volume.faults, ..Answer::default() };
        match lost {
            Ok(lost) => Answer { files_lost: lost.files, changes_lost: lost.changes, names_lost: lost.names, ..answer },
            Err(error) => Answer { error: format!("{error:#}"), ..answer },
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Detached first: a process that still has files open there must not keep this one from ending.
        let _ = detach(&self.at);
        drop(self.session.take());
    }
}

#[expect(unsafe_code, reason = "the standard library can only kill children of this process")]
fn kill_and_wait(pid: u32) -> anyhow::Result<()> {
    let number = i32::try_from(pid).ok().filter(|pid| *pid > 1).with_context(|| format!("{pid} is not a process"))?;
    // SAFETY: sends a signal, touches no memory; the number is above 1, so that it means one process.
    if unsafe { libc::kill(number, libc::SIGKILL) } != 0 {
        let error = std::io::Error::last_os_error();
        // It may have ended by itself because of the disk.
        if error.raw_os_error() != Some(libc::ESRCH) {
            return Err(error).with_context(|| format!("killing process {pid}"));
        }
    }
    let deadline = Instant::now() + DEATH_PATIENCE;
    while alive(number) {
        if Instant::now() > deadline {
            bail!("process {pid} is still there {} s after it was killed", DEATH_PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// False for zombies, too, if no thread is left: they write nothing any more.
fn alive(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let leader_dead = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']));
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    !leader_dead || threads > 1
}

/// Mounts, serves orders at `socket`, and unmounts when told to quit or when a signal asks for it.
pub fn serve(backing: &Path, at: &Path, socket: &Path) -> anyhow::Result<()> {
    let mounted = Arc::new(Mounted::new(backing, at)?);
    let _janitor = Janitor::start(at)?;
    // A socket of a process that is gone would be in the way.
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket).with_context(|| format!("listening at {}", socket.display()))?;
    let (quit, quits) = channel();
    ask_for_signals(quit.clone())?;
    let serving = mounted.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (serving, quit) = (serving.clone(), quit.clone());
            thread::spawn(move || talk(&serving, stream, &quit));
        }
    });
    anstream::println!("mounted at {}", at.display());
    // Ends when anyone asks; the senders live as long as this process.
    let _ = quits.recv();
    let _ = fs::remove_file(socket);
    // Others may hold the disk in a talk; what counts is that the mount goes.
    detach(at)?;
    Ok(())
}

fn talk(mounted: &Mounted, stream: UnixStream, quit: &Sender<()>) {
    let Ok(mut writing) = stream.try_clone() else { return };
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let order = serde_json::from_str::<Order>(&line);
        let answer = match &order {
            Ok(order) => mounted.follow(order),
            Err(error) => Answer { error: format!("not an order: {error}"), ..Answer::default() },
        };
        let text = serde_json::to_string(&answer).unwrap_or_default();
        if writing.write_all(format!("{text}\n").as_bytes()).is_err() {
            return;
        }
        if matches!(order, Ok(Order::Quit)) {
            let _ = quit.send(());
        }
    }
}

/// SIGTERM and SIGINT ask the process to quit.
fn ask_for_signals(quit: Sender<()>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut terms = {
        let _inside = runtime.enter();
        use tokio::signal::unix::{SignalKind, signal};
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terms.0.recv() => {}
                _ = terms.1.recv() => {}
            }
        });
        let _ = quit.send(());
    });
    Ok(())
}

/// A process that outlives this one just long enough to unmount.
struct Janitor;

impl Janitor {
    fn start(at: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args(["disk", "janitor", "--at"]).arg(at);
        // Its own group, so that a Ctrl-C does not end it before its time. Its input closes when this process ends, however that happens.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().context("starting the process that unmounts if this one is killed")?;
        let pipe = child.stdin.take().context("the janitor has no input")?;
        // Held until the process ends, by design.
        std::mem::forget(pipe);
        thread::spawn(move || child.wait());
        Ok(Self)
    }
}

/// What the janitor does: waits for the end of its input, then unmounts.
pub fn janitor(at: &Path) -> anyhow::Result<()> {
    // Nothing is ever written; an error means the same as the end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    if mounted_at(at) { detach(at) } else { Ok(()) }
}
