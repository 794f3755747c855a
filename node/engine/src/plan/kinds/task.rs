//! `task`.

use super::{Around, PRIORITY, SCHEDULE, TASK_ATTEMPT};
use crate::plan::check_fields::zero;
use crate::plan::check_names::{no_expression, word};
use crate::plan::expressions::{At, Compiler};
use crate::plan::task::{PlannedPool, PlannedTask};
use crate::{Millis, TaskDefinition};

const QUEUE: &str = "default";
/// More places to look than this is a loop.
const POOLS_MAX: usize = 16;
/// As for a step without pools.
const POOL_PREEMPTIONS: u32 = 10;
/// What a worker's labels can hold.
const SELECTOR_CHARS_MAX: usize = 256;

impl Compiler<'_> {
    pub(super) fn task(&mut self, at: &At, task: &TaskDefinition, around: &Around<'_>) -> PlannedTask {
        let path = format!("{}.task", at.path);
        self.check_task(&path, task);
        let schedule_timeout = around.schedule_timeout.unwrap_or(SCHEDULE);
        let with = around.with.map(|with| self.template(&at.with_secrets(), ".with", with));
        let pools: Vec<PlannedPool> = task
            .pools
            .iter()
            .map(|pool| PlannedPool {
                queue: pool.queue.clone(),
                max_preemptions: if pool.max_preemptions == 0 { POOL_PREEMPTIONS } else { pool.max_preemptions },
                max_wait: pool.max_wait.unwrap_or(schedule_timeout),
                move_when_remaining: pool.move_when_remaining,
            })
            .collect();
        let queue = pools.first().map(|pool| pool.queue.as_str()).unwrap_or(&task.queue);
        PlannedTask {
            task_type: task.task_type.clone(),
            queue: if queue.is_empty() { QUEUE.to_owned() } else { queue.to_owned() },
            priority: u8::try_from(task.priority).ok().filter(|priority| *priority > 0).unwrap_or(PRIORITY),
            retry: around.retry.clone(),
            attempt_timeout: around.attempt_timeout.unwrap_or(TASK_ATTEMPT),
            schedule_timeout,
            heartbeat_timeout: around.heartbeat_timeout,
            selectors: task.selectors.clone(),
            pools,
            builtin: None,
            secrets: std::mem::take(&mut self.secrets).into_iter().collect(),
            with,
        }
    }

    fn check_task(&mut self, path: &str, task: &TaskDefinition) {
        if task.task_type.is_empty() {
            self.error(format!("{path}.type"), "missing-task-type", "a task needs the type of function that executes it", "");
        } else if task.task_type.starts_with("quorus.") {
            let message = format!("`{}` is reserved: types that start with `quorus.` are executed by the node", task.task_type);
            self.error(format!("{path}.type"), "invalid-task-type", message, "use the kinds http, gate and emit");
        } else {
            word(&format!("{path}.type"), "the task's type", &task.task_type, "invalid-task-type", &mut self.problems);
        }
        self.check_queue(&format!("{path}.queue"), &task.queue, false);
        if !(0..=5).contains(&task.priority) {
            let message = format!("{} is not a priority", task.priority);
            self.error(format!("{path}.priority"), "invalid-priority", message, "1 (first) to 5 (last); the default is 3");
        }
        if !task.pools.is_empty() && !task.queue.is_empty() {
            let message = "a task has either a `queue` or `pools`";
            self.error(format!("{path}.pools"), "queue-and-pools", message, "make the queue the first of the pools");
        }
        if task.pools.len() > POOLS_MAX {
            self.error(format!("{path}.pools"), "too-many-pools", format!("{} pools are more than {POOLS_MAX}", task.pools.len()), "");
        }
        for (index, pool) in task.pools.iter().enumerate() {
            let path = format!("{path}.pools[{index}]");
            self.check_queue(&format!("{path}.queue"), &pool.queue, true);
            if pool.max_wait == Some(Millis(0)) {
                self.problems.push(zero(format!("{path}.max_wait"), "max_wait"));
            }
        }
        for (key, value) in &task.selectors {
            if value.contains("${") {
                self.problems.push(no_expression(&format!("{path}.selectors.{key}"), "a selector"));
                continue;
            }
            let fits = |text: &str| !text.is_empty() && text.len() <= SELECTOR_CHARS_MAX && !text.chars().any(char::is_control);
            if !fits(key) || !fits(value) {
                let hint = format!("printable text, 1 to {SELECTOR_CHARS_MAX} characters");
                self.error(format!("{path}.selectors.{key}"), "invalid-selector", "this can't be a label of a worker", &hint);
            }
        }
    }

    fn check_queue(&mut self, path: &str, queue: &str, required: bool) {
        if queue.starts_with("quorus.") {
            self.error(path.to_owned(), "invalid-queue", format!("`{queue}` is reserved"), "");
        } else if required || !queue.is_empty() {
            word(path, "the queue's name", queue, "invalid-queue", &mut self.problems);
        }
    }
}
