//! Moves bytes inside the kernel: from the source's socket into a pipe, and from there into the sink's socket.
//!
//! A socket counts as readable until a call returns EAGAIN. From splice(2), EAGAIN means less than from recv(2): a full pipe causes
//! it, too. So it proves nothing here: recv tells whether a source is empty, finished or broken, and poll(2) whether a sink has
//! room.

use std::task::{Poll, ready};

use super::pipe::{self, DrainError, Fill, FilledPipe};
use crate::{
    data::event_loop::{Interest, Socket},
    net::socket::is_writable,
};

/// What the source gave.
pub(super) enum Taken {
    Bytes(FilledPipe),
    /// Nothing; recv(2) tells why.
    Nothing,
    SourceFailed,
    NoPipe,
    /// It does not support splice.
    Unusable,
}

/// Takes up to `most` bytes from a readable source.
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

/// Writes the bytes in `pipe` to the sink; how many it accepted.
///
/// # Errors
/// [`DrainError::Sink`] and [`DrainError::Unusable`]; the rest is still in the pipe.
pub(super) fn poll_give(pipe: &mut FilledPipe, sink: &Socket) -> Poll<Result<usize, DrainError>> {
    loop {
        ready!(sink.poll_ready(Interest::Writable));
        let mut given = pipe.drain(sink);
        if given == Err(DrainError::WouldBlock) && is_writable(sink) {
            given = pipe.drain(sink);
            if given == Err(DrainError::WouldBlock) && is_writable(sink) {
                // There would be no wake-up for a sink that stays writable.
                return Poll::Ready(Err(DrainError::Unusable));
            }
        }
        match given {
            // Marks it as not writable, and waits until it is again.
            Err(DrainError::WouldBlock) => sink.forget(Interest::Writable),
            given => return Poll::Ready(given),
        }
    }
}
