//! Definitions of every kind, as `validate`, `diff` and `apply` treat them: one variant per kind.
//!
//! Kinds beside workflows are in `other.rs`: a new one needs an arm per question there; the commands then know it.

mod other;

use prost::Message;
use quorus_client::{
    Client, Error,
    v1::{self, Workflow, apply_workflow_request::Definition},
};
use quorus_engine::{PlannedKind, PlannedStep};
use quorus_spec::{Diagnostic, Loaded, ReadResource};
use serde_json::Value;
use tonic::Code;

use super::{args::Globals, failure::Failure, render, source::Source};

/// Says which set of definitions applied something: what `apply --set NAME --prune` may delete.
pub(crate) const SET_LABEL: &str = "quorus.dev/set";

/// A definition that was read and found right.
#[derive(Debug)]
pub(crate) enum Resource {
    Workflow {
        source: String,
        loaded: Box<Loaded>,
    },
    /// Of another kind.
    Other {
        source: String,
        name: Name,
        read: Box<ReadResource>,
    },
}

/// A definition with what deserves a look, or everything that is wrong with it.
pub(crate) type Read = Result<(Resource, Vec<Diagnostic>), Vec<Diagnostic>>;

/// What the cluster has under a definition's name.
#[derive(Debug)]
pub(crate) struct Latest {
    pub(crate) version: u64,
    /// Canonical YAML.
    pub(crate) yaml: String,
    /// The set that it belongs to.
    pub(crate) set: Option<String>,
}

/// What applying did.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) changed: bool,
    pub(crate) version: u64,
    /// The whole answer.
    pub(crate) value: Value,
}

/// Something that the cluster has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// As in `kind: ...`.
    pub(crate) kind: &'static str,
    /// Empty for the one that calls use by default.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Resource {
    /// Reads a text with one document. No result if there is nothing in it.
    pub(crate) fn load(source: &Source) -> Vec<Read> {
        let others =
            quorus_spec::read_resources(&source.text, &source.name).into_iter().filter_map(|read| Some((other::kind(&read.kind)?, read)));
        let others: Vec<_> = others.map(|(kind, read)| Self::other(source, kind, read)).collect();
        if !others.is_empty() {
            return others;
        }
        // What says no kind, or an unknown one, is told so by the reader of workflows.
        let of = |mut loaded: Loaded| {
            let warnings = std::mem::take(&mut loaded.warnings);
            (Self::Workflow { source: source.name.clone(), loaded: Box::new(loaded) }, warnings)
        };
        quorus_spec::load_all(&source.text, &source.name).into_iter().map(|result| result.map(of)).collect()
    }

    fn other(source: &Source, kind: &'static str, read: ReadResource) -> Read {
        if read.diagnostics.iter().any(Diagnostic::is_error) {
            return Err(read.diagnostics);
        }
        let warnings = read.diagnostics.clone();
        let name = Name { kind, namespace: String::new(), name: read.name.clone() };
        Ok((Self::Other { source: source.name.clone(), name, read: Box::new(read) }, warnings))
    }

    /// The file it came from.
    pub(crate) fn source(&self) -> &str {
        match self {
            Self::Workflow { source, .. } | Self::Other { source, .. } => source,
        }
    }

    pub(crate) fn name(&self) -> Name {
        match self {
            Self::Workflow { loaded, .. } => {
                let metadata = loaded.workflow.metadata.clone().unwrap_or_default();
                Name { kind: "workflow", namespace: metadata.namespace, name: metadata.name }
            }
            Self::Other { name, .. } => name.clone(),
        }
    }

    /// What must be there first has the lower rank.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            // Workflows refer to limits and secrets; schedules and triggers refer to workflows.
            Self::Other { name, .. } if matches!(name.kind, "secret" | "limit") => 0,
            Self::Workflow { .. } => 5,
            Self::Other { .. } => 9,
        }
    }

    /// How many steps a workflow has; nothing for the other kinds.
    pub(crate) fn steps(&self) -> Option<usize> {
        match self {
            Self::Workflow { loaded, .. } => Some(loaded.plan.steps.len()),
            Self::Other { .. } => None,
        }
    }

    /// `-n` counts where the definition names no namespace itself; two different ones are a mistake.
    pub(crate) fn adopt_namespace(&mut self, globals: &Globals) -> Result<(), Failure> {
        let Some(wanted) = &globals.namespace else { return Ok(()) };
        let Name { kind, namespace, name } = self.name();
        if namespace.is_empty() {
            // The default stays unsaid, so that the same text means the same version with and without `-n default`.
            if wanted != quorus_spec::DEFAULT_NAMESPACE {
                match self {
                    Self::Workflow { loaded, .. } => {
                        loaded.workflow.metadata.get_or_insert_default().namespace.clone_from(wanted);
                    }
                    Self::Other { name, .. } => name.namespace.clone_from(wanted),
                }
            }
        } else if namespace != *wanted {
            return Err(Failure::usage(format!("{kind} `{name}` is for namespace `{namespace}`, but -n says `{wanted}`")));
        }
        Ok(())
    }

    /// The set that it says it belongs to.
    pub(crate) fn set(&self) -> Option<&str> {
        match self {
            Self::Workflow { loaded, .. } => loaded.workflow.metadata.as_ref()?.labels.get(SET_LABEL).map(String::as_str),
            Self::Other { .. } => None,
        }
    }

    /// Notes which set it belongs to.
    pub(crate) fn adopt_set(&mut self, set: &str) {
        match self {
            Self::Workflow { loaded, .. } => {
                loaded.workflow.metadata.get_or_insert_default().labels.insert(SET_LABEL.to_owned(), set.to_owned());
            }
            Self::Other { .. } => {}
        }
    }

    /// Canonical YAML: what is the same is written the same.
    pub(crate) fn yaml(&self) -> String {
        match self {
            Self::Workflow { loaded, .. } => workflow_yaml(&loaded.workflow),
            Self::Other { name, read, .. } => other::yaml(name, read),
        }
    }

    /// Names of the workflows that its runs start as children.
    pub(crate) fn children(&self) -> Vec<&str> {
        match self {
            Self::Workflow { loaded, .. } => {
                fn child(step: &PlannedStep) -> Option<&str> {
                    match &step.kind {
                        PlannedKind::Workflow(child) => Some(child.name.as_str()),
                        _ => None,
                    }
                }
                loaded.plan.steps.iter().filter_map(child).collect()
            }
            Self::Other { .. } => Vec::new(),
        }
    }

    /// What the cluster has under this name.
    pub(crate) async fn latest(&self, client: &Client) -> Result<Option<Latest>, Failure> {
        let Name { namespace, name, .. } = self.name();
        match self {
            Self::Workflow { .. } => {
                let request = v1::GetWorkflowRequest { namespace, name, version: 0 };
                let found = match client.get_workflow(request).await {
                    Ok(found) => found,
                    Err(error) if error.api().is_some_and(|api| api.code == Code::NotFound) => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
                let workflow = found.workflow.unwrap_or_default();
                let set = workflow.metadata.as_ref().and_then(|metadata| metadata.labels.get(SET_LABEL).cloned());
                Ok(Some(Latest { version: found.version, yaml: workflow_yaml(&workflow), set }))
            }
            Self::Other { name, .. } => other::latest(client, name).await,
        }
    }

    /// Applies it, or lets the cluster say what would happen.
    pub(crate) async fn apply(&self, client: &Client, dry_run: bool) -> Result<Applied, Failure> {
        match self {
            Self::Workflow { loaded, .. } => {
                let definition = Some(Definition::Workflow(loaded.workflow.clone()));
                let answer = client.apply_workflow(v1::ApplyWorkflowRequest { definition, dry_run, principal: None }).await?;
                let version = answer.workflow.as_ref().map_or(0, |workflow| workflow.version);
                Ok(Applied { changed: answer.changed, version, value: render::value(&answer) })
            }
            Self::Other { name, read, .. } => other::apply(client, name, read, dry_run).await,
        }
    }
}

impl Name {
    /// Everything that the cluster has of a set.
    pub(crate) async fn of_set(client: &Client, namespace: &str, set: &str) -> Result<Vec<Self>, Error> {
        let mut found = Vec::new();
        let mut request = v1::ListWorkflowsRequest { namespace: namespace.to_owned(), page_size: 1000, ..Default::default() };
        loop {
            let page = client.list_workflows(request.clone()).await?;
            let metadata = page.workflows.into_iter().filter_map(|version| version.workflow?.metadata);
            let of_set = metadata.filter(|metadata| metadata.labels.get(SET_LABEL).is_some_and(|label| label == set));
            found.extend(of_set.map(|metadata| Self { kind: "workflow", namespace: metadata.namespace, name: metadata.name }));
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Deletes it.
    pub(crate) async fn delete(&self, client: &Client) -> Result<(), Error> {
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        client.delete_workflow(v1::DeleteWorkflowRequest { namespace, name, principal: None }).await.map(drop)
    }
}

/// The canonical message as YAML.
fn workflow_yaml(workflow: &Workflow) -> String {
    let (bytes, _) = quorus_spec::canonical(workflow);
    // The bytes are a workflow by construction.
    Workflow::decode(bytes).map_or_else(|_| quorus_spec::to_yaml(workflow), |canonical| quorus_spec::to_yaml(&canonical))
}
