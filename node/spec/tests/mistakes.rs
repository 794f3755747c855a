//! One small text per kind of mistake. `«` and `»` stand around what must be underlined.

#![allow(clippy::unwrap_used)]

use quorus_spec::{load, render_all};

/// The text has exactly this one mistake, at the marked place.
#[track_caller]
fn only(code: &str, marked: &str) {
    let (text, start, end) = unmark(marked);
    let found = load(&text, "x.yaml").map(|_| ()).unwrap_err();
    let rendered = render_all(&found, &text, false);
    assert_eq!(found.len(), 1, "{rendered}");
    assert_eq!(found[0].code, code, "{rendered}");
    assert_eq!(&text[found[0].span.range()], &text[start..end], "{rendered}");
    assert_eq!(found[0].span.start, start, "{rendered}");
}

/// The same for a step of an otherwise good workflow, in flow style.
#[track_caller]
fn step(code: &str, fields: &str) {
    only(code, &workflow(&format!("{{id: a, {fields}}}")));
}

fn workflow(steps: &str) -> String {
    format!("api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: x}}\nspec:\n  steps: [{steps}]\n")
}

fn unmark(marked: &str) -> (String, usize, usize) {
    let start = marked.find('«').unwrap();
    let end = marked.find('»').unwrap() - '«'.len_utf8();
    (marked.replace(['«', '»'], ""), start, end)
}

#[test]
fn headers() {
    let spec = "spec: {steps: [{id: a, set: 1}]}\n";
    only("missing-field", &format!("«kind: Workflow»\nmetadata: {{name: x}}\n{spec}"));
    only("missing-field", &format!("«api_version: quorus/v1»\nmetadata: {{name: x}}\n{spec}"));
    only("missing-field", &format!("«api_version: quorus/v1»\nkind: Workflow\n{spec}"));
    only("missing-field", &format!("api_version: quorus/v1\nkind: Workflow\n«metadata»: {{labels: {{a: b}}}}\n{spec}"));
    only("wrong-value", &format!("api_version: «quorus/v2»\nkind: Workflow\nmetadata: {{name: x}}\n{spec}"));
    only("wrong-value", &format!("api_version: quorus/v1\nkind: «Workfolw»\nmetadata: {{name: x}}\n{spec}"));
    only("missing-field", "«api_version: quorus/v1»\nkind: Workflow\nmetadata: {name: x}\n");
    only("no-steps", "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: x}\n«spec»: {}\n");
}

#[test]
fn unknown_fields() {
    step("unknown-field", "set: 1, «colour»: red");
    step("unknown-field", "«taks»: {type: exec}");
    step("unknown-field", "task: {type: exec}, «attemptTimeout»: 5s");
    step("unknown-field", "task: {type: exec, «qeue»: io}");
    step("unknown-field", "wait: {«four»: 10s}");
}

#[test]
fn wrong_types() {
    step("wrong-type", "set: 1, description: «12»");
    step("wrong-type", "set: 1, description: «true»");
    step("wrong-type", "set: 1, description: «[a]»");
    step("wrong-type", "set: 1, needs: «{}»");
    step("wrong-type", "set: 1, labels: «[a]»");
    step("wrong-type", "set: 1, labels: {tier: «1»}");
    step("wrong-type", "set: 1, labels: {tier: «yes_no»: 2}".replace("«yes_no»: 2", "«~»").as_str());
    step("wrong-type", "task: «exec»");
    step("wrong-type", "task: «null»");
    step("wrong-type", "task: {type: exec, priority: «\"1\"»}");
    step("wrong-type", "task: {type: exec, priority: «1.5»}");
    step("wrong-type", "task: {type: exec}, retry: {backoff_coefficient: «.nan»}");
    step("bad-number", "task: {type: exec, priority: «9999999999»}");
}

#[test]
fn nothing_where_something_is_expected_points_at_the_key() {
    only(
        "wrong-type",
        "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: x}\nspec:\n  steps:\n    - id: a\n      «task»:\n      timeout: 5s\n",
    );
    only("wrong-type", "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: x}\nspec:\n  «steps»:\n");
}

#[test]
fn durations() {
    step("bad-duration", "task: {type: exec}, timeout: «30»");
    step("bad-duration", "task: {type: exec}, timeout: «30x»");
    step("bad-duration", "task: {type: exec}, timeout: «1month»");
    step("bad-duration", "task: {type: exec}, timeout: «-5s»");
    step("bad-duration", "task: {type: exec}, timeout: «\"${input.t}\"»");
    step("bad-duration", "task: {type: exec}, timeout: «{seconds: 3}»");
    step("bad-duration", "wait: {for: «\"${input.t}s\"»}");
}

#[test]
fn enums() {
    step("unknown-value", "task: {type: exec}, retry: {jitter: «some»}");
    step("unknown-value", "task: {type: exec}, retry: {jitter: «FULL»}");
    step("unknown-value", "task: {type: exec}, retry: {jitter: «1»}");
    step("unknown-value", "task: {type: exec}, retry: {jitter: «JITTER_UNSPECIFIED»}");
}

#[test]
fn twice_and_both() {
    step("duplicate-key", "set: 1, «set»: 2");
    step("duplicate-key", "set: {b: 1, «b»: 2}");
    step("duplicate-key", "set: 1, labels: {b: c, «\"b\"»: d}");
    step("more-than-one", "set: 1, «wait»: {for: 1s}");
    step("more-than-one", "wait: {for: 1s, «until»: \"2026-01-01T00:00:00Z\"}");
    step("more-than-one", "wait: {for: 1s, «for_expression»: input.t}");
}

#[test]
fn kinds_and_fields_that_do_not_fit() {
    only("missing-kind", &workflow("{id: «a», description: b}"));
    step("field-not-allowed", "wait: {for: 1s}, «retry»: {max_attempts: 1}");
    step("missing-wait", "«wait»: {}");
    step("missing-task-type", "«task»: {}");
}

#[test]
fn steps_that_are_not_there() {
    step("unknown-step", "set: 1, needs: [«b»]");
    step("unknown-step", "set: 1, needs: [{step: «b»}]");
    step("self-need", "set: 1, needs: [«a»]");
    only("duplicate-id", &workflow("{id: a, set: 1}, {id: «a», set: 1}"));
    only("cycle", &workflow("{id: a, set: 1, needs: [«b»]}, {id: b, set: 1, needs: [a]}"));
}

#[test]
fn expressions_are_shown_to_the_word() {
    step("unknown-root", "set: \"x ${«inptu».a}\"");
    step("unknown-root", "set: {deep: [1, 'x ${«inptu».a}']}");
    step("unknown-function", "set: 1, if: «fooo»(input.a)");
    step("unknown-step", "wait: {for: \"${ «steps».b.output }\"}");
    only(
        "unknown-root",
        "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: x}\nspec:\n  steps:\n    - id: a\n      set: |\n        first\n          second ${«inptu».a}\n",
    );
    // An escape before it moves everything, so the whole text is shown.
    step("unknown-root", "set: «\"\\t${inptu.a}\"»");
}

#[test]
fn yaml_itself() {
    only("syntax", "api_version: quorus/v1\nkind: \"«\"»Workflow\"\n".replace("\"«\"»", "«\"»").as_str().trim_end_matches("\"\n"));
    step("unknown-anchor", "set: «*nobody»");
    step("unsupported-tag", "set: !secret «x»");
    step("bad-key", "set: {«[a, b]»: 1}");
    step("bad-number", "set: «.inf»");
    only("several-documents", &format!("{}---\n«a: 1»\n", workflow("{id: a, set: 1}")));
}

#[test]
fn an_anchored_mistake_is_reported_once_where_it_is_written() {
    only("wrong-type", &workflow("{id: a, set: 1, labels: &l {tier: «1»}}, {id: b, set: 1, labels: *l}"));
}

#[test]
fn nothing_to_read() {
    for text in ["", "\n", "# only a comment\n", "---\n---\n", "null"] {
        let found = load(text, "x.yaml").map(|_| ()).unwrap_err();
        assert_eq!((found.len(), found[0].code.as_str()), (1, "empty"), "{text:?}: {found:?}");
    }
    for text in ["12", "[]", "text"] {
        let found = load(text, "x.yaml").map(|_| ()).unwrap_err();
        assert_eq!((found.len(), found[0].code.as_str()), (1, "wrong-type"), "{text:?}: {found:?}");
    }
}
