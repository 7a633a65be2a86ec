//! The load tool (`load JOB`), a process of its own: it opens its connections, says `ready`, begins when told `go`, tells what it
//! measured in one line of JSON, and keeps its connections until its standard input ends.

mod bulk;
mod coach;
mod connects;
mod held;
mod paced;
mod round_trips;

use std::{io, net::SocketAddr};

use coach::Coach;
use serde::{Deserialize, Serialize};

use crate::wire::Direction;

/// What to do to a target.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub(crate) enum Job {
    /// Round trips on standing connections, each the next one when the last is done.
    RoundTrips { target: SocketAddr, connections: u32, count: u64 },
    /// Streams as fast as they go.
    Bulk { target: SocketAddr, direction: Direction, streams: u32, bytes: u64 },
    /// Connect, one round trip, close.
    Connects { target: SocketAddr, parallel: u32, count: u64 },
    /// Connections that make one round trip each and stay.
    Held { target: SocketAddr, connections: u32 },
    /// Round trips, each begun at its own moment whatever became of the others.
    PacedRoundTrips { target: SocketAddr, connections: u32, rate: u64, seconds: u64 },
    /// Streams that the server paces.
    PacedBulk { target: SocketAddr, streams: u32, rate: u64, seconds: u64 },
}

impl Job {
    /// As the arguments that clap reads it from.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let words: Vec<&dyn std::fmt::Display> = match self {
            Self::RoundTrips { target, connections, count } => vec![&"round-trips", target, connections, count],
            Self::Bulk { target, direction: Direction::Down, streams, bytes } => vec![&"bulk", target, &"down", streams, bytes],
            Self::Bulk { target, direction: Direction::Up, streams, bytes } => vec![&"bulk", target, &"up", streams, bytes],
            Self::Connects { target, parallel, count } => vec![&"connects", target, parallel, count],
            Self::Held { target, connections } => vec![&"held", target, connections],
            Self::PacedRoundTrips { target, connections, rate, seconds } => {
                vec![&"paced-round-trips", target, connections, rate, seconds]
            }
            Self::PacedBulk { target, streams, rate, seconds } => vec![&"paced-bulk", target, streams, rate, seconds],
        };
        words.into_iter().map(ToString::to_string).collect()
    }
}

/// What a job measured.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// From `go` to the last byte.
    pub(crate) seconds: f64,
    /// Round trips, connections or bytes.
    pub(crate) done: u64,
    /// Latencies of round trips in nanoseconds, where the job knows them.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
}

impl Outcome {
    fn of_latencies(seconds: f64, latencies: &mut [u64]) -> Self {
        let [p50, p99, p999] = [500, 990, 999].map(|share| quantile(latencies, share));
        Self { seconds, done: latencies.len() as u64, p50, p99, p999 }
    }
}

/// The smallest value that at least `per_mille` of a thousand of the values do not exceed (nearest rank). Sorts the values.
fn quantile(values: &mut [u64], per_mille: usize) -> u64 {
    values.sort_unstable();
    let rank = (values.len() * per_mille).div_ceil(1000);
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Does the job; what goes wrong is told on standard output too.
pub(crate) fn run(job: Job) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let coach = Coach::listen();
    let done = runtime.block_on(async {
        match job {
            Job::RoundTrips { target, connections, count } => round_trips::run(coach, target, connections, count).await,
            Job::Bulk { target, direction, streams, bytes } => bulk::run(coach, target, direction, streams, bytes).await,
            Job::Connects { target, parallel, count } => connects::run(coach, target, parallel, count).await,
            Job::Held { target, connections } => held::run(coach, target, connections).await,
            Job::PacedRoundTrips { target, connections, rate, seconds } => {
                paced::round_trips(coach, target, connections, rate, seconds).await
            }
            Job::PacedBulk { target, streams, rate, seconds } => paced::bulk(coach, target, streams, rate, seconds).await,
        }
    });
    if let Err(error) = &done {
        println!("error: {error}");
    }
    done
}
