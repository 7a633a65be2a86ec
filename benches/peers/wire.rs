//! What load and servers say to each other: a round trip of fixed sizes, and streams that a short order begins.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Bytes of a request, as of a short query.
pub(crate) const REQUEST: usize = 100;
/// Bytes of its answer, as of one row.
pub(crate) const RESPONSE: usize = 300;
/// Bytes of an [`Order`] on the wire.
pub(crate) const ORDER: usize = 17;
/// Most bytes of one write of an unpaced stream.
pub(crate) const CHUNK: usize = 256 * 1024;

/// Which way a stream flows, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Direction {
    /// From the server to the client.
    Down,
    /// From the client to the server, which answers one byte when it has everything.
    Up,
}

/// The first bytes of a client of a server of streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) direction: Direction,
    pub(crate) bytes: u64,
    /// Bytes per second that the server paces itself to; 0 is as fast as it can.
    pub(crate) rate: u64,
}

impl Order {
    pub(crate) fn encode(self) -> [u8; ORDER] {
        let mut out = [0; ORDER];
        out[0] = match self.direction {
            Direction::Down => b'D',
            Direction::Up => b'U',
        };
        out[1..9].copy_from_slice(&self.bytes.to_le_bytes());
        out[9..].copy_from_slice(&self.rate.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: [u8; ORDER]) -> io::Result<Self> {
        let direction = match bytes[0] {
            b'D' => Direction::Down,
            b'U' => Direction::Up,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let number = |from: usize| bytes[from..from + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(Self { direction, bytes: number(1), rate: number(9) })
    }
}

/// One request and its whole answer.
pub(crate) async fn trip(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&[b'q'; REQUEST]).await?;
    // The buffer is larger than the answer: a short read tells the runtime that nothing is left, which saves a system call.
    let mut buffer = [0; 4 * RESPONSE];
    let mut missing = RESPONSE;
    while missing > 0 {
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got if got > missing => return Err(io::ErrorKind::InvalidData.into()),
            got => missing -= got,
        }
    }
    Ok(())
}

/// Connects without delay of small writes.
pub(crate) async fn connect(target: std::net::SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes up to `most` bytes from a stream without looking at them (the kernel drops them), so that a reader on the load's core
/// costs as little as it can; how many there were.
pub(crate) async fn discard(stream: &TcpStream, most: u64, buffer: &mut [u8]) -> io::Result<u64> {
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
    loop {
        stream.readable().await?;
        let taken = stream.try_io(tokio::io::Interest::READABLE, || {
            Ok(rustix::net::recv(stream, &mut buffer[..most], rustix::net::RecvFlags::TRUNC)?.1)
        });
        match taken {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(taken) => return Ok(taken as u64),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
