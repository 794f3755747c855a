//! The random plans, written for the engine.

use super::node::{Executor, Node, Run, What};
use crate::{
    ApprovalDefinition, ChildDefinition, CompensationDefinition, Definition, ErrorMatch, FailDefinition, ForEachDefinition, GateDefinition,
    GroupDefinition, HttpDefinition, Kind, MetricQuery, Millis, NeedDefinition, OnParentClose, RepeatDefinition, RetryDefinition, RunOn,
    SignalDefinition, StepDefinition, TaskDefinition, Wait,
};

/// What a step's own time is; the comparison decides when it is over.
const TIMEOUT: Millis = Millis(7_200_000);

pub(super) fn definition(nodes: &[Node]) -> Definition {
    Definition { name: "random".to_owned(), steps: steps(nodes), ..Definition::default() }
}

fn steps(nodes: &[Node]) -> Vec<StepDefinition> {
    nodes.iter().map(|node| step(nodes, node)).collect()
}

fn step(siblings: &[Node], node: &Node) -> StepDefinition {
    let retries = matches!(node.kind, What::Task(_) | What::Child { .. }) || node.is_container();
    StepDefinition {
        id: node.id.clone(),
        needs: node.needs.iter().map(|need| NeedDefinition::from(siblings[*need].id.as_str())).collect(),
        condition: node.off.then(|| "false".to_owned()),
        run_on: match node.run_on {
            Run::Success => RunOn::Success,
            Run::Failure => RunOn::Failure,
            Run::Always => RunOn::Always,
        },
        continue_on_error: ErrorMatch { any: node.continue_on_error, types: Vec::new() },
        retry: retries.then(|| retry(node.attempts)),
        timeout: node.timeout.then_some(TIMEOUT),
        compensate: node.undo.map(|attempts| {
            Box::new(CompensationDefinition { kind: Some(task()), retry: Some(retry(attempts)), ..CompensationDefinition::default() })
        }),
        point_of_no_return: node.no_return,
        kind: Some(kind(&node.kind)),
        ..StepDefinition::default()
    }
}

fn kind(what: &What) -> Kind {
    match what {
        What::Task(Executor::Worker) => task(),
        What::Task(Executor::Http) => Kind::Http(HttpDefinition { url: "https://example.org".to_owned(), ..HttpDefinition::default() }),
        What::Task(Executor::Gate) => Kind::Gate(gate()),
        What::Set => Kind::Set(serde_json::Value::Null),
        What::Fail => Kind::Fail(FailDefinition::default()),
        What::Wait => Kind::Wait(Wait::For(TIMEOUT)),
        What::Signal { name, only, buffered } => Kind::Signal(SignalDefinition {
            name: (*name).to_owned(),
            matches: only.map(|only| format!("signal.payload == {only}")),
            unbuffered: !buffered,
        }),
        What::Approval { required } => Kind::Approval(ApprovalDefinition {
            approvers: vec!["managers".to_owned()],
            required: u32::try_from(*required).unwrap(),
            exclude_starter: false,
        }),
        What::Child { undoes, stays } => Kind::Workflow(ChildDefinition {
            name: "child".to_owned(),
            compensate_child: *undoes,
            on_parent_close: if *stays { OnParentClose::Abandon } else { OnParentClose::Cancel },
            ..ChildDefinition::default()
        }),
        What::Group(body) => Kind::Group(GroupDefinition { steps: steps(body), ..GroupDefinition::default() }),
        What::Each { items, parallel, tolerated, body } => Kind::ForEach(ForEachDefinition {
            items: Some(serde_json::Value::from((0..*items).collect::<Vec<_>>())),
            steps: steps(body),
            max_parallel: u32::try_from(*parallel).unwrap(),
            max_failures: u32::try_from(*tolerated).unwrap(),
            ..ForEachDefinition::default()
        }),
        What::Repeat { until, most, body } => Kind::Repeat(RepeatDefinition {
            steps: steps(body),
            until: format!("index + 1 >= {until}"),
            interval: None,
            max_iterations: u32::try_from(*most).unwrap(),
            output: None,
        }),
    }
}

fn task() -> Kind {
    Kind::Task(TaskDefinition { task_type: "work".to_owned(), ..TaskDefinition::default() })
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

fn retry(attempts: u32) -> RetryDefinition {
    RetryDefinition { max_attempts: i32::try_from(attempts).unwrap(), initial_interval: Some(Millis(0)), ..RetryDefinition::default() }
}
