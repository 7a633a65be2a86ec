//! Moving bytes through user space: into one buffer that all connections of a worker share, and out of it at once. Only what the
//! sink would not take is kept, in memory of its own.

//!
//! recv(2) and send(2) are called without the C library, whose wrappers of both are points of thread cancellation: a twentieth of
//! what a round trip costs.

use std::{
    cell::RefCell,
    io,
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::{
    io::{Interest, ReadBuf},
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
    pub(super) fn poll_give(&mut self, cx: &mut Context<'_>, sink: &TcpStream) -> Poll<io::Result<usize>> {
        let given = ready!(poll_send(cx, sink, &self.bytes[self.taken..]))?;
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

/// What a look at the source showed.
pub(super) enum Looked {
    /// There is more to read.
    More,
    /// The source sent FIN.
    SourceFinished,
    /// The source failed.
    SourceFailed,
}

/// Waits until the source has something to say, and takes nothing of it.
pub(super) fn poll_look(cx: &mut Context<'_>, source: &TcpStream) -> Poll<Looked> {
    let mut byte = [0];
    Poll::Ready(match ready!(source.poll_peek(cx, &mut ReadBuf::new(&mut byte))) {
        Ok(1..) => Looked::More,
        Ok(0) => Looked::SourceFinished,
        Err(_) => Looked::SourceFailed,
    })
}

/// Reads once and writes what was read.
///
/// # Errors
/// When the sink failed; what was read is lost with it.
pub(super) fn poll_copy(cx: &mut Context<'_>, source: &TcpStream, sink: &TcpStream) -> Poll<io::Result<Copied>> {
    BUFFER.with_borrow_mut(|buffer| {
        let read = match ready!(poll_recv(cx, source, buffer)) {
            Ok(0) => return Poll::Ready(Ok(Copied::SourceFinished)),
            Ok(read) => read,
            Err(_) => return Poll::Ready(Ok(Copied::SourceFailed)),
        };
        let written = match poll_send(cx, sink, &buffer[..read]) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => 0,
        };
        let rest = (written < read).then(|| Rest::new(buffer[written..read].to_vec()));
        Poll::Ready(Ok(Copied::Bytes { read, rest }))
    })
}

/// What was thrown away.
pub(super) enum Discarded {
    /// More may come.
    Some,
    /// The source has ended.
    All,
}

/// Reads once, and throws it away.
pub(super) fn poll_discard(cx: &mut Context<'_>, source: &TcpStream) -> Poll<Discarded> {
    BUFFER.with_borrow_mut(|buffer| match ready!(poll_recv(cx, source, buffer)) {
        Ok(1..) => Poll::Ready(Discarded::Some),
        _ => Poll::Ready(Discarded::All),
    })
}

/// Waits for something to read, and reads it.
fn poll_recv(cx: &mut Context<'_>, source: &TcpStream, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        match attempt(source, Interest::READABLE, || Ok(recv(source, &mut *buffer, RecvFlags::empty())?.1)) {
            Ok(read) => {
                if 0 < read && read < buffer.len() {
                    forget(source, Interest::READABLE);
                }
                return Poll::Ready(Ok(read));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(source.poll_read_ready(cx))?,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Waits until something can be written, and writes; how much that was.
fn poll_send(cx: &mut Context<'_>, sink: &TcpStream, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        match attempt(sink, Interest::WRITABLE, || Ok(send(sink, bytes, SendFlags::NOSIGNAL)?)) {
            Ok(sent) => {
                if sent < bytes.len() {
                    forget(sink, Interest::WRITABLE);
                }
                return Poll::Ready(Ok(sent));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(sink.poll_write_ready(cx))?,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Whether a read would be tried: the kernel told of something, and no read since has found the end of it.
pub(super) fn seems_readable(source: &TcpStream) -> bool {
    source.try_io(Interest::READABLE, || Ok(())).is_ok()
}

/// Calls again when a signal came between. What is not ready any more is remembered as such.
fn attempt(socket: &TcpStream, interest: Interest, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match socket.try_io(interest, &mut call) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// What came short took all there was: until the kernel tells of more, a call would be in vain. (It tells of each change, once:
/// epoll is used edge-triggered.)
fn forget(socket: &TcpStream, interest: Interest) {
    // Says so in the only way the runtime understands.
    let _ = socket.try_io(interest, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
}
