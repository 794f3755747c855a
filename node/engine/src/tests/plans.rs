//! Random definitions of the whole language.

use proptest::prelude::*;
use serde_json::json;

use crate::{
    ApprovalDefinition, ChildDefinition, CompensationDefinition, ConcurrencyDefinition, Definition, ErrorMatch, FailDefinition,
    ForEachDefinition, GateDefinition, GroupDefinition, GuardDefinition, Kind, MetricQuery, Millis, OnFailure, OnParentClose,
    RepeatDefinition, RetryDefinition, RunOn, SignalDefinition, StepDefinition, TaskDefinition, Wait,
};

/// What one step is like; needs point backwards by position.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    kind: u8,
    needs: Vec<prop::sample::Index>,
    condition: u8,
    reads: bool,
    attempts: i32,
    delay: bool,
    timeout: bool,
    undo: bool,
    run_on: u8,
    handled: bool,
    no_return: bool,
    number: u8,
    inside: Vec<Shape>,
}

/// Steps, and those in them.
pub(super) fn shapes(depth: u32) -> BoxedStrategy<Vec<Shape>> {
    let leaf = shape(10, Just(Vec::new()).boxed());
    let step = if depth == 0 {
        leaf.boxed()
    } else {
        let inside = shapes(depth - 1);
        prop_oneof![3 => leaf, 2 => shape(14, inside)].boxed()
    };
    prop::collection::vec(step, 1..if depth == 2 { 7 } else { 4 }).boxed()
}

fn shape(kinds: u8, inside: BoxedStrategy<Vec<Shape>>) -> impl Strategy<Value = Shape> {
    (
        (if kinds > 10 { 10..14_u8 } else { 0..10_u8 }, prop::collection::vec(any::<prop::sample::Index>(), 0..3), 0..14_u8, any::<bool>()),
        (1..4, any::<bool>(), prop::bool::weighted(0.2), any::<bool>()),
        (0..8_u8, prop::bool::weighted(0.2), prop::bool::weighted(0.04), any::<u8>(), inside),
    )
        .prop_map(
            |((kind, needs, condition, reads), (attempts, delay, timeout, undo), (run_on, handled, no_return, number, inside))| Shape {
                kind,
                needs,
                condition,
                reads,
                attempts,
                delay,
                timeout,
                undo,
                run_on,
                handled,
                no_return,
                number,
                inside,
            },
        )
}

/// What a run is like.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) timeout: bool,
    pub(super) hold: bool,
    pub(super) finally: bool,
    pub(super) attention: bool,
    pub(super) slot: bool,
}

pub(super) fn frame() -> impl Strategy<Value = Frame> {
    let rare = || prop::bool::weighted(0.25);
    (any::<bool>(), rare(), any::<bool>(), rare(), prop::bool::weighted(0.1)).prop_map(|(timeout, hold, finally, attention, slot)| Frame {
        timeout,
        hold,
        finally,
        attention,
        slot,
    })
}

pub(super) fn definition(shapes: &[Shape], frame: &Frame) -> Definition {
    let mut count = 0;
    let extra = |id: &str| vec![StepDefinition { id: id.to_owned(), kind: Some(task("slow")), ..StepDefinition::default() }];
    Definition {
        name: "random".to_owned(),
        steps: steps(shapes, &mut count),
        timeout: frame.timeout.then_some(Millis(600_000)),
        compensation_timeout: frame.timeout.then_some(Millis(6_000_000)),
        on_failure: if frame.hold { OnFailure::Hold } else { OnFailure::Compensate },
        finally: if frame.finally { extra("bye") } else { Vec::new() },
        on_attention: if frame.attention { extra("page") } else { Vec::new() },
        concurrency: frame.slot.then(|| ConcurrencyDefinition {
            key: "key".to_owned(),
            max_wait: Some(Millis(60_000)),
            ..ConcurrencyDefinition::default()
        }),
        ..Definition::default()
    }
}

fn steps(shapes: &[Shape], count: &mut usize) -> Vec<StepDefinition> {
    let mut ids: Vec<String> = Vec::new();
    let mut steps = Vec::new();
    for shape in shapes {
        let mut needs: Vec<String> =
            if ids.is_empty() { vec![] } else { shape.needs.iter().map(|need| ids[need.index(ids.len())].clone()).collect() };
        needs.sort();
        needs.dedup();
        let id = format!("s{count}");
        *count += 1;
        ids.push(id.clone());
        steps.push(step(shape, id, needs, count));
    }
    steps
}

fn task(queue: &str) -> Kind {
    Kind::Task(TaskDefinition { task_type: "work".to_owned(), queue: queue.to_owned(), ..TaskDefinition::default() })
}

fn step(shape: &Shape, id: String, needs: Vec<String>, count: &mut usize) -> StepDefinition {
    // Reading the output of a step that may have been skipped: null is fine, a member of it is an error.
    let read = needs.first().map_or(json!("${input.n}"), |need| json!(format!("${{steps.{need}.output}}")));
    let kind = match shape.kind {
        0 => Kind::Wait(Wait::For(Millis(60_000))),
        1 => Kind::Set(read.clone()),
        2 => Kind::Signal(SignalDefinition {
            name: "go".to_owned(),
            matches: shape.reads.then(|| "signal.payload.x > 0".to_owned()),
            unbuffered: shape.delay,
        }),
        3 => Kind::Approval(ApprovalDefinition { approvers: vec!["managers".to_owned()], required: 1, exclude_starter: false }),
        4 => Kind::Workflow(ChildDefinition {
            name: "child".to_owned(),
            compensate_child: shape.reads,
            on_parent_close: if shape.delay { OnParentClose::Abandon } else { OnParentClose::Cancel },
            ..ChildDefinition::default()
        }),
        5 if shape.number < 40 => Kind::Fail(FailDefinition { failure_type: "Policy".to_owned(), message: "no".to_owned() }),
        10 | 11 => Kind::Group(GroupDefinition {
            steps: steps(&shape.inside, count),
            output: None,
            guard: shape.reads.then(|| GuardDefinition { gate: Some(gate()), breach_for: None }),
        }),
        12 => Kind::ForEach(ForEachDefinition {
            items: Some(json!((0..shape.number % 4).collect::<Vec<_>>())),
            steps: steps(&shape.inside, count),
            max_parallel: u32::from(shape.number % 3),
            stagger: shape.reads.then_some(Millis(5_000)),
            max_failures: u32::from(shape.delay),
            compensate_parallel: u32::from(shape.number % 2) + 1,
            collect: Some(json!("${index}")),
            ..ForEachDefinition::default()
        }),
        13 => Kind::Repeat(RepeatDefinition {
            steps: steps(&shape.inside, count),
            until: format!("index >= {}", shape.number % 3),
            interval: shape.reads.then_some(Millis(5_000)),
            max_iterations: 2,
            output: None,
        }),
        _ => task(if shape.delay { "slow" } else { "" }),
    };
    let is_task = matches!(kind, Kind::Task(_));
    let is_container = matches!(kind, Kind::Group(_) | Kind::ForEach(_) | Kind::Repeat(_));
    let is_set = matches!(kind, Kind::Set(_) | Kind::Fail(_));
    let is_child = matches!(kind, Kind::Workflow(_));
    let is_first = needs.is_empty();
    StepDefinition {
        id,
        needs: needs.into_iter().map(Into::into).collect(),
        condition: match shape.condition {
            0 => Some("false".to_owned()),
            1 => Some("input.missing".to_owned()),
            2 => Some("input.n > 0".to_owned()),
            _ => None,
        },
        with: (is_task && shape.reads).then_some(read),
        kind: Some(kind),
        retry: (is_task || (is_child && shape.delay) || (is_container && shape.delay)).then(|| RetryDefinition {
            max_attempts: shape.attempts,
            initial_interval: Some(Millis(if shape.delay { 5_000 } else { 0 })),
            non_retryable: vec!["Fatal".to_owned()],
            ..RetryDefinition::default()
        }),
        timeout: (shape.timeout && !is_set).then_some(Millis(90_000)),
        compensate: (shape.undo && (is_task || (is_container && shape.number > 200))).then(|| {
            Box::new(CompensationDefinition {
                with: Some(json!({"with": "${self.with}", "at": "${self.checkpoint}"})),
                kind: Some(task("")),
                retry: Some(RetryDefinition { max_attempts: 2, initial_interval: Some(Millis(1_000)), ..RetryDefinition::default() }),
                ..CompensationDefinition::default()
            })
        }),
        run_on: match shape.run_on {
            0 if !is_first => RunOn::Failure,
            1 if !is_first => RunOn::Always,
            _ => RunOn::Success,
        },
        continue_on_error: ErrorMatch { any: shape.handled, types: Vec::new() },
        point_of_no_return: shape.no_return && is_task,
        ..StepDefinition::default()
    }
}

fn gate() -> GateDefinition {
    GateDefinition {
        query: Some(MetricQuery::Prometheus {
            url: "http://prometheus".to_owned(),
            query: "errors".to_owned(),
            headers: Default::default(),
            allow_private: true,
        }),
        condition: "value < 1".to_owned(),
        ..GateDefinition::default()
    }
}
