//! Round trips on standing connections: how much one costs when the next follows at once.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::net::TcpStream;

use super::{
    Outcome,
    coach::{Coach, joined},
};
use crate::wire;

/// Round trips of each connection before anything is measured.
const WARM_UP: u32 = 20;

pub(super) async fn run(mut coach: Coach, target: SocketAddr, connections: u32, count: u64) -> io::Result<()> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        let mut stream = wire::connect(target).await?;
        for _ in 0..WARM_UP {
            wire::trip(&mut stream).await?;
        }
        streams.push(stream);
    }
    coach.ready().await?;
    let begun = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(trips(stream, Arc::clone(&begun), count))).collect();
    let mut latencies = Vec::new();
    let mut streams = Vec::new();
    for task in tasks {
        let (stream, some) = joined(task).await?;
        latencies.extend(some);
        streams.push(stream);
    }
    coach.done(Outcome::of_latencies(start.elapsed().as_secs_f64(), &mut latencies)).await
}

/// Takes part in `count` round trips; the connection and the latencies of its own.
async fn trips(mut stream: TcpStream, begun: Arc<AtomicU64>, count: u64) -> io::Result<(TcpStream, Vec<u64>)> {
    let mut latencies = Vec::new();
    let mut last = Instant::now();
    while begun.fetch_add(1, Ordering::Relaxed) < count {
        wire::trip(&mut stream).await?;
        let now = Instant::now();
        latencies.push(u64::try_from((now - last).as_nanos()).unwrap_or(u64::MAX));
        last = now;
    }
    Ok((stream, latencies))
}
