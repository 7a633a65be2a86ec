//! One direction of a session: what is read from its source goes to its sink, until one of them ends.
//!
//! Nothing is read while the sink does not accept what was read before. So an idle connection owns neither buffer nor pipe, and one
//! with a slow reader owns at most one of them. How bytes are moved follows the traffic: small amounts are copied ([`copy`]), a
//! stream is spliced ([`splice`]) until it ebbs.

use std::{
    mem,
    task::{Poll, ready},
};

use rustix::io::Errno;

use super::{
    copy::{self, BUFFER_LEN, Copied, Discarded, Looked, Rest},
    pipe::{DrainError, FilledPipe, PIPE_BYTES},
    splice::{self, Taken},
};
use crate::{
    config::RelayMode,
    data::event_loop::{Interest, Socket, after_others},
};

/// A direction that has moved this much, in this many moves at most, yields to the others of its worker.
const TURN_BYTES: u64 = 256 * 1024;
const TURN_MOVES: u32 = 64;

/// Reads of at least this much are a stream once there are [`STREAM_READS`] of them in a row.
const STREAM_BYTES: usize = BUFFER_LEN / 2;
const STREAM_READS: u8 = 2;

/// A stream whose reads are smaller than this has ebbed: below it, copying costs less than a pipe's bookkeeping.
const EBB_BYTES: usize = 16 * 1024;

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The source sent FIN; everything it sent was delivered, then FIN.
    Finished,
    /// The source aborted; everything it sent before was written to the sink.
    SourceReset,
    /// The sink aborted and accepts no more.
    SinkReset,
    /// The sink finished and accepts no more. What the source still sends is read and discarded, so that the sink's last bytes are
    /// not lost to the RST that unread bytes would cause.
    Discarded,
}

#[derive(Debug)]
enum State {
    Open,
    /// The source has ended; pending bytes go out first.
    Closing(End),
    Discarding,
    Done(End),
}

/// What was read and the sink did not accept yet.
#[derive(Debug)]
enum Pending {
    Nothing,
    Copied(Box<Rest>),
    Piped(FilledPipe),
}

/// How the next bytes are moved.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Through the buffer; this many reads in a row looked like a stream.
    Copy {
        stream_reads: u8,
    },
    Splice,
    /// Through a pipe again, if a peek shows more: the last splice may have left the source empty, or ended.
    Look,
    /// Through the buffer once, then through pipes again: the last splice did not tell, and only a read shows the state of the
    /// source.
    Read,
    /// Always through the buffer.
    OnlyCopy,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Half {
    state: State,
    way: Way,
    /// Splice a stream even when it ebbs.
    always_splice: bool,
    pending: Pending,
    bytes: u64,
    /// In the present turn, or the last one.
    spliced: u32,
    /// What an end of stream of the source means.
    on_eof: End,
}

/// How FIN is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Now: the sink may still send.
    Shutdown,
    /// By the close that follows at once: the sink has sent everything, and all of it was read.
    Close,
}

enum Moved {
    Bytes,
    SourceEnd(End),
}

impl Half {
    /// The sink's kernel already has `bytes`.
    pub(super) const fn after(bytes: u64, mode: RelayMode) -> Self {
        let way = match mode {
            RelayMode::Auto => Way::Copy { stream_reads: 0 },
            RelayMode::Copy => Way::OnlyCopy,
            RelayMode::Splice => Way::Splice,
        };
        let always_splice = matches!(mode, RelayMode::Splice);
        Self { state: State::Open, way, always_splice, pending: Pending::Nothing, bytes, spliced: 0, on_eof: End::Finished }
    }

    /// The kernel told the other direction that our source has aborted. It tells that once: from now on it reports the abort as an
    /// ordinary end of stream.
    pub(super) const fn source_was_reset(&mut self) {
        self.on_eof = End::SourceReset;
    }

    /// Bytes handed to the sink's kernel.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many of those of the last turn never left the kernel.
    pub(super) const fn spliced(&self) -> u32 {
        self.spliced
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// Nothing more will be delivered: it is done, or the rest of the source is discarded.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Done(_) | State::Discarding)
    }

    /// The sink accepts no more; what the source still sends is discarded.
    pub(super) const fn is_discarding(&self) -> bool {
        matches!(self.state, State::Discarding)
    }

    /// There is nothing to do before the source sends.
    pub(super) const fn rests(&self) -> bool {
        matches!((&self.state, &self.pending), (State::Open, Pending::Nothing))
    }

    /// The sink does not accept what was read; nothing more is read meanwhile.
    pub(super) const fn is_blocked(&self) -> bool {
        !matches!(self.pending, Pending::Nothing)
    }

    /// No byte was read from the source. What a sink refused was read, and is lost.
    pub(super) const fn is_untouched(&self) -> bool {
        let refused = matches!(self.state, State::Discarding | State::Done(End::SinkReset | End::Discarded));
        self.bytes == 0 && !self.is_blocked() && !refused
    }

    pub(super) const fn ended_cleanly(&self) -> bool {
        matches!(self.state, State::Done(End::Finished | End::Discarded))
    }

    /// How the sink gets our FIN when the other direction has come as far as this one.
    pub(super) const fn farewell_to_source(&self) -> Farewell {
        if self.ended_cleanly() { Farewell::Close } else { Farewell::Shutdown }
    }

    /// Moves what can be moved now, at most one turn's worth.
    pub(super) fn poll(&mut self, source: &Socket, sink: &Socket, farewell: Farewell) -> Poll<End> {
        self.spliced = 0;
        let turn_end = self.bytes + TURN_BYTES;
        for _ in 0..TURN_MOVES {
            match self.state {
                State::Done(end) => return Poll::Ready(end),
                State::Discarding => match ready!(copy::poll_discard(source)) {
                    Discarded::Some => continue,
                    Discarded::All => return self.done(End::Discarded),
                },
                State::Open | State::Closing(_) => {}
            }
            if self.is_blocked()
                && let Err(errno) = ready!(self.poll_pending(sink))
            {
                self.sink_failed(errno);
                continue;
            }
            if let State::Closing(end) = self.state {
                let shuts_down = end == End::Finished && farewell == Farewell::Shutdown;
                if shuts_down && sink.finish().is_err() {
                    return self.done(End::SinkReset);
                }
                return self.done(end);
            }
            if self.bytes >= turn_end {
                break;
            }
            // A read mostly takes all there is: this ends most turns.
            ready!(source.poll_ready(Interest::Readable));
            match self.poll_move(source, sink) {
                Poll::Ready(Ok(Moved::Bytes)) => {}
                Poll::Ready(Ok(Moved::SourceEnd(end))) => self.state = State::Closing(end),
                Poll::Ready(Err(errno)) => self.sink_failed(errno),
                Poll::Pending => return Poll::Pending,
            }
        }
        after_others();
        Poll::Pending
    }

    const fn done(&mut self, end: End) -> Poll<End> {
        self.state = State::Done(end);
        Poll::Ready(end)
    }

    /// A write failed. EPIPE means that the sink had finished before (the kernel reports a RST after a FIN so); anything else is an
    /// abort.
    fn sink_failed(&mut self, errno: Errno) {
        self.pending = Pending::Nothing;
        self.state = match self.state {
            State::Closing(End::SourceReset) => State::Done(End::SourceReset),
            State::Closing(_) => State::Done(End::SinkReset),
            _ if errno == Errno::PIPE => State::Discarding,
            _ => State::Done(End::SinkReset),
        };
    }

    /// Writes pending bytes to the sink; ready when none are left.
    fn poll_pending(&mut self, sink: &Socket) -> Poll<Result<(), Errno>> {
        loop {
            match &mut self.pending {
                Pending::Nothing => return Poll::Ready(Ok(())),
                Pending::Copied(rest) => {
                    self.bytes += ready!(rest.poll_give(sink))? as u64;
                    if rest.len() == 0 {
                        self.pending = Pending::Nothing;
                    }
                }
                Pending::Piped(pipe) => {
                    let given = ready!(splice::poll_give(pipe, sink));
                    let is_empty = pipe.len() == 0;
                    match given {
                        Ok(given) => {
                            self.bytes += given as u64;
                            self.spliced += u32::try_from(given).unwrap_or(0);
                        }
                        Err(DrainError::Unusable | DrainError::WouldBlock) => self.give_up_splicing()?,
                        Err(DrainError::Sink(errno)) => return Poll::Ready(Err(errno)),
                    }
                    if is_empty && let Pending::Piped(pipe) = mem::replace(&mut self.pending, Pending::Nothing) {
                        pipe.into_empty();
                    }
                }
            }
        }
    }

    /// The sink does not support splice: what is in the pipe is copied, and so is all that follows.
    fn give_up_splicing(&mut self) -> Result<(), Errno> {
        self.way = Way::OnlyCopy;
        if let Pending::Piped(pipe) = mem::replace(&mut self.pending, Pending::Nothing) {
            self.pending = Pending::Copied(Box::new(Rest::new(pipe.copy_out()?)));
        }
        Ok(())
    }

    fn poll_move(&mut self, source: &Socket, sink: &Socket) -> Poll<Result<Moved, Errno>> {
        if let Way::Look = self.way {
            // Whatever it shows: the next move is a splice.
            self.way = Way::Splice;
            match ready!(copy::poll_look(source)) {
                Looked::More => {}
                Looked::SourceFinished => return Poll::Ready(Ok(Moved::SourceEnd(self.on_eof))),
                Looked::SourceFailed => return Poll::Ready(Ok(Moved::SourceEnd(End::SourceReset))),
            }
        }
        if let Way::Splice = self.way {
            match ready!(splice::poll_take(source, PIPE_BYTES)) {
                Taken::Bytes(pipe) => {
                    self.way = match pipe.len() {
                        PIPE_BYTES.. => Way::Splice,
                        len if len >= EBB_BYTES || self.always_splice => Way::Look,
                        _ => Way::Copy { stream_reads: 0 },
                    };
                    self.pending = Pending::Piped(pipe);
                    return Poll::Ready(Ok(Moved::Bytes));
                }
                Taken::SourceFailed => return Poll::Ready(Ok(Moved::SourceEnd(End::SourceReset))),
                Taken::Unusable => self.way = Way::OnlyCopy,
                Taken::Nothing | Taken::NoPipe => self.way = Way::Read,
            }
        }
        self.poll_copy(source, sink)
    }

    fn poll_copy(&mut self, source: &Socket, sink: &Socket) -> Poll<Result<Moved, Errno>> {
        if let Way::Read = self.way {
            self.way = Way::Splice;
        }
        let copied = ready!(copy::poll_copy(source, sink))?;
        Poll::Ready(Ok(match copied {
            Copied::Bytes { read, rest } => {
                self.bytes += (read - rest.as_ref().map_or(0, Rest::len)) as u64;
                if let Some(rest) = rest {
                    self.pending = Pending::Copied(Box::new(rest));
                }
                if let Way::Copy { stream_reads } = self.way {
                    self.way = match stream_reads + 1 {
                        _ if read < STREAM_BYTES => Way::Copy { stream_reads: 0 },
                        STREAM_READS.. => Way::Splice,
                        stream_reads => Way::Copy { stream_reads },
                    };
                }
                Moved::Bytes
            }
            Copied::SourceFinished => Moved::SourceEnd(self.on_eof),
            Copied::SourceFailed => Moved::SourceEnd(End::SourceReset),
        }))
    }
}
