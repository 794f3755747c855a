//! Merges the layers, gives the texts their types, and checks what must hold between them.

use std::{collections::BTreeMap, fmt::Display, path::PathBuf, time::Duration};

use super::{
    Config, Invalid, Limits, Log, LogFormat, Node, Origin, Problem, Raft,
    layers::Layer,
    problem::did_you_mean,
    setting::{Kind, SETTINGS, Setting},
    value,
};

/// A valid configuration, and where each of its values comes from.
#[derive(Debug)]
pub struct Resolved {
    /// The configuration.
    pub config: Config,
    /// Every setting in the order of the table: key, value as text, origin.
    pub values: Vec<(&'static str, String, Origin)>,
}

/// Merges layers, the later ones winning, into a valid configuration, or says everything that is wrong.
///
/// `problems` are those that reading the layers found.
pub fn resolve(layers: impl IntoIterator<Item = Layer>, problems: Vec<Problem>) -> Result<Resolved, Invalid> {
    let mut given = Layer::new();
    for layer in layers {
        given.extend(layer);
    }
    let mut reader = Reader { given, problems, values: BTreeMap::new() };
    let config = reader.config();
    if !reader.problems.is_empty() {
        // People go through a file from its top.
        reader.problems.sort_by_key(|problem| match problem.origin {
            Origin::File(_, line) => (0, line),
            Origin::Env(_) => (1, 0),
            Origin::Flag(_) => (2, 0),
            Origin::Default(_) => (3, 0),
        });
        return Err(Invalid(reader.problems));
    }
    let mut values = reader.values;
    let values =
        SETTINGS.iter().filter_map(|setting| values.remove(setting.key).map(|(text, origin)| (setting.key, text, origin))).collect();
    Ok(Resolved { config, values })
}

struct Reader {
    given: Layer,
    problems: Vec<Problem>,
    values: BTreeMap<&'static str, (String, Origin)>,
}

impl Reader {
    /// Reads all settings. After a problem the value is some default, so that the rest can be checked, too.
    fn config(&mut self) -> Config {
        let peers_given = self.optional("peers", value::peers);
        let alone = peers_given.is_none();
        let id = match self.optional("node.id", |text| integer("node.id", text)) {
            Some(id) => id,
            None if alone => self.derived("node.id", 1, "no peers"),
            None => {
                let origin = self.origin("peers");
                self.problem(origin, "node.id is needed when peers are given: which of them is this node?");
                1
            }
        };
        let data_dir = PathBuf::from(self.value("node.data_dir", text_of_path));
        let listen = self.value("listen", value::socket);
        let entry = peers_given.as_ref().and_then(|peers| peers.get(&id).cloned());
        let advertise = match self.optional("advertise", value::host_port) {
            Some(advertise) => advertise,
            None => match entry.clone() {
                Some(entry) => self.derived("advertise", entry, "this node's entry in peers"),
                None => self.derived("advertise", listen.to_string(), "listen"),
            },
        };
        let peers = match peers_given {
            Some(peers) => {
                if entry.is_none() && self.values.contains_key("node.id") {
                    let origin = self.origin("peers");
                    self.problem(origin, &format!("this node ({id}) is not among the peers; name all nodes, this one included"));
                }
                peers
            }
            None => {
                if listen.ip().is_unspecified() && !self.given.contains_key("advertise") {
                    let origin = self.origin("listen");
                    self.problem(origin, &format!("others can't reach {listen}; set advertise to a host and port that they can reach"));
                }
                let peers = BTreeMap::from([(id, advertise.clone())]);
                self.note("peers", value::format_peers(&peers), Origin::Default(Some("this node alone".to_owned())));
                peers
            }
        };
        let http_listen = self.value("http_listen", value::socket);
        if http_listen == listen {
            let origin = self.origin("http_listen");
            self.problem(origin, &format!("{http_listen} is taken by listen; gRPC and HTTP need a port each"));
        }
        let bootstrap_expect = match self.optional("bootstrap_expect", |text| integer("bootstrap_expect", text)) {
            Some(expect) => expect as usize,
            None if alone => self.derived("bootstrap_expect", 1, "no peers"),
            None => self.derived("bootstrap_expect", 0, "peers are given; a new cluster must be asked for"),
        };
        if bootstrap_expect > peers.len() {
            let origin = self.origin("bootstrap_expect");
            self.problem(origin, &format!("{bootstrap_expect} nodes can't meet: peers names {}", peers.len()));
        } else if bootstrap_expect > 0 && bootstrap_expect <= peers.len() / 2 {
            let origin = self.origin("bootstrap_expect");
            self.problem(origin, &format!("{bootstrap_expect} of {} peers are no majority, so two clusters could be made", peers.len()));
        }
        let replication_factor = match self.optional("replication_factor", |text| integer("replication_factor", text)) {
            Some(factor) => factor as usize,
            None => self.derived("replication_factor", peers.len().min(3), "3, or all peers if fewer"),
        };
        if replication_factor > peers.len() {
            let origin = self.origin("replication_factor");
            self.problem(origin, &format!("{replication_factor} replicas need as many nodes; peers names {}", peers.len()));
        }
        Config {
            node: Node { id, data_dir },
            listen,
            advertise,
            http_listen,
            peers,
            bootstrap_expect,
            allow_unverified_approvals: self.value("unverified_approvals", |text| choice("unverified_approvals", text)) == "allow",
            shards: self.integer("shards") as u32,
            replication_factor,
            lease: self.value("lease", |text| duration("lease", text)),
            cancel_grace: self.value("cancel_grace", |text| duration("cancel_grace", text)),
            retention: self.value("retention", |text| duration("retention", text)),
            export_dir: Some(self.value("export_dir", |text| Ok(PathBuf::from(text)))).filter(|folder| !folder.as_os_str().is_empty()),
            builtin_concurrency: self.integer("builtin_concurrency") as u32,
            http_allow_private: self.value("http_allow_private", value::cidrs),
            secrets_dir: Some(self.value("secrets_dir", |text| Ok(PathBuf::from(text)))).filter(|path| !path.as_os_str().is_empty()),
            raft: self.raft(),
            limits: Limits {
                changes: self.integer("limits.changes") as usize,
                reads: self.integer("limits.reads") as usize,
                watches: self.integer("limits.watches") as usize,
                workers: self.integer("limits.workers") as usize,
            },
            log: self.log(),
        }
    }

    fn raft(&mut self) -> Raft {
        let profile = self.value("raft.profile", |text| choice("raft.profile", text));
        let (heartbeat, election_min, election_max) = if profile == "wan" { (500, 2_000, 3_000) } else { (100, 300, 450) };
        let note = format!("profile {profile}");
        let mut time = |key: &'static str, default_ms: u64| match self.optional(key, |text| duration(key, text)) {
            Some(time) => time,
            None => {
                let time = Duration::from_millis(default_ms);
                self.note(key, value::format_duration(time), Origin::Default(Some(note.clone())));
                time
            }
        };
        let raft = Raft {
            heartbeat: time("raft.heartbeat", heartbeat),
            election_min: time("raft.election_min", election_min),
            election_max: time("raft.election_max", election_max),
        };
        if raft.election_min < raft.heartbeat * 2 {
            let origin = self.origin("raft.election_min");
            let least = value::format_duration(raft.heartbeat * 2);
            self.problem(
                origin,
                &format!("raft.election_min must be at least two heartbeats ({least}), else one lost message is an election"),
            );
        }
        if raft.election_max <= raft.election_min {
            let origin = self.origin("raft.election_max");
            let least = value::format_duration(raft.election_min);
            self.problem(origin, &format!("raft.election_max must be longer than raft.election_min ({least}), so that candidates differ"));
        }
        raft
    }

    fn log(&mut self) -> Log {
        let format = match self.value("log.format", |text| choice("log.format", text)).as_str() {
            "human" => LogFormat::Human,
            "json" => LogFormat::Json,
            _ => LogFormat::Auto,
        };
        let level = self.value("log.level", |text| {
            let filter = tracing_subscriber::EnvFilter::builder().parse(text);
            filter.map(|_| text.to_owned()).map_err(|error| format!("'{text}' is not a log level: {error}; write for example info"))
        });
        Log { format, level }
    }

    fn integer(&mut self, key: &'static str) -> u64 {
        self.value(key, |text| integer(key, text))
    }

    /// The value of a setting that has a default.
    fn value<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        if let Some(value) = self.optional(key, &parse) {
            return value;
        }
        let default = Setting::by_key(key).and_then(|setting| setting.default).unwrap_or_default();
        if !self.values.contains_key(key) {
            self.note(key, default.to_owned(), Origin::Default(None));
        }
        #[expect(clippy::unwrap_used, reason = "the defaults are constants, and a test parses all of them")]
        parse(default).ok().unwrap()
    }

    /// The value of a setting if a layer has it and it is right.
    fn optional<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let given = self.given.get(key)?.clone();
        let parsed = parse(&given.text);
        self.note(key, given.text, given.origin.clone());
        match parsed {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(given.origin, &format!("{key}: {message}"));
                None
            }
        }
    }

    fn derived<T: Display>(&mut self, key: &'static str, value: T, note: &str) -> T {
        // After a problem with what was given, the place of the problem stays the origin.
        if !self.values.contains_key(key) {
            self.note(key, value.to_string(), Origin::Default(Some(note.to_owned())));
        }
        value
    }

    fn note(&mut self, key: &'static str, text: String, origin: Origin) {
        self.values.insert(key, (text, origin));
    }

    fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(Origin::Default(None), |(_, origin)| origin.clone())
    }

    fn problem(&mut self, origin: Origin, message: &str) {
        self.problems.push(Problem::new(origin, message));
    }
}

fn bounds(key: &str) -> Kind {
    Setting::by_key(key).map_or(Kind::Path, |setting| setting.kind)
}

fn integer(key: &str, text: &str) -> Result<u64, String> {
    let number: u64 = text.trim().parse().map_err(|_| format!("'{text}' is not a whole number"))?;
    match bounds(key) {
        Kind::Integer(min, max) if number < min || number > max => Err(format!("{number} is out of range: {min} to {max}")),
        _ => Ok(number),
    }
}

fn duration(key: &str, text: &str) -> Result<Duration, String> {
    let duration = value::duration(text)?;
    let (min, max) = match bounds(key) {
        Kind::Duration(min, max) => (Duration::from_millis(min), Duration::from_millis(max)),
        _ => (Duration::ZERO, Duration::MAX),
    };
    if duration < min || duration > max {
        return Err(format!("'{text}' is out of range: {} to {}", value::format_duration(min), value::format_duration(max)));
    }
    Ok(duration)
}

fn choice(key: &str, text: &str) -> Result<String, String> {
    let Kind::Choice(words) = bounds(key) else { return Ok(text.to_owned()) };
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("'{text}' is not one of {}{}", words.join(", "), did_you_mean(text, words.iter().copied())))
}

fn text_of_path(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("the path is empty".to_owned()) } else { Ok(text.to_owned()) }
}
