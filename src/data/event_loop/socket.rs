//! A socket and what the kernel has told of it. epoll is used edge-triggered: the kernel tells of each change, once, and what it
//! has told is kept until a call finds that it is so no more.
//!
//! A socket that is dropped is closed, and the kernel takes it out of epoll with that (epoll(7), question 6): nobody here
//! duplicates one, and a child process keeps none beyond its exec. An event of it that was on its way is recognized by its number.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    ops::{BitAnd, BitOr},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use rustix::{
    event::epoll::{self, Event, EventData, EventFlags},
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown},
};
use slab::Slab;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{LOCAL, local};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// A read finds something, or the end, or an error.
    Readable,
    /// A write finds room, or an error.
    Writable,
}

impl Interest {
    const fn mask(self) -> Ready {
        match self {
            Self::Readable => Ready(Ready::READABLE.0 | Ready::READ_CLOSED.0),
            Self::Writable => Ready(Ready::WRITABLE.0 | Ready::WRITE_CLOSED.0),
        }
    }
}

/// What the kernel has told, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ready(u8);

impl Ready {
    const NOTHING: Self = Self(0);
    const READABLE: Self = Self(1);
    const WRITABLE: Self = Self(2);
    /// The other side has finished: from here on a read never finds nothing.
    const READ_CLOSED: Self = Self(4);
    /// Nothing more can be sent.
    const WRITE_CLOSED: Self = Self(8);
    const FAILED: Self = Self(16);

    fn of(flags: EventFlags) -> Self {
        let mut ready = Self::NOTHING;
        for (flag, told) in [
            (EventFlags::IN, Self::READABLE),
            (EventFlags::OUT, Self::WRITABLE),
            (EventFlags::RDHUP, Self::READABLE | Self::READ_CLOSED),
            (EventFlags::HUP, Self::READABLE | Self::READ_CLOSED | Self::WRITABLE | Self::WRITE_CLOSED),
            (EventFlags::ERR, Self::READABLE | Self::WRITABLE | Self::FAILED),
        ] {
            if flags.intersects(flag) {
                ready = ready | told;
            }
        }
        ready
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn is_nothing(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Ready {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Ready {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What is known of a socket.
struct Slot {
    number: u32,
    ready: Cell<Ready>,
    /// The task that owns the socket, if it has ever waited.
    waiter: RefCell<Option<Waker>>,
}

/// All sockets of a loop.
#[derive(Default)]
pub(super) struct Registry {
    places: RefCell<Slab<Rc<Slot>>>,
    /// Of the next socket.
    number: Cell<u32>,
}

impl Registry {
    fn add(&self, ready: Ready) -> (Rc<Slot>, usize) {
        let number = self.number.get();
        self.number.set(number.wrapping_add(1));
        let slot = Rc::new(Slot { number, ready: Cell::new(ready), waiter: RefCell::new(None) });
        let place = self.places.borrow_mut().insert(Rc::clone(&slot));
        (slot, place)
    }

    fn remove(&self, slot: &Rc<Slot>, place: usize) {
        let mut places = self.places.borrow_mut();
        if places.get(place).is_some_and(|known| Rc::ptr_eq(known, slot)) {
            places.remove(place);
        }
    }

    /// The kernel tells something.
    pub(super) fn tell(&self, event: &Event) {
        let (data, flags) = (event.data.u64(), event.flags);
        let places = self.places.borrow();
        let slot = usize::try_from(data & u64::from(u32::MAX)).ok().and_then(|place| places.get(place));
        let Some(slot) = slot.filter(|slot| u64::from(slot.number) == data >> u32::BITS) else { return };
        let known = slot.ready.get();
        let told = Ready::of(flags);
        if told.without(known).is_nothing() {
            return;
        }
        slot.ready.set(known | told);
        if let Some(waiter) = &*slot.waiter.borrow() {
            waiter.wake_by_ref();
        }
    }
}

/// A socket of this thread's loop. It belongs to one task: whoever waited for it last is woken, and nobody else.
pub struct Watched<S> {
    io: S,
    slot: Rc<Slot>,
    place: usize,
}

/// A TCP connection of this thread's loop.
pub type Socket = Watched<TcpStream>;

impl<S: AsFd> Watched<S> {
    fn add(io: S, flags: EventFlags, ready: Ready) -> io::Result<Self> {
        let local = local();
        let (slot, place) = local.sockets.add(ready);
        let watched = Self { io, slot, place };
        epoll::add(&local.epoll, &watched.io, EventData::new_u64(watched.event_data()), flags)?;
        Ok(watched)
    }

    /// What the kernel's events of it carry.
    pub(super) fn event_data(&self) -> u64 {
        u64::from(self.slot.number) << u32::BITS | self.place as u64
    }

    /// Ready when a call may find what is waited for.
    pub(crate) fn poll_ready(&self, cx: &Context<'_>, interest: Interest) -> Poll<()> {
        if self.seems_ready(interest) {
            return Poll::Ready(());
        }
        let mut waiter = self.slot.waiter.borrow_mut();
        if !waiter.as_ref().is_some_and(|waiter| waiter.will_wake(cx.waker())) {
            *waiter = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether a call may find what is waited for.
    fn seems_ready(&self, interest: Interest) -> bool {
        !(self.slot.ready.get() & interest.mask()).is_nothing()
    }

    /// A call has found that it is not so, or has taken all there was: until the kernel tells of more, another would be in vain.
    pub(crate) fn forget(&self, interest: Interest) {
        let ready = match interest {
            Interest::Readable => Ready::READABLE,
            Interest::Writable => Ready::WRITABLE,
        };
        self.slot.ready.set(self.slot.ready.get().without(ready));
    }

    /// Waits until a read may find something.
    pub async fn readable(&self) {
        poll_fn(|cx| self.poll_ready(cx, Interest::Readable)).await;
    }

    /// The other side has finished: what was not read yet is all there will be.
    pub(crate) fn is_read_closed(&self) -> bool {
        !(self.slot.ready.get() & Ready::READ_CLOSED).is_nothing()
    }
}

impl Watched<TcpListener> {
    /// A listening socket. Of this one the kernel tells as long as somebody waits in it: [`Watched::forget`] after each accept.
    ///
    /// # Errors
    /// When the kernel cannot watch another descriptor.
    pub(crate) fn listener(socket: TcpListener) -> io::Result<Self> {
        Self::add(socket, EventFlags::IN, Ready::NOTHING)
    }

    /// From now on the kernel tells nothing of it, or tells again.
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
    /// A connection that stands. Its descriptor must not block.
    ///
    /// # Errors
    /// When the kernel cannot watch another descriptor.
    ///
    /// # Panics
    /// When the thread runs no loop.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        // A new connection has room, and the kernel says so if it is asked to: that would be no news.
        Self::add(stream, Self::EVENTS, Ready::WRITABLE)
    }

    const EVENTS: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

    /// Connects a new socket, which must not block.
    ///
    /// # Errors
    /// Those of connect(2), and when the kernel cannot watch another descriptor.
    pub(crate) async fn connect(socket: OwnedFd, address: SocketAddr) -> io::Result<Self> {
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let socket = Self::add(TcpStream::from(socket), Self::EVENTS, Ready::NOTHING)?;
        poll_fn(|cx| socket.poll_ready(cx, Interest::Writable)).await;
        // A socket that failed is told of as such in the same breath: only then has the kernel an error to tell.
        let has_failed = !(socket.slot.ready.get() & (Ready::FAILED | Ready::WRITE_CLOSED)).is_nothing();
        match if has_failed { SockRef::from(&socket).take_error()? } else { None } {
            Some(error) => Err(error),
            None => Ok(socket),
        }
    }

    /// Bytes that were told of were left in the kernel: asks for them again.
    pub(crate) fn look_again(&self) {
        self.slot.ready.set(self.slot.ready.get() | Ready::READABLE);
    }

    /// Calls, if it seems ready. What would block is remembered as not ready.
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

    /// Waits for something to read, and reads it, or only looks at it; 0 is the end.
    ///
    /// recv(2) and send(2) are called without the C library, whose wrappers of both are points of thread cancellation: a twentieth
    /// of what a round trip costs.
    ///
    /// # Errors
    /// Those of recv(2).
    pub(crate) fn poll_recv(&self, cx: &Context<'_>, bytes: &mut [u8], flags: RecvFlags) -> Poll<Result<usize, Errno>> {
        loop {
            ready!(self.poll_ready(cx, Interest::Readable));
            match recv(self, &mut *bytes, flags) {
                Ok((_, read)) => {
                    // What came short took all there was.
                    if 0 < read && read < bytes.len() && !flags.contains(RecvFlags::PEEK) {
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

    /// Waits for room, and writes what it takes.
    ///
    /// # Errors
    /// Those of send(2).
    pub(crate) fn poll_send(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Errno>> {
        loop {
            ready!(self.poll_ready(cx, Interest::Writable));
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

    /// Waits for something to read, and reads it; 0 is the end.
    ///
    /// # Errors
    /// Those of recv(2).
    pub(crate) async fn recv(&self, bytes: &mut [u8]) -> Result<usize, Errno> {
        poll_fn(|cx| self.poll_recv(cx, bytes, RecvFlags::empty())).await
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
        // A loop that has ended has forgotten it already.
        let _ = LOCAL.try_with(|local| {
            if let Some(local) = &*local.borrow() {
                local.sockets.remove(&self.slot, self.place);
            }
        });
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
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(self.poll_recv(cx, buffer.initialize_unfilled(), RecvFlags::empty()))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes).map_err(Into::into)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish().map_err(Into::into))
    }
}
