//! `quorus apply`: makes definitions known to the cluster.
//!
//! First everything is read and checked, here and by the cluster, and all mistakes are told at once; then a plan of the changes is made and,
//! if a person is there, agreed on; only then is anything changed. Applying again what was applied changes nothing, so an interrupted
//! command is simply repeated.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, IsTerminal},
};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use quorus_client::{
    Client,
    v1::{self, apply_workflow_request::Definition},
};
use quorus_spec::Loaded;
use serde_json::{Value, json};

use super::{
    args::{Format, Globals},
    client,
    definition::{Name, Resource},
    diff,
    failure::Failure,
    source, table, term,
    text::{painted, plural},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File, folder, or - for stdin; may be repeated
    #[arg(long, short, required = true, value_name = "PATH")]
    file: Vec<String>,
    /// Show the plan and change nothing; the cluster checks it, too, unless this says `client`
    #[arg(long, value_enum, value_name = "WHO", num_args = 0..=1, require_equals = true, default_missing_value = "server", hide_possible_values = true, help = "Show the plan and change nothing: checked by the `server` [default], or by the `client` alone")]
    dry_run: Option<DryRun>,
    /// Name of the set that these definitions form; is recorded with each as a label
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
    /// Delete what the set had before and has no longer
    #[arg(long, requires = "set")]
    prune: bool,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DryRun {
    Client,
    Server,
}

/// What is to be done about a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Create,
    Update,
    Unchanged,
    Delete,
}

pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let checked = source::check(&source::read_all(&args.file)?);
    // All or nothing as far as we can see: nothing is applied while anything is wrong.
    checked.report()?;
    let mut resources = checked.resources;
    prepare(&mut resources, &args, globals)?;
    if args.dry_run == Some(DryRun::Client) {
        let rows = resources.iter().map(|resource| (resource.name(), "valid".to_owned(), resource.source().to_owned()));
        return show(rows.collect(), globals);
    }
    let client = client::connect(globals)?;
    let mut changes = Vec::new();
    let mut failures = Vec::new();
    for resource in &mut resources {
        let latest = resource.latest(&client).await?;
        let diff = diff::compare(resource, latest.as_ref());
        let change = match (&latest, diff.is_empty()) {
            (None, _) => Change::Create,
            (Some(_), true) => Change::Unchanged,
            (Some(_), false) => Change::Update,
        };
        if let Err(error) = resource.apply(&client, true).await {
            let Name { kind, name, .. } = resource.name();
            failures.push(error.within(&format!("{}: {kind} {name}", resource.source())));
        }
        changes.push((resource.name(), change, latest.map_or(0, |latest| latest.version)));
    }
    report_all(failures)?;
    let stale = if args.prune { stale(&client, &resources, args.set.as_deref().unwrap_or_default(), globals).await? } else { Vec::new() };
    changes.extend(stale.iter().map(|name| (name.clone(), Change::Delete, 0)));
    if args.dry_run.is_some() {
        let rows =
            changes.into_iter().map(|(name, change, version)| (name, format!("would be {}", change.done()), version_text(change, version)));
        return show(rows.collect(), globals);
    }
    agree(&args, globals, &changes)?;
    let mut answers = Vec::new();
    for resource in &resources {
        let applied = resource.apply(&client, false).await?;
        let Name { kind, name, .. } = resource.name();
        let what = if applied.changed { "applied" } else { "unchanged" };
        let version = if applied.version == 0 { String::new() } else { format!(", version {}", applied.version) };
        say(globals, &format!("{kind} {name} {what}{version}"))?;
        answers.push(applied.value);
    }
    let mut failures = Vec::new();
    for name in &stale {
        match name.delete(&client).await {
            Ok(()) => say(globals, &format!("{} {} deleted", name.kind, name.name))?,
            Err(error) => failures.push(Failure::from(error).within(&format!("{} {}", name.kind, name.name))),
        }
    }
    if globals.output != Format::Table {
        let single = answers.len() == 1 && stale.is_empty();
        let all = if single { answers.pop().unwrap_or(Value::Null) } else { json!({"applied": answers, "deleted": names(&stale)}) };
        term::print_as(globals, || all, String::new)?;
    }
    report_all(failures)
}

/// Namespaces, the set, the order, and no name twice.
fn prepare(resources: &mut [Resource], args: &Args, globals: &Globals) -> Result<(), Failure> {
    let mut seen: BTreeMap<Name, String> = BTreeMap::new();
    for resource in &mut *resources {
        resource.adopt_namespace(globals)?;
        if let Some(set) = &args.set {
            resource.adopt_set(set);
        }
        let name = resource.name();
        let source = resource.source().to_owned();
        if let Some(first) = seen.get(&name) {
            return Err(Failure::error(format!("{} `{}` is defined twice: in {first} and in {source}", name.kind, name.name)));
        }
        seen.insert(name, source);
    }
    let children: BTreeMap<String, Vec<String>> =
        resources.iter().map(|resource| (resource.name().name, resource.children().into_iter().map(str::to_owned).collect())).collect();
    // Children before their parents, else in the order of the files.
    resources.sort_by_cached_key(|resource| (resource.rank(), depth(&resource.name().name, &children, 0)));
    Ok(())
}

/// How many generations of children a workflow has among these; a circle counts as deep as it goes.
fn depth(name: &str, children: &BTreeMap<String, Vec<String>>, above: usize) -> usize {
    let below = children.get(name).map(Vec::as_slice).unwrap_or_default();
    if above > children.len() {
        return 0;
    }
    below.iter().filter(|child| children.contains_key(*child)).map(|child| 1 + depth(child, children, above + 1)).max().unwrap_or_default()
}

/// What the cluster has of the set and the files don't have. Only namespaces that the files or `-n` name are looked at.
async fn stale(client: &Client, resources: &[Resource], set: &str, globals: &Globals) -> Result<Vec<Name>, Failure> {
    let default = globals.namespace.clone().unwrap_or_else(|| quorus_spec::DEFAULT_NAMESPACE.to_owned());
    let full = |name: Name| if name.namespace.is_empty() { Name { namespace: default.clone(), ..name } } else { name };
    let kept: BTreeSet<Name> = resources.iter().map(|resource| full(resource.name())).collect();
    let namespaces: BTreeSet<String> = kept.iter().map(|name| name.namespace.clone()).chain([default.clone()]).collect();
    let mut stale = Vec::new();
    for namespace in namespaces {
        let found = Name::of_set(client, &namespace, set).await?;
        let found = found.into_iter().map(|name| Name { namespace: namespace.clone(), ..name });
        stale.extend(found.filter(|name| !kept.contains(name)));
    }
    Ok(stale)
}

/// Shows the plan and asks, if there is something to ask and somebody to answer. Nothing is deleted without a yes.
fn agree(args: &Args, globals: &Globals, changes: &[(Name, Change, u64)]) -> Result<(), Failure> {
    let deletions = changes.iter().filter(|(_, change, _)| *change == Change::Delete).count();
    let others = changes.iter().filter(|(_, change, _)| matches!(change, Change::Create | Change::Update)).count();
    if args.yes || deletions + others == 0 || (changes.len() == 1 && deletions == 0) {
        return Ok(());
    }
    let person = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !person && deletions == 0 {
        return Ok(());
    }
    let rows = changes.iter().map(|(name, change, version)| {
        let what = painted(change.style(), change.word());
        [what, name.kind.to_owned(), name.name.clone(), version_text(*change, *version)]
    });
    term::note(&table::table(["CHANGE", "KIND", "NAME", "VERSION"], rows));
    if !person {
        let message = format!("{} would be deleted, and nobody is there to ask", plural(deletions, "definition"));
        return Err(Failure::usage(message).hint("say --yes if that is right"));
    }
    term::note(&format!("{} to make. Go on? [y/N] ", plural(deletions + others, "change")));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    term::remark(globals, "nothing was changed");
    Err(Failure::silent(quorus_client::exit_code::ERROR))
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Unchanged => "unchanged",
            Self::Delete => "delete",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Update => "updated",
            Self::Unchanged => "unchanged",
            Self::Delete => "deleted",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Create => AnsiColor::Green.on_default(),
            Self::Update => AnsiColor::Yellow.on_default(),
            Self::Unchanged => Style::new(),
            Self::Delete => AnsiColor::Red.on_default(),
        }
    }
}

fn version_text(change: Change, version: u64) -> String {
    match change {
        // Numbers go on after a deletion, so only the cluster knows the next one.
        Change::Create | Change::Delete => String::new(),
        // Only workflows have versions.
        _ if version == 0 => String::new(),
        Change::Update => format!("{version} -> {}", version + 1),
        Change::Unchanged => version.to_string(),
    }
}

fn show(rows: Vec<(Name, String, String)>, globals: &Globals) -> Result<(), Failure> {
    let value = || json!({"plan": rows.iter().map(|(name, what, _)| json!({"kind": name.kind, "name": name.name, "change": what})).collect::<Vec<_>>()});
    let line = |(name, what, more): &(Name, String, String)| {
        let more = if more.is_empty() { String::new() } else { format!(" ({more})") };
        format!("{} {} {what}{more}\n", name.kind, name.name)
    };
    term::print_as(globals, value, || rows.iter().map(line).collect())
}

fn say(globals: &Globals, line: &str) -> Result<(), Failure> {
    if globals.output == Format::Table && !globals.quiet { term::print(&format!("{line}\n")) } else { Ok(()) }
}

fn names(names: &[Name]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": name.kind, "name": name.name})).collect()
}

/// All of them; the last one ends the command.
fn report_all(mut failures: Vec<Failure>) -> Result<(), Failure> {
    let Some(last) = failures.pop() else { return Ok(()) };
    for failure in failures {
        failure.report();
    }
    Err(last)
}

/// Applies one workflow before it is started.
pub(crate) async fn apply(client: &Client, globals: &Globals, loaded: Loaded) -> Result<v1::ApplyWorkflowResponse, Failure> {
    let mut resource = Resource::Workflow { source: String::new(), loaded: Box::new(loaded) };
    resource.adopt_namespace(globals)?;
    let Resource::Workflow { loaded, .. } = resource else { return Err(Failure::usage("only a workflow can be started")) };
    let request = v1::ApplyWorkflowRequest { definition: Some(Definition::Workflow(loaded.workflow)), dry_run: false, principal: None };
    Ok(client.apply_workflow(request).await?)
}
