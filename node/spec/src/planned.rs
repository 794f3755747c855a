//! [`planned_step`]: a step of a plan as the API shows it, the same for the command line and the server.

use prost_types::Duration;
use quorus_engine::{Millis, Plan, PlannedStep, Role};
use quorus_proto::v1;

/// A step of a plan as the API shows it.
pub fn planned_step(plan: &Plan, step: &PlannedStep) -> v1::PlannedStep {
    let task = step.kind.task();
    let id = |index: usize| plan.steps[index].id.to_string();
    v1::PlannedStep {
        step: step.id.to_string(),
        kind: step.kind.name().to_owned(),
        needs: step.needs.iter().map(|need| id(need.index)).collect(),
        level: step.level,
        queue: task.map(|task| task.queue.clone()).unwrap_or_default(),
        task_type: task.map(|task| task.task_type.clone()).unwrap_or_default(),
        condition: step.condition().unwrap_or_default().to_owned(),
        parent: step.parent.map(id).unwrap_or_default(),
        role: step.role.name().to_owned(),
        of: match step.role {
            Role::Compensation { of } | Role::Guard { of } => id(of),
            Role::Body | Role::Finally | Role::OnAttention => String::new(),
        },
        retry: task.map(|task| &task.retry).or(step.retry.as_ref()).map(retry),
        timeout: step.timeout.map(duration),
        attempt_timeout: task.map(|task| duration(task.attempt_timeout)),
        limits: step.limits.clone(),
        compensation: step.compensation.map(id).unwrap_or_default(),
        secrets: task.map(|task| task.secrets.clone()).unwrap_or_default(),
    }
}

fn retry(policy: &quorus_engine::RetryPolicy) -> v1::RetryPolicy {
    v1::RetryPolicy {
        max_attempts: i32::try_from(policy.max_attempts).unwrap_or(i32::MAX),
        initial_interval: Some(duration(policy.initial_interval)),
        backoff_coefficient: policy.backoff_coefficient,
        max_interval: Some(duration(policy.max_interval)),
        jitter: if policy.jitter { v1::Jitter::Full } else { v1::Jitter::None }.into(),
        non_retryable: policy.non_retryable.clone(),
    }
}

fn duration(millis: Millis) -> Duration {
    let nanos = i32::try_from(millis.0 % 1_000 * 1_000_000).unwrap_or_default();
    Duration { seconds: i64::try_from(millis.0 / 1_000).unwrap_or(i64::MAX), nanos }
}
