//! Every fault that can be made: its name, what it does, what it can be told, what it needs, how it is undone.
//!
//! The command line, the checks of a request, `fault list` and the random nemesis are all made from this table, so none of them can forget a kind.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::select::Selector;
use crate::stage::clocks::APART_MAX_MS;

/// A lasting fault is over after this time unless somebody says otherwise.
pub const FOR_DEFAULT_MS: u64 = 30_000;
/// A lasting fault is over after this time whatever anybody says.
pub const FOR_MAX_MS: u64 = 600_000;

/// On whom a fault acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Nodes.
    Nodes,
    /// Links between nodes (and, if asked for, of clients).
    Links,
    /// Workers.
    Workers,
    /// The whole cluster.
    Cluster,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bounds {
    /// A number between two, both included.
    Number(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Nodes as a selector names them.
    Selector,
}

/// What a fault can be told.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Parameter {
    /// Its name, and its flag.
    pub name: &'static str,
    /// A sentence.
    pub about: &'static str,
    /// What it is if nobody says anything.
    pub default: &'static str,
    /// What it may be.
    pub bounds: Bounds,
}

/// A fault.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Kind {
    /// Its name, also in `nemesis.jsonl`.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// On whom.
    pub scope: Scope,
    /// Who is taken if nobody is named.
    pub target: &'static str,
    /// True if its targets can't do their work meanwhile: their number is bounded by the blast radius.
    pub destructive: bool,
    /// True if it is in force for a time; false if it happens and is over.
    pub lasting: bool,
    /// How long it lasts if nobody says anything, in milliseconds.
    pub for_ms: u64,
    /// True if a node that stops itself meanwhile does what it should.
    pub may_stop: bool,
    /// What it works on: any of `stage` (a cluster of ours), `dev`, `lossy` (ours with disks that can be broken), and `namespaces` (ours with cables).
    pub needs: &'static [&'static str],
    /// How it is undone, in a sentence.
    pub undone: &'static str,
    /// What it can be told.
    pub parameters: &'static [Parameter],
}

const PROCESSES: &[&str] = &["stage", "dev"];
const STAGE: &[&str] = &["stage"];
const CABLES: &[&str] = &["namespaces"];
const LOSSY: &[&str] = &["lossy"];

const CLIENTS: Parameter = Parameter {
    name: "clients",
    about: "Cut the links of clients to the targets, too",
    default: "no",
    bounds: Bounds::Word(&["no", "yes"]),
};
const HOW: Parameter = Parameter {
    name: "how",
    about: "hold: like a cable that is pulled; refuse: like a firewall that answers with a reset",
    default: "hold",
    bounds: Bounds::Word(&["hold", "refuse"]),
};
const DIRECTION: Parameter = Parameter {
    name: "direction",
    about: "What the targets send (out), what is sent to them (in), or both",
    default: "both",
    bounds: Bounds::Word(&["both", "out", "in"]),
};
const DELAY: Parameter = Parameter {
    name: "delay-ms",
    about: "Milliseconds that each byte takes more, each way",
    default: "100",
    bounds: Bounds::Number(0, 10_000),
};
const JITTER: Parameter =
    Parameter { name: "jitter-ms", about: "Up to so many milliseconds more, by chance", default: "20", bounds: Bounds::Number(0, 10_000) };
const BETWEEN: Parameter = Parameter {
    name: "between-ms",
    about: "Pause after a node is ready again, before the next",
    default: "500",
    bounds: Bounds::Number(0, 60_000),
};
const GRACEFUL: Parameter = Parameter {
    name: "graceful",
    about: "Ask nodes to stop (yes) or kill them (no)",
    default: "yes",
    bounds: Bounds::Word(&["yes", "no"]),
};

const NODE: Kind = Kind {
    name: "",
    about: "",
    scope: Scope::Nodes,
    target: "random",
    destructive: true,
    lasting: true,
    for_ms: FOR_DEFAULT_MS,
    may_stop: false,
    needs: PROCESSES,
    undone: "",
    parameters: &[],
};
const EVENT: Kind = Kind { lasting: false, for_ms: 0, ..NODE };
const LINK: Kind = Kind { scope: Scope::Links, needs: STAGE, undone: "the links carry again", ..NODE };
const DISK: Kind = Kind { needs: LOSSY, ..NODE };
const WORKER: Kind = Kind { scope: Scope::Workers, needs: STAGE, ..NODE };

/// All faults.
pub const KINDS: &[Kind] = &[
    Kind { name: "kill", about: "Kills nodes with signal 9", for_ms: 5_000, undone: "they start again", ..NODE },
    Kind { name: "stop", about: "Asks nodes to stop in order (signal 15)", for_ms: 5_000, undone: "they start again", ..NODE },
    Kind { name: "pause", about: "Stops nodes in the middle of whatever they do (SIGSTOP)", for_ms: 10_000, undone: "SIGCONT", ..NODE },
    Kind {
        name: "resume",
        about: "Lets paused nodes go on before their time",
        destructive: false,
        target: "all",
        undone: "nothing to undo",
        ..EVENT
    },
    Kind {
        name: "restart",
        about: "Ends nodes and starts them again at once",
        undone: "nothing to undo",
        parameters: &[GRACEFUL],
        ..EVENT
    },
    Kind {
        name: "start",
        about: "Starts nodes that do not live before their time",
        destructive: false,
        target: "all",
        needs: STAGE,
        undone: "nothing to undo",
        ..EVENT
    },
    Kind {
        name: "kill-all",
        about: "Kills all nodes at once with signal 9",
        target: "all",
        for_ms: 2_000,
        undone: "they start again",
        ..NODE
    },
    Kind {
        name: "rolling-restart",
        about: "Restarts one node after the other, each when the one before is ready",
        target: "all",
        destructive: false,
        for_ms: 300_000,
        undone: "nodes that do not live start again",
        parameters: &[GRACEFUL, BETWEEN],
        ..NODE
    },
    Kind {
        name: "power-loss",
        about: "Nodes lose power: they die, and of what was not synced only a part is found again",
        for_ms: 5_000,
        undone: "they start again",
        parameters: &[
            Parameter {
                name: "keep",
                about: "What is kept of what was not synced; with prefix, per file the first changes; with 50%, each by chance",
                default: "nothing",
                bounds: Bounds::Word(&["nothing", "prefix", "50%", "everything"]),
            },
            Parameter { name: "torn", about: "Keep writes in part, too", default: "no", bounds: Bounds::Word(&["no", "yes"]) },
        ],
        ..DISK
    },
    Kind {
        name: "disk-full",
        about: "Disks of nodes have no more room",
        for_ms: 15_000,
        may_stop: true,
        undone: "there is room again, and nodes that have stopped themselves start",
        parameters: &[Parameter {
            name: "room-bytes",
            about: "Bytes that can still be written",
            default: "0",
            bounds: Bounds::Number(0, 1 << 40),
        }],
        ..DISK
    },
    Kind {
        name: "disk-slow",
        about: "Disks of nodes are slow",
        destructive: false,
        undone: "they are as before",
        parameters: &[
            Parameter {
                name: "fsync-ms",
                about: "Milliseconds that each sync takes more",
                default: "100",
                bounds: Bounds::Number(0, 10_000),
            },
            Parameter {
                name: "write-ms",
                about: "Milliseconds that each write takes more",
                default: "0",
                bounds: Bounds::Number(0, 10_000),
            },
        ],
        ..DISK
    },
    Kind {
        name: "disk-fails",
        about: "Each sync of the disks of nodes fails",
        for_ms: 10_000,
        may_stop: true,
        undone: "they lose power, what no sync covered is gone, and the nodes start again",
        ..DISK
    },
    Kind {
        name: "bit-flip",
        about: "Kills a node, damages one of its files, and starts it: it must refuse, or repair it",
        for_ms: 15_000,
        may_stop: true,
        needs: STAGE,
        undone: "files are put back as far as that takes back nothing that the node promised since, and it starts",
        parameters: &[
            Parameter {
                name: "file",
                about: "Kind of file: tables, logs, which tables there are, which manifest it is, how far the log was synced",
                default: "wal",
                bounds: Bounds::Word(&["sst", "wal", "manifest", "current", "mark"]),
            },
            Parameter {
                name: "damage",
                about: "One bit, a block of zeros, or a cut-off end",
                default: "bit",
                bounds: Bounds::Word(&["bit", "zero", "cut"]),
            },
        ],
        ..NODE
    },
    Kind {
        name: "clock-offset",
        about: "Sets the clocks of nodes off, within what nodes allow each other",
        for_ms: 20_000,
        needs: STAGE,
        undone: "their clocks are right again, which is one more jump",
        parameters: &[
            Parameter { name: "by-ms", about: "By how much", default: "300", bounds: Bounds::Number(1, APART_MAX_MS) },
            Parameter { name: "direction", about: "Ahead or behind", default: "ahead", bounds: Bounds::Word(&["ahead", "behind"]) },
        ],
        ..NODE
    },
    Kind { name: "partition", about: "Separates nodes from all others", target: "minority", parameters: &[HOW, CLIENTS], ..LINK },
    Kind {
        name: "partition-one-way",
        about: "What nodes send does not arrive at the others, or the other way round",
        parameters: &[Parameter { default: "out", bounds: Bounds::Word(&["out", "in"]), ..DIRECTION }],
        ..LINK
    },
    Kind {
        name: "partition-ring",
        about: "Each node sees a majority, no two see the same; needs four nodes or more",
        target: "all",
        destructive: false,
        parameters: &[HOW],
        ..LINK
    },
    Kind {
        name: "partition-bridge",
        about: "The others fall into two halves that only the target sees both of",
        destructive: false,
        parameters: &[HOW],
        ..LINK
    },
    Kind {
        name: "isolate-leader",
        about: "Separates a shard's leader from all other nodes",
        target: "leader",
        parameters: &[HOW, CLIENTS],
        ..LINK
    },
    Kind {
        name: "latency",
        about: "Slows the links of nodes down",
        destructive: false,
        target: "all",
        parameters: &[DELAY, JITTER],
        ..LINK
    },
    Kind {
        name: "bandwidth",
        about: "Bounds the bytes per second of each link of nodes",
        destructive: false,
        target: "all",
        parameters: &[Parameter {
            name: "bytes-per-second",
            about: "Bytes per second, each way",
            default: "65536",
            bounds: Bounds::Number(256, 1 << 30),
        }],
        ..LINK
    },
    Kind {
        name: "stall",
        about: "Connections of nodes stay open and carry nothing; new ones are accepted",
        parameters: &[DIRECTION],
        ..LINK
    },
    Kind {
        name: "unplug",
        about: "Pulls the cables of nodes: packets are lost, nothing is refused or reset",
        target: "minority",
        needs: CABLES,
        undone: "they are plugged in again",
        parameters: &[Parameter {
            name: "how",
            about: "silent: the node does not notice; carrier: its interface tells that it has no link",
            default: "silent",
            bounds: Bounds::Word(&["silent", "carrier"]),
        }],
        ..NODE
    },
    Kind { name: "refuse", about: "Links of nodes take no new connections; open ones go on", destructive: false, ..LINK },
    Kind {
        name: "reset",
        about: "Resets every open connection of nodes",
        destructive: false,
        scope: Scope::Links,
        needs: STAGE,
        undone: "nothing to undo: they connect again",
        parameters: &[CLIENTS],
        ..EVENT
    },
    Kind {
        name: "half-close",
        about: "Ends one direction of every open connection of nodes",
        destructive: false,
        scope: Scope::Links,
        needs: STAGE,
        undone: "nothing to undo: they connect again",
        parameters: &[Parameter { default: "out", ..DIRECTION }],
        ..EVENT
    },
    Kind { name: "worker-kill", about: "Kills workers with signal 9", for_ms: 5_000, undone: "they start again", ..WORKER },
    Kind {
        name: "worker-pause",
        about: "Stops workers beyond the end of their leases (SIGSTOP)",
        for_ms: 45_000,
        undone: "SIGCONT",
        ..WORKER
    },
    Kind {
        name: "worker-cut",
        about: "Separates workers from nodes",
        undone: "the links carry again",
        parameters: &[
            Parameter { name: "from", about: "From which nodes: all, 2, leader:3, random", default: "all", bounds: Bounds::Selector },
            HOW,
        ],
        ..WORKER
    },
    Kind {
        name: "overload",
        about: "Many clients start runs at once",
        scope: Scope::Cluster,
        target: "all",
        destructive: false,
        for_ms: 60_000,
        undone: "the clients stop",
        parameters: &[
            Parameter { name: "count", about: "How many starts", default: "2000", bounds: Bounds::Number(1, 1_000_000) },
            Parameter { name: "clients", about: "How many at a time", default: "128", bounds: Bounds::Number(1, 4096) },
        ],
        ..NODE
    },
];

impl Kind {
    /// The fault with a name.
    pub fn of(name: &str) -> anyhow::Result<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name).with_context(|| {
            let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            format!("there is no fault `{name}`; there are: {}", names.join(", "))
        })
    }

    /// What kind of cluster it needs if not any will do, and the flags that make one.
    pub fn wants(&self) -> (&'static str, &'static str) {
        if self.needs == CABLES {
            ("a cluster in a network of its own", " --network namespaces")
        } else if self.needs == LOSSY {
            ("disks that can be broken", " --disks lossy")
        } else {
            ("a cluster with proxies and workers of its own", "")
        }
    }

    /// Fills in defaults and checks bounds.
    pub fn settle(&self, given: &BTreeMap<String, String>) -> anyhow::Result<Settled> {
        if let Some(unknown) = given.keys().find(|name| !self.parameters.iter().any(|parameter| parameter.name == **name)) {
            let names: Vec<&str> = self.parameters.iter().map(|parameter| parameter.name).collect();
            bail!(
                "`{}` has no parameter `{unknown}`; it has: {}",
                self.name,
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            );
        }
        let mut values = BTreeMap::new();
        for parameter in self.parameters {
            let text = given.get(parameter.name).map_or(parameter.default, String::as_str);
            parameter.check(text)?;
            values.insert(parameter.name, text.to_owned());
        }
        Ok(Settled { values })
    }
}

impl Parameter {
    fn check(&self, text: &str) -> anyhow::Result<()> {
        match self.bounds {
            Bounds::Number(least, most) => {
                let number: u64 = text.parse().with_context(|| format!("{} is `{text}`, expected a number", self.name))?;
                if !(least..=most).contains(&number) {
                    bail!("{} is {number}, expected {least} to {most}", self.name);
                }
            }
            Bounds::Word(words) if !words.contains(&text) => bail!("{} is `{text}`, expected one of: {}", self.name, words.join(", ")),
            Bounds::Selector => {
                text.parse::<Selector>()?;
            }
            Bounds::Word(_) => {}
        }
        Ok(())
    }
}

/// Parameters that have been checked.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    values: BTreeMap<&'static str, String>,
}

impl Settled {
    /// A number; 0 if the fault has no such parameter.
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// A word; empty if the fault has no such parameter.
    pub fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// True for `yes`.
    pub fn is_yes(&self, name: &str) -> bool {
        self.text(name) == "yes"
    }
}

impl std::fmt::Display for Settled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&all.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_whole_and_its_defaults_are_within_its_bounds() {
        let mut names = std::collections::BTreeSet::new();
        for kind in KINDS {
            assert!(names.insert(kind.name), "{} is there twice", kind.name);
            assert!(!kind.about.is_empty() && !kind.undone.is_empty() && !kind.needs.is_empty(), "{}", kind.name);
            assert_eq!(kind.lasting, kind.for_ms > 0, "{}", kind.name);
            assert!(kind.for_ms <= FOR_MAX_MS, "{}", kind.name);
            kind.settle(&BTreeMap::new()).unwrap();
        }
    }

    #[test]
    fn what_a_fault_can_not_be_told_is_refused_with_what_it_can() {
        let given = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let latency = Kind::of("latency").unwrap();
        assert_eq!(latency.settle(&given("delay-ms", "250")).unwrap().to_string(), "delay-ms=250 jitter-ms=20");
        for (name, value, part) in
            [("delay-ms", "10001", "0 to 10000"), ("delay-ms", "much", "a number"), ("how", "hold", "delay-ms, jitter-ms")]
        {
            let error = latency.settle(&given(name, value)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(Kind::of("partition").unwrap().settle(&given("how", "gently")).unwrap_err().to_string().contains("hold, refuse"));
        assert!(Kind::of("nonsense").unwrap_err().to_string().contains("worker-pause"));
    }
}
