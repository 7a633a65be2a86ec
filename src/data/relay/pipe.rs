//! The pipes that splice(2) moves bytes through. A worker makes a few and lends them for as long as bytes are in them.
//!
//! A pipe with bytes in it must never be lent to another session: that would hand one client's bytes to another. So there are two
//! types: the pool gives and takes [`EmptyPipe`], bytes turn one into a [`FilledPipe`], and only when all of them have left it is
//! there an [`EmptyPipe`] again. A [`FilledPipe`] that is dropped is closed, with what is in it.

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

/// A pipe that holds less moves no more in a call than copying does. Without privileges, a user's pipes beyond the first 1024
/// of 64 KiB (`/proc/sys/fs/pipe-user-pages-soft`) hold 8 KiB, pipe(7).
const USEFUL_BYTES: usize = 64 * 1024;

/// Free pipes that a worker keeps; what a crowd of slow readers needed beyond them is closed again.
const KEPT: usize = 8;

/// After a pipe could not be made, none is tried for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// Told each time a pipe could not be had.
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

/// Lets this thread make so many pipes at `most`. Before that it has none, and everything is copied.
pub fn supply(most: usize, on_error: OnPipeError) {
    POOL.with_borrow_mut(|pool| {
        pool.most = most;
        pool.on_error = Some(on_error);
    });
}

/// Lends a pipe. `None` when there is none to be had, which was counted.
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

/// The end that bytes leave by, and the end they enter by.
fn open() -> Result<(OwnedFd, OwnedFd), PipeError> {
    let (exit, entry) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|errno| match errno {
        Errno::MFILE | Errno::NFILE => PipeError::FileDescriptors,
        _ => PipeError::Other,
    })?;
    // Refused beyond what a user may have; what there is then is asked for next.
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
        // Not there any more when the thread ends, and then nobody counts.
        let _ = POOL.try_with(|pool| pool.try_borrow_mut().map(|mut pool| pool.exist -= 1));
    }
}

/// A pipe without a byte in it.
#[derive(Debug)]
pub(super) struct EmptyPipe(Pipe);

/// What came of filling a pipe.
#[derive(Debug)]
pub(super) enum Fill {
    /// Bytes are in it now.
    Filled(FilledPipe),
    /// The source has nothing to read, or nothing more to come; splice does not tell which.
    Nothing,
    /// The source failed. The kernel has told it now and tells it once.
    SourceFailed,
    /// splice(2) does not work with this source.
    Unusable,
}

impl EmptyPipe {
    /// Moves at most `most` bytes into it, without waiting for any.
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
        // A thread that ends has no pool any more: the pipe is closed then, too.
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
    /// The sink takes nothing now.
    WouldBlock,
    /// The sink failed.
    Sink(Errno),
    /// splice(2) does not work with this sink.
    Unusable,
}

impl FilledPipe {
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Moves what the sink takes out of it; how much that was.
    pub(super) fn drain(&mut self, sink: &impl AsFd) -> Result<usize, DrainError> {
        let moved = retry(|| splice(&self.pipe.exit, None, sink, None, self.len(), SpliceFlags::MOVE | SpliceFlags::NONBLOCK));
        match moved {
            Ok(len @ 1..) => {
                self.len = self.len.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
                Ok(len)
            }
            // There are bytes in it, so this is no answer.
            Ok(0) => Err(DrainError::Unusable),
            Err(Errno::AGAIN) => Err(DrainError::WouldBlock),
            Err(errno) if is_unusable(errno) => Err(DrainError::Unusable),
            Err(errno) => Err(DrainError::Sink(errno)),
        }
    }

    /// Copies all that is in it, for a sink it cannot be moved to.
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

    /// The pipe, for its pool, if nothing is left in it; it is closed otherwise.
    pub(super) fn into_empty(self) {
        if self.len == 0 {
            EmptyPipe(self.pipe).give_back();
        }
    }
}

/// splice(2) itself does not work here: forbidden, unknown, or not between these. A socket does not fail in these ways.
const fn is_unusable(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM | Errno::ACCESS | Errno::NOMEM | Errno::BADF | Errno::SPIPE
    )
}

fn retry(call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(call)
}
