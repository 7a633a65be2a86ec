//! A socket and its readiness. epoll is edge-triggered: the kernel reports each change once, and the report is kept until a call
//! finds that it is no longer true.
//!
//! A socket that is dropped is closed, which also removes it from epoll (epoll(7), question 6): no code here duplicates one, and no
//! child process keeps one beyond its exec. A late event of it is recognized by its number.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown, getsockname, recv, send, shutdown},
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    local::{after_others, local, try_local},
    readiness::{Interest, Ready, Slot},
    sleep::sleep_until,
    task::Key,
};
use crate::net::listener::BoundListener;

/// A socket of this thread's loop. It belongs to one task: only the task that waited for it last is woken.
pub struct Watched<S> {
    io: S,
    slot: Rc<Slot>,
    place: usize,
}

/// The events of a connection, without those for room.
const CONNECTED: EventFlags = EventFlags::IN.union(EventFlags::PRI).union(EventFlags::RDHUP).union(EventFlags::ET);

/// A connection of this thread's loop, TCP or unix.
pub type Socket = Watched<OwnedFd>;

impl<S: AsFd> Watched<S> {
    fn add(io: S, flags: EventFlags, ready: Ready) -> io::Result<Self> {
        let local = local();
        let (slot, place) = local.sockets.add(ready);
        let watched = Self { io, slot, place };
        epoll::add(&local.epoll, &watched.io, EventData::new_u64(watched.event_data()), flags)?;
        Ok(watched)
    }

    /// The data of its events.
    pub(super) fn event_data(&self) -> u64 {
        u64::from(self.slot.number) << u32::BITS | self.place as u64
    }

    /// Ready when a call may succeed; until then, the current task waits for it.
    pub(crate) fn poll_ready(&self, interest: Interest) -> Poll<()> {
        if self.seems_ready(interest) {
            return Poll::Ready(());
        }
        self.slot.waiter.set(Some(Key::current()));
        if interest == Interest::Writable && !(self.slot.ready.get() & Ready::ROOM_NOT_ASKED).is_nothing() {
            self.ask_for_room();
        }
        Poll::Pending
    }

    /// From now on the kernel reports room, too, including room that exists now.
    fn ask_for_room(&self) {
        let data = EventData::new_u64(self.event_data());
        let ready = self.slot.ready.get();
        if epoll::modify(&local().epoll, &self.io, data, CONNECTED | EventFlags::OUT).is_ok() {
            self.slot.ready.set(ready.without(Ready::ROOM_NOT_ASKED));
        } else {
            // Fails only without memory: the next write finds out whether there is room, and asks again if not.
            self.slot.ready.set(ready | Ready::WRITABLE);
            after_others();
        }
    }

    /// Whether a call may succeed.
    fn seems_ready(&self, interest: Interest) -> bool {
        !(self.slot.ready.get() & interest.mask()).is_nothing()
    }

    /// A call has failed, or has taken all there was: another one is useless until the next event.
    pub(crate) fn forget(&self, interest: Interest) {
        let ready = match interest {
            Interest::Readable => Ready::READABLE,
            Interest::Writable => Ready::WRITABLE,
        };
        self.slot.ready.set(self.slot.ready.get().without(ready));
    }

    /// Waits until a read may find something.
    pub async fn readable(&self) {
        poll_fn(|_| self.poll_ready(Interest::Readable)).await;
    }

    /// The current task is woken at the next new event, whatever is known already.
    pub(crate) fn attend(&self) {
        self.slot.waiter.set(Some(Key::current()));
    }

    /// The kernel has told that the connection is gone: it was reset, or both sides have finished.
    pub(crate) fn is_gone(&self) -> bool {
        !(self.slot.ready.get() & (Ready::FAILED | Ready::WRITE_CLOSED)).is_nothing()
    }

    /// The peer has finished: only unread bytes are left.
    pub(crate) fn is_read_closed(&self) -> bool {
        !(self.slot.ready.get() & Ready::READ_CLOSED).is_nothing()
    }
}

impl Watched<Arc<BoundListener>> {
    /// A listening socket. The kernel reports it for as long as clients wait: call [`Watched::forget`] after each accept.
    ///
    /// # Errors
    /// When the kernel cannot watch another descriptor.
    pub(crate) fn listener(socket: Arc<BoundListener>) -> io::Result<Self> {
        Self::add(socket, EventFlags::IN, Ready::NOTHING)
    }

    /// Wakes its task, as if a client waited.
    pub(crate) fn look_up(&self) {
        self.slot.ready.set(self.slot.ready.get() | Ready::READABLE);
        if let Some(waiter) = self.slot.waiter.get() {
            local().tasks.wake(waiter);
        }
    }

    /// From now on the kernel reports nothing, or reports again.
    ///
    /// # Errors
    /// When the kernel has no memory.
    pub(crate) fn set_deaf(&self, is_deaf: bool) -> io::Result<()> {
        let data = EventData::new_u64(self.event_data());
        let flags = if is_deaf { EventFlags::empty() } else { EventFlags::IN };
        Ok(epoll::modify(&local().epoll, &self.io, data, flags)?)
    }
}

impl Socket {
    /// An established connection. Its descriptor must not block.
    ///
    /// # Errors
    /// When the kernel cannot watch another descriptor.
    ///
    /// # Panics
    /// When the thread runs no loop.
    pub fn new(stream: impl Into<OwnedFd>) -> io::Result<Self> {
        // A new connection has room, and the kernel would report that: such an event is useless, and most connections never lack
        // room.
        Self::add(stream.into(), CONNECTED, Ready::WRITABLE | Ready::ROOM_NOT_ASKED)
    }

    /// Its own address, if it has one: a connection that is gone, and a unix socket, have none.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        getsockname(self).ok()?.try_into().ok()
    }

    /// Connects a new TCP socket, which must not block, until `deadline`.
    ///
    /// # Errors
    /// Those of connect(2), `ETIMEDOUT` also at the deadline, and when the kernel cannot watch another descriptor.
    pub(crate) async fn connect(socket: OwnedFd, address: SocketAddr, deadline: Instant) -> io::Result<Self> {
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let socket = Self::add(socket, CONNECTED | EventFlags::OUT, Ready::NOTHING)?;
        let mut limit = sleep_until(deadline);
        poll_fn(|cx| match socket.poll_ready(Interest::Writable) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => Pin::new(&mut limit).poll(cx).map(|()| Err(Errno::TIMEDOUT)),
        })
        .await?;
        // A failed connect is reported with an error event; only then does the kernel have an error to read.
        let has_failed = !(socket.slot.ready.get() & (Ready::FAILED | Ready::WRITE_CLOSED)).is_nothing();
        match if has_failed { SockRef::from(&socket).take_error()? } else { None } {
            Some(error) => Err(error),
            None => Ok(socket),
        }
    }

    /// Waits until the connection is gone: it was reset, or both sides have finished. Unread bytes stay in the socket.
    pub(crate) async fn gone(&self) {
        poll_fn(|_| {
            if self.is_gone() {
                return Poll::Ready(());
            }
            self.attend();
            Poll::Pending
        })
        .await;
    }

    /// Reported bytes were left in the kernel: asks for an event again.
    pub(crate) fn look_again(&self) {
        self.slot.ready.set(self.slot.ready.get() | Ready::READABLE);
    }

    /// Calls, if it seems ready. If the call would block, the socket is marked as not ready.
    ///
    /// # Errors
    /// The call's, and that it would block.
    pub(crate) fn try_io<T>(&self, interest: Interest, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if !self.seems_ready(interest) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        call().inspect_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                self.forget(interest);
            }
        })
    }

    /// Waits until the socket is readable, and reads or peeks; 0 is the end.
    ///
    /// recv(2) and send(2) are called without the C library, whose wrappers of both are thread cancellation points: a twentieth of
    /// the cost of a round trip.
    ///
    /// # Errors
    /// Those of recv(2).
    pub(crate) fn poll_recv(&self, bytes: &mut [u8], flags: RecvFlags) -> Poll<Result<usize, Errno>> {
        loop {
            ready!(self.poll_ready(Interest::Readable));
            match recv(self, &mut *bytes, flags) {
                Ok((_, read)) => {
                    // A short read took all there was, unless it stopped at urgent data.
                    let is_short = 0 < read && read < bytes.len() && !flags.contains(RecvFlags::PEEK);
                    if is_short && (self.slot.ready.get() & Ready::URGENT).is_nothing() {
                        self.forget(Interest::Readable);
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(Errno::AGAIN) => self.forget(Interest::Readable),
                Err(Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Err(errno)),
            }
        }
    }

    /// Waits for room, and writes as much as there is room for.
    ///
    /// # Errors
    /// Those of send(2).
    pub(crate) fn poll_send(&self, bytes: &[u8]) -> Poll<Result<usize, Errno>> {
        loop {
            ready!(self.poll_ready(Interest::Writable));
            match send(self, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    if sent < bytes.len() {
                        self.forget(Interest::Writable);
                    }
                    return Poll::Ready(Ok(sent));
                }
                Err(Errno::AGAIN) => self.forget(Interest::Writable),
                Err(Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Err(errno)),
            }
        }
    }

    /// Waits until the socket is readable, and reads; 0 is the end.
    ///
    /// # Errors
    /// Those of recv(2).
    pub(crate) async fn recv(&self, bytes: &mut [u8]) -> Result<usize, Errno> {
        poll_fn(|_| self.poll_recv(bytes, RecvFlags::empty())).await
    }

    /// Sends FIN: nothing more is written.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn finish(&self) -> Result<(), Errno> {
        shutdown(self, Shutdown::Write)
    }
}

impl<S: fmt::Debug> fmt::Debug for Watched<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("io", &self.io).field("ready", &self.slot.ready.get()).finish_non_exhaustive()
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        // A loop that has ended has already forgotten it.
        let _ = try_local(|local| local.sockets.remove(&self.slot, self.place));
    }
}

impl<S: AsFd> AsFd for Watched<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl<S> AsRef<S> for Watched<S> {
    fn as_ref(&self) -> &S {
        &self.io
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(self.poll_recv(buffer.initialize_unfilled(), RecvFlags::empty()))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(bytes).map_err(Into::into)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish().map_err(Into::into))
    }
}
