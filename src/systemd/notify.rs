//! Messages to the service manager, as `sd_notify(3)` has them: datagrams of `KEY=value` lines. Sending never blocks.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::{
    io::Errno,
    time::{ClockId, clock_gettime},
};

use super::environment::{Variable, set};

/// Messages that wait for room. There are four kinds, and each is sent once for each change.
const QUEUE: usize = 16;

/// The service manager, if it wants to hear from this process.
#[derive(Clone, Debug, Default)]
pub struct Manager(Option<Arc<Channel>>);

#[derive(Debug)]
struct Channel {
    socket: UnixDatagram,
    to: SocketAddr,
    waiting: Mutex<VecDeque<String>>,
    /// Another process is the main one now; systemd refuses messages of this one.
    is_silent: AtomicBool,
    /// The last reload failed.
    is_reload_refused: AtomicBool,
    has_complained: AtomicBool,
}

impl Manager {
    /// The manager that `NOTIFY_SOCKET` names; without the variable, one that wants to hear nothing.
    ///
    /// # Errors
    /// When it names no path and no abstract socket, or there is no descriptor for a socket. Nothing is lost but the messages.
    pub fn of(variable: Variable<'_>) -> io::Result<Self> {
        let Some(name) = set(variable, "NOTIFY_SOCKET") else { return Ok(Self(None)) };
        let to = address(&name)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(Some(Arc::new(Channel {
            socket,
            to,
            waiting: Mutex::default(),
            is_silent: AtomicBool::new(false),
            is_reload_refused: AtomicBool::new(false),
            has_complained: AtomicBool::new(false),
        }))))
    }

    /// Whether anybody wants to hear.
    pub fn is_listening(&self) -> bool {
        self.0.as_ref().is_some_and(|channel| !channel.is_silent.load(Ordering::Acquire))
    }

    /// Every listener accepts clients: units that are ordered `After=` this one may start.
    pub fn ready(&self) {
        self.tell("READY=1".to_owned());
    }

    /// A reload begins. It ends with [`Manager::reloaded`].
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// A reload has ended. If it was refused, the present configuration stays, and the service stays active.
    pub fn reloaded(&self, is_refused: bool) {
        if let Some(channel) = &self.0 {
            channel.is_reload_refused.store(is_refused, Ordering::Release);
        }
        self.ready();
    }

    /// Mainstay is told to stop. It may take as long as this, whatever the unit's `TimeoutStopSec=` says.
    pub fn stopping(&self, at_most: Duration) {
        self.tell(format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", at_most.as_micros()));
    }

    /// Another process of this service is its main process from now on. This one is silent then: systemd takes messages only from
    /// the main process.
    pub fn main_pid(&self, pid: u32) {
        self.tell(format!("MAINPID={pid}"));
        if let Some(channel) = &self.0 {
            channel.is_silent.store(true, Ordering::Release);
        }
    }

    /// What `systemctl status` shows; one line. Whether it was sent.
    pub(super) fn status(&self, line: &str) -> bool {
        self.try_tell(&format!("STATUS={line}"))
    }

    /// A sign of life. One that finds no room is dropped: a late one would be a lie.
    pub(super) fn alive(&self) -> bool {
        self.try_tell("WATCHDOG=1")
    }

    pub(super) fn is_reload_refused(&self) -> bool {
        self.0.as_ref().is_some_and(|channel| channel.is_reload_refused.load(Ordering::Acquire))
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&self) {
        if let Some(channel) = &self.0 {
            channel.flush(&mut channel.waiting());
        }
    }

    /// Sends it, now or when there is room, in order.
    fn tell(&self, message: String) {
        let Some(channel) = self.0.as_ref().filter(|_| self.is_listening()) else { return };
        let mut waiting = channel.waiting();
        if waiting.len() == QUEUE {
            waiting.pop_front();
        }
        waiting.push_back(message);
        channel.flush(&mut waiting);
    }

    /// Sends it now or not at all.
    fn try_tell(&self, message: &str) -> bool {
        let Some(channel) = self.0.as_ref().filter(|_| self.is_listening()) else { return false };
        let mut waiting = channel.waiting();
        channel.flush(&mut waiting);
        waiting.is_empty() && channel.send(message).is_ok()
    }
}

impl Channel {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self, waiting: &mut VecDeque<String>) {
        while let Some(message) = waiting.front() {
            match self.send(message) {
                Err(error) if is_full(&error) => return,
                // Nobody takes it: nothing would change by waiting.
                Ok(()) | Err(_) => drop(waiting.pop_front()),
            }
        }
    }

    fn send(&self, message: &str) -> io::Result<()> {
        let sent = self.socket.send_to_addr(message.as_bytes(), &self.to).map(drop);
        if let Err(error) = &sent
            && !is_full(error)
            && !self.has_complained.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "systemd does not take messages at NOTIFY_SOCKET");
        }
        sent
    }
}

/// There is no room now.
fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INTR))
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
    }
}
