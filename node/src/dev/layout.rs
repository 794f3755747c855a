//! Who is where: the nodes' addresses and folders.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::{Options, ports};

/// One node's place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub id: u16,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub data: PathBuf,
    pub log: PathBuf,
}

/// All places, and the folder that holds them.
#[derive(Debug)]
pub(super) struct Layout {
    pub places: Vec<Place>,
    pub root: PathBuf,
    /// Deletes the folder when it is dropped; `None` if the folder is kept.
    pub temporary: Option<tempfile::TempDir>,
}

impl Layout {
    /// Chooses the places, checks that their ports are free, and makes the folder.
    pub(super) fn new(options: &Options) -> anyhow::Result<Self> {
        let numbers = 1..=options.nodes;
        let at = |first: u16, id: u16| {
            let port = first.checked_add(id - 1).context("the last node's port would be beyond 65535");
            port.map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        };
        let mut addresses = Vec::new();
        for id in numbers {
            addresses.push((id, at(options.port, id)?, at(options.http_port, id)?));
        }
        ports::check_free(addresses.iter().flat_map(|(_, grpc, http)| [*grpc, *http]))?;
        let temporary = match &options.data {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("quorus-dev-").tempdir().context("making a folder for the data")?),
        };
        let root = match (&options.data, &temporary) {
            (Some(data), _) => data.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => bail!("no data folder"),
        };
        fs::create_dir_all(&root).with_context(|| format!("making the data folder {}", root.display()))?;
        // As people will type it into another terminal, in another folder.
        let root = root.canonicalize().with_context(|| format!("finding the data folder {}", root.display()))?;
        check_same_size(&root, options.nodes)?;
        let place =
            |(id, grpc, http)| Place { id, grpc, http, data: root.join(format!("node-{id}")), log: root.join(format!("node-{id}.log")) };
        Ok(Self { places: addresses.into_iter().map(place).collect(), root, temporary })
    }

    /// The nodes as `--peers` takes them.
    pub(super) fn peers(&self) -> String {
        self.places.iter().map(|place| format!("{}={}", place.id, place.grpc)).collect::<Vec<_>>().join(",")
    }

    /// The nodes as clients take them.
    pub(super) fn endpoints(&self) -> String {
        self.places.iter().map(|place| format!("http://{}", place.grpc)).collect::<Vec<_>>().join(",")
    }
}

/// A cluster remembers its members: data of three nodes can't go on as two.
fn check_same_size(root: &Path, nodes: u16) -> anyhow::Result<()> {
    let found = (1..=99).take_while(|id| root.join(format!("node-{id}")).is_dir()).count();
    if found > 0 && found != usize::from(nodes) {
        bail!("{} holds a cluster of {found} nodes; use --nodes {found}, or another folder", root.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_only_used_again_with_as_many_nodes() {
        let root = tempfile::tempdir().unwrap();
        assert!(check_same_size(root.path(), 3).is_ok());
        for id in 1..=3 {
            fs::create_dir(root.path().join(format!("node-{id}"))).unwrap();
        }
        assert!(check_same_size(root.path(), 3).is_ok());
        assert!(check_same_size(root.path(), 1).unwrap_err().to_string().contains("use --nodes 3"));
    }
}
