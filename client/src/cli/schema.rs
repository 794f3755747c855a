//! `quorus schema` and `quorus explain`: what definitions look like, for editors and for people.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use quorus_client::exit_code;
use quorus_spec::{Explanation, Member};
use serde_json::json;

use super::{
    args::{Format, Globals},
    failure::Failure,
    term,
    text::painted,
};

/// Said on stderr, so that stdout is the schema alone.
const INSTRUCTIONS: &str = "write it to a file, and begin definitions with a line for yaml-language-server (VS Code, Neovim, Helix, ...):\n  \
     # yaml-language-server: $schema=./quorus.schema.json\n";

const NAME: Style = AnsiColor::Cyan.on_default().bold();
const TAKES: Style = Style::new().dimmed();
const WIDTH: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// Write it to this file, and say how editors use it
    #[arg(long, value_name = "FILE")]
    write: Option<std::path::PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Part of a definition, for example step.retry, spec.concurrency or limit.spec
    #[arg(default_value = "workflow", hide_default_value = true)]
    path: String,
}

/// Prints the JSON Schema of all definitions.
pub(crate) fn schema(args: &SchemaArgs, globals: &Globals) -> Result<(), Failure> {
    let text = term::json(&quorus_spec::json_schema());
    if let Some(path) = &args.write {
        std::fs::write(path, text).map_err(|error| Failure::error(format!("can't write `{}`: {error}", path.display())))?;
        let line = format!("begin definitions with this line:\n  # yaml-language-server: $schema={}", path.display());
        term::remark(globals, &line);
        return Ok(());
    }
    term::print(&text)?;
    if !globals.quiet && term::stderr_is_terminal() {
        term::note(INSTRUCTIONS);
    }
    Ok(())
}

/// Says what a part of a definition is.
pub(crate) fn explain(args: &ExplainArgs, globals: &Globals) -> Result<(), Failure> {
    let explanation = quorus_spec::explain(&args.path).map_err(|error| {
        let hint = match &error.suggestion {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("there are: {}", error.names.join(", ")),
        };
        Failure::new(exit_code::NOT_FOUND, error.to_string()).hint(hint)
    })?;
    if globals.output != Format::Table {
        let member = |member: &Member| json!({"name": member.name, "takes": member.takes, "text": member.text});
        let members: Vec<_> = explanation.members.iter().map(member).collect();
        let value = json!({
            "path": explanation.path,
            "takes": explanation.takes,
            "text": explanation.text,
            "kinds": explanation.kinds,
            "members": members,
        });
        return term::print_as(globals, || value, String::new);
    }
    term::print(&page(&explanation))
}

fn page(explanation: &Explanation) -> String {
    let Explanation { path, takes, text, kinds, members } = explanation;
    let mut page = format!("{}  {}\n", painted(NAME, path), painted(TAKES, takes));
    paragraphs(&mut page, text, "  ");
    if !kinds.is_empty() {
        let _ = writeln!(page, "\n  Only for {}.", kinds.join(", "));
    }
    for Member { name, takes, text } in members {
        let takes = if takes.is_empty() { String::new() } else { format!("  {}", painted(TAKES, takes)) };
        let _ = writeln!(page, "\n  {}{takes}", painted(NAME, name));
        paragraphs(&mut page, text, "    ");
    }
    page
}

/// Broken into lines at words.
fn paragraphs(page: &mut String, text: &str, indent: &str) {
    for (index, paragraph) in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()).enumerate() {
        if index > 0 {
            page.push('\n');
        }
        let mut line = indent.to_owned();
        for word in paragraph.split_whitespace() {
            if line.len() > indent.len() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                let _ = writeln!(page, "{line}");
                line = indent.to_owned();
            }
            if line.len() > indent.len() {
                line.push(' ');
            }
            line.push_str(word);
        }
        let _ = writeln!(page, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_broken_at_words() {
        let mut page = String::new();
        paragraphs(&mut page, &format!("{}\n\nend", "word ".repeat(30)), "  ");
        assert!(page.lines().all(|line| line.len() <= WIDTH), "{page}");
        assert_eq!(page.lines().last(), Some("  end"));
    }
}
