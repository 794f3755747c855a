//! What `--target` means: `stage:DIR`, `dev:DIR`, or addresses `host:port,…`.
//!
//! Safe by default: addresses outside of loopback are refused without `--allow-remote`, and nothing but questions can be put to mere addresses.

use std::{
    net::{IpAddr, ToSocketAddrs as _},
    path::PathBuf,
    process::Stdio,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};

use super::{
    card::{Card, SOCKET},
    control::Remote,
    dev::Dev,
};

/// Where a command goes if nobody says anything.
pub const DEFAULT: &str = "stage:.quorus-stage";
/// How long the process that keeps faults of somebody else's cluster may take to come up.
const KEEPER_PATIENCE: Duration = Duration::from_secs(10);

/// A cluster, as a command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One of ours.
    Stage(PathBuf),
    /// One of `quorusd dev`.
    Dev(PathBuf),
    /// Anything else.
    Addresses(Vec<String>),
}

/// `--target` and `--allow-remote`.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// The cluster: stage:DIR (of `cluster up`), dev:DIR (of `quorusd dev`), or host:port,… (only questions)
    #[arg(long, env = "QUORUS_CHAOS_TARGET", default_value = DEFAULT, value_name = "TARGET")]
    pub target: Target,
    /// Allow addresses outside of this machine
    #[arg(long)]
    pub allow_remote: bool,
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Some(folder) = text.strip_prefix("stage:") {
            return Ok(Self::Stage(folder.into()));
        }
        if let Some(folder) = text.strip_prefix("dev:") {
            return Ok(Self::Dev(folder.into()));
        }
        let addresses: Vec<String> = text.split(',').map(|one| one.trim().trim_start_matches("http://").to_owned()).collect();
        if let Some(wrong) = addresses.iter().find(|one| one.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err())) {
            bail!("`{wrong}` is no target; write stage:DIR, dev:DIR, or host:port,…");
        }
        Ok(Self::Addresses(addresses))
    }
}

impl TargetArgs {
    /// Connects to the process that makes faults there. For somebody else's cluster, that is started when it is first needed.
    pub async fn remote(&self) -> anyhow::Result<Remote> {
        match &self.target {
            Target::Stage(folder) => Remote::connect(&Card::read(folder)?.socket).await,
            Target::Dev(folder) => {
                let folder = Dev::open(folder)?.folder().to_owned();
                let socket = folder.join(SOCKET);
                if let Ok(remote) = Remote::connect(&socket).await {
                    return Ok(remote);
                }
                let program = std::env::current_exe().context("finding this program")?;
                let log = std::fs::File::create(folder.join("chaos-keeper.log")).context("opening the keeper's log")?;
                let mut keeper = std::process::Command::new(program);
                keeper.arg("cluster").arg("keep").arg("--dir").arg(&folder);
                // Its own group: it outlives the one who asks, and undoes what that one left.
                std::os::unix::process::CommandExt::process_group(&mut keeper, 0);
                keeper
                    .stdin(Stdio::null())
                    .stdout(log.try_clone()?)
                    .stderr(log)
                    .spawn()
                    .context("starting the process that keeps faults")?;
                let deadline = Instant::now() + KEEPER_PATIENCE;
                loop {
                    match Remote::connect(&socket).await {
                        Ok(remote) => return Ok(remote),
                        Err(error) if Instant::now() > deadline => {
                            return Err(error.context("see chaos-keeper.log in the cluster's folder"));
                        }
                        Err(_) => sleep(Duration::from_millis(20)).await,
                    }
                }
            }
            Target::Addresses(_) => bail!(
                "faults need to own the processes or links: this is possible with stage:DIR and dev:DIR, not with mere addresses; probes work there"
            ),
        }
    }

    /// The nodes to ask, by number as far as it is known, at their own addresses.
    pub fn nodes(&self) -> anyhow::Result<Vec<(u64, String)>> {
        let known = match &self.target {
            Target::Stage(folder) => Card::read(folder)?.nodes,
            Target::Dev(folder) => Dev::open(folder)?.card()?.nodes,
            Target::Addresses(addresses) => {
                if !self.allow_remote {
                    addresses.iter().try_for_each(|address| must_be_here(address))?;
                }
                return Ok((1..).zip(addresses.iter().cloned()).collect());
            }
        };
        Ok(known.into_iter().map(|node| (node.id, node.grpc)).collect())
    }

    /// Addresses for clients.
    pub fn endpoints(&self) -> anyhow::Result<Vec<String>> {
        match &self.target {
            Target::Stage(folder) => Ok(Card::read(folder)?.endpoints),
            Target::Dev(_) | Target::Addresses(_) => {
                Ok(self.nodes()?.into_iter().map(|(_, address)| format!("http://{address}")).collect())
            }
        }
    }
}

fn must_be_here(address: &str) -> anyhow::Result<()> {
    let mut found = address.to_socket_addrs().with_context(|| format!("looking for {address}"))?;
    if !found.all(|address| match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    }) {
        bail!("{address} is not on this machine; allow that with --allow-remote");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_stage_a_dev_cluster_or_addresses() {
        assert_eq!("stage:/a/b".parse::<Target>().unwrap(), Target::Stage("/a/b".into()));
        assert_eq!("dev:x".parse::<Target>().unwrap(), Target::Dev("x".into()));
        assert_eq!("a:1,http://b:2".parse::<Target>().unwrap(), Target::Addresses(vec!["a:1".to_owned(), "b:2".to_owned()]));
        assert!("somewhere".parse::<Target>().unwrap_err().to_string().contains("stage:DIR"));
    }

    #[tokio::test]
    async fn other_machines_are_refused_and_mere_addresses_are_only_asked() {
        let args = |allow_remote| TargetArgs { target: "192.0.2.1:7401".parse().unwrap(), allow_remote };
        assert!(args(false).nodes().unwrap_err().to_string().contains("--allow-remote"));
        assert_eq!(args(true).nodes().unwrap(), [(1, "192.0.2.1:7401".to_owned())]);
        assert!(args(true).remote().await.unwrap_err().to_string().contains("stage:DIR"));
        let here = TargetArgs { target: "127.0.0.1:1,[::1]:2".parse().unwrap(), allow_remote: false };
        assert_eq!(here.endpoints().unwrap().len(), 2);
    }
}
