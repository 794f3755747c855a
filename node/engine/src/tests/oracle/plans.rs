//! Random plans for the oracle, as the model's tree and as a definition for the engine.

use proptest::prelude::*;

use super::node::{Node, Run, What};
use crate::{
    CompensationDefinition, Definition, ErrorMatch, ForEachDefinition, GroupDefinition, Kind, Millis, NeedDefinition, RetryDefinition,
    RunOn, StepDefinition, TaskDefinition,
};

/// What one step is like; ids come later.
#[derive(Clone, Debug)]
struct Shape {
    needs: Vec<prop::sample::Index>,
    run_on: u8,
    continue_on_error: bool,
    attempts: u32,
    undo: Option<u32>,
    no_return: bool,
    kind: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Task,
    Set,
    Group(Vec<Shape>),
    Each { items: usize, parallel: usize, tolerated: usize, body: Vec<Shape> },
}

/// A random plan of at most a few dozen steps, three scopes deep.
///
/// `fail` steps are left out: they would compare the order of what happens within one decision, of which the language says nothing.
pub(super) fn plans() -> impl Strategy<Value = Vec<Node>> {
    let leaf = prop_oneof![12 => Just(Form::Task), 1 => Just(Form::Set)];
    let form = leaf.prop_recursive(3, 24, 4, |inner| {
        let body = prop::collection::vec(shape(inner), 1..5).boxed();
        prop_oneof![
            1 => body.clone().prop_map(Form::Group),
            1 => (0..4_usize, 1..4_usize, 0..3_usize, body)
                .prop_map(|(items, parallel, tolerated, body)| Form::Each { items, parallel, tolerated, body }),
        ]
    });
    prop::collection::vec(shape(form), 1..7).prop_map(|shapes| {
        let nested = shapes.iter().any(|shape| matches!(shape.kind, Form::Group(_) | Form::Each { .. }));
        name(&shapes, &mut 0, !nested)
    })
}

fn shape(form: impl Strategy<Value = Form> + 'static) -> impl Strategy<Value = Shape> {
    (
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        0..12_u8,
        prop::bool::weighted(0.2),
        1..4_u32,
        prop::option::of(1..3_u32),
        prop::bool::weighted(0.05),
        form,
    )
        .prop_map(|(needs, run_on, continue_on_error, attempts, undo, no_return, kind)| Shape {
            needs,
            run_on,
            continue_on_error,
            attempts,
            undo,
            no_return,
            kind,
        })
}

fn name(shapes: &[Shape], next: &mut u32, no_return: bool) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (index, shape) in shapes.iter().enumerate() {
        let mut needs: Vec<usize> = if index == 0 { vec![] } else { shape.needs.iter().map(|need| need.index(index)).collect() };
        needs.sort_unstable();
        needs.dedup();
        let run_on = match shape.run_on {
            0 if !needs.is_empty() => Run::Failure,
            1 if !needs.is_empty() => Run::Always,
            _ => Run::Success,
        };
        let id = format!("s{next}");
        *next += 1;
        let kind = match &shape.kind {
            Form::Task => What::Task,
            Form::Set => What::Set,
            Form::Group(body) => What::Group(name(body, next, no_return)),
            Form::Each { items, parallel, tolerated, body } => {
                What::Each { items: *items, parallel: *parallel, tolerated: *tolerated, body: name(body, next, no_return) }
            }
        };
        let is_task = matches!(kind, What::Task);
        let is_plain = matches!(kind, What::Set);
        nodes.push(Node {
            id,
            needs,
            run_on,
            continue_on_error: shape.continue_on_error && !is_plain,
            attempts: if is_plain { 1 } else { shape.attempts },
            undo: shape.undo.filter(|_| is_task),
            no_return: shape.no_return && is_task && no_return,
            kind,
        });
    }
    nodes
}

/// The same plan for the engine.
pub(super) fn definition(nodes: &[Node]) -> Definition {
    Definition { name: "random".to_owned(), steps: steps(nodes), ..Definition::default() }
}

fn steps(nodes: &[Node]) -> Vec<StepDefinition> {
    nodes.iter().map(|node| step(nodes, node)).collect()
}

fn step(siblings: &[Node], node: &Node) -> StepDefinition {
    let retry = |attempts: u32| RetryDefinition {
        max_attempts: i32::try_from(attempts).unwrap(),
        initial_interval: Some(Millis(0)),
        ..RetryDefinition::default()
    };
    let task = || Kind::Task(TaskDefinition { task_type: "work".to_owned(), ..TaskDefinition::default() });
    let is_plain = matches!(node.kind, What::Set);
    StepDefinition {
        id: node.id.clone(),
        needs: node.needs.iter().map(|need| NeedDefinition::from(siblings[*need].id.as_str())).collect(),
        run_on: match node.run_on {
            Run::Success => RunOn::Success,
            Run::Failure => RunOn::Failure,
            Run::Always => RunOn::Always,
        },
        continue_on_error: ErrorMatch { any: node.continue_on_error, types: Vec::new() },
        retry: (!is_plain).then(|| retry(node.attempts)),
        compensate: node.undo.map(|attempts| {
            Box::new(CompensationDefinition { kind: Some(task()), retry: Some(retry(attempts)), ..CompensationDefinition::default() })
        }),
        point_of_no_return: node.no_return,
        kind: Some(match &node.kind {
            What::Task => task(),
            What::Set => Kind::Set(serde_json::Value::Null),
            What::Group(body) => Kind::Group(GroupDefinition { steps: steps(body), ..GroupDefinition::default() }),
            What::Each { items, parallel, tolerated, body } => Kind::ForEach(ForEachDefinition {
                items: Some(serde_json::Value::from((0..*items).collect::<Vec<_>>())),
                steps: steps(body),
                max_parallel: u32::try_from(*parallel).unwrap(),
                max_failures: u32::try_from(*tolerated).unwrap(),
                ..ForEachDefinition::default()
            }),
        }),
        ..StepDefinition::default()
    }
}
