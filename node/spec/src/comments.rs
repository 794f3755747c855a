//! The comments of the `.proto` files, which are where the language is described.

use std::{collections::BTreeMap, sync::LazyLock};

use prost_reflect::{EnumValueDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor};

use crate::schema;

/// By file and path in it.
type Comments = BTreeMap<(String, Vec<i32>), String>;

static COMMENTS: LazyLock<Comments> = LazyLock::new(|| {
    let mut comments = BTreeMap::new();
    for file in schema::files() {
        let source = file.file_descriptor_proto().source_code_info.clone().unwrap_or_default();
        for location in source.location {
            let text = paragraphs(location.leading_comments());
            if !text.is_empty() {
                comments.insert((file.name().to_owned(), location.path), text);
            }
        }
    }
    comments
});

pub(crate) fn of_message(message: &MessageDescriptor) -> &'static str {
    find(&message.parent_file(), message.path())
}

pub(crate) fn of_field(field: &FieldDescriptor) -> &'static str {
    find(&field.parent_message().parent_file(), field.path())
}

pub(crate) fn of_value(value: &EnumValueDescriptor) -> &'static str {
    find(&value.parent_enum().parent_file(), value.path())
}

fn find(file: &FileDescriptor, path: &[i32]) -> &'static str {
    COMMENTS.get(&(file.name().to_owned(), path.to_vec())).map_or("", String::as_str)
}

/// Lines that belong together in one, paragraphs apart.
fn paragraphs(comment: &str) -> String {
    let paragraph = |lines: &[&str]| lines.join(" ");
    let lines: Vec<&str> = comment.lines().map(str::trim).collect();
    lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty()).map(paragraph).collect::<Vec<_>>().join("\n\n")
}
