//! A network of its own for a stage: each node at the end of a cable that can be pulled.
//!
//! Proxies break connections; they can't lose a packet. Here the whole stage with its proxies, clients and workers lives in a network namespace, and each
//! node in one more, at the other end of a pair of virtual interfaces; a bridge in the middle is the switch. Whoever pulls a cable sees what a
//! switch that died shows: nothing is refused and nothing is reset, open connections just say nothing more, new ones find nobody, both kernels send again
//! and again.
//!
//! Invariants: nothing leaves these namespaces and nothing comes in; the kernel takes all of it away with the last process that lives in it. Needs Linux, the
//! right to make namespaces, and the programs `unshare`, `nsenter` and `ip`.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{cluster::Home, process::Process};

/// Set in every process that lives in the namespace of a stage.
pub const INSIDE: &str = "QUORUS_CHAOS_NETWORK";
/// The bridge.
const SWITCH: &str = "switch";
/// Name of a node's end of its cable.
const UPLINK: &str = "uplink";
/// Where nodes reach everybody else: the bridge.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// How long the kernel may take to start a process in a namespace of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between whom and what a stage's packets go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The loopback of this machine.
    #[default]
    Loopback,
    /// Namespaces that the stage makes, with a cable for each node that can be pulled; needs root on Linux
    Namespaces,
}

/// How a cable is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// The node does not notice: it has a link, to nobody.
    Silent,
    /// The node's interface tells that it has no link.
    Carrier,
}

/// True if this process lives in the namespace of a stage.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Goes on as the same command in a namespace of its own; returns only if that is impossible.
#[cfg(unix)]
pub fn enter() -> anyhow::Result<Infallible> {
    use std::os::unix::process::CommandExt as _;
    can_make()?;
    let this = std::env::current_exe().context("finding this program")?;
    let error = Command::new("unshare").arg("--net").arg(this).args(std::env::args_os().skip(1)).env(INSIDE, "1").exec();
    Err(error).context("going on in a network namespace")
}

/// Not here.
#[cfg(not(unix))]
pub fn enter() -> anyhow::Result<Infallible> {
    bail!("network namespaces need Linux")
}

/// Fails with the reason if namespaces can't be made here.
pub fn can_make() -> anyhow::Result<()> {
    for program in ["ip", "nsenter"] {
        run(program, &["-V"]).with_context(|| format!("a stage with `namespaces` needs the program `{program}` (iproute2, util-linux)"))?;
    }
    run("unshare", &["--net", "true"])
        .context("a stage with `namespaces` needs Linux and the right to make network namespaces (root)")
        .map(drop)
}

/// The bridge and the cables.
#[derive(Debug)]
pub struct Cables {
    /// A process per node that does nothing but hold its namespace while the node is dead.
    holders: BTreeMap<u64, Process>,
}

impl Cables {
    /// Lays a cable to each of `nodes`. `log` takes what the holders may have to say.
    pub fn lay(nodes: &[u64], log: &Path) -> anyhow::Result<Self> {
        if !is_inside() {
            bail!("cables are laid in a namespace of their own only");
        }
        ip(&["link", "set", "lo", "up"])?;
        ip(&["link", "add", SWITCH, "type", "bridge"])?;
        ip(&["address", "add", &format!("{GATEWAY}/16"), "dev", SWITCH])?;
        ip(&["link", "set", SWITCH, "up"])?;
        let mut holders = BTreeMap::new();
        for node in nodes {
            let mut sleep = tokio::process::Command::new("unshare");
            sleep.args(["--net", "sleep", "infinity"]);
            let holder = Process::start(&format!("the holder of node {node}'s namespace"), sleep, log)?;
            let pid = holder.pid().to_string();
            holders.insert(*node, holder);
            await_namespace(&pid)?;
            ip(&["link", "add", &port(*node), "type", "veth", "peer", "name", UPLINK, "netns", &pid])?;
            ip(&["link", "set", &port(*node), "master", SWITCH, "up"])?;
            for arguments in [
                &["link", "set", "lo", "up"][..],
                &["address", "add", &format!("{}/16", address(*node)?), "dev", UPLINK],
                &["link", "set", UPLINK, "up"],
            ] {
                run("nsenter", &[&["--target", &pid, "--net", "ip"], arguments].concat())?;
            }
        }
        Ok(Self { holders })
    }

    /// Where a node lives.
    pub fn home(&self, node: u64) -> anyhow::Result<Home> {
        let pid = self.holders.get(&node).with_context(|| format!("no cable leads to node {node}"))?.pid();
        Ok(Home {
            address: IpAddr::V4(address(node)?),
            others: IpAddr::V4(GATEWAY),
            enter: ["nsenter", "--target", &pid.to_string(), "--net"].map(str::to_owned).into(),
        })
    }

    /// Pulls the cable of a node.
    pub fn pull(&self, node: u64, how: Pull) -> anyhow::Result<()> {
        match how {
            Pull::Silent => ip(&["link", "set", &port(node), "nomaster"]),
            Pull::Carrier => ip(&["link", "set", &port(node), "down"]),
        }
        .with_context(|| format!("pulling the cable of node {node}"))
    }

    /// Plugs it in again, however it was pulled.
    pub fn plug(&self, node: u64) -> anyhow::Result<()> {
        ip(&["link", "set", &port(node), "master", SWITCH, "up"]).with_context(|| format!("plugging the cable of node {node} in"))
    }
}

/// The switch's end of a node's cable.
fn port(node: u64) -> String {
    format!("node-{node}")
}

fn address(node: u64) -> anyhow::Result<Ipv4Addr> {
    let last = u8::try_from(node).ok().and_then(|node| node.checked_add(10)).with_context(|| format!("node {node} has no address"))?;
    Ok(Ipv4Addr::new(10, 99, 0, last))
}

/// A process is in our own namespace until `unshare` has done its work.
fn await_namespace(pid: &str) -> anyhow::Result<()> {
    let of =
        |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).with_context(|| format!("looking at the namespace of process {pid}"));
    let (ours, deadline) = (of("self")?, Instant::now() + PATIENCE);
    while of(pid)? == ours {
        if Instant::now() > deadline {
            bail!("process {pid} has no namespace of its own after {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run("ip", arguments).map(drop)
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("running {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}
