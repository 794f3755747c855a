//! `quorus workers`: who is there, and who is to get no more tasks.

use clap::Subcommand;
use quorus_client::v1;

use super::{
    args::{Format, Globals},
    client,
    failure::Failure,
    queues::{missing, stopped},
    render,
    table::table,
    term,
    text::age,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the workers of the cluster
    #[command(visible_alias = "ls")]
    List {
        /// Only those that serve this queue
        #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
        queue: String,
    },
    /// Give a worker no more tasks; what it executes goes on
    Drain {
        /// Name of the worker
        name: String,
        /// Why, for others to read
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// Give a worker tasks again
    Undrain {
        /// Name of the worker
        name: String,
    },
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    match command {
        Command::List { queue } => {
            let answer = client.list_workers(v1::ListWorkersRequest { queue }).await?;
            missing(&answer.missing_nodes);
            if answer.workers.is_empty() && globals.output == Format::Table {
                term::remark(globals, "no workers; see `quorus worker exec`");
            }
            let header = ["WORKER", "NODE", "QUEUES", "LABELS", "IN USE", "CAPACITY", "AGE", "STATE"];
            term::print_as(globals, || render::value(&answer), || table(header, answer.workers.iter().map(row)))
        }
        Command::Drain { name, reason } => {
            let answer = client.drain_worker(v1::DrainWorkerRequest { name: name.clone(), reason, principal: None }).await?;
            term::remark(globals, &format!("worker {name} {}", if answer.changed { "drained" } else { "was drained before" }));
            Ok(())
        }
        Command::Undrain { name } => {
            let answer = client.undrain_worker(v1::UndrainWorkerRequest { name: name.clone(), principal: None }).await?;
            term::remark(globals, &format!("worker {name} {}", if answer.changed { "gets tasks again" } else { "was not drained" }));
            Ok(())
        }
    }
}

fn row(worker: &v1::WorkerInfo) -> [String; 8] {
    let labels: Vec<_> = worker.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let here = !worker.incarnation.is_empty();
    let state = match (&worker.drained, here) {
        (Some(switched), true) => format!("drained {}", stopped(switched)),
        (Some(switched), false) => format!("absent, drained {}", stopped(switched)),
        (None, _) => "open".to_owned(),
    };
    let number = |number: u32| if here { number.to_string() } else { "-".to_owned() };
    [
        worker.name.clone(),
        if here { worker.node_id.to_string() } else { "-".to_owned() },
        worker.queues.join(","),
        labels.join(","),
        number(worker.in_use),
        number(worker.capacity),
        age(worker.since.as_ref()),
        state,
    ]
}
