//! Connections that make one round trip each, then stay open and silent.

use std::{io, net::SocketAddr, time::Instant};

use super::{Outcome, coach::Coach};
use crate::wire;

/// The first connection comes before `go`, so that what a proxy sets up once is not counted as the cost of a connection.
pub(super) async fn run(mut coach: Coach, target: SocketAddr, connections: u32) -> io::Result<()> {
    let mut first = wire::connect(target).await?;
    wire::trip(&mut first).await?;
    coach.ready().await?;
    let start = Instant::now();
    let mut held = Vec::new();
    for _ in 0..connections {
        let mut stream = wire::connect(target).await?;
        wire::trip(&mut stream).await?;
        held.push(stream);
    }
    let outcome = Outcome { seconds: start.elapsed().as_secs_f64(), done: held.len() as u64, ..Outcome::default() };
    coach.done(outcome).await
}
