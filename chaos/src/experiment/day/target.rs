//! Whom a game day is held on.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A stage of our own in a temporary folder, gone afterwards.
    Private,
    /// A stage that `quorus-chaos cluster up` made in a folder.
    Stage(PathBuf),
    /// A cluster that `quorusd dev` made in a folder.
    Dev(PathBuf),
    /// Nobody of ours: only the experiment's activities are carried out.
    None,
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(match text.split_once(':') {
            None if text == "stage" => Self::Private,
            None if text == "none" => Self::None,
            Some(("stage", folder)) if !folder.is_empty() => Self::Stage(folder.into()),
            Some(("dev", folder)) if !folder.is_empty() => Self::Dev(folder.into()),
            _ => bail!("`{text}` is no target; take stage (a private one), stage:DIR, dev:DIR (a folder of `quorusd dev`), or none"),
        })
    }
}

/// Fails unless all addresses are on this machine, or somebody said that others may be broken, too.
pub fn must_be_local(addresses: &[String], allowed: bool) -> anyhow::Result<()> {
    let foreign = addresses.iter().find(|address| !is_local(address));
    match foreign {
        Some(foreign) if !allowed => {
            bail!("{foreign} is not on this machine; a game day breaks what it is pointed at. If that is meant, say --allow-remote")
        }
        _ => Ok(()),
    }
}

fn is_local(address: &str) -> bool {
    let host = address.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/');
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What clients connect to, by a card that `quorusd dev` or a stage left in its folder: the proxies of a stage, else the nodes.
pub fn addresses(card: &Value) -> anyhow::Result<Vec<String>> {
    if let Some(endpoints) = card["endpoints"].as_array() {
        let address = |endpoint: &Value| endpoint.as_str().map(with_scheme).context("an endpoint of the card is no text");
        return endpoints.iter().map(address).collect();
    }
    let nodes = card["nodes"].as_array().context("the card has no list of nodes")?;
    let address = |node: &Value| node["grpc"].as_str().map(with_scheme).context("a node of the card has no address");
    nodes.iter().map(address).collect()
}

fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_are_named_by_kind_and_folder() {
        assert_eq!("stage".parse::<Target>().unwrap(), Target::Private);
        assert_eq!("dev:x/y".parse::<Target>().unwrap(), Target::Dev("x/y".into()));
        assert!("prod".parse::<Target>().unwrap_err().to_string().contains("no target"));
        assert!("dev:".parse::<Target>().is_err());
    }

    #[test]
    fn what_is_not_on_this_machine_is_refused_unless_it_is_meant() {
        let ours = ["http://127.0.0.1:7401", "localhost:1", "[::1]:7401"].map(str::to_owned);
        assert!(must_be_local(&ours, false).is_ok());
        for foreign in ["http://10.0.0.1:7401", "db.example.org:7401", "http://127.0.0.1.example.org:1"] {
            let error = must_be_local(&[foreign.to_owned()], false).unwrap_err().to_string();
            assert!(error.contains("--allow-remote"), "{error}");
            assert!(must_be_local(&[foreign.to_owned()], true).is_ok());
        }
    }

    #[test]
    fn a_card_gives_the_addresses_of_its_nodes() {
        let card = json!({"nodes": [{"id": 1, "grpc": "127.0.0.1:7401"}, {"id": 2, "grpc": "127.0.0.1:9"}]});
        assert_eq!(addresses(&card).unwrap(), ["http://127.0.0.1:7401", "http://127.0.0.1:9"]);
        let stage = json!({"endpoints": ["http://127.0.0.1:5"], "nodes": [{"id": 1, "grpc": "127.0.0.1:7401"}]});
        assert_eq!(addresses(&stage).unwrap(), ["http://127.0.0.1:5"], "through the proxies");
        assert!(addresses(&json!({})).is_err());
    }
}
