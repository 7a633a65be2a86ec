//! Connections that make one round trip and are closed by the client.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    Outcome,
    coach::{Coach, joined},
};
use crate::wire;

/// Connections before anything is measured.
const WARM_UP: u32 = 200;

pub(super) async fn run(mut coach: Coach, target: SocketAddr, parallel: u32, count: u64) -> io::Result<()> {
    for _ in 0..WARM_UP {
        wire::trip(&mut wire::connect(target).await?).await?;
    }
    coach.ready().await?;
    let begun = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..parallel).map(|_| tokio::spawn(connect_and_close(target, Arc::clone(&begun), count))).collect();
    for task in tasks {
        joined(task).await?;
    }
    coach.done(Outcome { seconds: start.elapsed().as_secs_f64(), done: count, ..Outcome::default() }).await
}

async fn connect_and_close(target: SocketAddr, begun: Arc<AtomicU64>, count: u64) -> io::Result<()> {
    while begun.fetch_add(1, Ordering::Relaxed) < count {
        wire::trip(&mut wire::connect(target).await?).await?;
    }
    Ok(())
}
