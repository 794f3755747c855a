//! [`explain`]: what a part of a definition is, for `quorus explain step.retry`.

use prost_reflect::{EnumDescriptor, EnumValueDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use crate::{comments, schema};

/// What a part of a definition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The path that was asked for, as it was understood.
    pub path: String,
    /// What it takes, in words: "a duration such as 30s".
    pub takes: String,
    /// What it means. Paragraphs are separated by an empty line.
    pub text: String,
    /// Of a field of a step, the kinds that know it; empty if all do, or if it is no such field.
    pub kinds: Vec<&'static str>,
    /// What it has: fields, or the values of a choice.
    pub members: Vec<Member>,
}

/// A field, or a value of a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What it takes; empty for a value.
    pub takes: String,
    /// What it means.
    pub text: String,
}

/// There is no such part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{within}` has no `{name}`")]
pub struct ExplainError {
    /// The part that is known.
    pub within: String,
    /// The part that is not.
    pub name: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
    /// What there is.
    pub names: Vec<String>,
}

/// Explains a part of a definition: `step`, `step.retry.max_attempts`, `spec.concurrency`, `metadata`, `limit.spec.rate`.
///
/// A path begins at a kind of resource in lower case, or at `spec`, `metadata` or `step` of a workflow. Lists and maps are passed through:
/// `spec.steps.retry` is `step.retry`.
///
/// # Errors
/// If there is no such part.
pub fn explain(path: &str) -> Result<Explanation, ExplainError> {
    let mut names = path.split('.').filter(|name| !name.is_empty()).map(|name| name.split('[').next().unwrap_or(name));
    let first = names.next().unwrap_or("workflow");
    let roots = roots();
    let Some((_, root)) = roots.iter().find(|(name, _)| name == first) else {
        return Err(unknown("definition", first, roots.into_iter().map(|(name, _)| name).collect()));
    };
    let mut at = first.to_owned();
    let mut message = Some(root.clone());
    let mut field: Option<FieldDescriptor> = None;
    for name in names {
        let Some(next) = message.as_ref().and_then(|message| written_field(message, name)) else {
            return Err(unknown(&at, name, message.as_ref().map(schema::field_names).unwrap_or_default()));
        };
        at = format!("{at}.{name}");
        message = value_kind(&next).as_message().filter(|message| !is_leaf(message)).cloned();
        field = Some(next);
    }
    Ok(match field {
        Some(field) => of_field(at, &field),
        None => Explanation {
            path: at,
            takes: "a mapping".to_owned(),
            text: comments::of_message(root).to_owned(),
            kinds: Vec::new(),
            members: fields(root),
        },
    })
}

fn roots() -> Vec<(String, MessageDescriptor)> {
    let mut roots: Vec<_> = schema::resources().into_iter().map(|message| (message.name().to_lowercase(), message)).collect();
    let parts = [("spec", "WorkflowSpec"), ("metadata", "Metadata"), ("step", "Step")];
    roots.extend(parts.into_iter().filter_map(|(name, message)| Some((name.to_owned(), schema::message(message)?))));
    roots
}

fn unknown(within: &str, name: &str, names: Vec<String>) -> ExplainError {
    let suggestion = schema::suggestion(name, names.iter().map(String::as_str)).map(str::to_owned);
    ExplainError { within: within.to_owned(), name: name.to_owned(), suggestion, names }
}

fn of_field(path: String, field: &FieldDescriptor) -> Explanation {
    let kind = value_kind(field);
    let mut text = comments::of_field(field).to_owned();
    let mut members = Vec::new();
    if let Some(message) = kind.as_message().filter(|message| !is_leaf(message)) {
        let more = comments::of_message(message);
        text = [text.as_str(), more].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("\n\n");
        members = fields(message);
    } else if let Some(choice) = kind.as_enum() {
        members = values(choice);
    }
    Explanation { path, takes: takes(field), text, kinds: known_by(field), members }
}

/// The kinds of steps that know a field of a step.
fn known_by(field: &FieldDescriptor) -> Vec<&'static str> {
    if field.parent_message().full_name() != "quorus.v1.Step" {
        return Vec::new();
    }
    quorus_engine::FIELDS.iter().find(|(name, _)| *name == field.name()).map(|(_, kinds)| kinds.to_vec()).unwrap_or_default()
}

fn fields(message: &MessageDescriptor) -> Vec<Member> {
    let names = schema::field_names(message);
    names
        .into_iter()
        .filter_map(|name| {
            let field = message.get_field_by_name(&name)?;
            Some(Member { takes: takes(&field), text: with_values(&field), name })
        })
        .collect()
}

fn values(choice: &EnumDescriptor) -> Vec<Member> {
    let member = |value: EnumValueDescriptor| {
        let name = schema::short_name(choice, value.name())?;
        Some(Member { name, takes: String::new(), text: comments::of_value(&value).to_owned() })
    };
    choice.values().filter_map(member).collect()
}

/// What a field means, and what the values of its choice mean.
fn with_values(field: &FieldDescriptor) -> String {
    let mut text = comments::of_field(field).to_owned();
    if let Some(choice) = value_kind(field).as_enum() {
        for Member { name, text: means, .. } in values(choice) {
            text.push_str(&format!(" `{name}`: {means}"));
        }
    }
    text
}

/// The names of all messages that definitions are made of, in the order in which they refer to each other.
pub fn messages() -> Vec<String> {
    let mut found: Vec<MessageDescriptor> = Vec::new();
    let mut waiting: std::collections::VecDeque<MessageDescriptor> = schema::resources().into();
    while let Some(message) = waiting.pop_front() {
        if is_leaf(&message) || found.contains(&message) {
            continue;
        }
        let mut fields: Vec<FieldDescriptor> = message.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        waiting.extend(fields.iter().filter_map(|field| value_kind(field).as_message().cloned()));
        found.push(message);
    }
    found.iter().map(|message| message.name().to_owned()).collect()
}

/// What one of [`messages`] is; `None` if there is no such message.
pub fn about(message: &str) -> Option<&'static str> {
    schema::message(message).map(|message| comments::of_message(&message))
}

/// The fields of one of [`messages`]; `None` if there is no such message.
pub fn members(message: &str) -> Option<Vec<Member>> {
    schema::message(message).map(|message| fields(&message))
}

/// A field that people write.
fn written_field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).filter(|field| schema::duration_twin(field).is_none())
}

/// Of a list what its items are, of a map what its values are.
fn value_kind(field: &FieldDescriptor) -> Kind {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    }
}

/// True for messages that people write as something else than a mapping of their fields.
pub(crate) fn is_leaf(message: &MessageDescriptor) -> bool {
    matches!(message.full_name(), schema::DURATION | schema::TEMPLATE | schema::JSON_VALUE | schema::ERROR_MATCH)
        || message.full_name().starts_with("google.protobuf.")
}

/// What a field takes, in words.
pub(crate) fn takes(field: &FieldDescriptor) -> String {
    let one = single(field);
    if field.is_map() {
        return format!("a mapping from names to {}", plural(&one));
    }
    if field.is_list() { format!("a list of {}", plural(&one)) } else { one }
}

fn single(field: &FieldDescriptor) -> String {
    if schema::is_size(field) {
        return "a size such as 1MiB".to_owned();
    }
    if schema::expression_twin(field).is_some() {
        return "a duration such as 30s, or an expression `${...}`".to_owned();
    }
    let kind = value_kind(field);
    match &kind {
        Kind::Message(message) => match message.full_name() {
            schema::DURATION => "a duration such as 30s".to_owned(),
            schema::TEMPLATE => "any value, with `${...}` in its texts".to_owned(),
            schema::JSON_VALUE => "a JSON Schema".to_owned(),
            schema::ERROR_MATCH => "true, or a list of error types".to_owned(),
            _ if schema::shorthand(message).is_some() => format!("a name, or a mapping ({})", message.name()),
            _ => format!("a mapping ({})", message.name()),
        },
        Kind::Enum(choice) => {
            let names: Vec<String> = choice.values().filter_map(|value| schema::short_name(choice, value.name())).collect();
            format!("one of {}", names.join(", "))
        }
        Kind::Bool => "true or false".to_owned(),
        Kind::String if schema::is_numeric_text(field) => "a text or a number".to_owned(),
        Kind::String => "a text".to_owned(),
        Kind::Double | Kind::Float => "a number".to_owned(),
        _ => "a whole number".to_owned(),
    }
}

fn plural(one: &str) -> String {
    match one {
        "a text" => "texts".to_owned(),
        "a text or a number" => "texts or numbers".to_owned(),
        "a whole number" => "whole numbers".to_owned(),
        "a JSON Schema" => "JSON Schemas".to_owned(),
        _ => one.strip_prefix("a mapping").map_or_else(|| one.to_owned(), |rest| format!("mappings{rest}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_says_what_it_takes_and_who_knows_it() {
        let retry = explain("step.retry").unwrap();
        assert_eq!(retry.takes, "a mapping (RetryPolicy)");
        assert!(retry.kinds.contains(&"group") && !retry.kinds.contains(&"wait"));
        assert!(retry.members.iter().any(|member| member.name == "max_attempts" && member.text.contains("Default: 3")));
        assert_eq!(explain("spec.steps[0].retry").unwrap().members, retry.members);
        assert_eq!(explain("step.retry.jitter").unwrap().members.len(), 2);
        assert_eq!(explain("step.wait.for").unwrap().takes, "a duration such as 30s, or an expression `${...}`");
        assert!(explain("limit.spec.breaker").unwrap().text.contains("too many"));
        assert_eq!(explain("step.group.steps.group.guard.gate").unwrap().path, "step.group.steps.group.guard.gate");
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        let error = explain("step.retyr").unwrap_err();
        assert_eq!((error.to_string().as_str(), error.suggestion.as_deref()), ("`step` has no `retyr`", Some("retry")));
        assert!(explain("step.timeout.seconds").unwrap_err().names.is_empty());
        assert!(explain("steps").unwrap_err().names.contains(&"step".to_owned()));
    }
}
