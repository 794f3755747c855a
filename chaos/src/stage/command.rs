//! The verb `cluster`: a stage comes up, is looked at, goes down.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};

use super::{
    Card, DiskKind, Plan, Plant, Remote, Stage,
    card::STAGE_CARD,
    dev::Dev,
    network::{self, Network},
    server::{self, Stay},
    target::TargetArgs,
};
use crate::fault::Keeper;

/// How long all may take to come up, on a machine that does other things, too.
const UP_PATIENCE: Duration = Duration::from_secs(60);
/// How long a stage may take to go down: nodes stop in order.
const DOWN_PATIENCE: Duration = Duration::from_secs(60);
/// How long the keeper of somebody else's cluster stays without being asked anything.
const KEEP_UNUSED: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A cluster to break
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Start nodes and workers with a proxy on each link, and keep them until Ctrl-C
    Up(UpArgs),
    /// Stop a cluster that `up` started
    Down {
        /// Its folder
        #[arg(long, default_value = ".quorus-stage")]
        dir: PathBuf,
    },
    /// Say who lives, and which faults are in force
    Status {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Keep the faults of somebody else's cluster (started when needed)
    #[command(hide = true)]
    Keep {
        /// Its folder
        #[arg(long)]
        dir: PathBuf,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct UpArgs {
    /// Folder for data, logs, ledgers and the control socket
    #[arg(long, default_value = ".quorus-stage")]
    dir: PathBuf,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// How many workers
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=64))]
    workers: u64,
    /// How many tasks each worker takes at a time
    #[arg(long, default_value_t = 4)]
    concurrency: usize,
    /// What nodes keep their data on
    #[arg(long, default_value = "plain")]
    disks: DiskKind,
    /// Another worker than `quorus worker exec`: a program and its arguments, parted by spaces; gets QUORUS_ENDPOINTS and --ledger FILE
    #[arg(long, value_name = "COMMAND")]
    worker_command: Option<String>,
    /// Folder with `quorusd` and `quorus` [default: that of this program]
    #[arg(long, env = "QUORUS_BIN_DIR", value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// What connects the nodes
    #[arg(long, value_enum, default_value_t)]
    network: Network,
    /// Draws what proxies draw
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Return when all are ready; the cluster stays until `down`
    #[arg(long)]
    detach: bool,
    /// Flags for each node, as `quorusd serve` takes them
    #[arg(last = true, value_name = "SERVE FLAGS")]
    flags: Vec<String>,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Up(args) if args.network == Network::Namespaces && !network::is_inside() => match network::enter()? {},
        Verb::Up(args) if args.detach => detach(&args).await,
        Verb::Up(args) => up(args).await,
        Verb::Down { dir } => down(&dir).await,
        Verb::Status { target } => {
            let report = target.remote().await?.report().await?;
            anstream::println!("{}", serde_json::to_string_pretty(&report)?);
            Ok(if report.ended_by_themselves.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Verb::Keep { dir } => {
            let dev = Dev::open(&dir)?;
            let folder = dev.folder().to_owned();
            let keeper = Keeper::new(Plant::Dev(dev))?;
            server::serve(&keeper, &folder, Stay::WhileUsed(KEEP_UNUSED), say).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn up(args: UpArgs) -> anyhow::Result<ExitCode> {
    if let Ok(card) = Card::read(&args.dir)
        && Remote::connect(&card.socket).await.is_ok()
    {
        bail!("{} is up already (pid {}); stop it with: quorus-chaos cluster down --dir {0}", args.dir.display(), card.pid);
    }
    let plan = Plan {
        folder: args.dir,
        nodes: args.nodes,
        workers: args.workers,
        concurrency: args.concurrency,
        worker_command: args.worker_command.iter().flat_map(|command| command.split_whitespace()).map(str::to_owned).collect(),
        flags: args.flags,
        disks: args.disks,
        programs: args.bin_dir,
        network: args.network,
        seed: args.seed,
    };
    let stage = Stage::up(&plan, UP_PATIENCE).await?;
    let (folder, card) = (stage.folder().to_owned(), stage.card());
    let keeper = Keeper::new(Plant::Stage(Box::new(stage)))?;
    card.write(&folder)?;
    show(&card, &folder);
    let served = server::serve(&keeper, &folder, Stay::UntilTold, say).await;
    say("stops all");
    keeper.down().await;
    // Last: whoever waits for the end of the stage looks at this.
    let _ = fs::remove_file(folder.join(STAGE_CARD));
    served.map(|()| ExitCode::SUCCESS)
}

/// Starts the same command again, in the background.
async fn detach(args: &UpArgs) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(&args.dir).with_context(|| format!("creating {}", args.dir.display()))?;
    let log_path = args.dir.join("stage.log");
    let log = fs::File::create(&log_path).with_context(|| format!("opening {}", log_path.display()))?;
    let before = Card::read(&args.dir).ok().map(|card| card.pid);
    let mut command = std::process::Command::new(std::env::current_exe().context("finding this program")?);
    command.args(std::env::args_os().skip(1).filter(|argument| argument != "--detach"));
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().context("starting the stage")?;
    let deadline = Instant::now() + UP_PATIENCE * 2;
    loop {
        if let Some(status) = child.try_wait()? {
            let text = fs::read_to_string(&log_path).unwrap_or_default();
            bail!("the stage did not come up ({status}): {}", text.trim_end());
        }
        if let Ok(card) = Card::read(&args.dir)
            && card.pid == child.id()
            && Some(card.pid) != before
            && Remote::connect(&card.socket).await.is_ok()
        {
            show(&card, &args.dir);
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() > deadline {
            child.kill()?;
            bail!("the stage is not up after {} s; see {}", (UP_PATIENCE * 2).as_secs(), log_path.display());
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn down(folder: &Path) -> anyhow::Result<ExitCode> {
    let card = Card::read(folder)?;
    let Ok(mut remote) = Remote::connect(&card.socket).await else {
        // Killed: its processes went with it.
        fs::remove_file(folder.join(STAGE_CARD)).context("taking the card away")?;
        say("it was gone already");
        return Ok(ExitCode::SUCCESS);
    };
    remote.down().await?;
    let deadline = Instant::now() + DOWN_PATIENCE;
    while folder.join(STAGE_CARD).exists() {
        if Instant::now() > deadline {
            bail!("not down after {} s (pid {})", DOWN_PATIENCE.as_secs(), card.pid);
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(card: &Card, folder: &Path) {
    anstream::println!("The stage is up: {} nodes, {} workers, {} links.\n", card.nodes.len(), card.workers.len(), card.links.len());
    for node in &card.nodes {
        let pid = node.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        anstream::println!("  node {}  pid {pid:<8} grpc {:<16} http {:<16} {}", node.id, node.grpc, node.http, node.data.display());
    }
    anstream::println!("\n  export QUORUS_ENDPOINTS={}", card.endpoints.join(","));
    anstream::println!("  export QUORUS_CHAOS_TARGET={}\n", target_of(folder));
    if network::is_inside() {
        anstream::println!("All of it is in a network of its own; to get there: nsenter --target {} --net\n", card.pid);
    }
    anstream::println!("Break something: quorus-chaos fault kill --node leader --for 5s");
}

fn target_of(folder: &Path) -> String {
    format!("stage:{}", folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).display())
}

fn say(line: &str) {
    anstream::eprintln!("stage: {line}");
}
