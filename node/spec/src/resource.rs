//! Resources of any kind: each document of a text says what it is.

use std::sync::Arc;

use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage as _};

use crate::{
    diagnostic::Diagnostic,
    finding::{Finding, Source},
    header::API_VERSION,
    node::{Node, Value},
    parse::{Document, parse},
    schema,
    walk::Walk,
};

/// A document with a resource.
#[derive(Clone, Debug)]
pub struct ReadResource {
    /// The kind as the document says; empty if it says nothing.
    pub kind: String,
    /// Name of the resource; empty if it has none.
    pub name: String,
    /// Everything wrong, in the order of the text. What only a planner finds is not in it: see [`fn@crate::load`].
    pub diagnostics: Vec<Diagnostic>,
    /// The document alone, as it was written.
    pub text: String,
    message: Option<DynamicMessage>,
}

impl ReadResource {
    /// The resource as its message.
    ///
    /// # Errors
    /// Everything that is wrong, if something is; also if the document is of another kind.
    pub fn decode<M: prost::Message + prost::Name + Default>(&self) -> Result<M, Vec<Diagnostic>> {
        let decoded = self.message.as_ref().filter(|message| message.descriptor().full_name() == M::full_name());
        match decoded.and_then(|message| message.transcode_to().ok()) {
            Some(message) if !self.diagnostics.iter().any(Diagnostic::is_error) => Ok(message),
            _ => Err(self.diagnostics.clone()),
        }
    }
}

/// Reads every document of a text, whatever its kind. `name` is what messages call the text, for example the file's name.
///
/// ```
/// let text = "api_version: quorus/v1\nkind: Limit\nmetadata: {name: api}\nspec: {rate: {count: 10}}\n";
/// let [limit] = quorus_spec::read_resources(text, "limits.yaml").try_into().unwrap();
/// assert_eq!((limit.kind.as_str(), limit.name.as_str()), ("Limit", "api"));
/// ```
pub fn read_resources(text: &str, name: &str) -> Vec<ReadResource> {
    let source = Arc::new(Source::new(text, name));
    parse(text).into_iter().map(|document| read(document, &source)).collect()
}

fn read(document: Document, source: &Source) -> ReadResource {
    let kind = text_at(&document.root, "kind").unwrap_or_default().to_owned();
    let mut walk = Walk { findings: document.findings, ..Walk::default() };
    let resources = schema::resources();
    let descriptor = resources.iter().find(|resource| resource.name() == kind);
    let message = match descriptor {
        Some(descriptor) => walk.message(descriptor, &document.root, ""),
        None => {
            walk.findings.push(unknown_kind(&document.root, &kind, &resources));
            None
        }
    };
    if descriptor.is_some() {
        header(&document.root, &mut walk.findings);
    }
    let name = value_at(&document.root, "metadata").and_then(|metadata| text_at(metadata, "name")).unwrap_or_default().to_owned();
    walk.findings.sort_by(|one, other| (one.span, &one.code).cmp(&(other.span, &other.code)));
    let diagnostics = walk.findings.into_iter().map(|finding| finding.place(source)).collect();
    let text = source.text.get(document.root.span.range()).unwrap_or_default().to_owned();
    ReadResource { kind, name, diagnostics, text, message }
}

fn unknown_kind(root: &Node, kind: &str, resources: &[MessageDescriptor]) -> Finding {
    let names: Vec<&str> = resources.iter().map(MessageDescriptor::name).collect();
    let one_of = format!("one of: {}", names.join(", "));
    match value_at(root, "kind") {
        None => Finding::error("missing-field", "kind", root.span, "`kind` is missing").hint(one_of),
        Some(node) => {
            let finding = Finding::error("wrong-value", "kind", node.span, format!("there is no kind `{kind}`")).hint(one_of);
            match schema::suggestion(kind, names) {
                Some(name) => finding.label(format!("did you mean `{name}`?")),
                None => finding,
            }
        }
    }
}

/// What every resource starts with.
fn header(root: &Node, findings: &mut Vec<Finding>) {
    match (value_at(root, "api_version"), text_at(root, "api_version")) {
        (_, Some(API_VERSION)) => {}
        (Some(node), _) => {
            let message = "this `api_version` is not known";
            findings
                .push(Finding::error("wrong-value", "api_version", node.span, message).hint(format!("write `api_version: {API_VERSION}`")));
        }
        (None, _) => {
            let finding = Finding::error("missing-field", "api_version", root.span, "`api_version` is missing");
            findings.push(finding.hint(format!("add `api_version: {API_VERSION}`")));
        }
    }
    for field in ["metadata", "spec"] {
        if value_at(root, field).is_none() {
            findings.push(Finding::error("missing-field", field, root.span, format!("`{field}` is missing")));
        }
    }
    if let Some(metadata) = value_at(root, "metadata")
        && text_at(metadata, "name").is_none_or(str::is_empty)
    {
        findings.push(Finding::error("missing-field", "metadata.name", metadata.span, "`metadata.name` is missing"));
    }
}

fn value_at<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key.text == key).map(|entry| &entry.value),
        Value::Scalar(_) | Value::List(_) | Value::Broken => None,
    }
}

fn text_at<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    match &value_at(node, key)?.value {
        Value::Scalar(scalar) => Some(&scalar.text),
        Value::Map(_) | Value::List(_) | Value::Broken => None,
    }
}
