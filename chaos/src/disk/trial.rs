//! One fault, many times, on three real nodes whose disks can lose power, while runs are started and worked on.
//!
//! At the end every run whose start was acknowledged must have ended well, with exactly the attempts that the workers' ledgers explain. It is the short way to a
//! figure about one fault; whole experiments with all checkers are game days.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use parking_lot::Mutex;
use quorus_client::Client;
use quorus_proto::v1::{self, GetRunRequest, Payload, StartRunRequest, apply_workflow_request::Definition};
use tokio::time::{Instant, sleep, timeout};

use super::{
    chance::Chance,
    clock,
    flip::{self, Damage, FileKind},
    lossy::{
        control::{Answer, Order, order},
        faults::Faults,
        keep::Keep,
        served::{mount, place_of, socket_of},
    },
};
use crate::{
    audit,
    cluster::Cluster,
    process::{Process, Programs},
    workers::Workers,
};

/// Three steps that take a moment each, so that faults hit runs in the middle.
const WORKFLOW: &str = "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: trial}\nspec:\n  steps:\n    - {id: a, task: {type: exec}, with: {command: [sleep, '0.05']}}\n    - {id: b, task: {type: exec}, with: {command: ['true']}, needs: [a]}\n    - {id: c, task: {type: exec}, with: {command: ['true']}, needs: [b]}\n";
const NODES: u64 = 3;
/// How long things may take on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(90);
/// Load before, during and after a fault.
const BETWEEN: Duration = Duration::from_millis(1500);

/// What is done each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One node loses power
    PowerOne,
    /// All nodes lose power at once
    PowerAll,
    /// The disk of one node is full
    Full,
    /// Syncs of one node's disk fail
    Eio,
    /// Syncs of one node's disk are slow (--ms)
    Slow,
    /// The clock of one node is off (--ms)
    Clock,
    /// A file of one node is damaged while it is stopped
    Flip,
    /// One node is killed: to compare with
    Kill,
}

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    kind: Kind,
    /// How often
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Of all choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What a loss of power keeps of what was not synced
    #[arg(long, default_value = "nothing")]
    keep: Keep,
    /// Keeps writes in part
    #[arg(long)]
    torn: bool,
    /// How slow, or how far off
    #[arg(long, default_value_t = 200, allow_negative_numbers = true)]
    ms: i64,
    /// How long slowness, fullness and wrong clocks last, in seconds
    #[arg(long, default_value_t = 8)]
    hold: u64,
    /// Folder for everything; kept. Default: a temporary one, removed
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Folder with quorusd and quorus. Default: that of this program
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Flags for each node, as `quorusd serve` takes them
    #[arg(last = true)]
    flags: Vec<String>,
}

/// Runs a trial.
pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(reason) = super::lossy::mount::unavailable() {
        bail!("skipped: {reason}");
    }
    // One thread: the kernel ties a child's life to the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let temporary = tempfile::Builder::new().prefix("quorus-trial-").tempdir()?;
    let folder = args.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    fs::create_dir_all(&folder)?;
    let mut disks = Vec::new();
    let result = runtime.block_on(Trial::run(args, &folder, &mut disks));
    for id in 1..=NODES {
        let _ = order(&socket_of(&folder, id), &Order::Quit);
    }
    drop(disks);
    for id in 1..=NODES {
        super::mounts::detach(&place_of(&folder, id))?;
    }
    result
}

struct Trial<'a> {
    args: &'a Args,
    folder: &'a Path,
    cluster: Cluster,
    chance: Chance,
    load: Load,
    /// The node that serves with a damaged file. It stays the only one: a majority must be whole.
    hurt: Option<u64>,
}

#[derive(Clone, Default)]
struct Load {
    accepted: Arc<Mutex<BTreeSet<String>>>,
    refused: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Trial<'_> {
    async fn run(args: &Args, folder: &Path, disks: &mut Vec<Process>) -> anyhow::Result<ExitCode> {
        let programs = match &args.programs {
            Some(built) => Programs { quorusd: built.join("quorusd"), quorus: built.join("quorus") },
            None => Programs::borrow_into(folder)?,
        };
        for id in 1..=NODES {
            disks.push(mount(folder, id).await?);
        }
        let mut cluster = Cluster::start(&programs.quorusd, folder, NODES, &args.flags)?;
        cluster.wait_ready(PATIENCE).await?;
        let client = Client::with_endpoints(cluster.endpoints())?;
        let mut workers = Workers::start(&programs.quorus, folder, &cluster.endpoints(), 2, 8)?;
        let source = v1::Source { text: WORKFLOW.to_owned(), name: "trial".to_owned() };
        client.apply_workflow(v1::ApplyWorkflowRequest { definition: Some(Definition::Source(source)), ..Default::default() }).await?;
        let load = Load::default();
        let starters: Vec<_> = (0..4).map(|one| tokio::spawn(load.clone().start_runs(client.clone(), one))).collect();
        let mut trial = Trial { args, folder, cluster, chance: Chance::new(args.seed), load: load.clone(), hurt: None };
        let mut ended = Ok(());
        for round in 1..=args.rounds {
            sleep(BETWEEN).await;
            ended = trial.round(round).await.with_context(|| format!("round {round}"));
            if ended.is_err() {
                break;
            }
        }
        load.stop.store(true, Ordering::Relaxed);
        for starter in starters {
            starter.await?;
        }
        ended?;
        if let Some(note) = trial.bury().await {
            anstream::println!("{note}");
        }
        trial.cluster.wait_ready(PATIENCE).await?;
        let accepted = load.accepted.lock().clone();
        let mut runs = Vec::new();
        for id in &accepted {
            timeout(PATIENCE, client.wait_run("default", id)).await.with_context(|| format!("run {id} does not end"))??;
            runs.push(client.get_run(GetRunRequest { run_id: id.clone(), ..GetRunRequest::default() }).await?);
        }
        workers.must_live()?;
        workers.stop().await;
        let audit = audit::audit(&accepted, &runs, &workers.entries()?);
        for finding in audit.lost.iter().chain(&audit.orphaned).chain(&audit.duplicated).take(20) {
            anstream::println!("finding: {finding}");
        }
        anstream::println!(
            "{:?}: {} rounds, {} runs accepted, {} starts refused, {} steps, {} attempts, {} lost, {} orphaned, {} duplicated",
            args.kind,
            args.rounds,
            audit.runs,
            load.refused.load(Ordering::Relaxed),
            audit.steps,
            audit.attempts,
            audit.lost.len(),
            audit.orphaned.len(),
            audit.duplicated.len()
        );
        trial.cluster.stop().await;
        Ok(if audit.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn round(&mut self, round: u32) -> anyhow::Result<()> {
        let node = self.chance.below(NODES) + 1;
        let before = self.load.counts();
        let note = match self.args.kind {
            Kind::PowerOne => self.lose_power(vec![node]).await?,
            Kind::PowerAll => self.lose_power((1..=NODES).collect()).await?,
            Kind::Kill => {
                self.cluster.kill(node).await?;
                self.cluster.start_node(node)?;
                String::new()
            }
            Kind::Full => {
                let used = self.tell(node, &Order::Show)?.used;
                self.held(node, Faults { full_at: Some(used), ..Faults::default() }).await?
            }
            Kind::Eio => self.held(node, Faults { eio_on_fsync: true, ..Faults::default() }).await?,
            Kind::Slow => {
                let slow_fsync_ms = u64::try_from(self.args.ms).unwrap_or(0);
                self.held(node, Faults { slow_fsync_ms, ..Faults::default() }).await?
            }
            Kind::Clock => self.wrong_clock(node).await?,
            Kind::Flip => self.flip(node, round).await?,
        };
        let during = self.load.counts();
        let healed = Instant::now();
        self.cluster.wait_ready(PATIENCE).await?;
        anstream::println!(
            "round {round}: node {node}: {note}; {} accepted and {} refused meanwhile; ready {} ms after",
            during.0 - before.0,
            during.1 - before.1,
            healed.elapsed().as_millis()
        );
        Ok(())
    }

    fn tell(&self, node: u64, what: &Order) -> anyhow::Result<Answer> {
        order(&socket_of(self.folder, node), what)
    }

    async fn lose_power(&mut self, nodes: Vec<u64>) -> anyhow::Result<String> {
        let pids = self.cluster.pids();
        let mut losses = Vec::new();
        for node in &nodes {
            let (socket, kill) = (socket_of(self.folder, *node), pids.get(node).copied());
            let what = Order::PowerLoss { keep: self.args.keep, torn: self.args.torn, seed: self.chance.draw(), kill };
            // All at once.
            losses.push(tokio::task::spawn_blocking(move || order(&socket, &what)));
        }
        let mut lost = [0; 3];
        for loss in losses {
            let answer = loss.await??;
            lost = [lost[0] + answer.files_lost, lost[1] + answer.changes_lost, lost[2] + answer.names_lost];
        }
        for node in &nodes {
            self.cluster.kill(*node).await?;
        }
        for node in &nodes {
            self.cluster.start_node(*node)?;
        }
        Ok(format!("{} writes in {} files and {} names lost", lost[1], lost[0], lost[2]))
    }

    /// A fault that lasts. A node that stops because of it is started again when it is over; a failing sync ends with a loss of power.
    async fn held(&mut self, node: u64, faults: Faults) -> anyhow::Result<String> {
        self.tell(node, &Order::Faults(faults))?;
        let begun = Instant::now();
        let hold = Duration::from_secs(self.args.hold);
        let mut ended = None;
        while begun.elapsed() < hold {
            if ended.is_none() && !self.cluster.is_alive(node) {
                ended = Some(begun.elapsed());
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.tell(node, &Order::Faults(Faults::default()))?;
        let Some(after) = ended else { return Ok("went on".to_owned()) };
        if faults.eio_on_fsync {
            let seed = self.chance.draw();
            self.tell(node, &Order::PowerLoss { keep: self.args.keep, torn: self.args.torn, seed, kill: None })?;
            self.tell(node, &Order::PowerOn)?;
        }
        let why = last_error(&self.cluster.log_of(node));
        let _ = self.cluster.kill(node).await;
        self.cluster.start_node(node)?;
        Ok(format!("stopped itself after {} ms: {why}", after.as_millis()))
    }

    async fn wrong_clock(&mut self, node: u64) -> anyhow::Result<String> {
        let file = self.folder.join(format!("clock-{node}"));
        self.cluster.kill(node).await?;
        self.cluster.set_variable(node, clock::VARIABLE, &file.to_string_lossy());
        self.cluster.start_node(node)?;
        self.cluster.wait_ready(PATIENCE).await?;
        // Long enough for leaderships to come back to it.
        sleep(Duration::from_secs(8)).await;
        let before = self.led_by(node).await?;
        clock::set(&file, self.args.ms)?;
        sleep(Duration::from_secs(self.args.hold)).await;
        let after = self.led_by(node).await?;
        clock::set(&file, 0)?;
        Ok(format!("led {before} shards, and {after} after {} s with a clock {} ms off", self.args.hold, self.args.ms))
    }

    async fn led_by(&self, node: u64) -> anyhow::Result<usize> {
        let client = Client::with_endpoints(self.cluster.endpoints())?;
        Ok(client.cluster_status().await?.shards.iter().filter(|shard| shard.leader_node == node).count())
    }

    /// A node that served with a damaged file and stopped later, when it read there, stays away: it can't be trusted any more.
    async fn bury(&mut self) -> Option<String> {
        let hurt = self.hurt.filter(|hurt| !self.cluster.is_alive(*hurt))?;
        // It is dead already; this only forgets its process.
        let _ = self.cluster.kill(hurt).await;
        Some(format!("node {hurt} stopped itself later: {}", last_error(&self.cluster.log_of(hurt))))
    }

    async fn flip(&mut self, node: u64, round: u32) -> anyhow::Result<String> {
        if let Some(hurt) = self.hurt {
            return Ok(self.bury().await.unwrap_or_else(|| format!("skipped: node {hurt} is damaged, and two would be a majority")));
        }
        let (mut kinds, mut damages) = (FileKind::ALL.iter().cycle(), [Damage::Bit, Damage::Zero, Damage::Cut].iter().cycle());
        let place = usize::try_from(round - 1)?;
        let kind = *kinds.nth(place).context("kinds never end")?;
        let damage = *damages.nth(place).context("damages never end")?;
        self.cluster.kill(node).await?;
        let data = self.folder.join(format!("node-{node}"));
        let whole = self.folder.join("whole");
        if whole.exists() {
            fs::remove_dir_all(&whole)?;
        }
        copy(&data, &whole)?;
        let others: Vec<PathBuf> = (1..=NODES).filter(|id| *id != node).map(|id| self.folder.join(format!("node-{id}"))).collect();
        let damaged = match flip::damage(&data, &others, kind, damage, self.chance.draw()) {
            Ok(damaged) => damaged,
            Err(error) => {
                self.cluster.start_node(node)?;
                return Ok(format!("skipped: {error:#}"));
            }
        };
        self.cluster.start_node(node)?;
        let came_up = self.cluster.wait_ready(PATIENCE).await;
        sleep(BETWEEN).await;
        let what = format!("{kind:?} {damage:?} at {} of {}", damaged.offset, damaged.size);
        let alive = self.cluster.is_alive(node);
        let why = last_error(&self.cluster.log_of(node));
        if came_up.is_ok() && alive {
            // What it acknowledged since must not be taken back: it goes on as it is. The mark is written anew all the time, so that it is whole again.
            match kind {
                FileKind::Mark => flip::forgive(&data)?,
                _ => self.hurt = Some(node),
            }
            return Ok(format!("{what}: it served"));
        }
        let _ = self.cluster.kill(node).await;
        if came_up.is_ok() {
            self.cluster.start_node(node)?;
            self.cluster.wait_ready(PATIENCE).await.with_context(|| format!("{what}: it served, then stopped for good: {why}"))?;
            return Ok(format!("{what}: it served, then stopped: {why}"));
        }
        // It promised nothing since, so the whole folder may be put back: the node is then merely behind.
        fs::read_dir(&data)?
            .flatten()
            .try_for_each(|entry| if entry.path().is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) })?;
        copy(&whole, &data)?;
        self.cluster.start_node(node)?;
        Ok(format!("{what}: it refused: {why}"))
    }
}

impl Load {
    fn counts(&self) -> (usize, u64) {
        (self.accepted.lock().len(), self.refused.load(Ordering::Relaxed))
    }

    async fn start_runs(self, client: Client, one: u32) {
        for number in 0_u64.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let id = format!("trial-{one}-{number}");
            let request = StartRunRequest {
                workflow: "trial".to_owned(),
                run_id: id.clone(),
                request_id: id.clone(),
                input: Some(Payload { data: b"{}".as_slice().into(), encoding: "json".to_owned() }),
                ..StartRunRequest::default()
            };
            match client.start_run(request).await {
                Ok(_) => {
                    self.accepted.lock().insert(id);
                }
                Err(_) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The last line of a log that is about an error.
fn last_error(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let found = text.lines().rev().take(200).find(|line| line.to_ascii_lowercase().contains("error"));
    found.or(text.lines().last()).unwrap_or_default().to_owned()
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
