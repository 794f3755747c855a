//! From a definition to a plan.

use std::collections::BTreeMap;

use super::check_graph::{self, Ancestors};
use super::expressions::{At, Compiler};
use super::flatten::{self, Flat, Source, Vertex};
use super::kinds::{Around, default_timeout};
use super::reads::{self, Reader};
use super::task::RetryPolicy;
use super::types::{PlannedConcurrency, PlannedNeed, PlannedTemplate, Role};
use super::{BuiltIn, Plan, PlannedKind, PlannedStep, Problem, check_fields, check_names};
use crate::expr::{Expression, Reading, SELF_FIELDS};
use crate::{Definition, ErrorMatch, Kind, Millis, RunOn, StepId};

/// A guard lives as long as its group, which may have no bound.
const GUARD: Millis = Millis(365 * 24 * 60 * 60 * 1_000);

/// Checks a definition and makes a plan of it. An error has everything that is wrong, and the warnings, in the order of the definition;
/// the warnings of a good definition are in [`Plan::warnings`].
pub fn plan(definition: &Definition) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    let flat = flatten::flatten(definition, &mut problems);
    check_names::check(definition, &flat, &mut problems);
    let needs = check_names::needs(&flat, &mut problems);
    let edges: Vec<Vec<usize>> = needs.iter().map(|needs| needs.iter().map(|need| need.index).collect()).collect();
    check_fields::check(definition, &flat, &mut problems);
    check_graph::cycles(&flat, &edges, &mut problems);
    let graph = check_graph::order(&edges);

    let mut compiler = Compiler::new(definition, &flat, problems);
    let compiled: Vec<_> = (0..flat.vertices.len()).map(|index| compiler.vertex(index)).collect();
    let end = At { path: "spec".to_owned(), reader: Reader::End, reading: Reading::RUN };
    let output = definition.output.as_ref().map(|output| compiler.template(&end, ".output", output));
    let concurrency = compiler.concurrency();
    let Compiler { mut problems, reads, .. } = compiler;
    // Within a cycle nobody comes before anybody, which would only repeat the news.
    if graph.order.len() == edges.len() {
        reads::check(&flat, reads, &mut Ancestors::new(&edges, &graph.order), &mut problems);
    }
    problems.sort_by_cached_key(|problem| place(&problem.path));
    if problems.iter().any(|problem| !problem.warning) {
        return Err(problems);
    }

    let ids = flat.vertices.iter().enumerate().map(|(index, vertex)| (StepId::from(vertex.id.as_str()), index)).collect();
    let rest = needs.into_iter().zip(graph.dependents).zip(graph.levels);
    let mut steps = Vec::with_capacity(compiled.len());
    for (index, ((vertex, compiled), ((needs, dependents), level))) in flat.vertices.iter().zip(compiled).zip(rest).enumerate() {
        // Without errors every step has its kind.
        let Some(kind) = compiled.kind else { continue };
        steps.push(assemble(index, vertex, compiled.condition, kind, Edges { needs, dependents, level }));
    }
    Ok(Plan {
        namespace: definition.namespace.clone(),
        name: definition.name.clone(),
        labels: definition.labels.clone(),
        timeout: definition.timeout,
        compensation_timeout: definition.compensation_timeout,
        retention: definition.retention,
        on_failure: definition.on_failure,
        concurrency,
        budget: definition.budget.clone(),
        input_schema: definition.input_schema.clone(),
        signals: definition.signals.clone(),
        steps,
        body: flat.body.clone(),
        finally: flat.finally.clone(),
        on_attention: flat.on_attention.clone(),
        warnings: problems,
        output,
        by_id: ids,
    })
}

/// What a vertex became.
struct Compiled {
    condition: Option<Expression>,
    kind: Option<PlannedKind>,
}

impl Compiler<'_> {
    fn vertex(&mut self, index: usize) -> Compiled {
        let vertex = &self.flat.vertices[index];
        self.secrets.clear();
        self.output_guarded = false;
        let mut at = At { path: vertex.path.clone(), reader: Reader::Ready(index), reading: reading(self.flat, index) };
        match vertex.source {
            Source::Step(step) => {
                let condition = step.condition.as_ref().and_then(|source| self.expression(&at, ".if", source));
                let around = Around {
                    with: step.with.as_ref(),
                    retry: step.retry.as_ref().map(flatten::retry).unwrap_or_default(),
                    timeout: step.timeout,
                    attempt_timeout: step.attempt_timeout,
                    schedule_timeout: step.schedule_timeout,
                    heartbeat_timeout: step.heartbeat_timeout,
                };
                Compiled { condition, kind: step.kind.as_ref().and_then(|kind| self.kind(&at, index, kind, &around)) }
            }
            Source::Compensation(undo, _) => {
                if let Role::Compensation { of } = vertex.role {
                    at.reader = Reader::Undo(of);
                }
                at.reading.this = SELF_FIELDS;
                let condition = undo.condition.as_ref().and_then(|source| self.expression(&at, ".if", source));
                let around = Around {
                    with: undo.with.as_ref(),
                    retry: undo.retry.as_ref().map(flatten::retry).unwrap_or_default(),
                    timeout: undo.timeout,
                    attempt_timeout: undo.attempt_timeout,
                    schedule_timeout: undo.schedule_timeout,
                    heartbeat_timeout: undo.heartbeat_timeout,
                };
                Compiled { condition, kind: undo.kind.as_ref().and_then(|kind| self.kind(&at, index, kind, &around)) }
            }
            Source::Guard(guard) => {
                if let Role::Guard { of } = vertex.role {
                    at.reader = Reader::Ready(of);
                }
                let Some(gate) = &guard.gate else {
                    let message = "the guard has no gate";
                    self.error(at.path, "missing-gate", message, "give it `gate: {prometheus: ..., condition: ...}`");
                    return Compiled { condition: None, kind: None };
                };
                let with = self.gate(&at, "gate", gate, Some(guard.breach_for));
                let around = Around { timeout: Some(GUARD), ..Around::default() };
                Compiled { condition: None, kind: Some(PlannedKind::Task(Box::new(self.builtin(BuiltIn::Gate, with, &around)))) }
            }
        }
    }

    fn concurrency(&mut self) -> Option<PlannedConcurrency> {
        let written = self.definition.concurrency.as_ref()?;
        let reading = Reading { steps: false, ..Reading::RUN };
        let at = At { path: "spec.concurrency".to_owned(), reader: Reader::End, reading };
        let key = PlannedTemplate(self.text(&at, ".key", &written.key));
        Some(PlannedConcurrency { key, limit: written.limit.max(1), on_conflict: written.on_conflict, max_wait: written.max_wait })
    }
}

/// What the expressions of a vertex may read.
fn reading(flat: &Flat<'_>, index: usize) -> Reading<'static> {
    let is = |container: usize, each: bool| match flat.vertices[container].kind() {
        Some(Kind::ForEach(_)) => true,
        Some(Kind::Repeat(_)) => !each,
        _ => false,
    };
    let role = match flat.vertices[index].role {
        Role::Guard { of } | Role::Compensation { of } => flat.vertices[of].role,
        role => role,
    };
    Reading {
        item: flat.containers(index).find(|&container| is(container, true)),
        index: flat.containers(index).find(|&container| is(container, false)),
        run_end: matches!(role, Role::Finally | Role::OnAttention),
        ..Reading::RUN
    }
}

/// How a vertex is connected.
struct Edges {
    needs: Vec<PlannedNeed>,
    dependents: Vec<usize>,
    level: u32,
}

fn assemble(index: usize, vertex: &Vertex<'_>, condition: Option<Expression>, kind: PlannedKind, edges: Edges) -> PlannedStep {
    let step = vertex.step();
    let undo = vertex.undo();
    let default = vertex.kind().and_then(default_timeout);
    let labels = match vertex.source {
        Source::Step(step) => &step.labels,
        Source::Compensation(undo, step) if undo.labels.is_empty() => &step.labels,
        Source::Compensation(undo, _) => &undo.labels,
        Source::Guard(_) => &BTreeMap::new(),
    };
    // A task has its own.
    let retry: Option<RetryPolicy> = match kind {
        PlannedKind::Task(_) => None,
        _ => step.and_then(|step| step.retry.as_ref()).map(flatten::retry),
    };
    PlannedStep {
        id: StepId::from(vertex.id.as_str()),
        index,
        path: vertex.path.clone(),
        parent: vertex.parent,
        role: vertex.role,
        body: vertex.body.clone(),
        needs: edges.needs,
        dependents: edges.dependents,
        level: edges.level,
        kind,
        retry,
        timeout: step.and_then(|step| step.timeout).or(undo.and_then(|undo| undo.timeout)).or(default),
        run_on: step.map_or(RunOn::Success, |step| step.run_on),
        continue_on_error: step.map_or_else(ErrorMatch::default, |step| step.continue_on_error.clone()),
        point_of_no_return: step.is_some_and(|step| step.point_of_no_return),
        compensation: vertex.compensation,
        limits: step.map(|step| &step.limits).or(undo.map(|undo| &undo.limits)).cloned().unwrap_or_default(),
        labels: labels.clone(),
        condition,
    }
}

/// Sorts problems by step, so that a reader can follow the definition from top to bottom.
fn place(path: &str) -> (u8, Vec<usize>) {
    let mut area = 0;
    let mut positions = Vec::new();
    for segment in path.split('.') {
        let Some((name, rest)) = segment.split_once('[') else { continue };
        let rank = match name {
            "steps" => 1,
            "finally" => 2,
            "on_attention" => 3,
            _ => continue,
        };
        if positions.is_empty() {
            area = rank;
        }
        positions.extend(rest.trim_end_matches(']').parse::<usize>().ok());
    }
    if path.starts_with("spec.output") { (4, positions) } else { (area, positions) }
}
