//! `quorus diff`: what `apply` would change.

use anstyle::{AnsiColor, Style};
use quorus_client::exit_code;
use serde_json::{Value, json};
use similar::TextDiff;

use super::{
    args::{Format, Globals},
    client,
    definition::{Latest, Name, Resource},
    failure::Failure,
    source, term,
    text::painted,
};

const OLD: Style = AnsiColor::Red.on_default();
const NEW: Style = AnsiColor::Green.on_default();
const PLACE: Style = AnsiColor::Cyan.on_default();

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File, folder, or - for stdin; may be repeated
    #[arg(long, short, required = true, value_name = "PATH")]
    file: Vec<String>,
}

/// Exit codes: 0 the same, 1 different, 2 the files are wrong.
pub(crate) async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let checked = source::check(&source::read_all(&args.file)?);
    checked.report().map_err(|_| Failure::silent(exit_code::USAGE))?;
    let client = client::connect(globals)?;
    let (mut text, mut values) = (String::new(), Vec::new());
    for mut resource in checked.resources {
        resource.adopt_namespace(globals)?;
        let latest = resource.latest(&client).await?;
        let diff = compare(&mut resource, latest.as_ref());
        let Name { kind, name, .. } = resource.name();
        let change = match (&latest, diff.is_empty()) {
            (None, _) => "create",
            (Some(_), true) => "unchanged",
            (Some(_), false) => "update",
        };
        values.push(json!({"kind": kind, "name": name, "change": change, "diff": diff}));
        text.push_str(&coloured(&diff));
    }
    let different = values.iter().any(|value| value["change"] != "unchanged");
    if globals.output == Format::Table {
        term::print(&text)?;
    } else {
        term::print_as(globals, || json!({"different": different, "definitions": Value::Array(values)}), String::new)?;
    }
    if different { Err(Failure::silent(exit_code::ERROR)) } else { Ok(()) }
}

/// The unified difference between what the cluster has and a definition; empty if there is none. A definition that names no set stays in the
/// one that it belongs to.
pub(crate) fn compare(resource: &mut Resource, latest: Option<&Latest>) -> String {
    if let Some(set) = latest.and_then(|latest| latest.set.as_deref())
        && resource.set().is_none()
    {
        resource.adopt_set(set);
    }
    let new = resource.yaml();
    let old = latest.map_or("", |latest| latest.yaml.as_str());
    let Name { kind, name, .. } = resource.name();
    let before = latest.map_or_else(|| "/dev/null".to_owned(), |latest| format!("cluster: {kind} {name}, version {}", latest.version));
    let diff = TextDiff::from_lines(old, new.as_str());
    diff.unified_diff().context_radius(3).header(&before, resource.source()).to_string()
}

fn coloured(diff: &str) -> String {
    let style = |line: &str| match line.as_bytes().first() {
        Some(b'-') => Some(OLD),
        Some(b'+') => Some(NEW),
        Some(b'@') => Some(PLACE),
        _ => None,
    };
    diff.lines().map(|line| style(line).map_or_else(|| line.to_owned(), |style| painted(style, line)) + "\n").collect()
}
