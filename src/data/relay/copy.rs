//! Copies bytes through one buffer that all connections of a worker share. Only what the sink does not accept is kept, in memory of
//! its own.

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

/// Bytes that were read and that the sink did not accept yet.
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

    /// Writes to the sink; how many bytes it accepted.
    pub(super) fn poll_give(&mut self, sink: &Socket) -> Poll<Result<usize, Errno>> {
        let given = ready!(sink.poll_send(&self.bytes[self.taken..]))?;
        self.taken += given;
        Poll::Ready(Ok(given))
    }
}

/// The result of one read and its write.
pub(super) enum Copied {
    /// This many bytes were read; what the sink did not accept of them is the rest.
    Bytes {
        read: usize,
        rest: Option<Rest>,
    },
    SourceFinished,
    SourceFailed,
}

/// What a peek at the source showed.
pub(super) enum Looked {
    More,
    SourceFinished,
    SourceFailed,
}

/// Waits until the source is readable, and takes nothing of it.
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

pub(super) enum Discarded {
    Some,
    All,
}

pub(super) fn poll_discard(source: &Socket) -> Poll<Discarded> {
    BUFFER.with_borrow_mut(|buffer| match ready!(source.poll_recv(buffer, RecvFlags::empty())) {
        Ok(1..) => Poll::Ready(Discarded::Some),
        _ => Poll::Ready(Discarded::All),
    })
}
