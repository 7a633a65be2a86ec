//! One direction of a session, through user space.
//!
//! Reads go into one buffer that all connections of a worker share; only what the other side would not take is kept, in memory
//! of its own, and nothing more is read meanwhile. So an idle connection owns no buffer, and a slow reader owns at most one
//! buffer's worth.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Size of the worker's buffer: one `recv` takes at most this much.
const BUFFER_LEN: usize = 64 * 1024;

/// A direction that has moved this much lets the others of its worker have their turn.
const TURN_BYTES: u64 = 4 * BUFFER_LEN as u64;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_LEN].into_boxed_slice());
}

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The source sent FIN; everything it sent was delivered, then FIN.
    Finished,
    /// The source aborted; everything it sent before was handed to the sink's kernel.
    SourceReset,
    /// The sink aborted and takes no more.
    SinkReset,
    /// The sink finished and takes no more. What the source still sends is read and thrown away, so that the sink's last words
    /// are not lost to the RST that unread bytes would cause.
    Discarded,
}

#[derive(Debug)]
enum State {
    Open,
    /// The source has ended; what is kept goes out first.
    Closing(End),
    Discarding,
    Done(End),
}

/// One direction.
#[derive(Debug)]
pub(super) struct Half {
    state: State,
    /// What the sink would not take yet; empty and without memory otherwise.
    kept: Vec<u8>,
    /// How much of `kept` was taken since.
    taken: usize,
    bytes: u64,
    /// What an end of stream of the source means.
    on_eof: End,
}

impl Half {
    /// The sink's kernel has `bytes` already.
    pub(super) const fn after(bytes: u64) -> Self {
        Self { state: State::Open, kept: Vec::new(), taken: 0, bytes, on_eof: End::Finished }
    }

    /// The other direction was told by the kernel that our source has aborted. The kernel tells that once: from now on it
    /// reports the cut as an ordinary end of stream.
    pub(super) const fn source_was_reset(&mut self) {
        self.on_eof = End::SourceReset;
    }

    /// Bytes handed to the sink's kernel.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// Nothing more will be delivered: it is done, or what the source still sends is thrown away.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Done(_) | State::Discarding)
    }

    /// The sink takes no more; what the source still sends is thrown away.
    pub(super) const fn is_discarding(&self) -> bool {
        matches!(self.state, State::Discarding)
    }

    /// The sink does not take what was read; nothing more is read meanwhile.
    pub(super) const fn is_blocked(&self) -> bool {
        !self.kept.is_empty()
    }

    /// No byte was taken from the source. What a sink refused was taken, and is lost.
    pub(super) const fn is_untouched(&self) -> bool {
        let refused = matches!(self.state, State::Discarding | State::Done(End::SinkReset | End::Discarded));
        self.bytes == 0 && self.kept.is_empty() && !refused
    }

    pub(super) const fn ended_cleanly(&self) -> bool {
        matches!(self.state, State::Done(End::Finished | End::Discarded))
    }

    /// Moves what can be moved now, at most a turn's worth.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, source: &mut TcpStream, sink: &mut TcpStream) -> Poll<End> {
        let turn_end = self.bytes + TURN_BYTES;
        loop {
            match self.state {
                State::Done(end) => return Poll::Ready(end),
                State::Discarding => {
                    ready!(discard(cx, source));
                    return self.done(End::Discarded);
                }
                State::Open | State::Closing(_) => {}
            }
            if let Err(error) = ready!(self.poll_kept(cx, sink)) {
                self.sink_failed(&error);
                continue;
            }
            if let State::Closing(end) = self.state {
                if end == End::Finished && ready!(Pin::new(&mut *sink).poll_shutdown(cx)).is_err() {
                    return self.done(End::SinkReset);
                }
                return self.done(end);
            }
            if self.bytes >= turn_end {
                // Not `wake_by_ref`: the runtime would go on with this task, and look for new events only every 61 turns.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return Poll::Pending;
            }
            match ready!(self.poll_once(cx, source, sink)) {
                Ok(Moved::Bytes) => {}
                Ok(Moved::SourceEnd(end)) => self.state = State::Closing(end),
                Err(error) => self.sink_failed(&error),
            }
        }
    }

    const fn done(&mut self, end: End) -> Poll<End> {
        self.state = State::Done(end);
        Poll::Ready(end)
    }

    /// Writes failed. EPIPE says that the sink had finished before (the kernel reports a RST that follows a FIN so); anything
    /// else is an abort.
    fn sink_failed(&mut self, error: &io::Error) {
        self.kept = Vec::new();
        self.taken = 0;
        self.state = match self.state {
            State::Closing(End::SourceReset) => State::Done(End::SourceReset),
            State::Closing(_) => State::Done(End::SinkReset),
            _ if error.kind() == io::ErrorKind::BrokenPipe => State::Discarding,
            _ => State::Done(End::SinkReset),
        };
    }

    /// Writes what was kept; ready when nothing is.
    fn poll_kept(&mut self, cx: &mut Context<'_>, sink: &mut TcpStream) -> Poll<io::Result<()>> {
        while self.taken < self.kept.len() {
            let written = ready!(Pin::new(&mut *sink).poll_write(cx, &self.kept[self.taken..]))?;
            self.taken += written;
            self.bytes += written as u64;
        }
        if !self.kept.is_empty() {
            self.kept = Vec::new();
            self.taken = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// One read and the write that belongs to it.
    fn poll_once(&mut self, cx: &mut Context<'_>, source: &mut TcpStream, sink: &mut TcpStream) -> Poll<io::Result<Moved>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            if ready!(Pin::new(source).poll_read(cx, &mut read)).is_err() {
                return Poll::Ready(Ok(Moved::SourceEnd(End::SourceReset)));
            }
            let filled = read.filled();
            if filled.is_empty() {
                return Poll::Ready(Ok(Moved::SourceEnd(self.on_eof)));
            }
            let written = match Pin::new(sink).poll_write(cx, filled) {
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => 0,
            };
            self.bytes += written as u64;
            if written < filled.len() {
                self.kept = filled[written..].to_vec();
            }
            Poll::Ready(Ok(Moved::Bytes))
        })
    }
}

enum Moved {
    Bytes,
    SourceEnd(End),
}

/// Reads and throws away until the source ends.
fn discard(cx: &mut Context<'_>, source: &mut TcpStream) -> Poll<()> {
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
