//! What the forms that people write mean.

#![allow(clippy::unwrap_used)]

use quorus_engine::{Kind, Millis, TaskDefinition, Wait};
use quorus_proto::v1::{Jitter, Step, Workflow, step, wait_step};
use quorus_spec::{compile, load_all, read, read_all, to_json_value};
use serde_json::json;

fn workflow(steps: &str) -> Workflow {
    let text = format!("api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: x}}\nspec:\n  steps:\n{steps}");
    let read = read(&text, "x.yaml");
    assert!(read.is_ok(), "{:#?}", read.diagnostics);
    read.workflow.unwrap()
}

fn steps(steps: &str) -> Vec<Step> {
    workflow(steps).spec.unwrap().steps
}

#[test]
fn needs_are_names_or_mappings() {
    let steps = steps("  - {id: a, set: 1}\n  - {id: b, set: 1}\n  - {id: c, needs: [a, {step: b}], set: 1}\n");
    let needs: Vec<&str> = steps[2].needs.iter().map(|need| need.step.as_str()).collect();
    assert_eq!(needs, ["a", "b"]);
}

#[test]
fn templates_take_any_value_and_keep_its_type_and_order() {
    let steps = steps("  - id: a\n    set: {z: 1, a: [2.5, yes, null, true, 9007199254740993, 0755, 2026-01-01], text: 'x'}\n");
    let Some(step::Kind::Set(template)) = &steps[0].kind else { panic!("a set step") };
    assert_eq!(template.json, r#"{"z":1,"a":[2.5,"yes",null,true,9007199254740993,"0755","2026-01-01"],"text":"x"}"#);
}

#[test]
fn waits_take_a_duration_an_expression_or_a_time() {
    let steps = steps(concat!(
        "  - {id: a, wait: {for: 1m30s}}\n",
        "  - {id: b, wait: {for: '${ input.delay }'}}\n",
        "  - {id: c, wait: {until: '2026-01-01T00:00:00Z'}}\n",
        "  - {id: d, wait: {for_expression: input.delay}}\n",
    ));
    let when = |index: usize| match &steps[index].kind {
        Some(step::Kind::Wait(wait)) => wait.when.clone().unwrap(),
        _ => panic!("a wait step"),
    };
    assert_eq!(when(0), wait_step::When::For(prost_types::Duration { seconds: 90, nanos: 0 }));
    assert_eq!(when(1), wait_step::When::ForExpression("input.delay".into()));
    assert_eq!(when(2), wait_step::When::Until("2026-01-01T00:00:00Z".into()));
    assert_eq!(when(3), when(1));
}

#[test]
fn enums_have_short_names_and_accept_the_long_ones_of_proto_json() {
    let steps = steps("  - {id: a, task: {type: t}, retry: {jitter: none}}\n  - {id: b, task: {type: t}, retry: {jitter: JITTER_FULL}}\n");
    let jitter = |index: usize| steps[index].retry.as_ref().unwrap().jitter();
    assert_eq!((jitter(0), jitter(1)), (Jitter::None, Jitter::Full));
}

#[test]
fn anchors_aliases_and_merges_are_written_out() {
    let steps = steps(concat!(
        "  - id: a\n    task: &task {type: t, queue: q}\n    with: &with {x: 1, y: 2}\n    labels: &labels {k: v}\n",
        "  - id: b\n    task: *task\n    with: {<<: *with, y: 3}\n    labels: *labels\n",
        "  - id: c\n    task: {<<: [*task, {priority: 1}], queue: r}\n",
    ));
    assert_eq!(steps[1].kind, steps[0].kind);
    assert_eq!(steps[1].labels, steps[0].labels);
    assert_eq!(steps[1].with.as_ref().unwrap().json, r#"{"y":3,"x":1}"#);
    let Some(step::Kind::Task(task)) = &steps[2].kind else { panic!("a task") };
    assert_eq!((task.r#type.as_str(), task.queue.as_str(), task.priority), ("t", "r", 1));
}

#[test]
fn json_and_yaml_mean_the_same() {
    let yaml = workflow("  - {id: a, task: {type: t}, timeout: 5s, with: {a: \"\\u00fc \\U0001F600 /\"}}\n");
    let json = "{\n\t\"api_version\": \"quorus/v1\", \"kind\": \"Workflow\", \"metadata\": {\"name\": \"x\"},\n\t\"spec\": {\"steps\": [\n\t\t{\"id\": \"a\", \"task\": {\"type\": \"t\"}, \"timeout\": \"5s\", \"with\": {\"a\": \"\\u00fc \\ud83d\\ude00 \\/\"}}\n\t]}\n}\n";
    let read = read(json, "x.json");
    assert!(read.is_ok(), "{:#?}", read.diagnostics);
    assert_eq!(read.workflow.unwrap(), yaml);
}

#[test]
fn several_documents_are_read_each_by_itself() {
    let one =
        |name: &str| format!("api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec: {{steps: [{{id: a, set: 1}}]}}\n");
    let text = format!("---\n{}---\n{}---\n{}---\n# nothing\n", one("a"), one("1"), one("c"));
    let names: Vec<bool> = load_all(&text, "all.yaml").iter().map(Result::is_ok).collect();
    assert_eq!(names, [true, false, true]);
    assert_eq!(read_all(&text, "all.yaml")[1].diagnostics[0].line, 9);
    assert!(read_all("# nothing\n", "x").is_empty());
}

#[test]
fn places_are_found_by_path() {
    let text = "spec:\n  steps:\n    - id: a\n      task: {type: t}\n      with: {list: [x, y]}\n";
    let map = read(text, "x").source_map;
    let at = |span: Option<quorus_spec::Span>| &text[span.unwrap().range()];
    assert_eq!(at(map.value("spec.steps[0].with.list[1]")), "y");
    assert_eq!(at(map.key("spec.steps[0].task")), "task");
    assert_eq!(at(map.find(text, "spec.steps[0]", None)), "a");
    assert_eq!(at(map.find(text, "spec.steps[0].task.queue", None)), "task");
}

#[test]
fn the_compiled_definition_has_defaults_only_where_the_message_has_none() {
    let workflow = workflow(concat!(
        "  - {id: a, task: {type: t, priority: 2}, with: {x: 1}, if: input.go, timeout: 1500ms, retry: {jitter: none, max_attempts: 2}}\n",
        "  - {id: b, needs: [a], wait: {for: 0.0001s}}\n",
        "  - {id: c, set: [1]}\n",
    ));
    let definition = compile(&workflow).unwrap();
    assert_eq!((definition.namespace.as_str(), definition.name.as_str()), ("default", "x"));
    let [a, b, c] = definition.steps.as_slice() else { panic!("three steps") };
    assert_eq!(a.kind, Some(Kind::Task(TaskDefinition { task_type: "t".into(), priority: 2, ..TaskDefinition::default() })));
    assert_eq!((a.condition.as_deref(), a.timeout, &a.with), (Some("input.go"), Some(Millis(1500)), &Some(json!({"x": 1}))));
    assert!(a.retry.as_ref().unwrap().jitter_none);
    // A wait that was asked for never becomes none.
    assert_eq!((&b.needs, &b.kind), (&vec!["a".into()], &Some(Kind::Wait(Wait::For(Millis(1))))));
    assert_eq!(c.kind, Some(Kind::Set(json!([1]))));
}

#[test]
fn what_only_programs_can_send_is_checked_too() {
    let mut workflow = workflow("  - {id: a, task: {type: t}, with: {x: 1}, timeout: 5s, retry: {jitter: none}}\n");
    let step = &mut workflow.spec.as_mut().unwrap().steps[0];
    step.with.as_mut().unwrap().json = "{".into();
    step.timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    step.retry.as_mut().unwrap().jitter = 77;
    let (plan, problems) = quorus_spec::check(&workflow);
    let mut found: Vec<(&str, &str)> = problems.iter().map(|problem| (problem.path.as_str(), problem.code)).collect();
    found.sort_unstable();
    assert!(plan.is_none());
    let expected =
        [("spec.steps[0].retry.jitter", "unknown-value"), ("spec.steps[0].timeout", "bad-duration"), ("spec.steps[0].with", "bad-json")];
    assert_eq!(found, expected);
    // Printing it is possible all the same.
    assert_eq!(to_json_value(&workflow)["spec"]["steps"][0]["timeout"], "-1s");
}
