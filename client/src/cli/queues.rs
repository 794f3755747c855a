//! `quorus queues`: what waits, who serves it, and stopping it.

use clap::Subcommand;
use quorus_client::v1;

use super::{
    args::{Format, Globals},
    client,
    failure::Failure,
    render,
    table::{facts, table},
    term,
    text::{age, time},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List queues
    #[command(visible_alias = "ls")]
    List,
    /// Show a queue: what waits by priority, and who serves it
    Describe {
        /// Name of the queue
        queue: String,
    },
    /// Lease no more tasks of a queue; what is being executed goes on
    Pause {
        /// Name of the queue
        queue: String,
        /// Why, for others to read
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// Lease tasks of a queue again
    Resume {
        /// Name of the queue
        queue: String,
    },
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    match command {
        Command::List => {
            let answer = client.list_queues(v1::ListQueuesRequest::default()).await?;
            missing(&answer.missing_nodes);
            if answer.queues.is_empty() && globals.output == Format::Table {
                term::remark(globals, "no queues: nothing waits, and no worker is there");
            }
            let header = ["QUEUE", "WAITING", "OLDEST", "WORKERS", "IN USE", "CAPACITY", "STATE"];
            term::print_as(globals, || render::value(&answer), || table(header, answer.queues.iter().map(row)))
        }
        Command::Describe { queue } => {
            let answer = client.list_queues(v1::ListQueuesRequest { queue: queue.clone() }).await?;
            missing(&answer.missing_nodes);
            let status = answer.queues.into_iter().next().unwrap_or_default();
            term::print_as(globals, || render::value(&status), || describe(&status))
        }
        Command::Pause { queue, reason } => {
            let answer = client.pause_queue(v1::PauseQueueRequest { queue: queue.clone(), reason, principal: None }).await?;
            term::remark(globals, &format!("queue {queue} {}", if answer.changed { "paused" } else { "was paused before" }));
            Ok(())
        }
        Command::Resume { queue } => {
            let answer = client.resume_queue(v1::ResumeQueueRequest { queue: queue.clone(), principal: None }).await?;
            term::remark(globals, &format!("queue {queue} {}", if answer.changed { "resumed" } else { "was not paused" }));
            Ok(())
        }
    }
}

/// Says what is not in an answer.
pub(crate) fn missing(nodes: &[u64]) {
    for node in nodes {
        term::note(&format!("node {node} did not answer: what only it knows is missing\n"));
    }
}

/// `by ada, 5m ago: because`.
pub(crate) fn stopped(switched: &v1::Switched) -> String {
    let by = switched.by.as_ref().map_or("", |by| by.subject.as_str());
    let reason = if switched.reason.is_empty() { String::new() } else { format!(": {}", switched.reason) };
    format!("by {by}, {} ago{reason}", age(switched.since.as_ref()))
}

fn row(status: &v1::QueueStatus) -> [String; 7] {
    let state = if status.paused.is_some() { "paused" } else { "open" };
    [
        status.queue.clone(),
        status.waiting.to_string(),
        age(status.oldest_since.as_ref()),
        status.workers.to_string(),
        status.in_use.to_string(),
        status.capacity.to_string(),
        state.to_owned(),
    ]
}

fn describe(status: &v1::QueueStatus) -> String {
    let by_priority = status.waiting_by_priority.iter().zip(1..).filter(|(waiting, _)| **waiting > 0);
    let by_priority: Vec<_> = by_priority.map(|(waiting, priority)| format!("{waiting} of priority {priority}")).collect();
    let oldest = status.oldest_since.as_ref().map(|since| format!("{} ago ({})", age(Some(since)), time(Some(since))));
    let limited = if status.limited == 0 { String::new() } else { format!("{} of them", status.limited) };
    let mut text = facts([
        ("Queue", status.queue.clone()),
        ("Paused", status.paused.as_ref().map(stopped).unwrap_or_default()),
        ("Waiting", status.waiting.to_string()),
        ("By priority", by_priority.join(", ")),
        ("Wait for limits", limited),
        ("Oldest", oldest.unwrap_or_default()),
        ("Workers", format!("{} with room for {}, {} in use", status.workers, status.capacity, status.in_use)),
    ]);
    if !status.demands.is_empty() {
        text.push('\n');
        let rows = status.demands.iter().map(|demand| {
            let labels: Vec<_> = demand.selectors.iter().map(|(name, value)| format!("{name}={value}")).collect();
            [labels.join(","), demand.waiting.to_string(), demand.workers.to_string()]
        });
        text.push_str(&table(["SELECTOR", "WAITING", "WORKERS"], rows));
    }
    text
}
