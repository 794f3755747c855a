//! Moves the bytes of one direction of a connection under rules that change.
//!
//! A reading half stamps each piece with the time at which it may go on; a writing half waits for that time, and while the direction is frozen. Between
//! them is a queue with a bound, so that a reader is pushed back like by a slow network. A frozen direction does not even read: an end of the stream, or
//! a break, is not noticed before it thaws, as on a real network that carries nothing.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::rules::Flow;
use crate::fault::dice::Dice;

/// Bytes that move at a time.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces between the two halves: with [`PIECE_BYTES`], what a direction holds at most.
const PIECES_MAX: usize = 64;

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The sender had no more, and the receiver knows it.
    Finished,
    /// Somebody broke off.
    Broken,
}

/// Moves bytes until there are no more. `flow` is read whenever something is about to move.
///
/// When `half_closed` becomes true, the receiver is told that there is no more, and what still comes is thrown away.
pub async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    flow: watch::Receiver<Flow>,
    half_closed: watch::Receiver<bool>,
    seed: u64,
) -> Ended {
    let (pieces, queue) = mpsc::channel(PIECES_MAX);
    let ended = tokio::join!(read(&mut from, pieces, flow.clone(), seed), write(&mut to, queue, flow, half_closed));
    match ended {
        (Ok(()), Ok(())) => Ended::Finished,
        _ => Ended::Broken,
    }
}

/// A piece, and when it may go on.
type Piece = (Vec<u8>, Instant);

async fn read(
    from: &mut (impl AsyncRead + Unpin),
    pieces: mpsc::Sender<Piece>,
    mut flow: watch::Receiver<Flow>,
    seed: u64,
) -> io::Result<()> {
    let mut dice = Dice::new(seed);
    let mut last = Instant::now();
    loop {
        thaw(&mut flow).await;
        let mut piece = vec![0; PIECE_BYTES];
        let count = from.read(&mut piece).await?;
        if count == 0 {
            return Ok(());
        }
        piece.truncate(count);
        let now = *flow.borrow();
        let jitter = u64::try_from(now.jitter.as_micros()).unwrap_or(u64::MAX);
        let late = now.delay + Duration::from_micros(if jitter == 0 { 0 } else { dice.below(jitter + 1) });
        // Never before what came before.
        last = last.max(Instant::now() + late);
        // The writing half is gone: the receiver hangs up, or has been told that there is no more.
        if pieces.send((piece, last)).await.is_err() {
            return drain(from).await;
        }
    }
}

async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    mut queue: mpsc::Receiver<Piece>,
    mut flow: watch::Receiver<Flow>,
    mut half_closed: watch::Receiver<bool>,
) -> io::Result<()> {
    loop {
        let next = tokio::select! {
            // First, so that what a test or a person asked for happens before anything else moves.
            biased;
            () = becomes_true(&mut half_closed) => None,
            piece = queue.recv() => piece,
        };
        let Some((piece, due)) = next else { break };
        // A fault that ends takes the delay with it: what is on its way arrives at once.
        tokio::select! {
            () = sleep_until(due) => {}
            () = becomes_prompt(&mut flow) => {}
        }
        thaw(&mut flow).await;
        to.write_all(&piece).await?;
        let rate = flow.borrow().bytes_per_second;
        if let Some(rate) = rate {
            let takes = Duration::from_micros((piece.len() as u64).saturating_mul(1_000_000) / rate.max(1));
            tokio::select! {
                () = sleep(takes) => {}
                () = becomes_unlimited(&mut flow) => {}
            }
        }
    }
    // The end is news like any other: it does not pass a direction that is frozen.
    thaw(&mut flow).await;
    queue.close();
    to.shutdown().await
}

/// Reads to the end, so that the sender is not disturbed.
async fn drain(from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut thrown_away = vec![0; PIECE_BYTES];
    while from.read(&mut thrown_away).await? > 0 {}
    Ok(())
}

async fn until<T>(watched: &mut watch::Receiver<T>, is: impl FnMut(&T) -> bool) {
    // Nobody can change the rules any more: they stay as they are, and what waits for another value waits until the connection is dropped.
    if watched.wait_for(is).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn thaw(flow: &mut watch::Receiver<Flow>) {
    until(flow, |now| !now.frozen).await;
}

async fn becomes_prompt(flow: &mut watch::Receiver<Flow>) {
    until(flow, |now| now.delay.is_zero() && now.jitter.is_zero()).await;
}

async fn becomes_unlimited(flow: &mut watch::Receiver<Flow>) {
    until(flow, |now| now.bytes_per_second.is_none()).await;
}

async fn becomes_true(half_closed: &mut watch::Receiver<bool>) {
    until(half_closed, |now| *now).await;
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{DuplexStream, ReadHalf, WriteHalf, duplex, split},
        task::JoinHandle,
    };

    use super::*;

    /// A direction from `sender` to `receiver`.
    struct Line {
        sender: DuplexStream,
        receiver: DuplexStream,
        flow: watch::Sender<Flow>,
        half_closed: watch::Sender<bool>,
        pump: JoinHandle<Ended>,
        /// The other direction of both ends, which is not under test.
        _other: (WriteHalf<DuplexStream>, ReadHalf<DuplexStream>),
    }

    fn line(flow: Flow) -> Line {
        let (sender, near) = duplex(1 << 20);
        let (far, receiver) = duplex(1 << 20);
        let ((from, back_write), (back_read, to)) = (split(near), split(far));
        let (flow, flows) = watch::channel(flow);
        let (half_closed, closes) = watch::channel(false);
        let pump = tokio::spawn(pump(from, to, flows, closes, 7));
        Line { sender, receiver, flow, half_closed, pump, _other: (back_write, back_read) }
    }

    async fn read_exactly(line: &mut Line, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        line.receiver.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn without_rules_bytes_and_the_end_pass_at_once() {
        let mut line = line(Flow::default());
        let begin = Instant::now();
        line.sender.write_all(b"hello").await.unwrap();
        assert_eq!(read_exactly(&mut line, 5).await, b"hello");
        line.sender.shutdown().await.unwrap();
        assert_eq!(line.receiver.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(line.pump.await.unwrap(), Ended::Finished);
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_holds_back_each_byte_and_keeps_the_order() {
        let mut line = line(Flow { delay: SECOND, jitter: SECOND, ..Flow::default() });
        let begin = Instant::now();
        for number in 0..20u8 {
            line.sender.write_all(&[number; 100]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let bytes = read_exactly(&mut line, 2000).await;
        assert!(bytes.is_sorted(), "order is kept under jitter");
        assert!(begin.elapsed() >= SECOND && begin.elapsed() <= 2 * SECOND + Duration::from_millis(5), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_on_its_way_arrives_at_once_when_the_delay_is_lifted() {
        let mut line = line(Flow { delay: 1000 * SECOND, ..Flow::default() });
        let begin = Instant::now();
        line.sender.write_all(b"late").await.unwrap();
        tokio::time::advance(SECOND).await;
        line.flow.send(Flow::default()).unwrap();
        assert_eq!(read_exactly(&mut line, 4).await, b"late");
        assert!(begin.elapsed() < 2 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frozen_direction_passes_nothing_not_even_the_end_until_it_thaws() {
        let mut line = line(Flow::frozen());
        line.sender.write_all(b"held").await.unwrap();
        line.sender.shutdown().await.unwrap();
        let mut byte = [0; 1];
        assert!(tokio::time::timeout(3600 * SECOND, line.receiver.read(&mut byte)).await.is_err(), "an hour passes, and nothing comes");
        line.flow.send(Flow::default()).unwrap();
        assert_eq!(read_exactly(&mut line, 4).await, b"held");
        assert_eq!(line.receiver.read(&mut byte).await.unwrap(), 0);
        assert_eq!(line.pump.await.unwrap(), Ended::Finished);
    }

    #[tokio::test(start_paused = true)]
    async fn freezing_stops_a_stream_in_the_middle() {
        let mut line = line(Flow::default());
        line.sender.write_all(b"before").await.unwrap();
        assert_eq!(read_exactly(&mut line, 6).await, b"before");
        line.flow.send(Flow::frozen()).unwrap();
        line.sender.write_all(b"after").await.unwrap();
        assert!(tokio::time::timeout(60 * SECOND, line.receiver.read(&mut [0; 1])).await.is_err());
        line.flow.send(Flow::default()).unwrap();
        assert_eq!(read_exactly(&mut line, 5).await, b"after");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_bounds_the_bytes_per_second() {
        let mut line = line(Flow { bytes_per_second: Some(10_000), ..Flow::default() });
        let begin = Instant::now();
        line.sender.write_all(&vec![1; 100_000]).await.unwrap();
        read_exactly(&mut line, 100_000).await;
        // The last piece is delivered before it is paid for.
        assert!(begin.elapsed() >= 8 * SECOND && begin.elapsed() <= 10 * SECOND + SECOND / 10, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_direction_that_stands_still_holds_a_bounded_number_of_bytes() {
        let mut line = line(Flow { delay: 1000 * SECOND, ..Flow::default() });
        let send = line.sender.write_all(&[1; 64 << 20]);
        assert!(tokio::time::timeout(10 * SECOND, send).await.is_err(), "the sender is pushed back");
    }

    #[tokio::test(start_paused = true)]
    async fn half_closing_tells_the_receiver_of_an_end_and_does_not_disturb_the_sender() {
        let mut line = line(Flow::default());
        line.half_closed.send(true).unwrap();
        assert_eq!(line.receiver.read(&mut [0; 1]).await.unwrap(), 0);
        line.sender.write_all(&vec![1; 4 << 20]).await.unwrap();
        line.sender.shutdown().await.unwrap();
        assert_eq!(line.pump.await.unwrap(), Ended::Finished);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_hangs_up_is_a_break() {
        let mut line = line(Flow::default());
        drop((line.receiver, line._other));
        line.sender.write_all(b"into the void").await.unwrap();
        drop(line.sender);
        assert_eq!(line.pump.await.unwrap(), Ended::Broken);
    }
}
