//! Who gets the room of a worker.

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

/// Two leaders and a worker with room for one task.
struct World {
    book: Book,
    leaders: BTreeMap<u64, UnboundedReceiver<LinkRequest>>,
    _worker: UnboundedReceiver<Result<WorkResponse, Status>>,
}

impl World {
    fn new(capacity: u32) -> Self {
        let mut book = Book::default();
        let mut leaders = BTreeMap::new();
        for node in [1, 2] {
            let (sender, receiver) = unbounded_channel();
            book.link_up(node, sender);
            leaders.insert(node, receiver);
        }
        let (sender, worker) = unbounded_channel();
        let register = v1::RegisterWorker { name: "w".into(), queues: vec!["q".into()], capacity, ..Default::default() };
        book.open(register, sender);
        Self { book, leaders, _worker: worker }
    }

    /// Credits granted to and recalled from a leader since the last look.
    fn told(&mut self, node: u64) -> (u32, u32) {
        let (mut granted, mut recalled) = (0, 0);
        while let Ok(request) = self.leaders.get_mut(&node).unwrap().try_recv() {
            match request.message {
                Some(Message::Grant(grant)) => granted += grant.credits,
                Some(Message::Recall(recall)) => recalled += recall.credits,
                _ => {}
            }
        }
        (granted, recalled)
    }

    fn demand(&mut self, node: u64, waiting: u32) {
        self.book.demanded(node, peer::Demand { queue: "q".into(), waiting, ..Default::default() });
    }

    fn give_back(&mut self, node: u64, credits: u32) {
        self.book.returned(node, peer::ReturnCredits { session: 1, credits });
    }
}

#[test]
fn the_only_room_goes_where_tasks_wait() {
    let mut world = World::new(1);
    assert_eq!((world.told(1), world.told(2)), ((1, 0), (0, 0)));
    world.demand(2, 1);
    assert_eq!(world.told(1), (0, 1));
    world.give_back(1, 1);
    assert_eq!(world.told(2), (1, 0));
}

#[test]
fn a_demand_that_was_met_does_not_hide_the_next_one() {
    let mut world = World::new(1);
    world.told(1);
    // Leader 1 served its task with its own credit, but says so only later.
    world.demand(1, 1);
    world.demand(2, 1);
    let asked_early = world.told(1).1;
    world.demand(1, 0);
    assert_eq!(asked_early + world.told(1).1, 1, "the credit is asked for, sooner or later, and once");
    world.give_back(1, 1);
    assert_eq!(world.told(2).0, 1);
}

#[test]
fn leaders_with_endless_work_take_turns() {
    let mut world = World::new(1);
    assert_eq!(world.told(1).0, 1);
    world.demand(1, 9);
    world.demand(2, 9);
    for (has, waits) in [(1, 2), (2, 1), (1, 2)] {
        assert_eq!(world.told(has).1, 1, "the one that has room is asked for it");
        // It is paid when a task ends.
        world.give_back(has, 1);
        assert_eq!((world.told(has).0, world.told(waits).0), (0, 1));
        world.book.meet_demand();
    }
}

#[test]
fn what_is_granted_never_exceeds_the_capacity() {
    let mut world = World::new(3);
    let granted = world.told(1).0 + world.told(2).0;
    assert_eq!(granted, 3);
    world.demand(1, 10);
    world.demand(2, 10);
    assert_eq!(world.told(1).0 + world.told(2).0, 0);
}

#[test]
fn a_drained_worker_gives_its_room_back_and_gets_it_again() {
    let mut world = World::new(2);
    assert_eq!((world.told(1).0, world.told(2).0), (1, 1));
    world.book.set_drained(["w".to_owned()].into());
    for node in [1, 2] {
        assert_eq!(world.told(node).1, 1, "its unused room is asked for");
        world.give_back(node, 1);
        assert_eq!(world.told(node).0, 0);
    }
    world.demand(1, 5);
    assert_eq!(world.told(1).0, 0);
    world.book.set_drained(BTreeSet::new());
    assert_eq!(world.told(1).0, 2);
}

#[test]
fn room_is_not_kept_for_tasks_that_the_worker_can_not_take() {
    let mut world = World::new(1);
    world.told(1);
    let selectors: BTreeMap<String, String> = [("gpu".to_owned(), "yes".to_owned())].into();
    world.book.demanded(2, peer::Demand { queue: "q".into(), waiting: 3, selectors });
    assert_eq!(world.told(1).1, 0, "nobody there could use it");
    world.demand(2, 1);
    assert_eq!(world.told(1).1, 1);
}
