//! What the messages say about themselves, read from the descriptors at run time.
//!
//! So that a new field or message needs no code here: only types that people write in a shorter form than proto JSON are named below.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};

const PACKAGE: &str = "quorus.v1";
/// Full names of the types with a form of their own.
pub(crate) const DURATION: &str = "google.protobuf.Duration";
pub(crate) const TEMPLATE: &str = "quorus.v1.Template";
pub(crate) const JSON_VALUE: &str = "quorus.v1.JsonValue";
pub(crate) const ERROR_MATCH: &str = "quorus.v1.ErrorMatch";

/// Messages of which a text is enough, and the field that it means.
const SHORTHANDS: [(&str, &str); 1] = [("quorus.v1.Need", "step")];
/// Texts that look like numbers often enough that they need no quotes.
const NUMERIC_TEXTS: [&str; 2] = ["quorus.v1.HttpStep.expect", "quorus.v1.WorkflowStep.version"];
/// Whole numbers whose name ends like this may be written as sizes.
const SIZE_SUFFIX: &str = "_bytes";
/// A duration `x` may be written `${...}` if the message has a text field `x_expression` beside it.
const EXPRESSION_SUFFIX: &str = "_expression";

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the descriptors are compiled in, and every test of this crate reads them")]
    DescriptorPool::decode(quorus_proto::DESCRIPTORS).expect("the descriptors of quorus-proto are valid")
});

static WORKFLOW: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the descriptors are compiled in, and every test of this crate reads them")]
    POOL.get_message_by_name("quorus.v1.Workflow").expect("quorus-proto has a workflow")
});

/// `quorus.v1.Workflow`.
pub(crate) fn workflow() -> MessageDescriptor {
    WORKFLOW.clone()
}

/// A message by its full name.
pub(crate) fn by_full_name(name: &str) -> Option<MessageDescriptor> {
    POOL.get_message_by_name(name)
}

/// The field that a text in place of the message means.
pub(crate) fn shorthand(message: &MessageDescriptor) -> Option<FieldDescriptor> {
    let (_, field) = SHORTHANDS.iter().find(|(name, _)| *name == message.full_name())?;
    message.get_field_by_name(field)
}

/// True for a text that may be written as a number.
pub(crate) fn is_numeric_text(field: &FieldDescriptor) -> bool {
    NUMERIC_TEXTS.contains(&field.full_name())
}

/// True for a whole number that may be written as a size, such as `1MiB`.
pub(crate) fn is_size(field: &FieldDescriptor) -> bool {
    field.name().ends_with(SIZE_SUFFIX) && matches!(field.kind(), Kind::Uint64 | Kind::Uint32 | Kind::Int64)
}

/// The files that define what people write.
pub(crate) fn files() -> Vec<FileDescriptor> {
    POOL.files().filter(|file| file.package_name() == PACKAGE).collect()
}

/// The messages that are documents by themselves: those with a version, a kind, a name and a content. The workflow comes first.
pub(crate) fn resources() -> Vec<MessageDescriptor> {
    let is_resource = |message: &MessageDescriptor| {
        ["api_version", "kind", "metadata", "spec"].iter().all(|field| message.get_field_by_name(field).is_some())
    };
    let mut resources: Vec<MessageDescriptor> =
        files().iter().flat_map(|file| file.messages().collect::<Vec<_>>()).filter(is_resource).collect();
    resources.sort_by_key(|message| (message.name() != "Workflow", message.name().to_owned()));
    resources
}

/// The message with this name, of the package that definitions are in.
pub(crate) fn message(name: &str) -> Option<MessageDescriptor> {
    POOL.get_message_by_name(&format!("{PACKAGE}.{name}"))
}

/// The field that takes `${...}` in place of the duration `field`.
pub(crate) fn expression_twin(field: &FieldDescriptor) -> Option<FieldDescriptor> {
    let kind = field.kind();
    (kind.as_message()?.full_name() == DURATION).then_some(())?;
    field.parent_message().get_field_by_name(&format!("{}{EXPRESSION_SUFFIX}", field.name()))
}

/// The duration for which `field` takes the expression.
pub(crate) fn duration_twin(field: &FieldDescriptor) -> Option<FieldDescriptor> {
    let duration = field.parent_message().get_field_by_name(field.name().strip_suffix(EXPRESSION_SUFFIX)?)?;
    expression_twin(&duration).is_some().then_some(duration)
}

/// Names of all fields as people write them, in the order of the `.proto` file.
pub(crate) fn field_names(message: &MessageDescriptor) -> Vec<String> {
    let mut fields: Vec<FieldDescriptor> = message.fields().filter(|field| duration_twin(field).is_none()).collect();
    fields.sort_by_key(FieldDescriptor::number);
    fields.iter().map(|field| field.name().to_owned()).collect()
}

/// The short name of an enum value: `JITTER_FULL` of `Jitter` is `full`. `None` for the value that stands for "not set".
pub(crate) fn short_name(of: &EnumDescriptor, name: &str) -> Option<String> {
    let mut prefix = String::new();
    for c in of.name().chars() {
        if c.is_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.extend(c.to_uppercase());
    }
    let short = name.strip_prefix(&format!("{prefix}_")).unwrap_or(name);
    (short != "UNSPECIFIED").then(|| short.to_lowercase())
}

/// The candidate that was probably meant.
pub(crate) fn suggestion<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = snake_case(given);
    let allowed = (given.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&given, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `maxAttempts`, `max-attempts` and `Max_Attempts` all mean `max_attempts`.
fn snake_case(text: &str) -> String {
    let mut snake = String::new();
    for c in text.chars() {
        match c {
            '-' | ' ' => snake.push('_'),
            c if c.is_uppercase() => {
                if !snake.is_empty() && !snake.ends_with('_') {
                    snake.push('_');
                }
                snake.extend(c.to_lowercase());
            }
            c => snake.push(c),
        }
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_probably_meant_is_found() {
        let names = ["max_attempts", "max_interval", "needs", "id", "if"];
        assert_eq!(suggestion("maxAttempts", names), Some("max_attempts"));
        assert_eq!(suggestion("max-interval", names), Some("max_interval"));
        assert_eq!(suggestion("need", names), Some("needs"));
        assert_eq!(suggestion("colour", names), None);
    }

    #[test]
    fn field_names_are_what_people_write() {
        let step = POOL.get_message_by_name("quorus.v1.Step").unwrap();
        let names = field_names(&step);
        assert_eq!(names[..3], ["id", "needs", "if"]);
        assert!(names.contains(&"set".to_owned()));
        let wait = POOL.get_message_by_name("quorus.v1.WaitStep").unwrap();
        assert_eq!(field_names(&wait), ["for", "until"]);
    }

    #[test]
    fn enum_values_have_short_names() {
        let jitter = POOL.get_enum_by_name("quorus.v1.Jitter").unwrap();
        assert_eq!(short_name(&jitter, "JITTER_NONE").as_deref(), Some("none"));
        assert_eq!(short_name(&jitter, "JITTER_UNSPECIFIED"), None);
    }
}
