//! What the load costs: CPU time and memory of the nodes, from their `/metrics`, and CPU time of this process.

use std::{fs, time::Duration};

use anyhow::Context as _;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);
/// Linux shows times to programs in this unit on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// The figures of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Node {
    pub(crate) address: String,
    pub(crate) rss_bytes: u64,
    pub(crate) cpu_seconds: f64,
}

impl Node {
    /// What it used since an earlier look.
    pub(crate) fn since(mut self, earlier: Option<&Self>) -> Self {
        self.cpu_seconds -= earlier.map_or(0.0, |node| node.cpu_seconds);
        self
    }
}

/// Asks every node. CPU time is taken from the system where the process is known, in finer grain than a node tells.
pub(crate) async fn ask(addresses: &[String], pids: &[u32]) -> anyhow::Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let text = timeout(PATIENCE, get_metrics(address)).await.unwrap_or_else(|_| anyhow::bail!("silence"));
        let text = text.with_context(|| format!("asking http://{address}/metrics"))?;
        let mut node = parse(address, &text).with_context(|| format!("http://{address}/metrics lacks the figures of the process"))?;
        node.cpu_seconds = pids.get(index).and_then(|pid| cpu_seconds(&pid.to_string())).unwrap_or(node.cpu_seconds);
        nodes.push(node);
    }
    Ok(nodes)
}

/// CPU time of this process (clients and worker), where the system tells it.
pub(crate) fn own_cpu_seconds() -> Option<f64> {
    cpu_seconds("self")
}

fn cpu_seconds(pid: &str) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last parenthesis may hold anything; user and system time are the 12th and 13th field after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some(seconds()? + seconds()?)
}

/// HTTP 1.0, so that the end of the connection is the end of the answer.
async fn get_metrics(address: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://").trim_end_matches('/')).await?;
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn parse(address: &str, text: &str) -> Option<Node> {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<f64>().ok());
    Some(Node {
        address: address.to_owned(),
        rss_bytes: value("process_resident_memory_bytes")? as u64,
        cpu_seconds: value("process_cpu_seconds_total")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_among_others() {
        let text = "HTTP/1.0 200 OK\r\n\r\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\n\
                    process_resident_memory_bytes 4096\nquorus_leases 1\n";
        assert_eq!(parse("a", text), Some(Node { address: "a".to_owned(), rss_bytes: 4096, cpu_seconds: 1.5 }));
        assert_eq!(parse("a", "quorus_leases 1"), None);
    }
}
