//! The built-in worker by the rules of leases, in paused time.

use quorus_proto::v1::task_outcome::Result as Ending;
use serde_json::json;

use super::*;
use crate::executors::{
    attempt::payload,
    testing::{Bench, Stub},
};

const LEASE: Duration = Duration::from_secs(30);

struct World {
    desk: Desk,
    reports: UnboundedReceiver<Report>,
    task: v1::Task,
}

impl World {
    fn new(task_type: &str, request: &serde_json::Value) -> Self {
        let bench = Bench::new(task_type, request);
        let (desk, reports) = Desk::new(bench.services, LEASE);
        Self { desk, reports, task: bench.task }
    }

    fn start(&mut self) {
        self.desk.receive(work_response::Message::Task(self.task.clone()));
    }

    /// Feeds reports to the desk until one makes it say something.
    async fn says(&mut self) -> Vec<Message> {
        loop {
            let said = self.desk.take_outbox();
            if !said.is_empty() {
                return said;
            }
            let report = self.reports.recv().await.unwrap();
            self.desk.report(report);
        }
    }

    fn beat(&mut self) -> v1::Heartbeat {
        self.desk.tick();
        match self.desk.take_outbox().pop() {
            Some(Message::Heartbeat(beat)) => beat,
            other => panic!("no heartbeat: {other:?}"),
        }
    }
}

/// A gate that never opens, whose endpoint is never reached.
fn endless() -> World {
    World::new("quorus.gate", &json!({"queries": {}, "single": false, "condition": "false", "interval_ms": 3_600_000}))
}

#[tokio::test]
async fn an_attempt_is_executed_once_and_its_outcome_kept_until_it_is_acknowledged() {
    let stub = Stub::start().await;
    let mut world = World::new("quorus.http", &json!({"url": format!("{}/ok", stub.base()), "allow_private": true}));
    world.start();
    world.start();
    let said = world.says().await;
    let [Message::Outcome(v1::TaskOutcome { lease, result: Some(Ending::Succeeded(_)) })] = &said[..] else { panic!("{said:?}") };
    assert_eq!(world.beat().leases, std::slice::from_ref(lease), "its lease is still kept alive");
    world.desk.receive(work_response::Message::OutcomeAck(v1::OutcomeAck { lease: lease.clone(), accepted: true, ..Default::default() }));
    world.start();
    assert!(world.desk.held.is_empty(), "a late copy of the task is dropped");
    assert_eq!(stub.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_lives_from_when_the_acknowledged_heartbeat_was_sent() {
    let mut world = endless();
    world.start();
    tokio::time::advance(LEASE / 3).await;
    let beat = world.beat();
    tokio::time::advance(LEASE / 10).await;
    let ack = v1::HeartbeatAck { id: beat.id, renewed: beat.leases.clone(), lost: Vec::new() };
    world.desk.receive(work_response::Message::HeartbeatAck(ack));
    // A third of a lease after the start it was renewed for a lease; the time on the way does not count.
    tokio::time::advance(LEASE - LEASE / 10 - Duration::from_millis(1)).await;
    world.beat();
    tokio::time::advance(Duration::from_millis(1)).await;
    world.desk.tick();
    assert!(world.desk.held.is_empty() && world.desk.take_outbox().is_empty(), "it is stopped, and says nothing more");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_ever_renewed_ends_early_and_one_that_is_lost_at_once() {
    let mut world = endless();
    world.start();
    tokio::time::advance(LEASE * 3 / 4 - Duration::from_millis(1)).await;
    world.desk.tick();
    assert!(!world.desk.held.is_empty());
    tokio::time::advance(Duration::from_millis(1)).await;
    world.desk.tick();
    assert!(world.desk.held.is_empty());
    world.task.lease = "second".into();
    world.start();
    let beat = world.beat();
    world.desk.receive(work_response::Message::HeartbeatAck(v1::HeartbeatAck { id: beat.id, renewed: Vec::new(), lost: beat.leases }));
    assert!(world.desk.held.is_empty());
}

#[tokio::test]
async fn a_checkpoint_goes_along_with_heartbeats_until_it_is_kept() {
    let stub = Stub::start().await;
    let request = json!({"url": format!("{}/ok", stub.base()), "allow_private": true, "on_crash": "fail"});
    let mut world = World::new("quorus.http", &request);
    world.start();
    let Some(Message::Heartbeat(first)) = world.says().await.pop() else { panic!("no heartbeat") };
    assert!(first.progress[0].checkpoint.is_some());
    let second = world.beat();
    assert_eq!(second.progress, first.progress, "it is repeated");
    assert!(stub.requests().is_empty(), "nothing is called before it is kept");
    let ack = v1::HeartbeatAck { id: second.id, renewed: second.leases.clone(), lost: Vec::new() };
    world.desk.receive(work_response::Message::HeartbeatAck(ack));
    let Some(Message::Heartbeat(third)) = world.says().await.pop() else { panic!("no heartbeat") };
    assert_ne!(third.progress, first.progress, "the call was made, and its answer is noted");
    assert_eq!(stub.requests().len(), 1);
}

#[tokio::test]
async fn a_drained_worker_gives_back_what_it_holds_and_takes_nothing() {
    let mut world = endless();
    world.start();
    world.desk.receive(work_response::Message::Drain(v1::Drain {}));
    let said = world.desk.take_outbox();
    assert_eq!(said, [Message::Capacity(v1::SetCapacity { capacity: 0 })]);
    let said = world.says().await;
    let [Message::Outcome(v1::TaskOutcome { lease, result: Some(Ending::Released(released)) })] = &said[..] else { panic!("{said:?}") };
    assert_eq!(released.checkpoint, Some(payload(&json!({"ms": 0}))));
    assert!(!world.desk.is_done());
    world.desk.receive(work_response::Message::OutcomeAck(v1::OutcomeAck { lease: lease.clone(), accepted: true, ..Default::default() }));
    assert!(world.desk.is_done());
}

#[tokio::test]
async fn what_is_to_stop_and_never_came_is_given_back_once_and_its_task_is_dropped() {
    let mut world = endless();
    let cancel = v1::CancelTask { lease: world.task.lease.clone(), ..Default::default() };
    world.desk.receive(work_response::Message::Cancel(cancel.clone()));
    let said = world.desk.take_outbox();
    let [Message::Outcome(v1::TaskOutcome { lease, result: Some(Ending::Released(_)) })] = &said[..] else { panic!("{said:?}") };
    assert_eq!(*lease, world.task.lease);
    world.desk.receive(work_response::Message::Cancel(cancel));
    world.start();
    assert!(world.desk.held.is_empty() && world.desk.take_outbox().is_empty());
}
