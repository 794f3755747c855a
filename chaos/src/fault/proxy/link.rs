//! A directed link: everything that one party asks of another goes through its listener.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    pump::{Ended, pump},
    rules::{Flow, Rules},
};

/// Connections through one link; more wait in the system's backlog. Those that a partition holds and their callers gave up on count, too.
const CONNECTIONS_MAX: usize = 1024;
/// Pause after the system could not accept, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Events that happen to all connections that are open at that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Events {
    resets: u64,
    forward_half_closes: u64,
    backward_half_closes: u64,
}

/// The link.
#[derive(Debug)]
pub struct Link {
    port: u16,
    /// What each fault does to it.
    faults: BTreeMap<u64, Rules>,
    rules: watch::Sender<Rules>,
    events: watch::Sender<Events>,
    _accepts: AbortOnDropHandle<()>,
}

impl Link {
    /// Listens at an address (port 0: any), and leads to another.
    pub fn open(at: SocketAddr, to: SocketAddr, seed: u64) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(at).with_context(|| format!("listening at {at} for a link"))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let (rules, rules_seen) = watch::channel(Rules::default());
        let (events, events_seen) = watch::channel(Events::default());
        let accept = accept(TcpListener::from_std(listener)?, to, rules_seen, events_seen, seed);
        Ok(Self { port, faults: BTreeMap::new(), rules, events, _accepts: AbortOnDropHandle::new(tokio::spawn(accept)) })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Puts the rules of a fault in force, beside those of other faults.
    pub fn impose(&mut self, fault: u64, rules: Rules) {
        let known = self.faults.entry(fault).or_default();
        *known = known.and(rules);
        self.publish();
    }

    /// Takes a fault's rules away. True if there were any.
    pub fn lift(&mut self, fault: u64) -> bool {
        let had = self.faults.remove(&fault).is_some();
        self.publish();
        had
    }

    /// Resets every open connection at both ends.
    pub fn reset(&self) {
        self.events.send_modify(|events| events.resets += 1);
    }

    /// Ends one direction of every open connection: the receiver reads an end, the sender is not told.
    pub fn half_close(&self, forward: bool) {
        self.events.send_modify(|events| *(if forward { &mut events.forward_half_closes } else { &mut events.backward_half_closes }) += 1);
    }

    /// What is wrong with it now.
    pub fn rules(&self) -> Rules {
        *self.rules.borrow()
    }

    fn publish(&self) {
        let rules = self.faults.values().fold(Rules::default(), |all, one| all.and(*one));
        self.rules.send_replace(rules);
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, rules: watch::Receiver<Rules>, events: watch::Receiver<Events>, seed: u64) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Dropped with the accepting task: then every connection breaks.
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    for number in 0.. {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if rules.borrow().refuse {
            hang_up(&stream);
            continue;
        }
        let carry = carry(stream, to, rules.clone(), events.clone(), seed.wrapping_add(number));
        let stop = stop.clone();
        tokio::spawn(async move {
            stop.run_until_cancelled(carry).await;
            drop(place);
        });
    }
}

/// One connection from its beginning to its end.
async fn carry(client: TcpStream, to: SocketAddr, mut rules: watch::Receiver<Rules>, mut events: watch::Receiver<Events>, seed: u64) {
    let born = *events.borrow_and_update();
    let connect = async {
        // Nobody can change the rules any more: the proxy ends.
        rules.wait_for(|now| !now.hold_new).await.ok()?;
        TcpStream::connect(to).await.ok()
    };
    let server = tokio::select! {
        server = connect => server,
        () = was_reset(events.clone(), born) => None,
    };
    let Some(server) = server else { return hang_up(&client) };
    // A proxy that waits for more bytes would be a fault that nobody asked for.
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return hang_up(&client);
    }
    let flows = Flows { forward: watch::Sender::new(rules.borrow().forward), backward: watch::Sender::new(rules.borrow().backward) };
    let half_closes = HalfCloses { forward: watch::Sender::new(false), backward: watch::Sender::new(false) };
    let (mut client, mut server) = (client, server);
    let broken = {
        let ((client_read, client_write), (server_read, server_write)) = (client.split(), server.split());
        let forward = pump(client_read, server_write, flows.forward.subscribe(), half_closes.forward.subscribe(), seed);
        let backward = pump(server_read, client_write, flows.backward.subscribe(), half_closes.backward.subscribe(), !seed);
        let both = async { tokio::try_join!(until_broken(forward), until_broken(backward)).is_err() };
        let reset = was_reset(events.clone(), born);
        let follow = async {
            // Ends only when nobody can change anything any more: then the proxy ends.
            while tokio::select! {
                changed = rules.changed() => changed.is_ok(),
                changed = events.changed() => changed.is_ok(),
            } {
                flows.follow(*rules.borrow_and_update());
                half_closes.follow(born, *events.borrow_and_update());
            }
        };
        tokio::select! {
            broken = both => broken,
            () = reset => true,
            () = follow => true,
        }
    };
    if broken {
        hang_up(&client);
        hang_up(&server);
    }
}

/// The rules of both directions of a connection.
struct Flows {
    forward: watch::Sender<Flow>,
    backward: watch::Sender<Flow>,
}

impl Flows {
    fn follow(&self, rules: Rules) {
        self.forward.send_replace(rules.forward);
        self.backward.send_replace(rules.backward);
    }
}

/// Which directions of a connection have been ended.
struct HalfCloses {
    forward: watch::Sender<bool>,
    backward: watch::Sender<bool>,
}

impl HalfCloses {
    fn follow(&self, born: Events, now: Events) {
        self.forward.send_replace(now.forward_half_closes > born.forward_half_closes);
        self.backward.send_replace(now.backward_half_closes > born.backward_half_closes);
    }
}

async fn until_broken(pump: impl Future<Output = Ended>) -> Result<(), ()> {
    match pump.await {
        Ended::Finished => Ok(()),
        Ended::Broken => Err(()),
    }
}

async fn was_reset(mut events: watch::Receiver<Events>, born: Events) {
    if events.wait_for(|now| now.resets > born.resets).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Makes the end of a connection a reset instead of an orderly end.
fn hang_up(stream: &TcpStream) {
    // If the system refuses, the connection ends in order: the caller loses it all the same.
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// A server that answers each byte with its successor.
    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        stream.write_u8(byte.wrapping_add(1)).await?;
                    }
                    // An end is answered with a last word.
                    stream.write_u8(0).await
                });
            }
        });
        address
    }

    async fn connected() -> (Link, TcpStream) {
        let link = Link::open(ANY, server().await, 1).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        stream.write_u8(1).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 2);
        (link, stream)
    }

    #[tokio::test]
    async fn a_link_without_faults_carries_questions_and_answers() {
        connected().await;
    }

    #[tokio::test]
    async fn a_reset_reaches_the_caller_as_a_reset_and_the_next_connection_works() {
        let (link, mut stream) = connected().await;
        link.reset();
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        let mut again = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        again.write_u8(5).await.unwrap();
        assert_eq!(again.read_u8().await.unwrap(), 6);
    }

    #[tokio::test]
    async fn a_refusing_link_takes_no_new_connections_and_leaves_old_ones_alone() {
        let (mut link, mut old) = connected().await;
        link.impose(1, Rules { refuse: true, ..Rules::default() });
        let mut new = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        assert!(new.read_u8().await.is_err());
        old.write_u8(7).await.unwrap();
        assert_eq!(old.read_u8().await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_cut_link_carries_on_where_it_stopped_once_every_fault_is_lifted() {
        let (mut link, mut stream) = connected().await;
        link.impose(1, Rules::cut());
        link.impose(2, Rules { forward: Flow::frozen(), ..Rules::default() });
        stream.write_u8(3).await.unwrap();
        let mut held = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        held.write_u8(30).await.unwrap();
        assert!(link.lift(1) && link.rules().forward.frozen, "another fault is still in force");
        assert!(link.lift(2) && !link.lift(2));
        assert_eq!(stream.read_u8().await.unwrap(), 4);
        assert_eq!(held.read_u8().await.unwrap(), 31);
    }

    #[tokio::test]
    async fn a_half_closed_connection_still_carries_the_other_direction() {
        let (link, mut stream) = connected().await;
        link.half_close(true);
        assert_eq!(stream.read_u8().await.unwrap(), 0, "the server has read an end, and its last word arrives");
        let (link, mut stream) = connected().await;
        link.half_close(false);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "the client reads an end");
    }

    #[tokio::test]
    async fn a_caller_of_a_dead_server_is_reset() {
        let address = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
        let link = Link::open(ANY, address, 1).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        assert!(stream.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn a_link_that_is_dropped_breaks_its_connections() {
        let (link, mut stream) = connected().await;
        drop(link);
        assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    }
}
