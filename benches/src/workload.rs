//! What is executed: a workflow, how many runs of it, and what to wait for.

use anyhow::Context as _;
use quorus_client::Client;
use quorus_proto::v1::{self, step::Kind};

use crate::options::Work;

/// The type of all tasks.
pub(crate) const TASK_TYPE: &str = "bench";

/// A workload.
#[derive(Debug)]
pub(crate) struct Workload {
    workflow: v1::Workflow,
    /// Runs to measure.
    pub(crate) runs: usize,
    /// Runs that go on at a time.
    pub(crate) concurrency: usize,
    /// Tasks of each run.
    pub(crate) tasks: usize,
    /// A task begins when the one before it has ended, so that the time between them is a latency.
    pub(crate) sequential: bool,
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
    /// The workload of a command; none for `worker`.
    pub(crate) fn of(work: &Work, queue: &str) -> Option<Self> {
        let task = || Kind::Task(v1::TaskStep { r#type: TASK_TYPE.to_owned(), queue: queue.to_owned(), ..v1::TaskStep::default() });
        match *work {
            Work::Chain(chain) => {
                let needs = |index: usize| {
                    index.checked_sub(1).map(|before| v1::Need { step: step_id(before), accept: Vec::new() }).into_iter().collect()
                };
                let steps = (0..chain.steps).map(|index| step(index, needs(index), task())).collect();
                let workflow = workflow(format!("bench-chain-{}", chain.steps), steps);
                let (runs, concurrency, tasks) = (chain.runs, chain.concurrency, chain.steps);
                Some(Self { workflow, runs, concurrency, tasks, sequential: true })
            }
            Work::Fanout(fanout) => {
                let steps = (0..fanout.items).map(|index| step(index, Vec::new(), task())).collect();
                let workflow = workflow(format!("bench-fanout-{}", fanout.items), steps);
                let (runs, concurrency, tasks) = (fanout.runs, fanout.concurrency, fanout.items);
                Some(Self { workflow, runs, concurrency, tasks, sequential: false })
            }
            Work::Start(start) => {
                let set = Kind::Set(v1::Template { json: "true".to_owned() });
                let workflow = workflow("bench-start".to_owned(), vec![step(0, Vec::new(), set)]);
                Some(Self { workflow, runs: start.runs, concurrency: start.concurrency, tasks: 0, sequential: false })
            }
            Work::Worker => None,
        }
    }

    /// Makes the workflow known to the cluster.
    pub(crate) async fn apply(&self, client: &Client) -> anyhow::Result<Applied> {
        let definition = Some(v1::apply_workflow_request::Definition::Workflow(self.workflow.clone()));
        let request = v1::ApplyWorkflowRequest { definition, ..Default::default() };
        let answer = client.apply_workflow(request).await.context("applying the workflow")?;
        let version = answer.workflow.map_or(0, |workflow| workflow.version);
        let name = self.workflow.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
        Ok(Applied { name, version, revision: answer.revision })
    }
}

fn workflow(name: String, steps: Vec<v1::Step>) -> v1::Workflow {
    v1::Workflow {
        api_version: "quorus/v1".to_owned(),
        kind: "Workflow".to_owned(),
        metadata: Some(v1::Metadata { name, ..Default::default() }),
        spec: Some(v1::WorkflowSpec { steps, ..Default::default() }),
    }
}

fn step(index: usize, needs: Vec<v1::Need>, kind: Kind) -> v1::Step {
    v1::Step { id: step_id(index), needs, kind: Some(kind), ..Default::default() }
}

fn step_id(index: usize) -> String {
    format!("s{index}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Chain, Fanout};

    #[test]
    fn each_step_of_a_chain_needs_the_one_before() {
        let work = Work::Chain(Chain { runs: 1, steps: 3, concurrency: 1 });
        let steps = Workload::of(&work, "q").unwrap().workflow.spec.unwrap().steps;
        let needs: Vec<Vec<_>> = steps.iter().map(|step| step.needs.iter().map(|need| need.step.as_str()).collect()).collect();
        assert_eq!(needs, [vec![], vec!["s0"], vec!["s1"]]);
    }

    #[test]
    fn the_items_of_a_fanout_need_nothing_and_go_to_the_queue() {
        let work = Work::Fanout(Fanout { runs: 1, items: 5, concurrency: 1 });
        let workload = Workload::of(&work, "q").unwrap();
        let steps = workload.workflow.spec.unwrap().steps;
        assert!(steps.iter().all(|step| step.needs.is_empty() && matches!(&step.kind, Some(Kind::Task(task)) if task.queue == "q")));
        assert_eq!(steps.len(), 5);
    }
}
