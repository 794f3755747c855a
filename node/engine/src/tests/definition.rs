//! The steps of a script's definition: `step <id> <kind> key=value ...`; `of=<container>` puts a step into a container.

use super::script::{Args, duration, json, plain};
use crate::{
    AcceptedEnd, ApprovalDefinition, ChildDefinition, CompensationDefinition, ErrorMatch, FailDefinition, ForEachDefinition,
    GateDefinition, GroupDefinition, GuardDefinition, Kind, MetricQuery, NeedDefinition, OnItemFailure, OnParentClose, PoolDefinition,
    RepeatDefinition, RetryDefinition, RunOn, SignalDefinition, StepDefinition, TaskDefinition, Wait,
};

/// Adds a step, to a container if it says so.
pub(super) fn add(steps: &mut Vec<StepDefinition>, args: &Args) {
    match args.get("of") {
        None => steps.push(step(args)),
        Some(container) => scope(steps, container).unwrap_or_else(|| panic!("no container {container}")).push(step(args)),
    }
}

fn scope<'s>(steps: &'s mut [StepDefinition], id: &str) -> Option<&'s mut Vec<StepDefinition>> {
    steps.iter_mut().find_map(|step| {
        let found = step.id == id;
        let steps = match step.kind.as_mut()? {
            Kind::Group(group) => &mut group.steps,
            Kind::ForEach(each) => &mut each.steps,
            Kind::Repeat(repeat) => &mut repeat.steps,
            _ => return None,
        };
        if found { Some(steps) } else { scope(steps, id) }
    })
}

fn step(args: &Args) -> StepDefinition {
    StepDefinition {
        id: args.at(0).to_owned(),
        needs: args.get("needs").map(|needs| needs.split(',').map(need).collect()).unwrap_or_default(),
        condition: args.get("if").map(plain),
        with: args.get("with").map(json),
        kind: args.positional.get(1).map(|kind| self::kind(kind, args)),
        retry: retry(args, ""),
        timeout: args.get("timeout").map(duration),
        attempt_timeout: args.get("attempt_timeout").map(duration),
        schedule_timeout: args.get("schedule_timeout").map(duration),
        heartbeat_timeout: args.get("heartbeat_timeout").map(duration),
        run_on: match args.get("run_on") {
            None => RunOn::Success,
            Some("failure") => RunOn::Failure,
            Some("always") => RunOn::Always,
            Some(other) => panic!("no run_on {other}"),
        },
        continue_on_error: match args.get("continue") {
            None => ErrorMatch::default(),
            Some("any") => ErrorMatch { any: true, types: Vec::new() },
            Some(types) => ErrorMatch { any: false, types: types.split(',').map(str::to_owned).collect() },
        },
        compensate: args.get("undo").map(|task_type| {
            Box::new(CompensationDefinition {
                with: args.get("undo_with").map(json),
                condition: args.get("undo_if").map(plain),
                kind: Some(Kind::Task(TaskDefinition { task_type: task_type.to_owned(), ..TaskDefinition::default() })),
                retry: retry(args, "undo_"),
                ..CompensationDefinition::default()
            })
        }),
        point_of_no_return: args.flag("no_return"),
        ..StepDefinition::default()
    }
}

/// `a`, or `a:succeeded+failed`.
fn need(text: &str) -> NeedDefinition {
    let (step, accept) = text.split_once(':').unwrap_or((text, ""));
    let accept = accept.split('+').filter(|word| !word.is_empty()).map(|word| match word {
        "succeeded" => AcceptedEnd::Succeeded,
        "failed" => AcceptedEnd::Failed,
        "skipped" => AcceptedEnd::Skipped,
        other => panic!("no end {other}"),
    });
    NeedDefinition { step: step.to_owned(), accept: accept.collect() }
}

fn retry(args: &Args, prefix: &str) -> Option<RetryDefinition> {
    let get = |key: &str| args.get(&format!("{prefix}{key}"));
    ["attempts", "interval", "coefficient", "max_interval", "jitter", "non_retryable"].iter().any(|key| get(key).is_some()).then(|| {
        RetryDefinition {
            max_attempts: get("attempts").map_or(0, |text| text.parse().unwrap()),
            initial_interval: get("interval").map(duration),
            backoff_coefficient: get("coefficient").map_or(0.0, |text| text.parse().unwrap()),
            max_interval: get("max_interval").map(duration),
            jitter_none: get("jitter") == Some("none"),
            non_retryable: get("non_retryable").map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        }
    })
}

fn kind(word: &str, args: &Args) -> Kind {
    let number = |key: &str| args.get(key).map_or(0, |text| text.parse().unwrap());
    let text = |key: &str| args.get(key).unwrap_or_default().to_owned();
    match word {
        "task" => Kind::Task(TaskDefinition {
            task_type: args.get("type").unwrap_or("work").to_owned(),
            queue: text("queue"),
            priority: args.get("priority").map_or(0, |text| text.parse().unwrap()),
            pools: args.get("pools").map(|pools| pools.split(',').map(pool).collect()).unwrap_or_default(),
            ..TaskDefinition::default()
        }),
        "set" => Kind::Set(json(args.at(2))),
        "wait" => Kind::Wait(match (args.get("for"), args.get("for_expression"), args.get("until")) {
            (Some(text), ..) => Wait::For(duration(text)),
            (_, Some(text), _) => Wait::ForExpression(plain(text)),
            (.., Some(text)) => Wait::Until(text.to_owned()),
            (None, None, None) => Wait::Missing,
        }),
        "signal" => Kind::Signal(SignalDefinition {
            name: args.get("name").unwrap_or("go").to_owned(),
            matches: args.get("match").map(plain),
            unbuffered: args.flag("unbuffered"),
        }),
        "approval" => Kind::Approval(ApprovalDefinition {
            approvers: args.get("approvers").unwrap_or("managers").split(',').map(str::to_owned).collect(),
            required: number("required"),
            exclude_starter: args.flag("exclude_starter"),
        }),
        "group" => Kind::Group(GroupDefinition {
            steps: Vec::new(),
            output: args.get("output").map(json),
            guard: args.get("guard").map(|condition| GuardDefinition { gate: Some(gate(condition)), breach_for: None }),
        }),
        "for_each" => Kind::ForEach(ForEachDefinition {
            items: args.get("in").map(json),
            steps: Vec::new(),
            max_parallel: number("parallel"),
            stagger: args.get("stagger").map(duration),
            max_failures: number("max_failures"),
            max_failures_percent: args.get("percent").map(|text| text.parse().unwrap()),
            on_item_failure: if args.flag("drop") { OnItemFailure::Drop } else { OnItemFailure::DeadLetter },
            collect: args.get("collect").map(json),
            compensate_parallel: number("undo_parallel"),
        }),
        "repeat" => Kind::Repeat(RepeatDefinition {
            steps: Vec::new(),
            until: args.get("until").map(plain).unwrap_or_default(),
            interval: args.get("pause").map(duration),
            max_iterations: number("max"),
            output: args.get("output").map(json),
        }),
        "workflow" => Kind::Workflow(ChildDefinition {
            name: args.get("name").unwrap_or("child").to_owned(),
            version: text("version"),
            compensate_child: args.flag("compensate_child"),
            on_parent_close: if args.flag("abandon") { OnParentClose::Abandon } else { OnParentClose::Cancel },
            output: args.get("output").map(json),
        }),
        "fail" => Kind::Fail(FailDefinition { failure_type: text("type"), message: text("message") }),
        other => panic!("no kind {other}"),
    }
}

/// `queue:max_preemptions:max_wait`.
fn pool(text: &str) -> PoolDefinition {
    let mut parts = text.split(':');
    PoolDefinition {
        queue: parts.next().unwrap_or_default().to_owned(),
        max_preemptions: parts.next().map_or(0, |text| text.parse().unwrap()),
        max_wait: parts.next().map(duration),
        move_when_remaining: None,
    }
}

fn gate(condition: &str) -> GateDefinition {
    GateDefinition {
        query: Some(MetricQuery::Prometheus {
            url: "http://prometheus".to_owned(),
            query: "errors".to_owned(),
            headers: Default::default(),
            allow_private: true,
        }),
        condition: plain(condition),
        ..GateDefinition::default()
    }
}
