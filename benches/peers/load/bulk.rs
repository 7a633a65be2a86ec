//! Streams of a fixed number of bytes, as fast as they go.

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Outcome,
    coach::{Coach, joined},
};
use crate::{
    serve,
    wire::{self, CHUNK, Direction, Order},
};

pub(super) async fn run(mut coach: Coach, target: SocketAddr, direction: Direction, streams: u32, bytes: u64) -> io::Result<()> {
    let mut open = Vec::new();
    for _ in 0..streams {
        open.push(wire::connect(target).await?);
    }
    let order = Order { direction, bytes: bytes / u64::from(streams.max(1)), rate: 0 };
    coach.ready().await?;
    let start = Instant::now();
    let chunk: Arc<[u8]> = vec![b'x'; CHUNK].into();
    let tasks: Vec<_> = open.into_iter().map(|stream| tokio::spawn(one(stream, order, Arc::clone(&chunk)))).collect();
    let mut done = 0;
    let mut open = Vec::new();
    for task in tasks {
        open.push(joined(task).await?);
        done += order.bytes;
    }
    coach.done(Outcome { seconds: start.elapsed().as_secs_f64(), done, ..Outcome::default() }).await
}

async fn one(mut stream: TcpStream, order: Order, chunk: Arc<[u8]>) -> io::Result<TcpStream> {
    stream.write_all(&order.encode()).await?;
    match order.direction {
        Direction::Down => take(&stream, order.bytes).await?,
        Direction::Up => {
            serve::send(&mut stream, order.bytes, &chunk).await?;
            stream.read_exact(&mut [0]).await?;
        }
    }
    Ok(stream)
}

/// Takes this many bytes.
pub(super) async fn take(stream: &TcpStream, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    let mut buffer = vec![0; 4 * CHUNK];
    while left > 0 {
        left -= wire::discard(stream, left, &mut buffer).await?;
    }
    Ok(())
}
