//! What people see: whole texts with several mistakes, rendered.

#![allow(clippy::unwrap_used)]

use quorus_spec::{Diagnostic, load, render_all};

const FIVE: &str = r#"api_version: quorus/v1
kind: Workflow
metadata: {name: nightly}
spec:
  timeout: 1month
  steps:
    - id: fetch
      task: {type: exec, queue: io}
      with: {command: [curl, "${inptu.url}"]}
      retyr: {max_attempts: 5}
    - id: load
      needs: [fetch, trasnform]
      task: {type: exec, priority: high}
      with: {command: [load]}
"#;

fn mistakes(text: &str) -> Vec<Diagnostic> {
    load(text, "nightly.yaml").unwrap_err()
}

#[test]
fn five_mistakes_give_five_errors_with_their_positions() {
    let found = mistakes(FIVE);
    let summary: Vec<_> = found.iter().map(|found| (found.line, found.column, found.length, found.code.as_str())).collect();
    let expected = [
        (5, 12, 6, "bad-duration"),
        (9, 33, 5, "unknown-root"),
        (10, 7, 5, "unknown-field"),
        (12, 22, 9, "unknown-step"),
        (13, 36, 4, "wrong-type"),
    ];
    assert_eq!(summary, expected);
    insta::assert_snapshot!(render_all(&found, FIVE, false));
}

#[test]
fn line_ends_of_other_systems_change_no_position() {
    let positions = |found: Vec<Diagnostic>| -> Vec<_> {
        found.into_iter().map(|found| (found.line, found.column, found.length, found.code)).collect()
    };
    let text = FIVE.replace('\n', "\r\n");
    assert_eq!(positions(mistakes(&text)), positions(mistakes(FIVE)));
    assert!(!render_all(&mistakes(&text), &text, false).contains(['\r', '␍']));
}

#[test]
fn reader_and_planner_report_together() {
    let text = r#"api_version: quorus/v2
metadata: {name: Nightly_Job!, labels: {tier: 1}}
spec:
  steps:
    - id: fetch
      task: {type: exec}
      with: {command: [curl, "${input.url}"]}
      retry: {max_attempts: 5, jitter: sometimes}
    - id: pause
      needs: fetch
      wait: {for: 10s}
      set: {a: 1}
    - id: load
      needs: [merge]
      task: {type: exec}
      with:
        command: |
          load ${steps.fetch.outptu}
        workdir: "tmp/${foo(1)}"
      timeout: 30
    - id: load
      task:
    - id: merge
      needs: [load]
      wait: {for: "at ${input.time}"}
"#;
    insta::assert_snapshot!(render_all(&mistakes(text), text, false));
}

#[test]
fn json_is_read_by_the_same_rules() {
    let text = "{\n  \"api_version\": \"quorus/v1\", \"kind\": \"Workflow\",\n  \"metadata\": {\"name\": \"x\"},\n  \"spec\": {\"steps\": [{\"id\": \"a\", \"set\": 1, \"timeout\": 5}]}\n}\n";
    insta::assert_snapshot!(render_all(&mistakes(text), text, false));
}

#[test]
fn syntax_errors_say_what_to_change() {
    let texts = [
        "api_version: quorus/v1\nkind: Workflow\n\tmetadata: {name: x}\n",
        "metadata: {name: x\nspec: 1\n",
        "spec:\n  steps:\n    - id: \"a\n",
        "metadata: {name: ${input.name}}\n",
        "metadata:\n  name: x\n name: y\n",
        "description: a: b\n",
        "metadata: @x\n",
        "kind: \"\\q\"\n",
        "kind: *nobody\n",
        "{\"a\": 1,, \"b\": 2}\n",
    ];
    let rendered: Vec<String> = texts.iter().map(|text| render_all(&mistakes(text)[..1], text, false)).collect();
    insta::assert_snapshot!(rendered.join("\n\n"));
}

#[test]
fn a_problem_from_a_server_renders_at_the_same_place() {
    let found = mistakes(FIVE).remove(3);
    let problem = quorus_proto::v1::Problem::from(&found);
    let back = Diagnostic::from_problem(&problem, FIVE, "nightly.yaml");
    assert_eq!((back.span, back.line, back.column, back.length), (found.span, found.line, found.column, found.length));
    assert!(back.render(FIVE, false).contains("nightly.yaml:12:22"));
}

#[test]
fn color_adds_escapes_and_nothing_else() {
    let found = mistakes(FIVE).remove(0);
    let (plain, colored) = (found.render(FIVE, false), found.render(FIVE, true));
    assert!(!plain.contains('\u{1b}') && colored.contains('\u{1b}'));
}
