//! The text is not trusted: it takes bounded time and memory, and never a panic.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use quorus_spec::{TEXT_BYTES_MAX, load, read, read_all, render_all};

const GOOD: &str = r#"api_version: quorus/v1
kind: Workflow
metadata: {name: x, labels: &l {a: "b"}}
spec:
  timeout: 1h30m
  steps:
    - id: a
      task: {type: exec, priority: 2}
      with: {command: [echo, "${input.x} ü"], n: [1, 2.5, null, true]}
      retry: {jitter: none, non_retryable: [X]}
    - {id: b, needs: [a], wait: {for: "${input.d}"}, labels: *l}
    - id: c
      needs: [{step: b}]
      set: |
        line ${steps.a.output}
        other
"#;

fn code(text: &str) -> String {
    load(text, "x").map(|_| ()).unwrap_err()[0].code.clone()
}

#[test]
fn texts_are_bounded_in_size_depth_and_expansion() {
    assert_eq!(code(&"#".repeat(TEXT_BYTES_MAX + 1)), "too-large");
    assert_eq!(code(&format!("a: {}1{}", "[".repeat(65), "]".repeat(65))), "syntax");
    let mut lists: String = (0..80).map(|level| format!("{:level$}-\n", "")).collect();
    lists.push_str(&format!("{:80}- 1\n", ""));
    assert!(["syntax", "too-deep"].contains(&code(&lists).as_str()));
    // Aliases of aliases: a billion values from a few hundred bytes.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_eq!(code(&bomb), "too-large");
    // Aliases nested one in the other make depth, not size.
    let mut chain = String::from("a0: &a0 [x]\n");
    for level in 1..100 {
        chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(code(&chain), "too-deep");
    let recursive = "a: &a [*a]\n";
    assert!(read(recursive, "x").diagnostics.iter().any(|found| found.code == "unknown-anchor"));
}

#[test]
fn a_text_full_of_mistakes_gives_a_bounded_answer() {
    let many: String = (0..5000).map(|index| format!("x{index}: 1\n")).collect();
    let found = load(&many, "x").map(|_| ()).unwrap_err();
    assert_eq!(found.len(), 101);
    assert!(found[100].message.contains("are not shown"));
}

#[test]
fn many_documents_share_one_text() {
    assert_eq!(read_all(&"---\na\n".repeat(100_000), "x").len(), 100_000);
}

#[test]
fn ten_thousand_steps_load() {
    let mut text =
        String::from("api_version: quorus/v1\nkind: Workflow\nmetadata: {name: x}\nspec:\n  steps:\n  - {id: s0, task: {type: exec}}\n");
    for step in 1..10_000 {
        text.push_str(&format!("  - {{id: s{step}, needs: [s{}], task: {{type: exec}}}}\n", step - 1));
    }
    assert_eq!(load(&text, "x").unwrap().plan.steps.len(), 10_000);
}

#[test]
fn good_is_good() {
    let loaded = load(GOOD, "x").unwrap_or_else(|found| panic!("{}", render_all(&found, GOOD, false)));
    assert!(loaded.warnings.is_empty());
}

proptest! {
    // A failing case is printed whole, and belongs into a test of its own.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        for read in read_all(&text, "x") {
            let _ = quorus_spec::diagnose(read);
        }
    }

    #[test]
    fn no_damage_to_a_good_text_panics(edits in prop::collection::vec((0usize..GOOD.len(), 0usize..12, "[\\[\\]{}:,\\-&*!|>'\"#%@`?$\\\\ \n\ta-c0-9ü]{0,4}"), 1..4)) {
        let mut text = GOOD.to_owned();
        for (at, removed, inserted) in edits {
            let at = text.char_indices().map(|(index, _)| index).take_while(|index| *index <= at).last().unwrap_or(0);
            let end = text[at..].char_indices().nth(removed).map_or(text.len(), |(index, _)| at + index);
            text.replace_range(at..end, &inserted);
        }
        for read in read_all(&text, "x") {
            if let Err(found) = quorus_spec::diagnose(read) {
                for one in &found {
                    prop_assert!(text.get(one.span.range()).is_some());
                    prop_assert!(!one.render(&text, false).is_empty());
                }
            }
        }
    }
}
