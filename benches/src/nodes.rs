//! What the load costs: CPU time, memory and written bytes of the nodes, and CPU time of this process.
//!
//! Of nodes that this tool started the system knows all of it. Others tell memory and CPU time themselves, where `--http` names them. A
//! figure that can't be had is absent, and the node's entry says why: an absent figure must not look like a small one.

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

/// Where the figures of a node come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A process of this tool; none if it is down.
    Process {
        /// Its address for clients.
        address: String,
        /// The process.
        pid: Option<u32>,
    },
    /// Its own `/metrics` at an address for HTTP.
    Metrics(String),
    /// Nothing is known but the address.
    Unknown(String),
}

/// The figures of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Node {
    pub(crate) address: String,
    #[serde(skip)]
    pid: Option<u32>,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) cpu_seconds: Option<f64>,
    /// Handed to the disk, also by the database in the background.
    pub(crate) bytes_written: Option<u64>,
    /// Why there is no figure where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) absent: Option<String>,
}

impl Node {
    /// What it used since an earlier look; memory is what it has now.
    pub(crate) fn since(mut self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        if earlier.pid != self.pid {
            return Self { absent: Some("it was started again in between".to_owned()), cpu_seconds: None, bytes_written: None, ..self };
        }
        let cpu_seconds = self.cpu_seconds.zip(earlier.cpu_seconds).map(|(now, then)| (now - then).max(0.0));
        self.bytes_written = self.bytes_written.zip(earlier.bytes_written).map(|(now, then)| now.saturating_sub(then));
        Self { cpu_seconds, ..self }
    }
}

/// Looks at every node.
pub(crate) async fn look(sources: &[Source]) -> anyhow::Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for source in sources {
        nodes.push(match source {
            Source::Process { address, pid } => of_process(address, *pid),
            Source::Metrics(address) => {
                let text = timeout(PATIENCE, get_metrics(address)).await.unwrap_or_else(|_| anyhow::bail!("silence"));
                let text = text.with_context(|| format!("asking http://{address}/metrics, as --http says"))?;
                parse(address, &text).with_context(|| format!("http://{address}/metrics lacks the figures of the process"))?
            }
            Source::Unknown(address) => Node {
                address: address.clone(),
                absent: Some("it was not started by this tool; --http names nodes that tell memory and CPU time".to_owned()),
                ..Node::default()
            },
        });
    }
    Ok(nodes)
}

/// CPU time of this process (clients and worker), where the system tells it.
pub(crate) fn own_cpu_seconds() -> Option<f64> {
    cpu_seconds(&read("self", "stat")?)
}

fn of_process(address: &str, pid: Option<u32>) -> Node {
    let file = |name| read(&pid?.to_string(), name);
    let figure = |name, label| file(name).and_then(|text| labelled(&text, label));
    let node = Node {
        address: address.to_owned(),
        pid,
        rss_bytes: figure("status", "VmRSS:").map(|kibibytes| kibibytes * 1024),
        cpu_seconds: file("stat").and_then(|text| cpu_seconds(&text)),
        bytes_written: figure("io", "write_bytes:"),
        absent: None,
    };
    let absent = match pid {
        None => Some("it is down".to_owned()),
        Some(_) if node.rss_bytes.is_none() || node.cpu_seconds.is_none() || node.bytes_written.is_none() => {
            Some("this system has not all of it in /proc".to_owned())
        }
        Some(_) => None,
    };
    Node { absent, ..node }
}

fn read(process: &str, name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/{name}")).ok()
}

/// The number behind a label at the beginning of a line.
fn labelled(text: &str, label: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(label)?.split_whitespace().next()?.parse().ok())
}

fn cpu_seconds(stat: &str) -> Option<f64> {
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
        rss_bytes: Some(value("process_resident_memory_bytes")? as u64),
        cpu_seconds: Some(value("process_cpu_seconds_total")?),
        absent: Some("bytes_written is known only of nodes that this tool started".to_owned()),
        ..Node::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_among_others() {
        let text = "HTTP/1.0 200 OK\r\n\r\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\n\
                    process_resident_memory_bytes 4096\nquorus_leases 1\n";
        let node = parse("a", text).unwrap();
        assert_eq!((node.rss_bytes, node.cpu_seconds, node.bytes_written), (Some(4096), Some(1.5), None));
        assert!(node.absent.unwrap().contains("bytes_written"));
        assert_eq!(parse("a", "quorus_leases 1"), None);
    }

    #[test]
    fn files_of_the_system_are_read() {
        let stat = "17 (a) name (b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        let io = "rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4096\ncancelled_write_bytes: 5\n";
        assert_eq!(labelled(io, "write_bytes:"), Some(4096));
        assert_eq!(labelled("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(labelled(io, "VmRSS:"), None);
    }

    #[test]
    fn what_is_used_is_what_came_since_and_only_of_the_same_process() {
        let node = |pid, cpu, written| Node {
            pid: Some(pid),
            rss_bytes: Some(7),
            cpu_seconds: Some(cpu),
            bytes_written: Some(written),
            ..Node::default()
        };
        let used = node(1, 3.5, 100).since(Some(&node(1, 1.0, 40)));
        assert_eq!((used.rss_bytes, used.cpu_seconds, used.bytes_written), (Some(7), Some(2.5), Some(60)));
        let again = node(2, 3.5, 100).since(Some(&node(1, 1.0, 40)));
        assert_eq!((again.rss_bytes, again.cpu_seconds, again.bytes_written), (Some(7), None, None));
        assert!(again.absent.unwrap().contains("started again"));
    }

    #[test]
    fn a_process_that_is_down_has_no_figures_and_says_so() {
        let node = of_process("a", None);
        assert_eq!((node.rss_bytes, node.absent.as_deref()), (None, Some("it is down")));
    }
}
