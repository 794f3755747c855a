//! A run's move to another version of its workflow: which version, what differs, and whether it may.

use std::sync::Arc;

use quorus_engine::{Command, Context, Millis, NoCredits, Plan, PlanRef, Run, decide};
use quorus_proto::v1;
use quorus_raft::{Group, GroupId};
use tonic::{Response, Status};

use super::{ApiContext, change::RunChange as _, errors, forward::Journey, from_proto, run_service, start};
use crate::{
    leader::Refusal,
    store::{LoadedRun, ShardStore},
    system::WorkflowVersion,
};

/// Where a run is to go, and where it is.
pub(super) struct Target {
    to: WorkflowVersion,
    plan: Arc<Plan>,
    run: LoadedRun,
    from: Arc<Plan>,
}

/// Finds the version that a request means, and pins it in the request, so that every node means the same. Needs a replica of the run's shard.
pub(super) async fn prepare(
    context: &ApiContext,
    shard: GroupId,
    group: &Group,
    journey: &Journey,
    message: &mut v1::MigrateRunRequest,
) -> Result<Target, Status> {
    run_service::fresh(group, journey).await?;
    let store = context.store(shard);
    let unknown = || errors::run_not_found(&message.namespace, &message.run_id);
    let run = load(&store, message)?.ok_or_else(unknown)?;
    let to = start::version_of(context, &message.namespace, &run.info.workflow, message.workflow_version).await?;
    message.workflow_version = to.version;
    let plan = context.plans.compile(&to.digest, to.workflow.clone()).map_err(|error| errors::internal(&error))?;
    let from = context.plans.get(&store, run.digest()).map_err(|error| errors::internal(&error))?;
    Ok(Target { to, plan, run, from })
}

impl Target {
    /// What is asked of the run.
    pub(super) fn command(&self, message: &v1::MigrateRunRequest) -> Command {
        Command::Migrate {
            version: self.to.version,
            digest: self.to.digest,
            plan: PlanRef(self.plan.clone()),
            principal: from_proto::principal(message.principal.clone()),
            reason: message.reason.clone(),
        }
    }

    /// Decides on the run as it is, and changes nothing.
    pub(super) fn dry_run(
        self,
        context: &ApiContext,
        shard: GroupId,
        message: &v1::MigrateRunRequest,
    ) -> Result<Response<v1::MigrateRunResponse>, Status> {
        let shown = context.show_run(&context.store(shard), shard, &self.run)?;
        let mut answer = v1::MigrateRunRequest::answer(Some(shown));
        self.describe(&mut answer);
        let command = self.command(message);
        let LoadedRun { info, head, steps, signals } = self.run;
        let run = Run::load(info, head, steps, signals, self.from);
        let mut inputs = Context {
            now: context.clock.now(),
            seed: 0,
            lease: Millis(0),
            cancel_grace: Millis(0),
            allow_unverified: context.system.cluster().is_some_and(|cluster| cluster.allow_unverified_approvals),
            parks: false,
            credits: &mut NoCredits,
        };
        match decide(&run, &command, &mut inputs) {
            Ok(_) => Ok(Response::new(answer)),
            Err(rejection) => Err(errors::refused(&message.namespace, &message.run_id, &Refusal::Rejected(rejection))),
        }
    }

    /// Says what differs between the versions.
    pub(super) fn describe(&self, answer: &mut v1::MigrateRunResponse) {
        answer.workflow_version = self.to.version;
        for step in &self.plan.steps {
            match self.from.step(&step.id) {
                None => answer.added.push(step.id.to_string()),
                Some(before) if !same(before, &self.from, step, &self.plan) => answer.changed.push(step.id.to_string()),
                Some(_) => {}
            }
        }
        answer.removed = self.from.steps.iter().filter(|step| self.plan.step(&step.id).is_none()).map(|step| step.id.to_string()).collect();
    }
}

/// Whether two steps of a plan say the same. Positions in their plans may differ, so names are compared where they stand.
fn same(before: &quorus_engine::PlannedStep, from: &Plan, after: &quorus_engine::PlannedStep, to: &Plan) -> bool {
    let name = |plan: &Plan, index: usize| plan.steps[index].id.clone();
    let needs = |plan: &Plan, step: &quorus_engine::PlannedStep| {
        step.needs.iter().map(|need| (name(plan, need.index), need.accept)).collect::<Vec<_>>()
    };
    let above = |plan: &Plan, step: &quorus_engine::PlannedStep| step.parent.map(|index| name(plan, index));
    let body = |plan: &Plan, step: &quorus_engine::PlannedStep| step.body.iter().map(|index| name(plan, *index)).collect::<Vec<_>>();
    let undo = |plan: &Plan, step: &quorus_engine::PlannedStep| step.compensation.map(|index| name(plan, index));
    needs(from, before) == needs(to, after)
        && above(from, before) == above(to, after)
        && body(from, before) == body(to, after)
        && undo(from, before) == undo(to, after)
        && before.condition() == after.condition()
        && before.timeout == after.timeout
        && before.run_on == after.run_on
        && before.labels == after.labels
        && before.point_of_no_return == after.point_of_no_return
        && format!("{:?}", before.kind) == format!("{:?}", after.kind)
}

fn load(store: &ShardStore, message: &v1::MigrateRunRequest) -> Result<Option<LoadedRun>, Status> {
    let read = || {
        let Some(uid) = store.current_uid(&message.namespace, &message.run_id)? else { return Ok(None) };
        store.load_run(uid)
    };
    read().map_err(|error: crate::store::StoreError| errors::internal(&error))
}
