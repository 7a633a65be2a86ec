//! Moving bytes inside the kernel: from the source's socket into a pipe, and from there into the sink's.
//!
//! A socket is taken to be readable until a call has said EAGAIN. From splice(2) that word means less than from
//! recv(2): also a full pipe says it. So nothing is concluded from it here: whether a source is empty, finished or broken is asked
//! of recv, and a sink that would not take anything is looked at with poll(2).

use std::task::{Poll, ready};

use super::pipe::{self, DrainError, Fill, FilledPipe};
use crate::{
    data::event_loop::{Interest, Socket},
    net::socket::is_writable,
};

/// What the source gave.
pub(super) enum Taken {
    /// These bytes.
    Bytes(FilledPipe),
    /// Nothing; why is to be asked of recv(2).
    Nothing,
    /// It failed.
    SourceFailed,
    /// No pipe is to be had now.
    NoPipe,
    /// It cannot be spliced.
    Unusable,
}

/// Takes at most `most` bytes from a source that is readable.
pub(super) fn poll_take(source: &Socket, most: usize) -> Poll<Taken> {
    ready!(source.poll_ready(Interest::Readable));
    let Some(pipe) = pipe::lend() else { return Poll::Ready(Taken::NoPipe) };
    Poll::Ready(match pipe.fill(source, most) {
        Fill::Filled(pipe) => Taken::Bytes(pipe),
        Fill::Nothing => Taken::Nothing,
        Fill::SourceFailed => Taken::SourceFailed,
        Fill::Unusable => Taken::Unusable,
    })
}

/// Gives the sink what it takes of the bytes in `pipe`; how many it took.
///
/// # Errors
/// [`DrainError::Sink`] and [`DrainError::Unusable`]; what is left is still in the pipe.
pub(super) fn poll_give(pipe: &mut FilledPipe, sink: &Socket) -> Poll<Result<usize, DrainError>> {
    loop {
        ready!(sink.poll_ready(Interest::Writable));
        let mut given = pipe.drain(sink);
        if given == Err(DrainError::WouldBlock) && is_writable(sink) {
            given = pipe.drain(sink);
            if given == Err(DrainError::WouldBlock) && is_writable(sink) {
                // Nobody would wake us when a sink that can be written to can be written to.
                return Poll::Ready(Err(DrainError::Unusable));
            }
        }
        match given {
            // Forgets that it was writable, and waits until it is again.
            Err(DrainError::WouldBlock) => sink.forget(Interest::Writable),
            given => return Poll::Ready(given),
        }
    }
}
