//! The dispatcher's clock: an actor that looks at what is overdue.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::Dispatcher;

/// How often deadlines are looked at. Each deadline is late by at most this, and never early.
const TICK: Duration = Duration::from_millis(50);

/// The actor.
pub struct Ticker;

#[expect(clippy::manual_async_fn, reason = "the trait spells its futures out")]
impl Actor for Ticker {
    type Msg = ();
    type State = Dispatcher;
    type Arguments = Dispatcher;

    fn pre_start(
        &self,
        myself: ActorRef<()>,
        dispatcher: Dispatcher,
    ) -> impl Future<Output = Result<Dispatcher, ActorProcessingErr>> + Send {
        async move {
            myself.send_interval(TICK, || ());
            Ok(dispatcher)
        }
    }

    fn handle(
        &self,
        _myself: ActorRef<()>,
        (): (),
        dispatcher: &mut Dispatcher,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        async move {
            dispatcher.tick();
            Ok(())
        }
    }
}
