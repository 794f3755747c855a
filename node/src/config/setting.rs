//! The table of settings: the one place that knows which there are.
//!
//! A setting's flag, environment name and place in the file follow from one name each, so that who knows one knows all:
//! `raft.heartbeat` in the file, `--raft-heartbeat`, `QUORUS_RAFT_HEARTBEAT`. Two are shorter as flags (`data-dir`, `node-id` keep their
//! table only in the file), and the log level answers to the usual names, too.

/// What a setting's text must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number between two bounds, both included.
    Integer(u64, u64),
    /// A duration between two bounds in milliseconds, both included.
    Duration(u64, u64),
    /// An IP address and a port.
    Socket,
    /// A host name or IP address and a port.
    HostPort,
    /// A path.
    Path,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// Directives of the log filter.
    LogFilter,
    /// Node ids with their addresses.
    Peers,
    /// Ranges of addresses, separated by commas.
    Cidrs,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its place in the file, for example `raft.heartbeat`.
    pub key: &'static str,
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// Other environment names that are read when the setting's own is not set.
    pub env_fallback: &'static [&'static str],
    /// What its text must look like.
    pub kind: Kind,
    /// Its default as text; `None` if it follows from others, as `about` says.
    pub default: Option<&'static str>,
    /// One sentence for people.
    pub about: &'static str,
}

impl Setting {
    /// Its environment name.
    pub fn env(&self) -> String {
        format!("QUORUS_{}", self.flag.replace('-', "_").to_ascii_uppercase())
    }

    /// What stands for the value in the help.
    pub fn placeholder(&self) -> &'static str {
        match self.kind {
            Kind::Integer(..) => "N",
            Kind::Duration(..) => "DURATION",
            Kind::Socket => "IP:PORT",
            Kind::HostPort => "HOST:PORT",
            Kind::Path => "DIR",
            Kind::Choice(_) => "WORD",
            Kind::LogFilter => "LEVEL",
            Kind::Peers => "ID=HOST:PORT,...",
            Kind::Cidrs => "RANGE,...",
        }
    }

    /// Finds a setting by its place in the file.
    pub fn by_key(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const PERMITS_MAX: u64 = 1_000_000;

const fn setting(key: &'static str, flag: &'static str, kind: Kind, default: Option<&'static str>, about: &'static str) -> Setting {
    Setting { key, flag, env_fallback: &[], kind, default, about }
}

/// All settings, in the order in which people meet them.
pub static SETTINGS: &[Setting] = &[
    setting("node.id", "node-id", Kind::Integer(1, u64::MAX >> 1), None, "This node's number in peers. Default: 1 when there are no peers"),
    setting("node.data_dir", "data-dir", Kind::Path, Some("quorus-data"), "Folder for everything that the node must not forget"),
    setting("listen", "listen", Kind::Socket, Some("127.0.0.1:7401"), "Where to listen for gRPC: clients, workers and peers"),
    setting("advertise", "advertise", Kind::HostPort, None, "Where others reach this node. Default: its entry in peers, else listen"),
    setting("http_listen", "http-listen", Kind::Socket, Some("127.0.0.1:8401"), "Where to listen for HTTP: probes, metrics, version"),
    setting("peers", "peers", Kind::Peers, None, "All nodes of the cluster, this one included. Default: this node alone"),
    setting(
        "bootstrap_expect",
        "bootstrap-expect",
        Kind::Integer(0, 99),
        None,
        "How many nodes must meet to make a new cluster; 0 never makes one. Default: 1 when there are no peers, else 0",
    ),
    setting(
        "unverified_approvals",
        "unverified-approvals",
        Kind::Choice(&["refuse", "allow"]),
        Some("refuse"),
        "Whether approvals count although nobody vouches for the person. Fixed when the cluster is made",
    ),
    setting("shards", "shards", Kind::Integer(1, 512), Some("16"), "Number of shards. Fixed when the cluster is made"),
    setting("replication_factor", "replication-factor", Kind::Integer(1, 9), None, "Replicas per shard. Default: 3, or all peers if fewer"),
    setting(
        "lease",
        "lease",
        Kind::Duration(SECOND, HOUR),
        Some("30s"),
        "How long a shard may be without a leader until workers lose what they execute; a dead worker loses it after a third more",
    ),
    setting("cancel_grace", "cancel-grace", Kind::Duration(0, HOUR), Some("10s"), "How long a cancelled attempt may take to stop"),
    setting(
        "retention",
        "retention",
        Kind::Duration(SECOND, 100 * 365 * DAY),
        Some("30d"),
        "How long ended runs are kept whose definition does not say it",
    ),
    setting(
        "export_dir",
        "export-dir",
        Kind::Path,
        Some(""),
        "Folder for the histories of runs that are about to be removed; empty: none are written",
    ),
    setting(
        "builtin_concurrency",
        "builtin-concurrency",
        Kind::Integer(1, 100_000),
        Some("1000"),
        "http, gate and emit attempts that this node executes at a time",
    ),
    setting(
        "http_allow_private",
        "http-allow-private",
        Kind::Cidrs,
        Some(""),
        "Private address ranges that http, gate and emit steps may call. Default: none",
    ),
    setting(
        "secrets_dir",
        "secrets-dir",
        Kind::Path,
        Some(""),
        "Folder with a file per secret. Default: none, only QUORUS_SECRET_* of the environment",
    ),
    setting("raft.profile", "raft-profile", Kind::Choice(&["lan", "wan"]), Some("lan"), "Sets the defaults of the three times below"),
    setting(
        "raft.heartbeat",
        "raft-heartbeat",
        Kind::Duration(10, 10 * SECOND),
        None,
        "How often a leader tells that it lives. Default: 100ms (lan), 500ms (wan)",
    ),
    setting(
        "raft.election_min",
        "raft-election-min",
        Kind::Duration(20, MINUTE),
        None,
        "Shortest silence before an election. Default: 300ms (lan), 2s (wan)",
    ),
    setting(
        "raft.election_max",
        "raft-election-max",
        Kind::Duration(30, MINUTE),
        None,
        "Longest silence before an election. Default: 450ms (lan), 3s (wan)",
    ),
    setting(
        "limits.changes",
        "limits-changes",
        Kind::Integer(1, PERMITS_MAX),
        Some("1024"),
        "Starts, cancels, terminates and changes of definitions at a time",
    ),
    setting("limits.reads", "limits-reads", Kind::Integer(1, PERMITS_MAX), Some("4096"), "Reads at a time"),
    setting("limits.watches", "limits-watches", Kind::Integer(1, PERMITS_MAX), Some("4096"), "Watch streams at a time"),
    setting("limits.workers", "limits-workers", Kind::Integer(1, PERMITS_MAX), Some("4096"), "Workers' streams at a time"),
    setting(
        "log.format",
        "log-format",
        Kind::Choice(&["auto", "human", "json"]),
        Some("auto"),
        "Shape of a line; auto is human on a terminal",
    ),
    Setting {
        key: "log.level",
        flag: "log-level",
        env_fallback: &["QUORUS_LOG", "RUST_LOG"],
        kind: Kind::LogFilter,
        default: Some("info"),
        about: "A level, or directives such as info,quorus_raft=debug",
    },
];
