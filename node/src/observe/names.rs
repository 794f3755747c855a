//! Every metric of the node: name, kind, unit, meaning.
//!
//! Names follow the Prometheus conventions: base units, the unit as suffix, `_total` for what only grows. Metrics named `quorus_raft_*` are
//! described where they are measured, in the crate `quorus-raft`.
//!
//! Invariant: labels have few values. Run ids, step ids and whatever else users choose without bound are never labels; queues are few, and
//! a queue's name is an operator's choice.

/// Constant 1; labels `version`.
pub const BUILD_INFO: &str = "quorus_build_info";
/// Runs accepted on this node as leader.
pub const RUNS_STARTED: &str = "quorus_runs_started_total";
/// Runs ended; label `status`.
pub const RUNS_ENDED: &str = "quorus_runs_ended_total";
/// Ended runs removed by this node as leader.
pub const RUNS_PURGED: &str = "quorus_runs_purged_total";
/// Histories that could not be written before their runs were to be removed.
pub const EXPORT_FAILURES: &str = "quorus_export_failures_total";
/// Runs that need attention and items that failed for good; label `shard`.
pub const DEAD_LETTERS: &str = "quorus_dead_letters";
/// Age of the oldest of them; label `shard`.
pub const DEAD_LETTERS_OLDEST: &str = "quorus_dead_letters_oldest_seconds";
/// Steps ended; labels `status`, `kind`.
pub const STEPS_ENDED: &str = "quorus_steps_ended_total";
/// Attempts ended; label `outcome`.
pub const ATTEMPTS: &str = "quorus_attempts_total";
/// From a step's readiness to its end.
pub const STEP_DURATION: &str = "quorus_step_duration_seconds";
/// From a task's readiness to its lease.
pub const SCHEDULE_TO_START: &str = "quorus_schedule_to_start_seconds";
/// Tasks that wait for a worker; label `queue`.
pub const QUEUE_DEPTH: &str = "quorus_task_queue_depth";
/// Leases that workers hold on shards that this node leads.
pub const LEASES: &str = "quorus_leases";
/// Workers whose streams end at this node.
pub const WORKERS: &str = "quorus_workers";
/// gRPC calls answered; labels `method`, `code`.
pub const RPC_REQUESTS: &str = "quorus_rpc_requests_total";
/// From a gRPC call's arrival to the head of its answer; label `method`.
pub const RPC_DURATION: &str = "quorus_rpc_duration_seconds";
/// Decisions that shared a record.
pub const RECORD_BATCHES: &str = "quorus_record_batches";
/// Schedules, on the node that fires them; 0 elsewhere.
pub const SCHEDULES: &str = "quorus_schedules";
/// Nominal times of schedules by what became of them; label `outcome`.
pub const SCHEDULE_FIRINGS: &str = "quorus_schedule_firings_total";
/// From the time at which a schedule was due to the start of its run.
pub const SCHEDULE_DELAY: &str = "quorus_schedule_delay_seconds";
/// Events that were posted to triggers; label `outcome`.
pub const TRIGGER_EVENTS: &str = "quorus_trigger_events_total";
/// Run actors in memory.
pub const RUN_ACTORS: &str = "quorus_run_actors";
/// CPU time of the process.
pub const PROCESS_CPU: &str = "process_cpu_seconds_total";
/// Memory of the process.
pub const PROCESS_RESIDENT: &str = "process_resident_memory_bytes";
/// Open files and sockets of the process.
pub const PROCESS_OPEN_FDS: &str = "process_open_fds";
/// When the process started.
pub const PROCESS_START_TIME: &str = "process_start_time_seconds";

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// One row of the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The metric's name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
}

const fn row(name: &'static str, kind: Kind, help: &'static str) -> Description {
    Description { name, kind, help }
}

/// All metrics of the node, in the order of the documentation.
pub const DESCRIPTIONS: &[Description] = &[
    row(BUILD_INFO, Kind::Gauge, "Constant 1, labelled with the version"),
    row(RUNS_STARTED, Kind::Counter, "Runs accepted by shards that this node leads"),
    row(RUNS_ENDED, Kind::Counter, "Runs ended on shards that this node leads, by status"),
    row(RUNS_PURGED, Kind::Counter, "Ended runs removed, by retention or by request, on shards that this node leads"),
    row(EXPORT_FAILURES, Kind::Counter, "Histories that could not be written; their runs are kept and tried again"),
    row(DEAD_LETTERS, Kind::Gauge, "Runs that need attention and items that failed for good, by shard, on its leader; at most 10,000"),
    row(DEAD_LETTERS_OLDEST, Kind::Gauge, "Seconds since the oldest of them is one, by shard; 0 if there is none"),
    row(STEPS_ENDED, Kind::Counter, "Steps ended on shards that this node leads, by status and kind"),
    row(ATTEMPTS, Kind::Counter, "Attempts ended on shards that this node leads, by outcome"),
    row(STEP_DURATION, Kind::Histogram, "Seconds from a step's readiness to its end, retries and waits included"),
    row(SCHEDULE_TO_START, Kind::Histogram, "Seconds from a task's readiness to its lease: how long it waited for a worker"),
    row(QUEUE_DEPTH, Kind::Gauge, "Tasks that wait for a worker on shards that this node leads, by queue"),
    row(LEASES, Kind::Gauge, "Leases held by workers on shards that this node leads"),
    row(WORKERS, Kind::Gauge, "Workers whose streams end at this node"),
    row(RPC_REQUESTS, Kind::Counter, "gRPC calls answered, by method and code"),
    row(RPC_DURATION, Kind::Histogram, "Seconds from a gRPC call's arrival to the head of its answer, by method"),
    row(RECORD_BATCHES, Kind::Histogram, "Decisions that shared one record of a shard's log, on its leader"),
    row(SCHEDULES, Kind::Gauge, "Schedules, on the node that fires them; 0 on the others"),
    row(SCHEDULE_FIRINGS, Kind::Counter, "Nominal times of schedules, by outcome: started, skipped or failed"),
    row(SCHEDULE_DELAY, Kind::Histogram, "Seconds from the time at which a schedule was due to the start of its run"),
    row(TRIGGER_EVENTS, Kind::Counter, "Events that were posted to triggers of this node, by outcome"),
    row(RUN_ACTORS, Kind::Gauge, "Run actors in memory; idle ones are passivated"),
    row(PROCESS_CPU, Kind::Counter, "Seconds of CPU time, user and system"),
    row(PROCESS_RESIDENT, Kind::Gauge, "Bytes of resident memory"),
    row(PROCESS_OPEN_FDS, Kind::Gauge, "Open file descriptors"),
    row(PROCESS_START_TIME, Kind::Gauge, "Seconds since the epoch at which the process started"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_and_are_unique() {
        let mut seen = BTreeSet::new();
        for Description { name, kind, help } in DESCRIPTIONS {
            assert!(seen.insert(name), "{name} is described twice");
            assert!(name.starts_with("quorus_") || name.starts_with("process_"), "{name} has no known prefix");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}: _total is for counters, and all of them");
            let unit = ["_seconds", "_bytes", "_batches"].iter().any(|unit| name.ends_with(unit));
            assert!(*kind != Kind::Histogram || unit, "{name}: a histogram without its unit");
            assert!(!help.ends_with('.') && help.starts_with(|first: char| first.is_uppercase() || first == 'g'), "{name}: {help}");
        }
    }

    #[test]
    fn no_metric_is_recorded_under_a_literal() {
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    for call in ["counter!(", "gauge!(", "histogram!("] {
                        assert!(!text.contains(&format!("metrics::{call}\"")), "{}: take the name from observe::names", path.display());
                    }
                }
            }
        }
    }

    #[test]
    fn every_metric_is_in_the_operators_handbook() {
        let handbook = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md")).unwrap();
        for Description { name, .. } in DESCRIPTIONS {
            assert!(handbook.contains(&format!("`{name}`")), "docs/operations.md lacks {name}");
        }
    }
}
