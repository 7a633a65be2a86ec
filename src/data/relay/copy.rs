//! Moving bytes through user space: into one buffer that all connections of a worker share, and out of it at once. Only what the
//! sink would not take is kept, in memory of its own.

use std::{
    cell::RefCell,
    task::{Poll, ready},
};

use rustix::{io::Errno, net::RecvFlags};

use crate::data::event_loop::Socket;

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
    pub(super) fn poll_give(&mut self, sink: &Socket) -> Poll<Result<usize, Errno>> {
        let given = ready!(sink.poll_send(&self.bytes[self.taken..]))?;
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
pub(super) fn poll_look(source: &Socket) -> Poll<Looked> {
    Poll::Ready(match ready!(source.poll_recv(&mut [0], RecvFlags::PEEK)) {
        Ok(1..) => Looked::More,
        Ok(0) => Looked::SourceFinished,
        Err(_) => Looked::SourceFailed,
    })
}

/// Reads once and writes what was read.
///
/// # Errors
/// When the sink failed; what was read is lost with it.
pub(super) fn poll_copy(source: &Socket, sink: &Socket) -> Poll<Result<Copied, Errno>> {
    BUFFER.with_borrow_mut(|buffer| {
        let read = match ready!(source.poll_recv(buffer, RecvFlags::empty())) {
            Ok(0) => return Poll::Ready(Ok(Copied::SourceFinished)),
            Ok(read) => read,
            Err(_) => return Poll::Ready(Ok(Copied::SourceFailed)),
        };
        let written = match sink.poll_send(&buffer[..read]) {
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
pub(super) fn poll_discard(source: &Socket) -> Poll<Discarded> {
    BUFFER.with_borrow_mut(|buffer| match ready!(source.poll_recv(buffer, RecvFlags::empty())) {
        Ok(1..) => Poll::Ready(Discarded::Some),
        _ => Poll::Ready(Discarded::All),
    })
}
