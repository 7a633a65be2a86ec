//! Pipes for splice(2). A worker makes a few and lends them for as long as bytes are in them.
//!
//! A pipe with bytes in it must never be lent to another session, which would get another client's bytes. So there are two types:
//! the pool lends and takes back [`EmptyPipe`], bytes turn one into a [`FilledPipe`], and only a drained one becomes an
//! [`EmptyPipe`] again. A [`FilledPipe`] that is dropped is closed with its bytes.

use std::{
    cell::RefCell,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    io::{Errno, ioctl_fionread, read},
    pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice},
};

use crate::reason::PipeError;

/// What a pipe can hold.
pub(super) const PIPE_BYTES: usize = 256 * 1024;

/// A smaller pipe moves no more per call than copying does. Without privileges, a user's pipes beyond the first 1024 of 64 KiB
/// (`/proc/sys/fs/pipe-user-pages-soft`) have 8 KiB, pipe(7).
const USEFUL_BYTES: usize = 64 * 1024;

/// Free pipes that a worker keeps; pipes that many slow readers needed beyond these are closed again.
const KEPT: usize = 8;

/// After a pipe could not be made, none is tried for this long.
const PAUSE: Duration = Duration::from_secs(1);

/// Called each time a pipe could not be had.
pub type OnPipeError = Box<dyn Fn(PipeError)>;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { free: Vec::new(), exist: 0, most: 0, not_before: None, on_error: None }) };
}

struct Pool {
    free: Vec<EmptyPipe>,
    /// Free and lent.
    exist: usize,
    most: usize,
    not_before: Option<Instant>,
    on_error: Option<OnPipeError>,
}

/// Lets this thread make up to `most` pipes. Before that it has none, and everything is copied.
pub fn supply(most: usize, on_error: OnPipeError) {
    POOL.with_borrow_mut(|pool| {
        pool.most = most;
        pool.on_error = Some(on_error);
    });
}

/// Lends a pipe. `None`, which was counted, when none can be had.
pub(super) fn lend() -> Option<EmptyPipe> {
    POOL.with_borrow_mut(|pool| {
        if let Some(pipe) = pool.free.pop() {
            return Some(pipe);
        }
        match pool.make() {
            Ok(pipe) => Some(pipe),
            Err(error) => {
                if let Some(on_error) = &pool.on_error {
                    on_error(error);
                }
                None
            }
        }
    })
}

impl Pool {
    fn make(&mut self) -> Result<EmptyPipe, PipeError> {
        if self.exist >= self.most {
            return Err(PipeError::Limit);
        }
        if self.not_before.is_some_and(|then| Instant::now() < then) {
            return Err(PipeError::Paused);
        }
        let opened = open();
        self.not_before = opened.is_err().then(|| Instant::now() + PAUSE);
        let (exit, entry) = opened?;
        self.exist += 1;
        Ok(EmptyPipe(Pipe { exit, entry }))
    }
}

/// The read end and the write end.
fn open() -> Result<(OwnedFd, OwnedFd), PipeError> {
    let (exit, entry) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|errno| match errno {
        Errno::MFILE | Errno::NFILE => PipeError::FileDescriptors,
        _ => PipeError::Other,
    })?;
    // Refused beyond the limit of a user; then its actual size is queried.
    let _ = fcntl_setpipe_size(&entry, PIPE_BYTES);
    match fcntl_getpipe_size(&entry) {
        Ok(bytes) if bytes >= USEFUL_BYTES => Ok((exit, entry)),
        _ => Err(PipeError::TooSmall),
    }
}

/// Counts as existing until it is closed.
#[derive(Debug)]
struct Pipe {
    exit: OwnedFd,
    entry: OwnedFd,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Gone when the thread ends; then nobody counts.
        let _ = POOL.try_with(|pool| pool.try_borrow_mut().map(|mut pool| pool.exist -= 1));
    }
}

/// An empty pipe.
#[derive(Debug)]
pub(super) struct EmptyPipe(Pipe);

/// The result of filling a pipe.
#[derive(Debug)]
pub(super) enum Fill {
    Filled(FilledPipe),
    /// The source has nothing to read, or has ended; splice does not tell which.
    Nothing,
    /// The source failed. The kernel reports that once.
    SourceFailed,
    /// splice(2) does not work with this source.
    Unusable,
}

impl EmptyPipe {
    /// Moves up to `most` bytes into it, without waiting for any.
    pub(super) fn fill(self, source: &impl AsFd, most: usize) -> Fill {
        let moved = retry(|| splice(source, None, &self.0.entry, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK));
        match moved {
            Ok(len @ 1..) => return Fill::Filled(FilledPipe { pipe: self.0, len: u32::try_from(len).unwrap_or(u32::MAX) }),
            Ok(0) | Err(Errno::AGAIN) => {}
            Err(errno) => {
                self.give_back();
                return if is_unusable(errno) { Fill::Unusable } else { Fill::SourceFailed };
            }
        }
        self.give_back();
        Fill::Nothing
    }

    /// Gives it back to the pool.
    pub(super) fn give_back(self) {
        debug_assert_eq!(ioctl_fionread(&self.0.exit), Ok(0), "a pipe with bytes in it would hand them to another session");
        // A thread that ends has no pool any more; the pipe is then closed, too.
        let surplus = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.free.len() >= KEPT {
                return Some(self);
            }
            pool.free.push(self);
            None
        });
        drop(surplus);
    }
}

/// A pipe with bytes in it.
#[derive(Debug)]
pub(super) struct FilledPipe {
    pipe: Pipe,
    /// At most what a pipe can hold. (Four bytes, because each session has room for one of these in each direction.)
    len: u32,
}

/// Why nothing left a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DrainError {
    WouldBlock,
    Sink(Errno),
    /// splice(2) does not work with this sink.
    Unusable,
}

impl FilledPipe {
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Moves what the sink accepts out of it; how much that was.
    pub(super) fn drain(&mut self, sink: &impl AsFd) -> Result<usize, DrainError> {
        let moved = retry(|| splice(&self.pipe.exit, None, sink, None, self.len(), SpliceFlags::MOVE | SpliceFlags::NONBLOCK));
        match moved {
            Ok(len @ 1..) => {
                self.len = self.len.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
                Ok(len)
            }
            // It holds bytes, so 0 is no valid answer.
            Ok(0) => Err(DrainError::Unusable),
            Err(Errno::AGAIN) => Err(DrainError::WouldBlock),
            Err(errno) if is_unusable(errno) => Err(DrainError::Unusable),
            Err(errno) => Err(DrainError::Sink(errno)),
        }
    }

    /// Copies its content, for a sink to which it cannot be spliced.
    pub(super) fn copy_out(mut self) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; self.len()];
        let mut filled = 0;
        while filled < bytes.len() {
            match retry(|| read(&self.pipe.exit, &mut bytes[filled..]))? {
                0 => return Err(Errno::PIPE),
                len => filled += len,
            }
        }
        self.len = 0;
        self.into_empty();
        Ok(bytes)
    }

    /// The pipe for its pool, if it is empty; otherwise it is closed.
    pub(super) fn into_empty(self) {
        if self.len == 0 {
            EmptyPipe(self.pipe).give_back();
        }
    }
}

/// splice(2) itself does not work here: forbidden, unknown, or not between these files. A socket does not fail in these ways.
const fn is_unusable(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM | Errno::ACCESS | Errno::NOMEM | Errno::BADF | Errno::SPIPE
    )
}

fn retry(call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(call)
}
