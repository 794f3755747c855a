//! `quorus-chaos disk` and `quorus-chaos clock`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::{
    clock,
    flip::{self, Damage, FileKind},
    full,
    lossy::{
        control::{Order, order},
        faults::Faults,
        keep::Keep,
        mount,
    },
    trial, wipe,
};

/// Arguments of `disk`.
#[derive(Debug, Args)]
pub struct DiskArgs {
    #[command(subcommand)]
    action: DiskAction,
}

#[derive(Debug, Subcommand)]
enum DiskAction {
    /// Mounts a disk that can lose power, and serves it until told to quit (FUSE; needs root)
    Mount {
        /// Folder that keeps the disk's content
        #[arg(long)]
        backing: PathBuf,
        /// Where to mount it: the node's data folder
        #[arg(long)]
        at: PathBuf,
        /// Socket to listen at for orders
        #[arg(long)]
        control: PathBuf,
    },
    /// Unmounts a place once standard input closes
    #[command(hide = true)]
    Janitor {
        #[arg(long)]
        at: PathBuf,
    },
    /// Takes what was not synced
    PowerLoss {
        #[command(flatten)]
        at: At,
        /// What is kept of it: nothing, prefix, everything, or a percentage of the writes
        #[arg(long, default_value = "nothing")]
        keep: Keep,
        /// Keeps writes in part, in sectors of 512 bytes
        #[arg(long)]
        torn: bool,
        /// Of the choices
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Process that dies in the same moment; the disk then has power again. Without, use power-on
        #[arg(long)]
        kill: Option<u32>,
    },
    /// Gives power back after a loss without --kill
    PowerOn {
        #[command(flatten)]
        at: At,
    },
    /// Makes syncs and writes slow, in milliseconds
    Slow {
        #[command(flatten)]
        at: At,
        #[arg(long, default_value_t = 0)]
        fsync_ms: u64,
        #[arg(long, default_value_t = 0)]
        write_ms: u64,
    },
    /// Lets no more be written than a number of bytes beyond what is used now
    Full {
        #[command(flatten)]
        at: At,
        #[arg(long, default_value_t = 0)]
        room: u64,
    },
    /// Makes each sync fail; what it should have covered is lost with the power
    EioOnFsync {
        #[command(flatten)]
        at: At,
    },
    /// Ends slowness, fullness and failing syncs
    Heal {
        #[command(flatten)]
        at: At,
    },
    /// Says how the disk is
    Show {
        #[command(flatten)]
        at: At,
    },
    /// Unmounts the disk and ends its process
    Quit {
        #[command(flatten)]
        at: At,
    },
    /// Mounts a small disk in memory
    Tmpfs {
        /// Where
        #[arg(long)]
        at: PathBuf,
        /// Its size in bytes; a disk that is there already gets this size. 0 unmounts it
        #[arg(long)]
        bytes: u64,
    },
    /// Fills a disk with one file, or removes that file
    Fill {
        /// A folder on it
        #[arg(long)]
        at: PathBuf,
        /// Bytes that stay free
        #[arg(long, default_value_t = 0)]
        leave: u64,
        /// Removes the file again
        #[arg(long, conflicts_with = "leave")]
        undo: bool,
    },
    /// Damages a file of a stopped node
    Flip {
        /// The node's data folder
        #[arg(long)]
        data_dir: PathBuf,
        /// The data folders of all other nodes: a majority stays whole
        #[arg(long = "other", required = true)]
        others: Vec<PathBuf>,
        /// Kind of file
        #[arg(long)]
        kind: FileKind,
        /// What is done to it
        #[arg(long, default_value = "bit")]
        damage: Damage,
        /// Of the choices
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// One fault many times on a cluster of three under load, and what came of it
    Trial(trial::Args),
    /// Removes everything in a stopped node's data folder
    Wipe {
        /// The node's data folder
        #[arg(long)]
        data_dir: PathBuf,
    },
}

#[derive(Debug, Args)]
struct At {
    /// The disk's socket
    #[arg(long)]
    control: PathBuf,
}

/// Arguments of `clock`.
#[derive(Debug, Args)]
pub struct ClockArgs {
    #[command(subcommand)]
    action: ClockAction,
}

#[derive(Debug, Subcommand)]
enum ClockAction {
    /// Sets the clock of a node that was started with QUORUS_GAME_DAY_CLOCK_FILE
    Set {
        /// The file that it reads
        #[arg(long)]
        file: PathBuf,
        /// Milliseconds ahead of the machine's clock; negative: behind
        #[arg(long, allow_negative_numbers = true)]
        ms: i64,
    },
}

/// Follows `clock`.
pub fn clock(args: &ClockArgs) -> anyhow::Result<ExitCode> {
    match &args.action {
        ClockAction::Set { file, ms } => clock::set(file, *ms)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Follows `disk`.
pub fn disk(args: &DiskArgs) -> anyhow::Result<ExitCode> {
    match &args.action {
        DiskAction::Mount { backing, at, control } => {
            mount::serve(&std::path::absolute(backing)?, &std::path::absolute(at)?, &std::path::absolute(control)?)?;
        }
        DiskAction::Janitor { at } => mount::janitor(at)?,
        DiskAction::PowerLoss { at, keep, torn, seed, kill } => {
            tell(at, &Order::PowerLoss { keep: *keep, torn: *torn, seed: *seed, kill: *kill })?;
        }
        DiskAction::PowerOn { at } => tell(at, &Order::PowerOn)?,
        DiskAction::Slow { at, fsync_ms, write_ms } => {
            change(at, |faults, _| (faults.slow_fsync_ms, faults.slow_write_ms) = (*fsync_ms, *write_ms))?;
        }
        DiskAction::Full { at, room } => change(at, |faults, used| faults.full_at = Some(used + room))?,
        DiskAction::EioOnFsync { at } => change(at, |faults, _| faults.eio_on_fsync = true)?,
        DiskAction::Heal { at } => tell(at, &Order::Faults(Faults::default()))?,
        DiskAction::Show { at } => tell(at, &Order::Show)?,
        DiskAction::Quit { at } => tell(at, &Order::Quit)?,
        DiskAction::Tmpfs { at, bytes } => tmpfs(&std::path::absolute(at)?, *bytes)?,
        DiskAction::Fill { at, undo: true, .. } => full::drain(at)?,
        DiskAction::Fill { at, leave, .. } => anstream::println!("{} bytes", full::fill(at, *leave)?),
        DiskAction::Flip { data_dir, others, kind, damage, seed } => {
            let damaged = flip::damage(data_dir, others, *kind, *damage, *seed)?;
            anstream::println!("{}", serde_json::to_string(&damaged)?);
        }
        DiskAction::Trial(args) => return trial::main(args),
        DiskAction::Wipe { data_dir } => {
            wipe::wipe(data_dir)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tmpfs(at: &Path, bytes: u64) -> anyhow::Result<()> {
    match bytes {
        0 => full::unmount(at),
        bytes if super::mounts::mounted_at(at) => full::resize(at, bytes),
        bytes => full::mount(at, bytes),
    }
}

fn tell(at: &At, what: &Order) -> anyhow::Result<()> {
    let answer = order(&at.control, what)?;
    anstream::println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}

/// Changes the faults in force, and leaves the others as they are.
fn change(at: &At, change: impl FnOnce(&mut Faults, u64)) -> anyhow::Result<()> {
    let now = order(&at.control, &Order::Show)?;
    let mut faults = now.faults;
    change(&mut faults, now.used);
    tell(at, &Order::Faults(faults))
}
