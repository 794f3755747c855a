//! The process that owns a cluster: listens on the socket, watches the processes, undoes everything at the end.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    card::SOCKET,
    control::{Ask, Remote, Reply},
};
use crate::fault::Keeper;

/// How often processes are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// When the process that owns a cluster ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Only when it is told to.
    UntilTold,
    /// When no fault is in force and nobody has asked anything for this time, or when the cluster is gone.
    WhileUsed(Duration),
}

/// Serves until Ctrl-C, SIGTERM or `down`; then undoes all faults. What the plant is, is the caller's to end.
pub async fn serve(keeper: &Arc<Keeper>, folder: &Path, stay: Stay, mut say: impl FnMut(&str)) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let socket = folder.join(SOCKET);
    let listener = listen(&socket).await?;
    let stop = CancellationToken::new();
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut used = Instant::now();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("accepting on the socket")?;
                used = Instant::now();
                connections.spawn(converse(keeper.clone(), stream, stop.clone()));
            }
            Some(_) = connections.join_next() => used = Instant::now(),
            _ = look.tick() => {
                for dead in keeper.look_after().await? {
                    say(&dead);
                }
                if let Stay::WhileUsed(patience) = stay {
                    let unused = connections.is_empty() && keeper.is_quiet().await && used.elapsed() > patience;
                    // The card goes with the cluster.
                    if unused || keeper.report().await.is_err() {
                        break;
                    }
                }
            }
            () = stop.cancelled() => break,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    let healed = keeper.heal_all().await;
    // Those who wait for a fault to end get their answers; an answer to `down` has been given.
    connections.abort_all();
    let _ = fs::remove_file(&socket);
    healed.map(|_| ())
}

async fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    if Remote::connect(socket).await.is_ok() {
        bail!("{} is used by another process already", socket.display());
    }
    // Left over by one that was killed.
    let _ = fs::remove_file(socket);
    UnixListener::bind(socket).with_context(|| format!("listening on {}: paths of sockets have 107 bytes at most", socket.display()))
}

/// Answers the questions of one connection. Faults that are tied to it are undone with it.
async fn converse(keeper: Arc<Keeper>, stream: UnixStream, stop: CancellationToken) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut tied = Vec::new();
    while let Ok(Some(line)) = lines.next_line().await {
        let ask: Result<Ask, _> = serde_json::from_str(&line);
        let result = match ask {
            Ok(Ask::Wait { fault }) => {
                // One that waits and goes away must not keep what is tied to it.
                tokio::select! {
                    () = keeper.wait(fault) => Ok(Value::Null),
                    gone = lines.next_line() => match gone {
                        Ok(Some(_)) => Err(anyhow::anyhow!("one question at a time: this connection waits for fault {fault}")),
                        _ => break,
                    },
                }
            }
            Ok(ask) => {
                let down = matches!(ask, Ask::Down);
                let result = answer(&keeper, ask, &mut tied).await;
                if down {
                    let _ = write.write_all(&line_of(&Reply::of(result))).await;
                    stop.cancel();
                    return;
                }
                result
            }
            Err(error) => Err(anyhow::anyhow!("not a question: {error}")),
        };
        if write.write_all(&line_of(&Reply::of(result))).await.is_err() {
            break;
        }
    }
    for fault in tied {
        // It may be over already.
        let _ = keeper.heal(fault).await;
    }
}

async fn answer(keeper: &Arc<Keeper>, ask: Ask, tied: &mut Vec<u64>) -> anyhow::Result<Value> {
    Ok(match ask {
        Ask::Make(order) => {
            let made = keeper.make(&order).await?;
            if order.tied {
                tied.push(made.fault);
            }
            json!(made)
        }
        Ask::Heal { fault } => json!(keeper.heal(fault).await?),
        Ask::HealAll => json!(keeper.heal_all().await?),
        Ask::Report => json!(keeper.report().await?),
        Ask::Note { line } => json!(keeper.note(line).await?),
        Ask::Wait { .. } | Ask::Down => Value::Null,
    })
}

fn line_of(reply: &Reply) -> Vec<u8> {
    // A value of JSON can be written as JSON.
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::fault::{
        Order,
        testing::{Sleepers, pause},
    };

    #[tokio::test]
    async fn a_fault_that_is_tied_to_its_connection_goes_with_it_and_the_end_undoes_the_others() {
        let sleepers = Sleepers::start(3);
        let (keeper, folder) = (sleepers.keeper(), sleepers.folder.path().to_owned());
        let served = tokio::spawn({
            let (keeper, folder) = (keeper.clone(), folder.clone());
            async move { serve(&keeper, &folder, Stay::UntilTold, |_| {}).await }
        });
        let socket = folder.join(SOCKET);
        let mut remote = loop {
            if let Ok(remote) = Remote::connect(&socket).await {
                break remote;
            }
            tokio::task::yield_now().await;
        };
        let tied = remote.make(&Order { tied: true, ..pause("1", 60_000) }).await.unwrap();
        sleepers.becomes(1, true).await;
        drop(remote);
        keeper.wait(tied.fault).await;
        sleepers.becomes(1, false).await;

        let mut remote = Remote::connect(&socket).await.unwrap();
        remote.make(&pause("2", 60_000)).await.unwrap();
        let report = remote.report().await.unwrap();
        assert_eq!((report.target.as_str(), report.active.len(), report.nodes.len()), ("dev", 1, 3));
        assert!(remote.make(&pause("9", 1)).await.unwrap_err().to_string().contains("no number 9"));
        remote.down().await.unwrap();
        served.await.unwrap().unwrap();
        sleepers.becomes(2, false).await;
        assert!(!socket.exists());
    }
}
