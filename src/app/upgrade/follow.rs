//! An older process keeps its sessions until they end, and obeys the newer one. When that dies, it serves again.

use std::{
    io,
    os::unix::net::UnixStream,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::OwnedWriteHalf,
    runtime::Runtime,
    time::{interval, timeout},
};

use crate::{
    app::{reload::Reloader, stopper::Stopper},
    control::Lead,
    route::{OlderProcess, OrderSender},
    upgrade::{
        channel,
        message::{ToNewer, ToOlder, lead},
    },
};

/// How often it is looked whether sessions are left.
const LOOK: Duration = Duration::from_millis(50);
/// How often that is told, also without a change.
const TELL: Duration = Duration::from_secs(1);
/// For the newer process to read what it is told.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// For a process that has closed its end to end as well.
const END_PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// The older process's end.
pub(super) struct Follower {
    pub(super) own: Reloader,
    pub(super) stopper: Stopper,
    /// The newest process.
    pub(super) pid: u32,
    /// The process that this one has started.
    pub(super) child: Option<Child>,
    /// What is left is to be told, also if it has not changed.
    pub(super) is_asked: bool,
}

impl Follower {
    /// Follows on a thread of its own.
    ///
    /// # Errors
    /// When there is no thread.
    pub(super) fn spawn(self, runtime: Runtime, (socket, unread): (UnixStream, Vec<u8>)) -> io::Result<()> {
        thread::Builder::new().name("mainstay-follow".to_owned()).spawn(move || {
            let mut follower = self;
            let is_over = runtime.block_on(follower.run(socket, unread));
            if !matches!(is_over, Ok(true)) {
                follower.left_alone();
            }
        })?;
        Ok(())
    }

    /// Until no session is left, or this process is told to stop: `true`; or nobody leads any more.
    async fn run(&mut self, socket: UnixStream, unread: Vec<u8>) -> io::Result<bool> {
        let (reading, mut writing) = tokio::net::UnixStream::from_std(socket)?.into_split();
        let mut lines = BufReader::new((&unread[..]).chain(reading)).lines();
        let mut look = interval(LOOK);
        let (mut told, mut last, mut was_empty) = (None, Instant::now(), false);
        loop {
            tokio::select! {
                line = lines.next_line() => match line? {
                    Some(line) => self.hear(&line),
                    None => return Ok(self.stopper.is_stopping()),
                },
                _ = look.tick() => {}
            }
            if std::mem::take(&mut self.is_asked) {
                told = None;
            }
            let left = self.own.left();
            let is_empty = left.connections == 0;
            if is_empty && was_empty {
                tracing::info!("the last session has ended: the newer mainstay has everything");
                self.stopper.stop();
                return Ok(true);
            }
            was_empty = is_empty;
            if told.as_ref() != Some(&left) || last.elapsed() >= TELL {
                say(&mut writing, &ToNewer::Left(left.clone())).await?;
                (told, last) = (Some(left), Instant::now());
            }
        }
    }

    fn hear(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(ToOlder::Lead { pool, active, sessions_end }) => self.own.follow(&pool, lead(active.as_deref(), &sessions_end)),
            Ok(ToOlder::Order { pool, order }) => {
                if let (Some(verb), Some(orders)) = (order.verb(), self.own.orders(&pool)) {
                    // What came of it is in the log of this process.
                    tokio::spawn(async move {
                        orders.give(verb, ("the newer mainstay".into(), "".into()), false, WRITE_PATIENCE).await
                    });
                }
            }
            Ok(ToOlder::Newest { pid }) => (self.pid, self.is_asked) = (pid, true),
            Ok(ToOlder::Stop { force }) => {
                tracing::info!(force, "the newer mainstay was told to stop: so does this one");
                (0..=u8::from(force)).for_each(|_| self.stopper.stop());
            }
            // Of a later version.
            Ok(_) | Err(_) => tracing::debug!("the newer mainstay said something that this one does not know"),
        }
    }

    /// The newer process has closed its end.
    fn left_alone(&mut self) {
        if self.stopper.is_stopping() {
            return;
        }
        let pid = self.pid;
        if !has_ended(pid) {
            tracing::error!(
                pid,
                "the newer mainstay runs, but says nothing any more: sessions here end by what this one sees itself"
            );
            return;
        }
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        let status = status.map(|status| status.to_string());
        tracing::error!(pid, status, "the newer mainstay has died: this one serves again");
        self.own.take_back();
    }
}

impl Reloader {
    /// What is still served here.
    fn left(&self) -> OlderProcess {
        self.lock().planes.left()
    }

    fn follow(&self, pool: &str, lead: Lead) {
        self.lock().planes.follow(pool, lead);
    }

    fn orders(&self, pool: &str) -> Option<OrderSender> {
        self.lock().planes.pools.get(pool).map(|pool| pool.orders.clone())
    }

    fn take_back(&self) {
        let mut present = self.lock();
        let config = present.config.clone();
        present.planes.take_back(&config);
    }
}

async fn say(writing: &mut OwnedWriteHalf, message: &ToNewer) -> io::Result<()> {
    let line = channel::line(message)?;
    timeout(WRITE_PATIENCE, writing.write_all(&line)).await?
}

/// Whether this process ends within some seconds. A number that nobody has is one of a process that has ended.
fn has_ended(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&END_PATIENCE)).is_ok_and(|ended| ended > 0)
}
