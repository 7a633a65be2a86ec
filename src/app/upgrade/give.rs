//! The running process starts the one that takes over, and hands everything to it, or goes on as if nothing had happened.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::runtime::{self, Runtime};

use super::follow::Follower;
use crate::{
    app::{
        error::StartError,
        reload::{Current, Reloader},
        stopper::Stopper,
    },
    config::Config,
    failover::GuardMode,
    lifecycle::Phase,
    upgrade::{
        self,
        channel::{Channel, MOST_DESCRIPTORS, PATIENCE},
        message::{PROTOCOL, SocketUse, ToNewer, ToOlder},
    },
};

/// What is started to take over.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file, as it was named when this process started: whatever is there now.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// For a process that has closed its end to end as well.
const END_PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Variables that systemd meant for this process alone (`sd_listen_fds(3)`, `sd_watchdog_enabled(3)`): the newer one has its sockets from
/// here, and feeds the watchdog under its own number.
const OWN_VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

impl Reloader {
    /// Starts a newer mainstay, which takes over: the listening sockets, the decisions, the files. This process keeps its sessions
    /// until they end, as the newer one decides, and then stops by itself; when the newer one dies before, it serves again. Returns
    /// the number of the newer process and its version. Blocks for some seconds at most.
    ///
    /// # Errors
    /// Why not, or why the newer one did not serve; then nothing has changed.
    pub fn upgrade(&self, program: &Program, stopper: Stopper) -> Result<(u32, String), StartError> {
        self.lock().upgrade(program, (self.clone(), stopper))
    }

    /// Why an upgrade would be refused now.
    pub fn upgrade_refusal(&self) -> Option<String> {
        self.lock().upgrade_refusal()
    }
}

impl Current {
    /// Why an upgrade would not do now.
    fn upgrade_refusal(&self) -> Option<String> {
        if self.planes.lifeline.phase.get() != Phase::Running {
            return Some("mainstay is stopping".to_owned());
        }
        if self.planes.is_lent {
            return Some("a newer mainstay has taken over: give the order to that one".to_owned());
        }
        if std::process::id() == 1 {
            return Some(
                "mainstay is process 1 of a container, which ends with it: start a container of the new image instead".to_owned(),
            );
        }
        self.busy()
    }

    /// What a newer process would not know of.
    fn busy(&self) -> Option<String> {
        self.planes.pools.values().find_map(|pool| {
            let now = pool.snapshots.get();
            let name = &pool.config.name;
            if now.operation.is_some() {
                return Some(format!(
                    "an operation of pool {name} is under way: wait for its end, or abort it: mainstay abort {name}"
                ));
            }
            let is_trial = self.planes.operations.on_trial(name).is_some();
            if is_trial {
                return Some(format!("a trial of pool {name} is under way: wait for its end, or end it: mainstay abort {name}"));
            }
            now.paused.then(|| format!("pool {name} is paused, which a newer process would not know: mainstay resume {name}"))
        })
    }

    /// Starts `program`, hands everything to it, and from then on follows it until the last session here has ended; `stopper` then
    /// ends this process. Blocks for some seconds at most. Returns the number of the newer process and its version.
    fn upgrade(&mut self, program: &Program, (own, stopper): (Reloader, Stopper)) -> Result<(u32, String), StartError> {
        if let Some(why) = self.upgrade_refusal() {
            return Err(StartError(why));
        }
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StartError::thread("follow", &error))?;
        let (mut channel, other) = Channel::pair().map_err(|error| StartError(format!("no socket for the upgrade: {error}")))?;
        let child = start(program, other)?;
        let pid = child.id();
        let mut newer = Newer(Some(child));
        let version = match self.meet(&mut channel) {
            Ok(version) => version,
            Err(error) => {
                let error = newer.failed("did not get ready", &error);
                self.planes.leader.resume();
                return Err(error);
            }
        };
        self.planes.lend(&quiet(&self.config));
        let handed = match self.busy() {
            // Something began meanwhile.
            Some(why) => Err(io::Error::other(why)),
            None => self.hand_over(&mut channel, &runtime),
        };
        let handed = handed.map_err(|error| newer.failed("did not begin to serve", &error));
        let pools = match handed {
            Ok(pools) => pools,
            Err(error) => {
                self.planes.take_back(&self.config);
                return Err(error);
            }
        };
        self.planes.leave(true);
        self.restrict(&pools);
        // If it has died in this moment, the follower finds out.
        let _ = channel.say(&ToNewer::Yours, &[], PATIENCE);
        let follower = Follower { own, stopper, pid, child: newer.0.take(), is_asked: false };
        let started = channel.into_parts().and_then(|parts| follower.spawn(runtime, parts));
        if let Err(error) = started {
            // The newer one sees that nobody follows, and goes on alone.
            tracing::error!(%error, "the sessions of this process cannot follow the newer one");
        }
        tracing::info!(
            pid,
            version,
            sessions = self.planes.connections(),
            "a newer mainstay has taken over: this one keeps its sessions until they end"
        );
        Ok((pid, version))
    }

    /// Until the newer one has its configuration and its addresses.
    fn meet(&mut self, channel: &mut Channel) -> io::Result<String> {
        let ToOlder::Hello { protocol, version } = channel.hear(PATIENCE)? else { return Err(unexpected()) };
        if protocol != PROTOCOL {
            let why =
                format!("its version, {version}, does not understand this one, {}: restart instead", env!("CARGO_PKG_VERSION"));
            return Err(io::Error::other(why));
        }
        let older = self.planes.leader.give();
        let sockets = self.planes.open_sockets()?;
        let mut uses: Vec<(SocketUse, BorrowedFd<'_>)> = Vec::new();
        uses.extend(sockets.iter().map(|(name, socket)| (name.clone(), socket.as_fd())));
        uses.extend(older.iter().map(|socket| (SocketUse::Older, socket.as_fd())));
        let mut chunks = uses.chunks(MOST_DESCRIPTORS).peekable();
        while let Some(chunk) = chunks.next() {
            let (uses, descriptors): (Vec<_>, Vec<_>) = chunk.iter().cloned().unzip();
            channel.say(&ToNewer::Sockets { uses, more: chunks.peek().is_some() }, &descriptors, PATIENCE)?;
        }
        match channel.hear(PATIENCE)? {
            ToOlder::Prepared => Ok(version),
            ToOlder::Failed { why } => Err(io::Error::other(why)),
            _ => Err(unexpected()),
        }
    }

    /// From here until the newer one serves, both do. Returns its pools.
    fn hand_over(&mut self, channel: &mut Channel, runtime: &Runtime) -> io::Result<Vec<String>> {
        let pools = self.planes.remembered(runtime);
        channel.say(&ToNewer::Known { pools }, &[], PATIENCE)?;
        match channel.hear(2 * PATIENCE)? {
            ToOlder::Serving { pools } => Ok(pools),
            ToOlder::Failed { why } => Err(io::Error::other(why)),
            _ => Err(unexpected()),
        }
    }

    /// Pools that the newer one does not have end as if they were removed here.
    fn restrict(&mut self, pools: &[String]) {
        let mut config = quiet(&self.config);
        config.pools.retain(|pool| pools.iter().any(|name| **name == *pool.name));
        self.planes.apply_quietly(&config);
    }
}

/// The configuration of a process that decides nothing by itself: it promotes nobody, proves nothing, tells nobody, and leaves a backend
/// only when that is lost.
fn quiet(config: &Config) -> Config {
    let mut config = config.clone();
    config.notify.clear();
    for pool in &mut config.pools {
        pool.promotion.automatic = false;
        pool.policy.promotion = None;
        pool.policy.failback_after = None;
        pool.policy.guard.mode = GuardMode::Off;
        Arc::make_mut(&mut pool.guard).mode = GuardMode::Off;
    }
    config
}

fn start(program: &Program, other: OwnedFd) -> Result<Child, StartError> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).env(upgrade::VARIABLE, "1").stdin(Stdio::from(other));
    for name in OWN_VARIABLES {
        command.env_remove(name);
    }
    command.spawn().map_err(|error| StartError(format!("{} cannot be started: {error}", program.path.display())))
}

/// The process that is to take over; ended if it does not.
struct Newer(Option<Child>);

impl Newer {
    /// Why it does not take over. Waits until it has ended.
    fn failed(&mut self, what: &str, error: &io::Error) -> StartError {
        let Some(mut child) = self.0.take() else { return StartError(error.to_string()) };
        // Whoever closed its end is about to end by itself, and says why by its exit code.
        let ended = ends_within(&mut child, END_PATIENCE);
        let _ = child.kill();
        let _ = child.wait();
        let why = match (ended, error.kind()) {
            (Some(status), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                format!("it ended ({status}); the log of mainstay has its words")
            }
            _ => error.to_string(),
        };
        StartError(format!("the newer mainstay {what}: {why}; this one goes on"))
    }
}

/// How it ended, if it does within `patience`.
fn ends_within(child: &mut Child, patience: Timespec) -> Option<ExitStatus> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok()?;
    let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience));
    child.try_wait().ok()?
}

fn unexpected() -> io::Error {
    io::Error::other("it said something else than was expected")
}
