//! Moving bytes through user space: into one buffer that all connections of a worker share, and out of it at once. Only what the
//! sink would not take is kept, in memory of its own.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Size of the worker's buffer: one `recv` takes at most this much.
pub(super) const BUFFER_LEN: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_LEN].into_boxed_slice());
}

/// Bytes that were read and that the sink did not take yet.
#[derive(Debug)]
pub(super) struct Rest {
    bytes: Vec<u8>,
    taken: usize,
}

impl Rest {
    pub(super) const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, taken: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Gives the sink what it takes; how many bytes that was.
    pub(super) fn poll_give(&mut self, cx: &mut Context<'_>, sink: &mut TcpStream) -> Poll<io::Result<usize>> {
        let given = ready!(Pin::new(sink).poll_write(cx, &self.bytes[self.taken..]))?;
        self.taken += given;
        Poll::Ready(Ok(given))
    }
}

/// What one read and the write that belongs to it came to.
pub(super) enum Copied {
    /// So many bytes were read, and what the sink did not take of them is the rest.
    Bytes { read: usize, rest: Option<Rest> },
    /// The source sent FIN.
    SourceFinished,
    /// The source failed.
    SourceFailed,
}

/// Reads once and writes what was read.
///
/// # Errors
/// When the sink failed; what was read is lost with it.
pub(super) fn poll_copy(cx: &mut Context<'_>, source: &mut TcpStream, sink: &mut TcpStream) -> Poll<io::Result<Copied>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut read = ReadBuf::new(buffer);
        if ready!(Pin::new(source).poll_read(cx, &mut read)).is_err() {
            return Poll::Ready(Ok(Copied::SourceFailed));
        }
        let filled = read.filled();
        if filled.is_empty() {
            return Poll::Ready(Ok(Copied::SourceFinished));
        }
        let written = match Pin::new(sink).poll_write(cx, filled) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => 0,
        };
        let rest = (written < filled.len()).then(|| Rest::new(filled[written..].to_vec()));
        Poll::Ready(Ok(Copied::Bytes { read: filled.len(), rest }))
    })
}

/// Reads and throws away until the source ends.
pub(super) fn poll_discard(cx: &mut Context<'_>, source: &mut TcpStream) -> Poll<()> {
    BUFFER.with_borrow_mut(|buffer| {
        loop {
            let mut read = ReadBuf::new(buffer);
            match ready!(Pin::new(&mut *source).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    })
}
