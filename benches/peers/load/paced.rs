//! Load on a fixed schedule. A round trip's latency counts from the moment it was meant to begin: what a slow answer delays on
//! its connection is slow too (no coordinated omission).

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    num::NonZeroU64,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::set_current_timer_slack,
    time::{ClockId, clock_gettime},
};
use tokio::io::AsyncWriteExt;

use super::{
    Outcome, bulk,
    coach::{Coach, PATIENCE, joined},
};
use crate::wire::{self, Direction, Order, REQUEST, RESPONSE};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

pub(super) async fn bulk(mut coach: Coach, target: SocketAddr, streams: u32, rate: u64, seconds: u64) -> io::Result<()> {
    let mut open = Vec::new();
    for _ in 0..streams {
        open.push(wire::connect(target).await?);
    }
    let rate = rate / u64::from(streams.max(1));
    let order = Order { direction: Direction::Down, bytes: rate * seconds, rate };
    coach.ready().await?;
    let start = Instant::now();
    let tasks: Vec<_> = open.into_iter().map(|stream| tokio::spawn(paced_stream(stream, order))).collect();
    let mut done = 0;
    for task in tasks {
        joined(task).await?;
        done += order.bytes;
    }
    coach.done(Outcome { seconds: start.elapsed().as_secs_f64(), done, ..Outcome::default() }).await
}

async fn paced_stream(mut stream: tokio::net::TcpStream, order: Order) -> io::Result<()> {
    stream.write_all(&order.encode()).await?;
    bulk::take(&stream, order.bytes).await
}

pub(super) async fn round_trips(
    mut coach: Coach,
    target: SocketAddr,
    connections: u32,
    rate: u64,
    seconds: u64,
) -> io::Result<()> {
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut stream = wire::connect(target).await?;
        wire::trip(&mut stream).await?;
        open.push(stream.into_std()?);
    }
    // The kernel may be late by this many nanoseconds with a timeout; 50,000 if nothing is said.
    set_current_timer_slack(Some(NonZeroU64::MIN))?;
    coach.ready().await?;
    // The connections take turns: one begins every 1/rate seconds.
    let step = SECOND / rate.max(1);
    let period = step * u64::from(connections);
    let count = rate * seconds / u64::from(connections.max(1));
    let start = Instant::now();
    let first = now();
    let turn = |(stream, turn): (TcpStream, u64)| Turns { stream, meant: first + turn * step, left: count, missing: 0 };
    let all = open.into_iter().zip(0..).map(turn).collect();
    let mut latencies = on_schedule(all, period)?;
    coach.done(Outcome::of_latencies(start.elapsed().as_secs_f64(), &mut latencies)).await
}

/// A connection whose round trips have their moments.
#[derive(Debug)]
struct Turns {
    stream: TcpStream,
    /// When the next round trip, or the one under way, is meant to begin, on the monotonic clock.
    meant: u64,
    left: u64,
    /// Bytes of the answer under way; 0 between round trips.
    missing: usize,
}

impl Turns {
    fn is_waiting(&self) -> bool {
        self.missing == 0 && self.left > 0
    }

    fn begin(&mut self) -> io::Result<()> {
        self.missing = RESPONSE;
        self.stream.write_all(&[b'q'; REQUEST])
    }

    /// Takes what has arrived; how long after its moment the answer was complete, when it is.
    fn take(&mut self, period: u64) -> io::Result<Option<u64>> {
        match self.stream.read(&mut [0; RESPONSE])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => self.missing = self.missing.checked_sub(got).ok_or(io::ErrorKind::InvalidData)?,
        }
        if self.missing > 0 {
            return Ok(None);
        }
        let latency = now().saturating_sub(self.meant);
        self.meant += period;
        self.left -= 1;
        Ok(Some(latency))
    }
}

/// Blocks until all is done. The runtime's own timers are only good to a millisecond, more than a round trip takes; this thread
/// has nothing else to do.
fn on_schedule(mut all: Vec<Turns>, period: u64) -> io::Result<Vec<u64>> {
    let mut latencies = Vec::new();
    while all.iter().any(|turns| turns.left > 0) {
        let moment = now();
        all.iter_mut().filter(|turns| turns.is_waiting() && turns.meant <= moment).try_for_each(Turns::begin)?;
        let next = all.iter().filter(|turns| turns.is_waiting()).map(|turns| turns.meant).min();
        let patience = next.map_or(PATIENCE, |next| Duration::from_nanos(next.saturating_sub(now())));
        for place in readable(&all, patience)? {
            latencies.extend(all[place].take(period)?);
        }
    }
    Ok(latencies)
}

/// Which connections have something of an answer; none when the time was over before.
fn readable(all: &[Turns], patience: Duration) -> io::Result<Vec<usize>> {
    let under_way = |turns: &&Turns| turns.missing > 0;
    let mut asked: Vec<PollFd<'_>> =
        all.iter().filter(under_way).map(|turns| PollFd::new(&turns.stream, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    if poll(&mut asked, Some(&timeout))? == 0 && patience == PATIENCE {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came back for a minute"));
    }
    let places = all.iter().enumerate().filter(|(_, turns)| turns.missing > 0).map(|(place, _)| place);
    Ok(places.zip(&asked).filter(|(_, fd)| !fd.revents().is_empty()).map(|(place, _)| place).collect())
}

/// The monotonic clock in nanoseconds.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * SECOND + now.tv_nsec.cast_unsigned()
}
