//! `quorus schedules`: runs that start by the clock.

use clap::{Subcommand, ValueEnum};
use prost_types::{Duration, Timestamp};
use quorus_client::{Client, v1};
use serde_json::{Value, json};

use super::{
    args::{Format, Globals, duration, json_text, key_value, labels},
    client,
    failure::Failure,
    render, resource, schedule_view as view, term,
};

const KIND: &str = "Schedule";

const APPLY_EXAMPLE: &str = "\
Example of a definition:
  api_version: quorus/v1
  kind: Schedule
  metadata: {name: nightly}
  spec:
    cron: \"0 2 * * *\"          # or every: 15m, or at: 2026-12-24T18:00:00Z
    time_zone: Europe/Berlin
    overlap: skip              # skip, buffer_one, allow, cancel_other, terminate_other
    catch_up_window: 1h
    run: {workflow: report, input: {day: \"${schedule.scheduled_at}\"}}";

const CREATE_EXAMPLES: &str = "\
Examples:
  quorus schedules create nightly --cron '0 2 * * *' --time-zone Europe/Berlin --workflow report
  quorus schedules create poll --every 15m --workflow poll --input '{\"source\": \"a\"}' --overlap buffer_one
  quorus schedules create once --at 2026-12-24T18:00:00Z --workflow greet";

const BACKFILL_EXAMPLES: &str = "\
Examples:
  quorus schedules backfill nightly --from 2026-11-01T00:00:00Z --until 2026-11-08T00:00:00Z --dry-run
  quorus schedules backfill nightly --from 7d --until 1h --overlap buffer_one";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make or change schedules that files define
    #[command(after_help = APPLY_EXAMPLE)]
    Apply {
        /// File, folder, or - for stdin; may be repeated
        #[arg(long, short, required = true, value_name = "PATH")]
        file: Vec<String>,
        /// Let the cluster check everything, but change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Make or change a schedule without a file
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<Create>),
    /// List schedules
    #[command(visible_alias = "ls")]
    List,
    /// Show a schedule, what comes next and what came last
    #[command(visible_alias = "get")]
    Describe(One),
    /// Fire now, also while the schedule is paused
    Trigger {
        #[command(flatten)]
        schedule: One,
        /// What to do while an earlier run is going on [default: the schedule's policy]
        #[arg(long, value_enum, value_name = "POLICY")]
        overlap: Option<Overlap>,
    },
    /// Stop firing; times that pass meanwhile are skipped
    Pause {
        #[command(flatten)]
        schedule: One,
        /// Recorded with the pause
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// Go on firing
    Resume(One),
    /// Fire for each time of a range that is over, as new runs
    #[command(after_help = BACKFILL_EXAMPLES)]
    Backfill(Backfill),
    /// Delete schedules with their firings; their runs go on
    #[command(visible_alias = "rm")]
    Delete {
        /// Names of the schedules
        #[arg(required = true, value_name = "SCHEDULE")]
        names: Vec<String>,
    },
    /// List firings, newest first, also those that were skipped and why
    Firings {
        #[command(flatten)]
        schedule: One,
        /// Only firings with this status; several separated by commas
        #[arg(long, short, value_enum, value_delimiter = ',', value_name = "STATUS")]
        status: Vec<Status>,
        /// At most this many
        #[arg(long, default_value_t = 20, value_name = "NUMBER")]
        limit: usize,
    },
    /// Show when a schedule fires next, in its time zone
    Next {
        /// Name of a schedule
        #[arg(value_name = "SCHEDULE", required_unless_present = "file", conflicts_with = "file")]
        name: Option<String>,
        /// A definition that need not be applied
        #[arg(long, short, value_name = "PATH")]
        file: Option<String>,
        /// How many times
        #[arg(long, short = 'c', default_value_t = 10, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Name of the schedule
    #[arg(value_name = "SCHEDULE")]
    name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Name of the schedule
    #[arg(value_name = "SCHEDULE")]
    name: String,
    /// Cron pattern of five fields, or of six with seconds first
    #[arg(long, value_name = "PATTERN", required_unless_present_any = ["every", "at"], conflicts_with_all = ["every", "at"])]
    cron: Option<String>,
    /// Time zone of the cron pattern, for example Europe/Berlin [default: UTC]
    #[arg(long, value_name = "NAME", requires = "cron")]
    time_zone: Option<String>,
    /// A fixed distance, for example 15m
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "at")]
    every: Option<std::time::Duration>,
    /// Shifts all times of --every
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "every")]
    offset: Option<std::time::Duration>,
    /// Once, at an RFC 3339 time
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Workflow that a firing starts
    #[arg(long, short, value_name = "NAME")]
    workflow: String,
    /// Its version [default: the latest when it fires]
    #[arg(long, value_name = "NUMBER")]
    workflow_version: Option<u64>,
    /// Input of the runs: JSON, @FILE, or - for stdin; may hold ${schedule.scheduled_at}
    #[arg(long, short, value_name = "JSON")]
    input: Option<String>,
    /// Label of the runs; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
    label: Vec<(String, String)>,
    /// What a firing does while an earlier run is going on [default: skip]
    #[arg(long, value_enum, value_name = "POLICY")]
    overlap: Option<Overlap>,
    /// How late a firing may be [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    catch_up_window: Option<std::time::Duration>,
    /// Delays each firing by up to this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    jitter: Option<std::time::Duration>,
    /// Let the cluster check everything, but change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Backfill {
    #[command(flatten)]
    schedule: One,
    /// First time: an RFC 3339 time, or a duration ago
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Timestamp,
    /// Last time, included: an RFC 3339 time, or a duration ago [default: now]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// What to do while an earlier run is going on; with buffer-one the runs follow one another [default: allow]
    #[arg(long, value_enum, value_name = "POLICY")]
    overlap: Option<Overlap>,
    /// Show which times there are, but start nothing
    #[arg(long)]
    dry_run: bool,
}

/// What a firing does while an earlier run is going on.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Overlap {
    /// The firing is skipped
    Skip,
    /// One firing waits for the end of the run
    #[value(alias = "buffer_one")]
    BufferOne,
    /// The runs go on side by side
    Allow,
    /// The other run is cancelled first
    #[value(alias = "cancel_other")]
    CancelOther,
    /// The other run is terminated first
    #[value(alias = "terminate_other")]
    TerminateOther,
}

/// How far a firing has come.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Status {
    Starting,
    Waiting,
    Started,
    Skipped,
    Failed,
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::Apply { file, dry_run } => apply(globals, &file, dry_run).await,
        Command::Create(create) => self::create(globals, *create).await,
        Command::List => list(globals).await,
        Command::Describe(One { name }) => {
            let state = client::connect(globals)?.get_schedule(v1::GetScheduleRequest { name, ..Default::default() }).await?;
            term::print_as(globals, || render::value(&state), || view::schedule(&state))
        }
        Command::Trigger { schedule, overlap } => trigger(globals, schedule.name, overlap).await,
        Command::Pause { schedule, reason } => {
            let request = v1::PauseScheduleRequest { name: schedule.name.clone(), reason, ..Default::default() };
            let state = client::connect(globals)?.pause_schedule(request).await?;
            term::print_as(globals, || render::value(&state), || format!("schedule {} paused\n", schedule.name))
        }
        Command::Resume(One { name }) => {
            let request = v1::ResumeScheduleRequest { name: name.clone(), ..Default::default() };
            let state = client::connect(globals)?.resume_schedule(request).await?;
            term::print_as(globals, || render::value(&state), || format!("schedule {name} goes on, next {}\n", view::next(&state)))
        }
        Command::Backfill(args) => backfill(globals, args).await,
        Command::Delete { names } => {
            let client = client::connect(globals)?;
            for name in names {
                client.delete_schedule(v1::DeleteScheduleRequest { name: name.clone(), ..Default::default() }).await?;
                term::remark(globals, &format!("schedule {name} deleted"));
            }
            Ok(())
        }
        Command::Firings { schedule, status, limit } => firings(globals, schedule.name, &status, limit).await,
        Command::Next { name, file, count } => next(globals, name, file, count).await,
    }
}

async fn apply(globals: &Globals, files: &[String], dry_run: bool) -> Result<(), Failure> {
    let defined = resource::read_all::<v1::Schedule>(files, KIND)?;
    for one in &defined {
        resource::namespace(globals, one.message.metadata.as_ref())?;
    }
    let client = client::connect(globals)?;
    let mut answers = Vec::new();
    for one in &defined {
        let request = v1::ApplyScheduleRequest { schedule: Some(one.message.clone()), dry_run, ..Default::default() };
        let answer = client.apply_schedule(request).await.map_err(|error| one.refused(error))?;
        one.warn(globals, &answer.warnings);
        answers.push(told(globals, &answer, dry_run)?);
    }
    print_answers(globals, answers)
}

async fn create(globals: &Globals, args: Create) -> Result<(), Failure> {
    use v1::schedule_spec::When;
    let input = args.input.as_deref().map(|input| json_text("--input", input)).transpose()?.map(|json| v1::Template { json });
    let when = match (args.cron, args.every, args.at) {
        (Some(cron), _, _) => When::Cron(cron),
        (_, Some(every), _) => When::Every(wire(every)),
        (_, _, at) => When::At(at.unwrap_or_default()),
    };
    let spec = v1::ScheduleSpec {
        when: Some(when),
        offset: args.offset.map(wire),
        time_zone: args.time_zone.unwrap_or_default(),
        jitter: args.jitter.map(wire),
        overlap: policy(args.overlap).into(),
        catch_up_window: args.catch_up_window.map(wire),
        run: Some(v1::RunTemplate {
            workflow: args.workflow,
            workflow_version: args.workflow_version.unwrap_or_default(),
            input,
            labels: labels(args.label),
        }),
        ..Default::default()
    };
    let schedule = v1::Schedule {
        api_version: quorus_spec::API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        metadata: Some(v1::Metadata { name: args.name, ..Default::default() }),
        spec: Some(spec),
    };
    let request = v1::ApplyScheduleRequest { schedule: Some(schedule), dry_run: args.dry_run, ..Default::default() };
    let answer = client::connect(globals)?.apply_schedule(request).await?;
    for warning in &answer.warnings {
        term::remark(globals, &format!("warning: {}", warning.message));
    }
    let value = told(globals, &answer, args.dry_run)?;
    print_answers(globals, vec![value])
}

/// Tells people at once what was applied.
fn told(globals: &Globals, answer: &v1::ApplyScheduleResponse, dry_run: bool) -> Result<Value, Failure> {
    let state = answer.schedule.clone().unwrap_or_default();
    let what = match (answer.changed, dry_run) {
        (true, false) => "applied",
        (true, true) => "would be applied",
        (false, _) => "unchanged",
    };
    if globals.output == Format::Table && !globals.quiet {
        term::print(&format!("schedule {} {what}, next {}\n", view::name(&state), view::next(&state)))?;
    }
    Ok(render::value(answer))
}

fn print_answers(globals: &Globals, mut answers: Vec<Value>) -> Result<(), Failure> {
    let all = if answers.len() == 1 { answers.pop().unwrap_or(Value::Null) } else { json!({"applied": answers}) };
    term::print_as(globals, || all, String::new)
}

async fn list(globals: &Globals) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let mut schedules = Vec::new();
    let mut request = v1::ListSchedulesRequest::default();
    loop {
        let page = client.list_schedules(request.clone()).await?;
        schedules.extend(page.schedules);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if schedules.is_empty() && globals.output == Format::Table {
        let namespace = &client.options().namespace;
        term::remark(globals, &format!("no schedules in namespace {namespace}; see `quorus schedules create --help`"));
    }
    let value = || json!({"schedules": schedules.iter().map(render::value).collect::<Vec<_>>()});
    term::print_as(globals, value, || view::schedules(&schedules))
}

async fn trigger(globals: &Globals, name: String, overlap: Option<Overlap>) -> Result<(), Failure> {
    let request = v1::TriggerScheduleRequest { name: name.clone(), overlap: policy(overlap).into(), ..Default::default() };
    let firing = client::connect(globals)?.trigger_schedule(request).await?;
    term::print_as(globals, || render::value(&firing), || format!("schedule {name} fires, run {}\n", firing.run_id))
}

async fn backfill(globals: &Globals, args: Backfill) -> Result<(), Failure> {
    let request = v1::BackfillScheduleRequest {
        name: args.schedule.name.clone(),
        from: Some(args.from),
        until: Some(args.until.unwrap_or_else(super::text::now)),
        overlap: policy(args.overlap).into(),
        dry_run: args.dry_run,
        ..Default::default()
    };
    let answer = client::connect(globals)?.backfill_schedule(request).await?;
    let what = if args.dry_run { "would be fired for" } else { "is fired for" };
    let line = format!("schedule {} {what} {}\n", args.schedule.name, super::text::plural(answer.count as usize, "time"));
    term::print_as(globals, || render::value(&answer), || if args.dry_run { view::times(&answer.times) + &line } else { line })
}

async fn firings(globals: &Globals, name: String, status: &[Status], limit: usize) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let statuses = status.iter().map(|status| firing_status(*status).into()).collect();
    let firings = read_firings(&client, v1::ListFiringsRequest { name, statuses, ..Default::default() }, limit).await?;
    let value = || json!({"firings": firings.iter().map(render::value).collect::<Vec<_>>()});
    term::print_as(globals, value, || view::firings(&firings))
}

async fn read_firings(client: &Client, mut request: v1::ListFiringsRequest, limit: usize) -> Result<Vec<v1::Firing>, Failure> {
    let mut firings = Vec::new();
    while firings.len() < limit {
        request.page_size = u32::try_from(limit - firings.len()).unwrap_or(u32::MAX).min(1000);
        let page = client.list_firings(request.clone()).await?;
        firings.extend(page.firings);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    Ok(firings)
}

async fn next(globals: &Globals, name: Option<String>, file: Option<String>, count: u32) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let state = match (name, file) {
        (_, Some(file)) => {
            let defined = resource::read_one::<v1::Schedule>(&file, KIND)?;
            let request =
                v1::ApplyScheduleRequest { schedule: Some(defined.message.clone()), dry_run: true, next: count, ..Default::default() };
            client.apply_schedule(request).await.map_err(|error| defined.refused(error))?.schedule.unwrap_or_default()
        }
        (name, None) => {
            let name = name.unwrap_or_default();
            client.get_schedule(v1::GetScheduleRequest { name, next: count, ..Default::default() }).await?
        }
    };
    if state.pause.is_some() {
        term::remark(globals, "the schedule is paused: it does not fire until `quorus schedules resume`");
    }
    let value = || json!({"next": state.next.iter().map(render::value).collect::<Vec<_>>()});
    term::print_as(globals, value, || view::times(&state.next))
}

fn policy(overlap: Option<Overlap>) -> v1::OverlapPolicy {
    match overlap {
        None => v1::OverlapPolicy::Unspecified,
        Some(Overlap::Skip) => v1::OverlapPolicy::Skip,
        Some(Overlap::BufferOne) => v1::OverlapPolicy::BufferOne,
        Some(Overlap::Allow) => v1::OverlapPolicy::Allow,
        Some(Overlap::CancelOther) => v1::OverlapPolicy::CancelOther,
        Some(Overlap::TerminateOther) => v1::OverlapPolicy::TerminateOther,
    }
}

fn firing_status(status: Status) -> v1::FiringStatus {
    match status {
        Status::Starting => v1::FiringStatus::Starting,
        Status::Waiting => v1::FiringStatus::Waiting,
        Status::Started => v1::FiringStatus::Started,
        Status::Skipped => v1::FiringStatus::Skipped,
        Status::Failed => v1::FiringStatus::Failed,
    }
}

fn wire(duration: std::time::Duration) -> Duration {
    Duration { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0) }
}

/// An RFC 3339 time, or a duration ago.
fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = duration(text).map_err(|_| "expected an RFC 3339 time such as 2026-11-24T02:00:00Z, or a duration such as 7d".to_owned())?;
    let then = std::time::SystemTime::now().checked_sub(ago).ok_or("that is too long ago")?;
    Ok(then.into())
}
