//! `quorus limits` and `quorus breakers`: what the whole cluster may do at a time, and what is in use of it.

use clap::Subcommand;
use quorus_client::v1::{self, limit_spec::Target};
use quorus_spec::{format_duration, render_all};

use super::{
    args::{Format, Globals},
    client,
    failure::Failure,
    render, source,
    table::{facts, table},
    term,
    text::{age, lower, time},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List limits
    #[command(visible_alias = "ls")]
    List,
    /// Show a limit and its use, by key
    Describe {
        /// Name of the limit
        name: String,
    },
    /// Make or change limits
    Apply {
        /// File or folder with documents of `kind: Limit`, or - for stdin; may be repeated
        #[arg(long, short, required = true, value_name = "PATH")]
        file: Vec<String>,
    },
    /// Delete limits; steps that name them are free of them
    #[command(visible_alias = "rm")]
    Delete {
        /// Names of the limits
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BreakerCommand {
    /// List breakers
    #[command(visible_alias = "ls")]
    List,
    /// Close breakers by hand
    Reset {
        /// Name of the limit
        name: String,
        /// Only the breaker of this key
        #[arg(long, default_value = "", hide_default_value = true, value_name = "VALUE")]
        key: String,
    },
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::List => {
            let answer = client::connect(globals)?.list_limits(v1::ListLimitsRequest::default()).await?;
            if answer.limits.is_empty() && globals.output == Format::Table {
                term::remark(globals, "no limits; see `quorus limits apply -f FILE`");
            }
            let header = ["LIMIT", "TARGET", "RATE", "CONCURRENCY", "IN USE", "WAITING", "BREAKER"];
            term::print_as(globals, || render::value(&answer), || table(header, answer.limits.iter().map(row)))
        }
        Command::Describe { name } => {
            let answer = client::connect(globals)?.list_limits(v1::ListLimitsRequest { name }).await?;
            let status = answer.limits.into_iter().next().unwrap_or_default();
            term::print_as(globals, || render::value(&status), || describe(&status))
        }
        Command::Apply { file } => apply(&file, globals).await,
        Command::Delete { names } => {
            let client = client::connect(globals)?;
            for name in names {
                client.delete_limit(v1::DeleteLimitRequest { name: name.clone(), principal: None }).await?;
                term::remark(globals, &format!("limit {name} deleted"));
            }
            Ok(())
        }
    }
}

pub(crate) async fn run_breakers(command: BreakerCommand, globals: &Globals) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    match command {
        BreakerCommand::List => {
            let mut answer = client.list_limits(v1::ListLimitsRequest::default()).await?;
            answer.limits.retain(|status| spec(status).breaker.is_some());
            let rows: Vec<_> =
                answer.limits.iter().flat_map(|status| status.uses.iter().map(|used| breaker_row(&name(status), used))).collect();
            if rows.is_empty() && globals.output == Format::Table {
                term::remark(globals, "no breaker has seen an attempt yet");
            }
            let header = ["LIMIT", "KEY", "STATE", "FAILURES", "OUTCOMES", "PROBES FROM"];
            term::print_as(globals, || render::value(&answer), || table(header, rows))
        }
        BreakerCommand::Reset { name, key } => {
            let answer = client.reset_breaker(v1::ResetBreakerRequest { name: name.clone(), key, principal: None }).await?;
            let done = if answer.reset == 0 { "was closed before".to_owned() } else { format!("closed ({})", answer.reset) };
            term::remark(globals, &format!("breaker {name} {done}"));
            Ok(())
        }
    }
}

async fn apply(files: &[String], globals: &Globals) -> Result<(), Failure> {
    let mut limits = Vec::new();
    let mut bad = false;
    for source in source::read_all(files)? {
        let mut found = Vec::new();
        for resource in quorus_spec::read_resources(&source.text, &source.name) {
            match resource.decode::<v1::Limit>() {
                Ok(limit) => limits.push(limit),
                Err(_) if resource.diagnostics.is_empty() => {
                    return Err(Failure::usage(format!("{}: `{}` is a {}, expected a Limit", source.name, resource.name, resource.kind)));
                }
                Err(_) => found.extend(resource.diagnostics),
            }
        }
        if !found.is_empty() {
            bad = true;
            term::note(&render_all(&found, &source.text, true));
        }
    }
    if bad {
        return Err(Failure::silent(quorus_client::exit_code::ERROR));
    }
    let client = client::connect(globals)?;
    for limit in limits {
        let name = limit.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
        let answer = client.apply_limit(v1::ApplyLimitRequest { limit: Some(limit), principal: None }).await?;
        term::remark(globals, &format!("limit {name} {}", if answer.changed { "applied" } else { "unchanged" }));
    }
    Ok(())
}

fn name(status: &v1::LimitStatus) -> String {
    status.limit.as_ref().and_then(|limit| limit.metadata.as_ref()).map(|metadata| metadata.name.clone()).unwrap_or_default()
}

fn spec(status: &v1::LimitStatus) -> v1::LimitSpec {
    status.limit.as_ref().and_then(|limit| limit.spec.clone()).unwrap_or_default()
}

fn target(spec: &v1::LimitSpec) -> String {
    match &spec.target {
        Some(Target::TaskType(task_type)) => format!("task {task_type}"),
        Some(Target::Host(host)) => format!("host {host}"),
        None => "named".to_owned(),
    }
}

fn rate(spec: &v1::LimitSpec) -> String {
    let rate = |rate: &v1::Rate| format!("{}/{}", rate.count, rate.per.as_ref().map_or_else(|| "1s".to_owned(), format_duration));
    spec.rate.as_ref().map_or_else(|| "-".to_owned(), rate)
}

fn breaker(state: v1::BreakerState) -> String {
    match state {
        v1::BreakerState::Unspecified => "-".to_owned(),
        state => lower(state.as_str_name(), "BREAKER_STATE_"),
    }
}

fn row(status: &v1::LimitStatus) -> [String; 7] {
    let spec = spec(status);
    let sum = |of: fn(&v1::LimitUse) -> u32| status.uses.iter().map(|used| u64::from(of(used))).sum::<u64>().to_string();
    // The worst of all keys.
    let worst = [v1::BreakerState::Open, v1::BreakerState::HalfOpen]
        .into_iter()
        .find(|state| status.uses.iter().any(|used| used.breaker() == *state));
    let closed = if spec.breaker.is_some() { v1::BreakerState::Closed } else { v1::BreakerState::Unspecified };
    let concurrency = if spec.concurrency == 0 { "-".to_owned() } else { spec.concurrency.to_string() };
    [
        name(status),
        target(&spec),
        rate(&spec),
        concurrency,
        sum(|used| used.in_use),
        sum(|used| used.waiting),
        breaker(worst.unwrap_or(closed)),
    ]
}

fn breaker_row(limit: &str, used: &v1::LimitUse) -> [String; 6] {
    let from = used.opens_until.as_ref().map_or_else(|| "-".to_owned(), |until| time(Some(until)));
    [limit.to_owned(), used.key.clone(), breaker(used.breaker()), used.failures.to_string(), used.outcomes.to_string(), from]
}

fn describe(status: &v1::LimitStatus) -> String {
    let spec = spec(status);
    let by = status.changed_by.as_ref().map_or("", |by| by.subject.as_str());
    let mut text = facts([
        ("Limit", name(status)),
        ("Target", target(&spec)),
        ("Key", spec.key.clone()),
        ("Rate", rate(&spec)),
        ("Concurrency", if spec.concurrency == 0 { "-".to_owned() } else { spec.concurrency.to_string() }),
        ("Changed", format!("by {by}, {} ago", age(status.changed_at.as_ref()))),
    ]);
    if !status.uses.is_empty() {
        text.push('\n');
        let rows = status.uses.iter().map(|used| {
            [
                used.key.clone(),
                used.in_use.to_string(),
                used.waiting.to_string(),
                if spec.rate.is_some() { used.tokens.to_string() } else { "-".to_owned() },
                breaker(used.breaker()),
            ]
        });
        text.push_str(&table(["KEY", "IN USE", "WAITING", "TOKENS", "BREAKER"], rows));
    }
    text
}
