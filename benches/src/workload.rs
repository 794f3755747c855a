//! What is executed: workflows, and what is known of their plans.

use anyhow::Context as _;
use quorus_bench_options::{Fanout, Mixed, WaitsFor};
use quorus_client::Client;
use quorus_proto::v1::{self, step::Kind};

use crate::random;

/// The type of all tasks.
pub(crate) const TASK_TYPE: &str = "bench";
/// How long a timer of `waiting` runs: longer than any measurement.
const FAR_AWAY_SECONDS: i64 = 30 * 24 * 3_600;

/// The workflows of a load; runs take turns.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    plans: Vec<Plan>,
}

#[derive(Clone, Debug)]
struct Plan {
    workflow: v1::Workflow,
    tasks: usize,
    before: Vec<Vec<usize>>,
}

/// An applied workflow.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// Its name.
    pub(crate) name: String,
    /// The version that runs start with.
    pub(crate) version: u64,
    /// For the first starts on nodes that lag behind.
    pub(crate) revision: u64,
}

impl Workload {
    /// So many tasks, one after another.
    pub(crate) fn chain(count: usize, queue: &str) -> Self {
        let before: Vec<Vec<usize>> = (0..count).map(|index| index.checked_sub(1).into_iter().collect()).collect();
        let steps = before.iter().enumerate().map(|(index, needs)| step(index, needs, task(queue))).collect();
        Self::single(format!("bench-chain-{count}"), steps, count, before)
    }

    /// Many tasks that don't wait for each other. The time between them says nothing, so none is known to be before another.
    pub(crate) fn fanout(fanout: Fanout, queue: &str) -> Self {
        let Fanout { items, parallel, plain, .. } = fanout;
        if plain {
            let steps = (0..items).map(|index| step(index, &[], task(queue))).collect();
            return Self::single(format!("bench-fanout-plain-{items}"), steps, items, Vec::new());
        }
        let list: Vec<String> = (0..items).map(|item| item.to_string()).collect();
        let for_each = Kind::ForEach(v1::ForEachStep {
            r#in: Some(v1::Template { json: format!("[{}]", list.join(",")) }),
            steps: vec![step(0, &[], task(queue))],
            max_parallel: parallel,
            ..Default::default()
        });
        let each = v1::Step { id: "each".to_owned(), kind: Some(for_each), ..Default::default() };
        Self::single(format!("bench-fanout-{items}-{parallel}"), vec![each], items, Vec::new())
    }

    /// Random plans.
    pub(crate) fn mixed(mixed: Mixed, queue: &str) -> Self {
        let plan = |number: usize| {
            let drawn = random::plan(mixed.seed, number, mixed.steps);
            let kind = |task_step: bool| if task_step { task(queue) } else { set() };
            let steps = drawn.iter().enumerate().map(|(index, one)| step(index, &one.needs, kind(one.task))).collect();
            let tasks = drawn.iter().filter(|step| step.task).count();
            let name = format!("bench-mixed-{}-{}-{number}", mixed.seed, mixed.steps);
            Plan { workflow: workflow(name, steps), tasks, before: random::tasks_before(&drawn) }
        };
        Self { plans: (0..mixed.plans).map(plan).collect() }
    }

    /// A run that ends with its start.
    pub(crate) fn start() -> Self {
        Self::single("bench-start".to_owned(), vec![step(0, &[], set())], 0, Vec::new())
    }

    /// A run that does not end.
    pub(crate) fn waiting(waits_for: WaitsFor) -> Self {
        let (name, kind) = match waits_for {
            WaitsFor::Signal => ("signal", Kind::Signal(v1::SignalStep { name: "go_on".to_owned(), ..Default::default() })),
            WaitsFor::Timer => {
                let far_away = prost_types::Duration { seconds: FAR_AWAY_SECONDS, nanos: 0 };
                ("timer", Kind::Wait(v1::WaitStep { when: Some(v1::wait_step::When::For(far_away)) }))
            }
        };
        Self::single(format!("bench-waiting-{name}"), vec![step(0, &[], kind)], 0, Vec::new())
    }

    fn single(name: String, steps: Vec<v1::Step>, tasks: usize, before: Vec<Vec<usize>>) -> Self {
        Self { plans: vec![Plan { workflow: workflow(name, steps), tasks, before }] }
    }

    /// Tasks of a run.
    pub(crate) fn tasks_of(&self, number: usize) -> usize {
        self.plan(number).map_or(0, |plan| plan.tasks)
    }

    /// For each step of a run, the tasks that it waits for. Empty if the time between steps is no latency.
    pub(crate) fn before(&self, number: usize) -> &[Vec<usize>] {
        self.plan(number).map_or(&[], |plan| &plan.before)
    }

    /// Whether there is anything for a worker.
    pub(crate) fn has_tasks(&self) -> bool {
        self.plans.iter().any(|plan| plan.tasks > 0)
    }

    fn plan(&self, number: usize) -> Option<&Plan> {
        self.plans.get(number % self.plans.len().max(1))
    }

    /// Makes the workflows known to the cluster.
    pub(crate) async fn apply(&self, client: &Client) -> anyhow::Result<Vec<Applied>> {
        let mut applied = Vec::new();
        for plan in &self.plans {
            let name = plan.workflow.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
            let definition = Some(v1::apply_workflow_request::Definition::Workflow(plan.workflow.clone()));
            let request = v1::ApplyWorkflowRequest { definition, ..Default::default() };
            let answer = client.apply_workflow(request).await.with_context(|| format!("applying the workflow {name}"))?;
            let version = answer.workflow.map_or(0, |workflow| workflow.version);
            applied.push(Applied { name, version, revision: answer.revision });
        }
        Ok(applied)
    }
}

fn task(queue: &str) -> Kind {
    Kind::Task(v1::TaskStep { r#type: TASK_TYPE.to_owned(), queue: queue.to_owned(), ..v1::TaskStep::default() })
}

fn set() -> Kind {
    Kind::Set(v1::Template { json: "true".to_owned() })
}

fn workflow(name: String, steps: Vec<v1::Step>) -> v1::Workflow {
    v1::Workflow {
        api_version: "quorus/v1".to_owned(),
        kind: "Workflow".to_owned(),
        metadata: Some(v1::Metadata { name, ..Default::default() }),
        spec: Some(v1::WorkflowSpec { steps, ..Default::default() }),
    }
}

fn step(index: usize, needs: &[usize], kind: Kind) -> v1::Step {
    let needs = needs.iter().map(|need| v1::Need { step: step_id(*need), accept: Vec::new() }).collect();
    v1::Step { id: step_id(index), needs, kind: Some(kind), ..Default::default() }
}

fn step_id(index: usize) -> String {
    format!("s{index}")
}

/// What [`step_id`] was made from.
pub(crate) fn step_index(id: &str) -> Option<usize> {
    id.strip_prefix('s')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(workload: &Workload) -> Vec<v1::Step> {
        workload.plans[0].workflow.spec.clone().unwrap().steps
    }

    fn needs(steps: &[v1::Step]) -> Vec<Vec<&str>> {
        steps.iter().map(|step| step.needs.iter().map(|need| need.step.as_str()).collect()).collect()
    }

    #[test]
    fn each_step_of_a_chain_needs_the_one_before() {
        let chain = Workload::chain(3, "q");
        assert_eq!(needs(&steps(&chain)), [vec![], vec!["s0"], vec!["s1"]]);
        assert_eq!(chain.before(0), [vec![], vec![0], vec![1]]);
        assert_eq!(chain.tasks_of(5), 3);
    }

    #[test]
    fn the_items_of_a_fanout_go_to_the_queue_as_many_at_a_time_as_was_said() {
        let fanout = Fanout { runs: 1, items: 5, parallel: 3, plain: false, pace: Default::default() };
        let steps_of_each = steps(&Workload::fanout(fanout, "q"));
        let [v1::Step { kind: Some(Kind::ForEach(each)), .. }] = steps_of_each.as_slice() else { panic!("{steps_of_each:?}") };
        assert_eq!((each.r#in.as_ref().unwrap().json.as_str(), each.max_parallel), ("[0,1,2,3,4]", 3));
        assert!(matches!(&each.steps[0].kind, Some(Kind::Task(task)) if task.queue == "q"));
        let plain = Workload::fanout(Fanout { plain: true, ..fanout }, "q");
        assert_eq!(needs(&steps(&plain)), vec![Vec::<&str>::new(); 5]);
        assert_eq!((plain.tasks_of(0), plain.before(0).len()), (5, 0));
    }

    #[test]
    fn random_plans_take_turns_and_count_their_tasks() {
        let mixed = Workload::mixed(Mixed { runs: 1, seed: 3, plans: 4, steps: 20, pace: Default::default() }, "q");
        for (number, plan) in mixed.plans.iter().enumerate() {
            let steps = &plan.workflow.spec.as_ref().unwrap().steps;
            let tasks = steps.iter().filter(|step| matches!(step.kind, Some(Kind::Task(_)))).count();
            assert_eq!((mixed.tasks_of(number + 4), mixed.before(number).len()), (tasks, steps.len()));
        }
        assert!(mixed.has_tasks() && !Workload::start().has_tasks() && !Workload::waiting(WaitsFor::Timer).has_tasks());
    }

    #[test]
    fn a_step_is_found_by_its_id() {
        assert_eq!(step_index(&step_id(17)), Some(17));
        assert_eq!(step_index("each"), None);
    }
}
