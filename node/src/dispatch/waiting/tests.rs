//! Order, demands on labels, deadlines.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn task(step: &str, priority: u8, deadline: Option<i64>) -> WaitingTask {
    WaitingTask {
        shard: 1,
        key: RunKey::new("default", "r"),
        uid: RunUid(1),
        step: step.into(),
        queue: "q".into(),
        selectors: Selectors::default(),
        limits: LimitRefs::default(),
        priority,
        since: Timestamp(0),
        deadline: deadline.map(Timestamp),
        expires_at: deadline.map(Timestamp),
    }
}

fn plain() -> Line {
    Line::plain("q")
}

fn gpu() -> Selectors {
    Arc::new([("gpu".to_owned(), "yes".to_owned())].into())
}

fn order(waiting: &mut Waiting) -> Vec<String> {
    std::iter::from_fn(|| waiting.pop(&plain())).map(|task| task.step.to_string()).collect()
}

#[test]
fn tasks_leave_by_priority_then_by_arrival() {
    let mut waiting = Waiting::default();
    for (step, priority) in [("a", 3), ("b", 1), ("c", 3), ("d", 1)] {
        waiting.push(task(step, priority, None));
    }
    waiting.push(task("a", 3, None));
    assert_eq!(order(&mut waiting), ["b", "d", "a", "c"]);
    assert_eq!(waiting.len(&plain()), 0);
}

#[test]
fn a_minute_of_waiting_outweighs_a_step_of_priority() {
    let mut waiting = Waiting::default();
    waiting.push(task("old and last", 5, None));
    for (step, since) in [("early", 4 * AGE - 1), ("late", 4 * AGE + 1)] {
        waiting.push(WaitingTask { since: Timestamp(since), ..task(step, 1, None) });
    }
    assert_eq!(order(&mut waiting), ["early", "old and last", "late"]);
}

proptest! {
    /// However many urgent tasks keep coming, a task is served before all that come more than four minutes after it.
    #[test]
    fn nothing_starves(arrivals in proptest::collection::vec((0i64..10 * AGE, 1u8..=5), 1..60)) {
        let mut waiting = Waiting::default();
        for (index, (since, priority)) in arrivals.iter().enumerate() {
            waiting.push(WaitingTask { since: Timestamp(*since), ..task(&format!("s{index}"), *priority, None) });
        }
        let served: Vec<_> = std::iter::from_fn(|| waiting.pop(&plain())).collect();
        prop_assert_eq!(served.len(), arrivals.len());
        for (place, later) in served.iter().enumerate() {
            for earlier in &served[..place] {
                prop_assert!(earlier.since.0 <= later.since.0 + 4 * AGE);
                prop_assert!(earlier.rank() <= later.rank());
            }
        }
    }
}

#[test]
fn a_worker_gets_the_first_task_of_the_lines_that_it_fits() {
    let mut waiting = Waiting::default();
    waiting.push(WaitingTask { selectors: gpu(), since: Timestamp(1), ..task("gpu", 3, None) });
    waiting.push(WaitingTask { since: Timestamp(2), ..task("any", 3, None) });
    let queues = ["q".to_owned()];
    let first = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        waiting.first_line(&queues, &labels, |_| true).map(|line| !line.selectors.is_empty())
    };
    assert_eq!(first(&[("gpu", "yes"), ("zone", "a")]), Some(true));
    assert_eq!(first(&[("gpu", "no")]), Some(false));
    assert_eq!(first(&[]), Some(false));
    assert_eq!(waiting.first_line(&queues, &BTreeMap::new(), |_| false), None, "the queue is paused");
}

#[test]
fn only_overdue_tasks_expire() {
    let mut waiting = Waiting::default();
    waiting.push(task("late", 3, Some(10)));
    waiting.push(task("early", 3, Some(20)));
    waiting.push(task("never", 3, None));
    waiting.push_limited(task("limited", 3, Some(10)));
    let expired: Vec<_> = waiting.expired(Timestamp(10)).into_iter().map(|task| task.step.to_string()).collect();
    assert_eq!(expired, ["late", "limited"]);
    assert_eq!(waiting.len(&plain()), 2);
}

#[test]
fn a_lost_shard_takes_its_tasks_along() {
    let mut waiting = Waiting::default();
    waiting.push(task("a", 3, Some(5)));
    waiting.push_limited(task("b", 3, Some(5)));
    waiting.remove_shard(1);
    assert!(waiting.pop(&plain()).is_none());
    assert!(waiting.at_gates().next().is_none());
    assert!(waiting.expired(Timestamp(9)).is_empty());
}

#[test]
fn only_lines_that_changed_are_told() {
    let mut waiting = Waiting::default();
    waiting.push(task("a", 3, None));
    waiting.push(WaitingTask { selectors: gpu(), ..task("b", 3, None) });
    assert_eq!(waiting.take_changed().len(), 2);
    assert!(waiting.take_changed().is_empty());
    waiting.pop(&plain());
    assert_eq!(waiting.take_changed().into_iter().collect::<Vec<_>>(), [plain()]);
}

#[test]
fn depth_counts_by_priority_and_knows_the_oldest() {
    let mut waiting = Waiting::default();
    waiting.push(WaitingTask { since: Timestamp(7), ..task("a", 1, None) });
    waiting.push(WaitingTask { since: Timestamp(3), selectors: gpu(), ..task("b", 5, None) });
    waiting.push_limited(WaitingTask { since: Timestamp(9), ..task("c", 5, None) });
    let depth = &waiting.depths(None)["q"];
    assert_eq!((depth.by_priority, depth.limited, depth.oldest), ([1, 0, 0, 0, 2], 1, Some(Timestamp(3))));
    assert_eq!(depth.by_selectors[&gpu()], 1);
    assert!(waiting.depths(Some("other")).is_empty());
}
