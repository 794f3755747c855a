//! `quorus context`: named clusters, so that nobody has to remember endpoints.
//!
//! They stand in one YAML file below the user's configuration folder. What a command line says wins over the environment, and both win over
//! the context.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use clap::Subcommand;
use quorus_client::exit_code;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    args::{Format, Globals},
    failure::Failure,
    table, term,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List contexts
    #[command(visible_alias = "ls")]
    List,
    /// Show the context in use
    Current,
    /// Use a context from now on
    Use {
        /// Name of the context; - for none
        name: String,
    },
    /// Add a context, or change it; takes --endpoints and --namespace
    Add {
        /// Name of the context
        name: String,
        /// Use it from now on
        #[arg(long = "use")]
        use_it: bool,
    },
    /// Remove contexts
    #[command(visible_alias = "rm")]
    Remove {
        /// Names of the contexts
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Where a cluster is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Nodes to ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) endpoints: Vec<String>,
    /// Namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// Name of the one in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// What the file says; nothing if there is none.
    pub(crate) fn load() -> Result<Self, Failure> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::error(format!("can't read `{}`: {error}", path.display()))),
        };
        let read =
            serde_saphyr::from_str::<Option<Self>>(&text).map_err(|error| Failure::error(format!("`{}`: {error}", path.display())))?;
        Ok(read.unwrap_or_default())
    }

    /// Replaces the file as a whole, so that a reader sees the old or the new one.
    fn save(&self) -> Result<(), Failure> {
        let Some(path) = path() else {
            return Err(Failure::error("there is no place for the file").hint("set HOME, XDG_CONFIG_HOME or QUORUS_CONTEXTS"));
        };
        let failed = |error: io::Error| Failure::error(format!("can't write `{}`: {error}", path.display()));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let text = serde_saphyr::to_string(self).map_err(|error| Failure::error(format!("can't write YAML: {error}")))?;
        let new = path.with_extension(format!("new.{}", std::process::id()));
        fs::write(&new, text).map_err(failed)?;
        fs::rename(&new, &path).map_err(failed)
    }

    /// The context to use: the one asked for, else the current one.
    pub(crate) fn select(&self, asked: Option<&str>) -> Result<Option<&Context>, Failure> {
        match asked.or(self.current.as_deref()) {
            None | Some("") => Ok(None),
            Some(name) => self.contexts.get(name).map(Some).ok_or_else(|| self.unknown(name)),
        }
    }

    /// Names of all, for completion.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.contexts.keys().map(String::as_str)
    }

    fn unknown(&self, name: &str) -> Failure {
        let known: Vec<_> = self.names().collect();
        let hint = if known.is_empty() {
            format!("add it with `quorus context add {name} --endpoints LIST`")
        } else {
            format!("there are: {}", known.join(", "))
        };
        Failure::new(exit_code::NOT_FOUND, format!("there is no context `{name}`")).hint(hint)
    }

    fn is_current(&self, name: &str) -> bool {
        self.current.as_deref() == Some(name)
    }
}

/// `QUORUS_CONTEXTS`, or `quorus/config.yaml` where the user's configuration is.
fn path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("QUORUS_CONTEXTS") {
        return Some(path);
    }
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(folder.join("quorus/config.yaml"))
}

pub(crate) fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    let mut contexts = Contexts::load()?;
    match command {
        Command::List => return list(&contexts, globals),
        Command::Current => return current(&contexts, globals),
        Command::Use { name } if name == "-" => contexts.current = None,
        Command::Use { name } => {
            contexts.select(Some(&name))?;
            contexts.current = Some(name);
        }
        Command::Add { name, use_it } => {
            if name.is_empty() || name.starts_with('-') || name.contains(char::is_whitespace) {
                return Err(Failure::usage(format!("`{name}` can't be the name of a context")));
            }
            let given = globals.given();
            if given == Context::default() {
                return Err(Failure::usage("a context needs --endpoints, or --namespace"));
            }
            if !given.endpoints.is_empty() {
                // An address that can't be one is refused now, not with the first command that uses it.
                quorus_client::Client::with_endpoints(given.endpoints.clone())?;
            }
            contexts.contexts.insert(name.clone(), given);
            if use_it || contexts.contexts.len() == 1 {
                contexts.current = Some(name);
            }
        }
        Command::Remove { names } => {
            for name in names {
                contexts.contexts.remove(&name).ok_or_else(|| contexts.unknown(&name))?;
                if contexts.is_current(&name) {
                    contexts.current = None;
                }
            }
        }
    }
    contexts.save()?;
    let now = contexts.current.as_deref().unwrap_or("none");
    term::remark(globals, &format!("context in use: {now}"));
    Ok(())
}

fn list(contexts: &Contexts, globals: &Globals) -> Result<(), Failure> {
    if contexts.contexts.is_empty() && globals.output == Format::Table {
        term::remark(globals, "no contexts; see `quorus context add NAME --endpoints LIST`");
    }
    let rows = contexts.contexts.iter().map(|(name, context)| {
        let mark = if contexts.is_current(name) { "*" } else { "" };
        let namespace = context.namespace.clone().unwrap_or_default();
        [mark.to_owned(), name.clone(), context.endpoints.join(","), namespace]
    });
    let value = || json!({"current": contexts.current, "contexts": contexts.contexts});
    term::print_as(globals, value, || table::table(["CURRENT", "NAME", "ENDPOINTS", "NAMESPACE"], rows))
}

fn current(contexts: &Contexts, globals: &Globals) -> Result<(), Failure> {
    let name = globals.context.clone().filter(|name| !name.is_empty()).or_else(|| contexts.current.clone());
    let Some(name) = name else {
        return Err(Failure::new(exit_code::NOT_FOUND, "no context is in use").hint("see `quorus context list`"));
    };
    let context = contexts.select(Some(&name))?.cloned().unwrap_or_default();
    term::print_as(
        globals,
        || json!({"name": name, "endpoints": context.endpoints, "namespace": context.namespace}),
        || format!("{name}\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Contexts {
        serde_saphyr::from_str(
            "current: prod\ncontexts:\n  prod: {endpoints: [a:1, b:2], namespace: shop}\n  dev: {endpoints: [127.0.0.1:7401]}\n",
        )
        .unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        let contexts = two();
        let text = serde_saphyr::to_string(&contexts).unwrap();
        assert_eq!(serde_saphyr::from_str::<Contexts>(&text).unwrap(), contexts);
    }

    #[test]
    fn the_one_asked_for_wins_over_the_current_one() {
        let contexts = two();
        assert_eq!(contexts.select(None).unwrap().unwrap().namespace.as_deref(), Some("shop"));
        assert_eq!(contexts.select(Some("dev")).unwrap().unwrap().namespace, None);
        let failure = contexts.select(Some("nope")).unwrap_err();
        assert_eq!((failure.code(), failure.message()), (5, "there is no context `nope`"));
        assert_eq!(Contexts::default().select(None).unwrap(), None);
    }
}
