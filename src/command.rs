//! One run of a command: its process group, its output, its end. The group is killed and the process reaped whenever the
//! [`Process`] is dropped.
//!
//! A pidfd reports its end, so no signal handler is needed, and the process is not reaped before its group was killed: until then
//! the kernel does not reuse its number. `PR_SET_PDEATHSIG` is not used, because it would kill the process at the end of the
//! *thread* that started it, which is one of a pool.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::{
    io::{Errno, read},
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group, pidfd_open, waitid,
        waitpgid, waitpid,
    },
};
use tokio::{net::unix::pipe::Receiver, runtime::Handle, sync::oneshot, time::sleep};

/// The search path of a command when mainstay has no `PATH`.
pub(crate) const PLAIN_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables of mainstay that a command has as well; none of them is a secret.
const INHERITED: [&str; 6] = ["HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ"];

/// Bytes of an output that are kept: more than a line of evidence needs.
const KEPT: usize = 4096;
/// Bytes of an output that are read without a pause.
const READ_FREELY: usize = 64 * 1024;
/// Further output is read piece by piece with pauses, and discarded. So a command with much output still ends by itself, and its
/// exit code counts; one that never stops takes only a few percent of the control thread.
const PAUSE: Duration = Duration::from_millis(1);
const PIECE: usize = 16 * 1024;

/// Between two polls of a process that cannot be waited for.
const SHORTEST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// A pidfd, which becomes readable at the end of the process. It is only waited for, never read.
type End = Receiver;

/// How a run ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Code(i32),
    /// By a signal that mainstay did not send.
    Signal(i32),
    /// Another thread reaped it: `SIGCHLD` is ignored in this process.
    Unknown,
}

/// Gives a command an environment that has nothing secret.
pub(crate) fn clean_environment(command: &mut Command) {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PLAIN_PATH.into()));
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
}

/// A run.
#[derive(Debug)]
pub(crate) struct Process {
    group: Group,
    stdout: Output,
    stderr: Output,
}

impl Process {
    /// Starts it in a process group of its own. Blocks until the program was found and loaded. `gone` is dropped when nothing is
    /// left of it.
    pub(crate) fn start(mut command: Command, input: Stdio, gone: oneshot::Sender<()>, runtime: &Handle) -> io::Result<Self> {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let leader = Pid::from_child(&child);
        // From here on every failure ends the process.
        let mut group = Group { leader, pidfd: None, gone: Some(gone), runtime: runtime.clone() };
        let _context = runtime.enter();
        group.pidfd = watch(leader).map_err(io::Error::other)?;
        let stdout = Output::new(child.stdout.take().map(OwnedFd::from)).map_err(io::Error::other)?;
        let stderr = Output::new(child.stderr.take().map(OwnedFd::from)).map_err(io::Error::other)?;
        Ok(Self { group, stdout, stderr })
    }

    /// Waits for its end. Meanwhile its output is read, so that no full pipe blocks it. Later output of its children is ignored.
    pub(crate) async fn ended(&mut self) -> Ended {
        let Self { group, stdout, stderr } = self;
        let listen = async {
            tokio::join!(stdout.follow(), stderr.follow());
            // Closed outputs do not mean that it has ended.
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = group.ended() => ended,
            () = listen => Ended::Unknown,
        };
        stdout.take_rest();
        stderr.take_rest();
        ended
    }

    /// Asks the group to end, by SIGTERM.
    pub(crate) fn terminate(&self) {
        // A process that has ended needs no signal; once it is reaped, the number may belong to another.
        if self.group.status() != Some(Ended::Unknown) {
            let _ = kill_process_group(self.group.leader, Signal::TERM);
        }
    }

    /// The beginning of its standard output and standard error.
    pub(crate) fn said(&self) -> (&[u8], &[u8]) {
        (&self.stdout.kept, &self.stderr.kept)
    }
}

/// Tells when the process has ended; `None` where the kernel or a sandbox has no such call (before Linux 5.3).
fn watch(leader: Pid) -> io::Result<Option<End>> {
    match pidfd_open(leader, PidfdFlags::empty()) {
        Ok(pidfd) => End::from_owned_fd_unchecked(pidfd).map(Some),
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The process and all its children, except those that leave the group (`setsid`).
#[derive(Debug)]
struct Group {
    /// Not reaped while this exists, so its number stays valid.
    leader: Pid,
    pidfd: Option<End>,
    gone: Option<oneshot::Sender<()>>,
    runtime: Handle,
}

impl Group {
    async fn ended(&self) -> Ended {
        if let Some(pidfd) = &self.pidfd {
            // An error leaves the looks below.
            let _ = pidfd.readable().await;
        }
        let mut pause = SHORTEST_LOOK;
        loop {
            if let Some(ended) = self.status() {
                return ended;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    /// The exit status of the leader, which must still be reaped.
    fn status(&self) -> Option<Ended> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.leader), look) {
            Ok(Some(status)) => {
                let code = status.exit_status().map(Ended::Code);
                Some(code.or_else(|| status.terminating_signal().map(Ended::Signal)).unwrap_or(Ended::Unknown))
            }
            Ok(None) | Err(Errno::INTR) => None,
            Err(_) => Some(Ended::Unknown),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once reaped, the number may belong to another process.
        if self.status() != Some(Ended::Unknown) {
            // A process that has ended needs no signal; a leader that left its own group gets one, too.
            let _ = kill_process_group(self.leader, Signal::KILL);
            let _ = kill_process(self.leader, Signal::KILL);
        }
        // When mainstay ends, nothing is spawned any more, and init reaps.
        drop(self.runtime.spawn(bury(self.leader, self.pidfd.take(), self.gone.take())));
    }
}

/// Reaps the leader and orphans of its group: where mainstay is the first process of a container, a command's orphans are its
/// children.
async fn bury(leader: Pid, pidfd: Option<End>, gone: Option<oneshot::Sender<()>>) {
    if let Some(pidfd) = pidfd {
        let _ = pidfd.readable().await;
    }
    let mut pause = SHORTEST_LOOK;
    let mut leader_is_buried = false;
    loop {
        match waitpgid(leader, WaitOptions::NOHANG) {
            Ok(Some((pid, _))) => leader_is_buried |= pid == leader,
            Err(Errno::INTR) => {}
            Ok(None) => rest(&mut pause).await,
            // No child of this process is left in the group.
            Err(_) => break,
        }
    }
    while !leader_is_buried {
        match waitpid(Some(leader), WaitOptions::NOHANG) {
            Ok(None) => rest(&mut pause).await,
            Err(Errno::INTR) => {}
            Ok(Some(_)) | Err(_) => leader_is_buried = true,
        }
    }
    drop(gone);
}

async fn rest(pause: &mut Duration) {
    sleep(*pause).await;
    *pause = (*pause * 2).min(LONGEST_LOOK);
}

/// One output.
#[derive(Debug)]
struct Output {
    pipe: Option<Receiver>,
    kept: Vec<u8>,
    seen: usize,
}

impl Output {
    fn new(pipe: Option<OwnedFd>) -> io::Result<Self> {
        let pipe = pipe.map(Receiver::from_owned_fd).transpose()?;
        Ok(Self { pipe, kept: Vec::new(), seen: 0 })
    }

    /// Reads until the last writer has closed it.
    async fn follow(&mut self) {
        while let Some(pipe) = &self.pipe {
            match pipe.readable().await {
                Ok(()) => self.take(),
                Err(_) => self.pipe = None,
            }
            if self.seen > READ_FREELY {
                sleep(PAUSE).await;
            }
        }
    }

    /// Reads a piece, if there is one.
    fn take(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let mut piece = [0; PIECE];
        match pipe.try_read(&mut piece) {
            Ok(0) => self.pipe = None,
            Ok(count) => self.keep(&piece[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.pipe = None,
        }
    }

    /// Reads what is there, without the runtime, which may not have seen it yet.
    fn take_rest(&mut self) {
        while let Some(pipe) = self.pipe.as_ref().filter(|_| self.seen <= READ_FREELY) {
            let mut piece = [0; PIECE];
            match read(pipe, &mut piece) {
                Ok(count @ 1..) => self.keep(&piece[..count]),
                Err(Errno::INTR) => {}
                _ => self.pipe = None,
            }
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        self.seen = self.seen.saturating_add(piece.len());
        self.kept.extend(piece.iter().take(KEPT.saturating_sub(self.kept.len())));
    }
}
