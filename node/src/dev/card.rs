//! `dev.json` in the cluster's folder: which nodes there are, for tools that act on them, such as game days.
//!
//! It is written when the cluster begins and whenever a node starts or ends, each time as a whole under another name first: a reader never sees half of it.
//! It goes when the cluster stops.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use serde::Serialize;

use super::layout::Layout;

/// The file's name.
const NAME: &str = "dev.json";

#[derive(Serialize)]
struct Card<'a> {
    /// This process.
    pid: u32,
    /// True if a node that ends comes back by itself.
    restart: bool,
    nodes: Vec<Node<'a>>,
}

#[derive(Serialize)]
struct Node<'a> {
    id: u16,
    /// None while it does not live.
    pid: Option<u32>,
    grpc: String,
    http: String,
    data: &'a Path,
    log: &'a Path,
}

/// Writes down who lives.
pub(super) fn write(layout: &Layout, alive: &BTreeMap<u16, u32>, restart: bool) -> anyhow::Result<()> {
    let nodes = layout.places.iter().map(|place| Node {
        id: place.id,
        pid: alive.get(&place.id).copied(),
        grpc: place.grpc.to_string(),
        http: place.http.to_string(),
        data: &place.data,
        log: &place.log,
    });
    let card = Card { pid: std::process::id(), restart, nodes: nodes.collect() };
    let (path, next) = (layout.root.join(NAME), layout.root.join("dev.json.next"));
    fs::write(&next, serde_json::to_vec_pretty(&card)?)
        .and_then(|()| fs::rename(&next, &path))
        .with_context(|| format!("writing {}", path.display()))
}

/// Takes it away.
pub(super) fn remove(layout: &Layout) {
    // Nobody wrote it, or somebody took it: then it is gone already.
    let _ = fs::remove_file(layout.root.join(NAME));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::Options;

    #[test]
    fn a_reader_learns_who_lives_and_who_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            nodes: 2,
            data: Some(folder.path().to_owned()),
            port: 17_401,
            http_port: 18_401,
            restart: true,
            quiet: true,
            flags: Vec::new(),
        };
        let layout = Layout::new(&options).unwrap();
        write(&layout, &BTreeMap::from([(2, 4711)]), true).unwrap();
        let card: serde_json::Value = serde_json::from_slice(&fs::read(layout.root.join(NAME)).unwrap()).unwrap();
        assert_eq!(card["restart"], true);
        assert_eq!((&card["nodes"][0]["pid"], &card["nodes"][1]["pid"]), (&serde_json::Value::Null, &4711.into()));
        assert_eq!(card["nodes"][1]["grpc"], "127.0.0.1:17402");
        remove(&layout);
        assert!(!layout.root.join(NAME).exists());
    }
}
