//! From the model to a definition as people write it.

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::{
    model::{Accept, Definition, Kind, Need, Retry, RunOn, Step, Undo, Work},
    tasks,
};

/// Role that the driver says it has when it approves.
pub const APPROVER_ROLE: &str = "chaos";

/// Signals and approvals end some time even if the driver is gone.
const PATIENCE: &str = "2h";

/// The definition as YAML. Its tasks wait in `queue`.
pub fn yaml(definition: &Definition, queue: &str) -> anyhow::Result<String> {
    serde_saphyr::to_string(&document(definition, queue)).context("rendering a generated workflow")
}

fn document(definition: &Definition, queue: &str) -> Value {
    let mut spec = Map::new();
    if definition.hold {
        spec.insert("on_failure".to_owned(), json!("hold"));
    }
    if let Some(limit) = definition.active_max {
        let key = format!("{}-${{run.workflow}}", definition.name);
        spec.insert("concurrency".to_owned(), json!({"key": key, "limit": limit, "on_conflict": "queue"}));
    }
    spec.insert("steps".to_owned(), steps(&definition.steps, queue));
    if !definition.finally.is_empty() {
        spec.insert("finally".to_owned(), steps(&definition.finally, queue));
    }
    if let Some(step) = &definition.output_of {
        spec.insert("output".to_owned(), json!({"of": format!("${{steps.{step}.status}}")}));
    }
    json!({
        "api_version": "quorus/v1",
        "kind": "Workflow",
        "metadata": {"name": definition.name, "labels": {"made-by": "quorus-chaos"}},
        "spec": spec,
    })
}

fn steps(steps: &[Step], queue: &str) -> Value {
    steps.iter().map(|one| step(one, queue)).collect()
}

fn step(step: &Step, queue: &str) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| {
        map.insert(name.to_owned(), value);
    };
    put("id", json!(step.id));
    if !step.needs.is_empty() {
        put("needs", step.needs.iter().map(need).collect());
    }
    if let Some(variant) = step.only_variant {
        put("if", json!(format!("input.variant == {variant}")));
    }
    match step.run_on {
        RunOn::Success => {}
        RunOn::Failure => put("run_on", json!("failure")),
        RunOn::Always => put("run_on", json!("always")),
    }
    if step.continue_on_error {
        put("continue_on_error", json!(true));
    }
    if let Some(policy) = step.retry {
        put("retry", retry(policy));
    }
    match &step.kind {
        Kind::Task(work) => {
            put("task", task(queue));
            put("with", with(work));
        }
        Kind::Wait { ms } => put("wait", json!({"for": format!("{ms}ms")})),
        Kind::Set => put("set", json!({"variant": "${input.variant}", "run": "${run.id}"})),
        Kind::Signal => {
            put("signal", json!({"name": step.id}));
            put("timeout", json!(PATIENCE));
        }
        Kind::Silence { timeout_ms } => {
            put("signal", json!({"name": step.id}));
            put("timeout", json!(format!("{timeout_ms}ms")));
        }
        Kind::Approval { .. } => {
            put("approval", json!({"approvers": [APPROVER_ROLE]}));
            put("timeout", json!(PATIENCE));
        }
        Kind::Group(inside) => put("group", json!({"steps": steps(inside, queue)})),
        Kind::ForEach { items, max_parallel, max_failures, steps: inside } => {
            let items: Value = items.iter().map(|item| json!({"fails": item.fail_attempts, "bad": item.fail_for_good})).collect();
            let inside = steps(inside, queue);
            put("for_each", json!({"in": items, "max_parallel": max_parallel, "max_failures": max_failures, "steps": inside}));
        }
        Kind::Repeat { wanted, most, steps: inside } => {
            let until = format!("index >= {}", wanted.saturating_sub(1));
            put("repeat", json!({"until": until, "max_iterations": most, "steps": steps(inside, queue)}));
        }
        Kind::Child { workflow, variant } => {
            put("workflow", json!({"name": workflow, "version": "latest"}));
            put("with", json!({"variant": variant}));
        }
        Kind::Fail => put("fail", json!({"type": tasks::PLANNED, "message": "as planned"})),
    }
    if let Some(undo) = &step.undo {
        put("compensate", compensate(undo, queue));
    }
    Value::Object(map)
}

fn need(need: &Need) -> Value {
    if need.accept.is_empty() {
        return json!(need.step);
    }
    let words = need.accept.iter().map(|accept| match accept {
        Accept::Succeeded => "succeeded",
        Accept::Failed => "failed",
        Accept::Skipped => "skipped",
    });
    json!({"step": need.step, "accept": words.collect::<Vec<_>>()})
}

fn retry(policy: Retry) -> Value {
    let coefficient = if policy.doubled { 2 } else { 1 };
    let jitter = if policy.jitter { "full" } else { "none" };
    let initial = format!("{}ms", policy.initial_ms);
    json!({"max_attempts": policy.max_attempts, "initial_interval": initial, "backoff_coefficient": coefficient, "jitter": jitter})
}

fn task(queue: &str) -> Value {
    json!({"type": tasks::TASK_TYPE, "queue": queue})
}

fn with(work: &Work) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| {
        map.insert(name.to_owned(), value);
    };
    put("ms", json!(work.ms));
    if work.by_item {
        put("fail_attempts", json!("${item.fails}"));
        put("fail_for_good", json!("${item.bad}"));
        put("number", json!("${index}"));
    } else {
        if work.fail_attempts > 0 {
            put("fail_attempts", json!(work.fail_attempts));
        }
        if work.fail_for_good {
            put("fail_for_good", json!(true));
        }
    }
    for (name, wanted) in [("nothing_done", work.nothing_done), ("release", work.release), ("checkpoint", work.checkpoint)] {
        if wanted {
            put(name, json!(true));
        }
    }
    put("effects", json!(work.effects));
    if let Some(from) = &work.from {
        put("from", json!(format!("${{steps.{from}.output.of}}")));
    }
    Value::Object(map)
}

fn compensate(undo: &Undo, queue: &str) -> Value {
    json!({"task": task(queue), "with": with(&undo.work), "retry": retry(undo.retry)})
}
