//! Random plans for the oracle, as the model's tree.

use proptest::prelude::*;

use super::node::{Executor, Node, Run, What};

/// What one step is like; ids come later.
#[derive(Clone, Debug)]
struct Shape {
    needs: Vec<prop::sample::Index>,
    run_on: u8,
    off: bool,
    continue_on_error: bool,
    attempts: u32,
    undo: Option<u32>,
    undoes_container: bool,
    no_return: bool,
    timeout: bool,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Plain(What),
    Group(Vec<Shape>),
    Each { items: usize, parallel: usize, tolerated: usize, body: Vec<Shape> },
    Repeat { until: usize, most: usize, body: Vec<Shape> },
}

/// A random plan of at most a few dozen steps, three scopes deep.
pub(super) fn plans() -> impl Strategy<Value = Vec<Node>> {
    let form = leaf().prop_map(Form::Plain).prop_recursive(3, 24, 4, |inner| {
        let body = prop::collection::vec(shape(inner), 1..5).boxed();
        prop_oneof![
            1 => body.clone().prop_map(Form::Group),
            1 => (0..4_usize, 1..4_usize, 0..3_usize, body.clone())
                .prop_map(|(items, parallel, tolerated, body)| Form::Each { items, parallel, tolerated, body }),
            1 => (0..4_usize, 1..4_usize, body).prop_map(|(until, most, body)| Form::Repeat { until, most, body }),
        ]
    });
    prop::collection::vec(shape(form), 1..7).prop_map(|shapes| {
        let nested = shapes.iter().any(|shape| !matches!(shape.form, Form::Plain(_)));
        Naming { next: 0, no_return: !nested }.name(&shapes)
    })
}

fn leaf() -> impl Strategy<Value = What> {
    let signal = (prop::sample::select(vec!["go", "stop"]), prop::option::of(0..2_u8), any::<bool>());
    prop_oneof![
        12 => Just(What::Task(Executor::Worker)),
        1 => Just(What::Task(Executor::Http)),
        1 => Just(What::Task(Executor::Gate)),
        1 => Just(What::Set),
        1 => Just(What::Fail),
        1 => Just(What::Wait),
        2 => signal.prop_map(|(name, only, buffered)| What::Signal { name, only, buffered }),
        2 => (1..3_usize).prop_map(|required| What::Approval { required }),
        3 => (any::<bool>(), prop::bool::weighted(0.3)).prop_map(|(undoes, stays)| What::Child { undoes, stays }),
    ]
}

fn shape(form: impl Strategy<Value = Form> + 'static) -> impl Strategy<Value = Shape> {
    (
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        (0..12_u8, prop::bool::weighted(0.04), prop::bool::weighted(0.2)),
        (1..4_u32, prop::option::of(1..3_u32), prop::bool::weighted(0.2)),
        (prop::bool::weighted(0.05), prop::bool::weighted(0.25)),
        form,
    )
        .prop_map(|(needs, (run_on, off, continue_on_error), (attempts, undo, undoes_container), (no_return, timeout), form)| Shape {
            needs,
            run_on,
            off,
            continue_on_error,
            attempts,
            undo,
            undoes_container,
            no_return,
            timeout,
            form,
        })
}

/// What ids are given out, and what the plan has.
struct Naming {
    next: u32,
    no_return: bool,
}

impl Naming {
    fn name(&mut self, shapes: &[Shape]) -> Vec<Node> {
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
            let id = format!("s{}", self.next);
            self.next += 1;
            let kind = match &shape.form {
                Form::Plain(what) => what.clone(),
                Form::Group(body) => What::Group(self.name(body)),
                Form::Each { items, parallel, tolerated, body } => {
                    What::Each { items: *items, parallel: *parallel, tolerated: *tolerated, body: self.name(body) }
                }
                Form::Repeat { until, most, body } => What::Repeat { until: *until, most: *most, body: self.name(body) },
            };
            // What each kind knows.
            let (retries, times_out, undone, no_return) = match &kind {
                What::Task(Executor::Gate) => (true, true, false, false),
                What::Task(_) => (true, true, true, self.no_return),
                What::Child { undoes, .. } => (true, true, !undoes, false),
                What::Group(_) | What::Each { .. } | What::Repeat { .. } => (true, true, shape.undoes_container, false),
                What::Signal { .. } | What::Approval { .. } => (false, true, false, false),
                What::Set | What::Fail | What::Wait => (false, false, false, false),
            };
            nodes.push(Node {
                id,
                needs,
                run_on,
                off: shape.off,
                continue_on_error: shape.continue_on_error,
                attempts: if retries { shape.attempts } else { 1 },
                undo: shape.undo.filter(|_| undone),
                no_return: shape.no_return && no_return,
                timeout: shape.timeout && times_out,
                kind,
            });
        }
        nodes
    }
}
