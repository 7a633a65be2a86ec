//! Pseudo-random streams that both ends can make, and compare byte for byte at memory speed.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::LazyLock,
};

use super::random::Random;

/// After this many bytes a stream repeats itself: a prime, so that no loss or repetition of whole buffers goes unseen.
const PERIOD: usize = 1_048_583;

/// The longest piece that can be asked for at once.
pub const PIECE_MAX: usize = 256 << 10;

static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random::new(1);
    let mut block = Vec::with_capacity(PERIOD + PIECE_MAX + 8);
    while block.len() < PERIOD {
        block.extend_from_slice(&random.next().to_le_bytes());
    }
    block.truncate(PERIOD);
    block.extend_from_within(..PIECE_MAX);
    block
});

/// A stream; each seed gives another one.
#[derive(Clone, Debug)]
pub struct Noise {
    at: usize,
    /// Bytes made or compared so far.
    pub bytes: u64,
}

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self { at: Random::new(seed).between(0, PERIOD), bytes: 0 }
    }

    /// The next `len` bytes.
    pub fn next(&mut self, len: usize) -> &'static [u8] {
        let piece = &BLOCK[self.at..self.at + len];
        self.at = (self.at + len) % PERIOD;
        self.bytes += len as u64;
        piece
    }

    /// These bytes must be the next ones.
    pub fn compare(&mut self, got: &[u8]) -> Result<(), String> {
        let before = self.bytes;
        for piece in got.chunks(PIECE_MAX) {
            if self.next(piece.len()) != piece {
                return Err(format!("the stream differs between bytes {before} and {}", self.bytes));
            }
        }
        Ok(())
    }

    /// Sends `len` bytes in pieces of random size.
    pub fn send(&mut self, mut to: &TcpStream, len: u64, random: &mut Random) -> io::Result<()> {
        let end = self.bytes + len;
        while self.bytes < end {
            let most = usize::try_from(end - self.bytes).unwrap().min(PIECE_MAX);
            let size = random.size(most).min(most);
            to.write_all(self.next(size))?;
        }
        Ok(())
    }

    /// Reads in pieces of random size and compares, up to the end of the stream.
    ///
    /// # Errors
    /// What differs, or how the stream was cut.
    pub fn receive(&mut self, mut from: &TcpStream, random: &mut Random) -> Result<(), String> {
        let mut piece = vec![0; PIECE_MAX];
        loop {
            let size = random.size(PIECE_MAX).min(PIECE_MAX);
            match from.read(&mut piece[..size]) {
                Ok(0) => return Ok(()),
                Ok(got) => self.compare(&piece[..got])?,
                Err(error) => return Err(format!("after {} bytes: {error}", self.bytes)),
            }
        }
    }
}
