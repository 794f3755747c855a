//! `quorus triggers`: runs that start by an event from outside.

use clap::Subcommand;
use quorus_client::v1;
use serde_json::{Value, json};

use super::{
    args::{Format, Globals, json_text, key_value},
    client,
    failure::Failure,
    render, resource, table, term,
    text::{age, cut, lower, time},
};

const KIND: &str = "Trigger";

const APPLY_EXAMPLE: &str = "\
Example of a definition:
  api_version: quorus/v1
  kind: Trigger
  metadata: {name: alerts}
  spec:
    format: alertmanager               # json, cloud_events, alertmanager
    auth: {bearer: {env: HOOK_TOKEN}}  # or signature: [{env: HOOK_SECRET}], or unsigned: true
    filter: event.alert.status == 'firing'
    start:
      workflow: incident
      run_id: \"incident-${event.alert.fingerprint}\"
      input: {alert: \"${event.alert.labels.alertname}\"}
Events are posted to http://NODE:8401/hooks/default/alerts";

const TEST_EXAMPLES: &str = "\
Examples:
  quorus triggers test alerts --event @alert.json
  quorus triggers test -f trigger.yaml --event '{\"ref\": \"main\"}' --header 'x-github-event=push'";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make or change triggers that files define
    #[command(after_help = APPLY_EXAMPLE)]
    Apply {
        /// File, folder, or - for stdin; may be repeated
        #[arg(long, short, required = true, value_name = "PATH")]
        file: Vec<String>,
        /// Let the cluster check everything, but change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List triggers
    #[command(visible_alias = "ls")]
    List,
    /// Show a trigger
    #[command(visible_alias = "get")]
    Describe {
        /// Name of the trigger
        #[arg(value_name = "TRIGGER")]
        name: String,
    },
    /// Refuse events for now; senders come back
    Pause {
        /// Name of the trigger
        #[arg(value_name = "TRIGGER")]
        name: String,
        /// Recorded with the pause
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// Take events again
    Resume {
        /// Name of the trigger
        #[arg(value_name = "TRIGGER")]
        name: String,
    },
    /// Delete triggers; their runs go on
    #[command(visible_alias = "rm")]
    Delete {
        /// Names of the triggers
        #[arg(required = true, value_name = "TRIGGER")]
        names: Vec<String>,
    },
    /// Show what an event would start or signal; does nothing of it
    #[command(after_help = TEST_EXAMPLES)]
    Test {
        /// Name of a trigger
        #[arg(value_name = "TRIGGER", required_unless_present = "file", conflicts_with = "file")]
        name: Option<String>,
        /// A definition that need not be applied
        #[arg(long, short, value_name = "PATH")]
        file: Option<String>,
        /// What would be posted: JSON, @FILE, or - for stdin
        #[arg(long, short, value_name = "JSON")]
        event: String,
        /// With this header; may be repeated
        #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = key_value)]
        header: Vec<(String, String)>,
    },
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::Apply { file, dry_run } => apply(globals, &file, dry_run).await,
        Command::List => list(globals).await,
        Command::Describe { name } => {
            let state = client::connect(globals)?.get_trigger(v1::GetTriggerRequest { name, ..Default::default() }).await?;
            term::print_as(globals, || render::value(&state), || describe(&state))
        }
        Command::Pause { name, reason } => {
            let request = v1::PauseTriggerRequest { name: name.clone(), reason, ..Default::default() };
            let state = client::connect(globals)?.pause_trigger(request).await?;
            term::print_as(globals, || render::value(&state), || format!("trigger {name} paused\n"))
        }
        Command::Resume { name } => {
            let request = v1::ResumeTriggerRequest { name: name.clone(), ..Default::default() };
            let state = client::connect(globals)?.resume_trigger(request).await?;
            term::print_as(globals, || render::value(&state), || format!("trigger {name} takes events again\n"))
        }
        Command::Delete { names } => {
            let client = client::connect(globals)?;
            for name in names {
                client.delete_trigger(v1::DeleteTriggerRequest { name: name.clone(), ..Default::default() }).await?;
                term::remark(globals, &format!("trigger {name} deleted"));
            }
            Ok(())
        }
        Command::Test { name, file, event, header } => test(globals, name, file, &event, header).await,
    }
}

async fn apply(globals: &Globals, files: &[String], dry_run: bool) -> Result<(), Failure> {
    let defined = resource::read_all::<v1::Trigger>(files, KIND)?;
    for one in &defined {
        resource::namespace(globals, one.message.metadata.as_ref())?;
    }
    let client = client::connect(globals)?;
    let mut answers = Vec::new();
    for one in &defined {
        let request = v1::ApplyTriggerRequest { trigger: Some(one.message.clone()), dry_run, ..Default::default() };
        let answer = client.apply_trigger(request).await.map_err(|error| one.refused(error))?;
        one.warn(globals, &answer.warnings);
        if globals.output == Format::Table && !globals.quiet {
            let state = answer.trigger.clone().unwrap_or_default();
            let what = match (answer.changed, dry_run) {
                (true, false) => "applied",
                (true, true) => "would be applied",
                (false, _) => "unchanged",
            };
            term::print(&format!("trigger {} {what}, takes POST {}\n", name(&state), state.path))?;
        }
        answers.push(render::value(&answer));
    }
    let all = if answers.len() == 1 { answers.pop().unwrap_or(Value::Null) } else { json!({"applied": answers}) };
    term::print_as(globals, || all, String::new)
}

async fn list(globals: &Globals) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let mut triggers = Vec::new();
    let mut request = v1::ListTriggersRequest::default();
    loop {
        let page = client.list_triggers(request.clone()).await?;
        triggers.extend(page.triggers);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if triggers.is_empty() && globals.output == Format::Table {
        let namespace = &client.options().namespace;
        term::remark(globals, &format!("no triggers in namespace {namespace}; see `quorus triggers apply --help`"));
    }
    let value = || json!({"triggers": triggers.iter().map(render::value).collect::<Vec<_>>()});
    let row = |state: &v1::TriggerState| {
        let spec = spec(state);
        let state_of = if state.pause.is_some() { "paused" } else { "open" };
        let workflow = start(&spec).workflow;
        [name(state), format(&spec), auth(&spec), workflow, state_of.to_owned(), state.path.clone(), age(state.applied_at.as_ref())]
    };
    term::print_as(globals, value, || {
        table::table(["NAME", "FORMAT", "AUTH", "WORKFLOW", "STATE", "PATH", "AGE"], triggers.iter().map(row))
    })
}

fn describe(state: &v1::TriggerState) -> String {
    let spec = spec(state);
    let start = start(&spec);
    let signal = spec.signal.clone().unwrap_or_default();
    let metadata = state.trigger.clone().and_then(|trigger| trigger.metadata).unwrap_or_default();
    let who = |principal: &Option<v1::Principal>| principal.as_ref().map(|who| who.subject.clone()).unwrap_or_default();
    let pause =
        state.pause.as_ref().map(|pause| format!("since {} by {} {}", time(pause.since.as_ref()), who(&pause.principal), pause.reason));
    let per = if spec.per() == v1::AlertUnit::Unspecified { String::new() } else { lower(spec.per().as_str_name(), "ALERT_UNIT_") };
    table::facts([
        ("Trigger", name(state)),
        ("Namespace", metadata.namespace),
        ("Description", metadata.description),
        ("Takes", format!("POST {} on every node's HTTP port", state.path)),
        ("Format", format(&spec)),
        ("One run per", per),
        ("Auth", auth(&spec)),
        ("Filter", spec.filter.clone()),
        ("Event id", spec.event_id.clone()),
        ("Signals", if spec.signal.is_some() { format!("{} of run {}", signal.name, signal.run_id) } else { String::new() }),
        ("Payload", signal.payload.map(|payload| cut(&payload.json, 200)).unwrap_or_default()),
        ("Workflow", start.workflow),
        ("Run id", start.run_id),
        ("Input", start.input.map(|input| cut(&input.json, 200)).unwrap_or_default()),
        ("Paused", pause.unwrap_or_default().trim_end().to_owned()),
        ("Created", format!("{} by {}", time(state.created_at.as_ref()), who(&state.created_by))),
        ("Applied", format!("{} by {}", time(state.applied_at.as_ref()), who(&state.applied_by))),
    ])
}

async fn test(
    globals: &Globals,
    name: Option<String>,
    file: Option<String>,
    event: &str,
    header: Vec<(String, String)>,
) -> Result<(), Failure> {
    let body = json_text("--event", event)?.into();
    let defined = file.map(|file| resource::read_one::<v1::Trigger>(&file, KIND)).transpose()?;
    let request = v1::TestTriggerRequest {
        name: name.unwrap_or_default(),
        trigger: defined.as_ref().map(|defined| defined.message.clone()),
        body,
        headers: header.into_iter().collect(),
        ..Default::default()
    };
    let tested = client::connect(globals)?.test_trigger(request).await;
    let answer = match (tested, &defined) {
        (Ok(answer), _) => answer,
        (Err(error), Some(defined)) => return Err(defined.refused(error)),
        (Err(error), None) => return Err(error.into()),
    };
    if answer.events.is_empty() {
        term::remark(globals, "there is no event in it");
    }
    let failed = answer.events.iter().any(|event| !event.error.is_empty());
    term::print_as(globals, || render::value(&answer), || answer.events.iter().map(mapped).collect())?;
    if failed { Err(Failure::silent(quorus_client::exit_code::ERROR)) } else { Ok(()) }
}

fn mapped(event: &v1::MappedEvent) -> String {
    if let Some(signal) = &event.signal {
        let payload = signal.payload.as_ref().map(|payload| super::text::payload(payload, 400)).unwrap_or_default();
        let (starts, input) = event.start.as_ref().map_or_else(Default::default, |start| {
            let input = start.input.as_ref().map(|input| super::text::payload(input, 400)).unwrap_or_default();
            (format!("{}, if no run of this id is going on", start.workflow), input)
        });
        return table::facts([
            ("Event", event.event_id.clone()),
            ("Signals", signal.name.clone()),
            ("Run id", signal.run_id.clone()),
            ("Payload", payload),
            ("Starts", starts),
            ("Input", input),
        ]) + "\n";
    }
    let Some(start) = event.start.as_ref() else {
        let what = if event.error.is_empty() { "ignored by the filter".to_owned() } else { format!("error: {}", event.error) };
        return table::facts([("Event", event.event_id.clone()), ("Starts", what)]) + "\n";
    };
    let labels: Vec<_> = start.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let input = start.input.as_ref().map(|input| super::text::payload(input, 400)).unwrap_or_default();
    table::facts([
        ("Event", event.event_id.clone()),
        ("Starts", start.workflow.clone()),
        ("Run id", start.run_id.clone()),
        ("Input", input),
        ("Labels", labels.join(", ")),
    ]) + "\n"
}

fn name(state: &v1::TriggerState) -> String {
    state.trigger.as_ref().and_then(|trigger| trigger.metadata.as_ref()).map(|metadata| metadata.name.clone()).unwrap_or_default()
}

fn spec(state: &v1::TriggerState) -> v1::TriggerSpec {
    state.trigger.clone().and_then(|trigger| trigger.spec).unwrap_or_default()
}

/// What it starts, by itself or for a signal.
fn start(spec: &v1::TriggerSpec) -> v1::EventRun {
    let of_signal = || spec.signal.as_ref().and_then(|signal| signal.start.clone());
    spec.start.clone().or_else(of_signal).unwrap_or_default()
}

fn format(spec: &v1::TriggerSpec) -> String {
    match spec.format() {
        v1::EventFormat::Unspecified => "json".to_owned(),
        format => lower(format.as_str_name(), "EVENT_FORMAT_"),
    }
}

fn auth(spec: &v1::TriggerSpec) -> String {
    let auth = spec.auth.clone().unwrap_or_default();
    match (auth.unsigned, auth.bearer.is_some()) {
        (true, _) => "none",
        (_, true) => "bearer",
        _ => "signature",
    }
    .to_owned()
}
