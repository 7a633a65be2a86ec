//! The servers behind the proxies, each a process of its own (`serve KIND`): one answers short requests, one sends and takes
//! streams. A server tells its port on its standard output, and ends with its standard input.

use std::{
    io::{self, Read, Write},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::Instant,
};

use crate::wire::{self, CHUNK, Direction, Order, REQUEST, RESPONSE};

/// Bytes of one write of a paced stream.
const PACED_CHUNK: usize = 64 * 1024;

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// 300 bytes for every 100.
    RoundTrip,
    /// Streams, as the client orders them.
    Bulk,
}

impl Kind {
    /// As it is written in arguments.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RoundTrip => "round-trip",
            Self::Bulk => "bulk",
        }
    }
}

/// Serves until standard input ends.
pub(crate) fn run(kind: Kind) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        io::stdout().flush()?;
        tokio::select! {
            error = accept(kind, listener) => error,
            () = end_of_input() => Ok(()),
        }
    })
}

async fn end_of_input() {
    let (send, receive) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        drop(send);
    });
    let _ = receive.await;
}

async fn accept(kind: Kind, listener: TcpListener) -> io::Result<()> {
    let chunk: Arc<[u8]> = vec![b'x'; CHUNK].into();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let chunk = Arc::clone(&chunk);
        tokio::spawn(async move {
            // A client that goes away is the client's matter; it tells what it missed.
            let _ = match kind {
                Kind::RoundTrip => answer(stream).await,
                Kind::Bulk => stream_as_ordered(stream, &chunk).await,
            };
        });
    }
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    const AT_ONCE: usize = 8;
    let answers = [b'a'; AT_ONCE * RESPONSE];
    let mut buffer = [0; AT_ONCE * REQUEST];
    let mut pending = 0;
    loop {
        match stream.read(&mut buffer[..AT_ONCE * REQUEST - pending]).await? {
            0 => return Ok(()),
            got => pending += got,
        }
        stream.write_all(&answers[..pending / REQUEST * RESPONSE]).await?;
        pending %= REQUEST;
    }
}

async fn stream_as_ordered(mut stream: TcpStream, chunk: &[u8]) -> io::Result<()> {
    let mut order = [0; wire::ORDER];
    stream.read_exact(&mut order).await?;
    let order = Order::decode(order)?;
    match (order.direction, order.rate) {
        (Direction::Down, 0) => send(&mut stream, order.bytes, chunk).await?,
        (Direction::Down, rate) => send_paced(&mut stream, order.bytes, rate, chunk).await?,
        (Direction::Up, _) => {
            let mut left = order.bytes;
            let mut buffer = vec![0; 4 * CHUNK];
            while left > 0 {
                left -= wire::discard(&stream, left, &mut buffer).await?;
            }
            stream.write_all(b"!").await?;
        }
    }
    // The client closes first, so that every byte has arrived by then.
    stream.read(&mut [0]).await.map(|_| ())
}

/// Sends this many bytes as fast as the other end takes them.
pub(crate) async fn send(stream: &mut TcpStream, bytes: u64, chunk: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let some = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        left -= stream.write(&chunk[..some]).await? as u64;
    }
    Ok(())
}

/// Each chunk has its moment, counted from the start: what comes late is followed at once.
async fn send_paced(stream: &mut TcpStream, bytes: u64, rate: u64, chunk: &[u8]) -> io::Result<()> {
    let start = Instant::now();
    let mut sent = 0;
    while sent < bytes {
        tokio::time::sleep_until(start + Duration::from_secs_f64(sent as f64 / rate as f64)).await;
        let some = usize::try_from(bytes - sent).unwrap_or(usize::MAX).min(PACED_CHUNK);
        stream.write_all(&chunk[..some]).await?;
        sent += some as u64;
    }
    Ok(())
}
