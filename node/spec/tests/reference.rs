//! `docs/workflow-language.md` is the reference. Its tables are made from the descriptors (`UPDATE=1` writes them), its examples compile, and
//! no error code or reserved failure type is missing.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use quorus_spec::{about, load, members, messages, read_resources, render_all};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    fs::read_to_string(root().join("docs/workflow-language.md")).unwrap()
}

/// A table of a message's fields.
fn table(message: &str) -> Option<String> {
    let about = about(message)?.replacen(message, &format!("`{message}`"), 1);
    let mut text = format!("{about}\n\n| field | takes | meaning |\n|---|---|---|\n");
    let cell = |text: &str| text.replace("\n\n", " ").replace('|', "\\|");
    for member in members(message)? {
        let _ = writeln!(text, "| `{}` | {} | {} |", member.name, cell(&member.takes), cell(&member.text));
    }
    Some(text)
}

/// Which kind knows which field.
fn matrix() -> String {
    let kinds = quorus_engine::KINDS;
    let mut text = format!("| field | {} |\n|---|{}\n", kinds.join(" | "), "---|".repeat(kinds.len()));
    for (field, known) in quorus_engine::FIELDS {
        let marks: Vec<&str> = kinds.iter().map(|kind| if known.contains(kind) { "x" } else { " " }).collect();
        let _ = writeln!(text, "| `{field}` | {} |", marks.join(" | "));
    }
    text
}

/// What stands between `<!-- marker -->` and `<!-- end -->`, replaced by what is made; also the markers.
fn remade(text: &str) -> (String, Vec<String>) {
    let mut result = String::new();
    let mut markers = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("<!-- ") {
        let length = rest[start..].find(" -->\n").unwrap() + " -->\n".len();
        let marker = rest[start + 5..start + length - 5].to_owned();
        result.push_str(&rest[..start + length]);
        rest = &rest[start + length..];
        let end = rest.find("<!-- end -->\n").unwrap_or_else(|| panic!("`{marker}` has no end"));
        let made = match marker.split_once(": ") {
            Some(("fields", message)) => table(message).unwrap_or_else(|| panic!("there is no message {message}")),
            None if marker == "matrix" => matrix(),
            _ => panic!("`{marker}` is not known"),
        };
        result.push_str(&made);
        result.push_str("<!-- end -->\n");
        rest = &rest[end + "<!-- end -->\n".len()..];
        markers.push(marker);
    }
    result.push_str(rest);
    (result, markers)
}

#[test]
fn the_tables_say_what_the_descriptors_say() {
    let text = document();
    let (remade, markers) = remade(&text);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root().join("docs/workflow-language.md"), &remade).unwrap();
    } else {
        assert!(remade == text, "docs/workflow-language.md is out of date: run this test with UPDATE=1");
    }
    let tables: BTreeSet<&str> = markers.iter().filter_map(|marker| marker.strip_prefix("fields: ")).collect();
    let messages = messages();
    let wanted: BTreeSet<&str> = messages.iter().map(String::as_str).collect();
    let missing: Vec<_> = wanted.difference(&tables).collect();
    assert!(missing.is_empty(), "messages without a table: {missing:?}");
    let unknown: Vec<_> = tables.difference(&wanted).collect();
    assert!(unknown.is_empty(), "tables of what definitions are not made of: {unknown:?}");
}

#[test]
fn every_field_has_a_description() {
    for message in messages() {
        for member in members(&message).unwrap() {
            assert!(!member.text.is_empty(), "{message}.{} has no comment", member.name);
        }
    }
}

/// A whole definition, a list of steps, or a part of `spec`: made whole.
fn whole(block: &str) -> String {
    let header = "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: example}\nspec:\n";
    let indented = |by: &str| block.lines().fold(String::new(), |text, line| format!("{text}{by}{line}\n"));
    if block.starts_with("api_version") {
        block.to_owned()
    } else if block.starts_with("- ") {
        format!("{header}  timeout: 1d\n  steps:\n{}", indented("    "))
    } else {
        let steps = if block.contains("steps:") { "" } else { "  steps: [{id: work, task: {type: t}}]\n" };
        format!("{header}{}{steps}", indented("  "))
    }
}

#[test]
fn every_example_compiles() {
    let text = document();
    let blocks: Vec<&str> = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 18, "only {} examples", blocks.len());
    for block in blocks {
        let text = whole(block);
        for resource in read_resources(&text, "example") {
            assert!(resource.diagnostics.is_empty(), "{}", render_all(&resource.diagnostics, &text, false));
            if resource.kind == "Workflow" {
                let loaded = load(&text, "example").unwrap_or_else(|found| panic!("{}", render_all(&found, &text, false)));
                assert!(loaded.warnings.is_empty(), "{}", render_all(&loaded.warnings, &text, false));
            }
        }
    }
}

/// The quoted words of source files that fit.
fn quoted(folder: &str, fits: &dyn Fn(&str) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("tests") {
                    folders.push(path);
                }
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            found.extend(code.split('"').skip(1).step_by(2).filter(|word| fits(word)).map(str::to_owned));
        }
    }
    found
}

/// The first column of the table below a heading.
fn listed(heading: &str) -> BTreeSet<String> {
    let text = document();
    let section = text.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no section `{heading}`"));
    let section = section.split("\n## ").next().unwrap();
    section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

#[test]
fn every_reserved_failure_type_is_listed() {
    let is_type = |word: &str| word.starts_with("Quorus") && word.len() > 8 && word.chars().all(|c| c.is_ascii_alphanumeric());
    let mut used = quoted("node/engine/src", &is_type);
    used.extend(quoted("node/src/executors", &is_type));
    let listed = listed("## Reserved failure types");
    let missing: Vec<_> = used.difference(&listed).collect();
    assert!(missing.is_empty(), "failure types that the reference does not list: {missing:?}");
}

#[test]
fn every_error_code_is_listed() {
    let is_code =
        |word: &str| word.contains('-') && word.split('-').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase()));
    let mut used = quoted("node/engine/src/plan", &is_code);
    used.extend(quoted("node/engine/src/expr", &is_code));
    used.extend(quoted("node/spec/src", &is_code));
    // A suggestion in a test of the schema, and no code.
    used.remove("max-interval");
    let listed = listed("## Errors and warnings");
    let missing: Vec<_> = used.difference(&listed).collect();
    assert!(missing.is_empty(), "codes that the reference does not list: {missing:?}");
    let gone: Vec<_> = listed.iter().filter(|code| code.contains('-')).filter(|code| !used.contains(*code)).collect();
    assert!(gone.is_empty(), "codes that nothing reports: {gone:?}");
}
