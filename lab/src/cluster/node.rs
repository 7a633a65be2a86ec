//! One real server of the lab: start, stop, kill, freeze, promote, ask.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal};

use super::{
    error::{ClusterError, STEP_TIMEOUT, doing},
    programs::Binaries,
    shared::Shared,
};
use crate::{
    port::ReservedPort,
    process,
    session::{Endpoint, Rows, query_once},
    wait,
};

/// A statement that takes longer has hung.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The timeline a server is on *now*: a primary from the name of the file it writes (the control file is updated only by the
/// checkpoint after a promotion), a standby from what it receives.
const TIMELINE: &str = "SELECT CASE WHEN pg_is_in_recovery() \
     THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), (SELECT timeline_id FROM pg_control_checkpoint())) \
     ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END";

/// One server. Its controls may be called from any thread.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    name: &'static str,
    port: ReservedPort,
    data: PathBuf,
    /// Where its own programs are, once it was updated.
    programs: Mutex<Option<Binaries>>,
    postmaster: Mutex<Option<Child>>,
}

impl Node {
    pub(super) fn new(shared: &Arc<Shared>, name: &'static str) -> Result<Self, ClusterError> {
        let port = doing("no free port", ReservedPort::new())?;
        Ok(Self {
            data: shared.base.join(name),
            shared: Arc::clone(shared),
            name,
            port,
            programs: Mutex::default(),
            postmaster: Mutex::default(),
        })
    }

    /// Its name: `db-a` or `db-b`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Where it listens, also while it does not run.
    pub const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its unix socket, which trusts the lab.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.shared.base.join(format!(".s.PGSQL.{}", self.port())))
    }

    pub(super) const fn port(&self) -> u16 {
        self.address().port()
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Process id of its postmaster, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let mut postmaster = self.lock();
        let child = postmaster.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then(|| child.id())
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        process::tail(&self.log_path())
    }

    /// Its whole log.
    pub fn log_path(&self) -> PathBuf {
        self.shared.base.join(format!("{}.log", self.name))
    }

    /// Starts it as what its data directory says (a killed primary is a primary again), and waits until it answers. Nothing
    /// happens when it runs.
    ///
    /// # Errors
    /// When it ends at once or does not answer in time.
    pub fn start(&self) -> Result<(), ClusterError> {
        if self.pid().is_none() {
            let log = doing("cannot open the log", File::options().append(true).create(true).open(self.log_path()))?;
            let programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut command = self.shared.command_of(programs.as_ref(), "postgres");
            command.arg("-D").arg(&self.data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            for setting in [
                "listen_addresses=127.0.0.1".to_owned(),
                format!("port={}", self.port()),
                format!("unix_socket_directories={}", self.shared.base.display()),
                format!("cluster_name={}", self.name),
            ] {
                command.arg("-c").arg(setting);
            }
            // Its own process group: a Ctrl-C at the terminal is for us, not for the database.
            let child = doing("cannot run postgres", command.process_group(0).spawn())?;
            *self.lock() = Some(child);
        }
        self.wait_for("SELECT true", "the server answers")
    }

    /// Runs these programs from its next start on, as after an update of its packages; `None`: those of the lab again.
    pub fn install(&self, programs: Option<Binaries>) {
        *self.programs.lock().unwrap_or_else(PoisonError::into_inner) = programs;
    }

    /// Orderly stop (SIGINT: sessions are ended, a last checkpoint is written). Nothing happens when it does not run.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop_fast(&self) -> Result<(), ClusterError> {
        self.stop(Signal::INT)
    }

    /// Stop without a checkpoint (SIGQUIT): as good as a crash for the data, but it cleans up after itself.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop_immediate(&self) -> Result<(), ClusterError> {
        self.stop(Signal::QUIT)
    }

    fn stop(&self, signal: Signal) -> Result<(), ClusterError> {
        if let Some(postmaster) = self.postmaster_pid() {
            process::send(postmaster, signal);
            if !wait::wait_until(STEP_TIMEOUT, || self.pid().is_none()) {
                return Err(ClusterError::Timeout(format!("{} stops", self.name), self.log()));
            }
        }
        Ok(())
    }

    /// `kill -9` of the postmaster, then of every child, and waits until all are gone. Nothing happens when it does not run.
    ///
    /// The postmaster goes first, so that the port refuses before the first session breaks: otherwise the kernel would accept
    /// clients that come back at once for a listener that is about to vanish, and reset them in the middle of their login.
    ///
    /// # Errors
    /// When the kernel does not end them in time.
    pub fn kill9(&self) -> Result<(), ClusterError> {
        let Some(postmaster) = self.postmaster_pid() else { return Ok(()) };
        process::stop(postmaster);
        let children = process::children(postmaster);
        process::send(postmaster, Signal::KILL);
        // `pid()` reaps it; its children are init's then.
        let mut dead = wait::wait_until(STEP_TIMEOUT, || self.pid().is_none());
        for child in &children {
            process::send(*child, Signal::KILL);
        }
        dead &= wait::wait_until(STEP_TIMEOUT, || !children.iter().any(|child| process::is_alive(*child)));
        if dead { Ok(()) } else { Err(ClusterError::Timeout(format!("{} dies", self.name), self.log())) }
    }

    /// SIGSTOP to the postmaster and every child: a hung server whose port still accepts. Returns when all stand still.
    pub fn sigstop_all(&self) {
        if let Some(postmaster) = self.postmaster_pid() {
            process::stop(postmaster);
            process::children(postmaster).into_iter().for_each(process::stop);
        }
    }

    /// SIGCONT to all of them.
    pub fn sigcont_all(&self) {
        if let Some(postmaster) = self.postmaster_pid() {
            for pid in process::children(postmaster).into_iter().chain([postmaster]) {
                process::send(pid, Signal::CONT);
            }
        }
    }

    /// Makes a standby the primary, and returns when it takes writes. It waits for no standby of its own.
    ///
    /// # Errors
    /// When it is no standby or does not become a primary in time.
    pub fn promote(&self) -> Result<(), ClusterError> {
        // Not waiting inside the server, which looks only every 100 ms.
        self.query("SELECT pg_promote(false)")?;
        self.wait_for("SELECT NOT pg_is_in_recovery()", "the standby becomes the primary")
    }

    /// The timeline it is on now; rises with each promotion.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn timeline(&self) -> Result<u64, ClusterError> {
        let rows = self.query(TIMELINE)?;
        let text = rows.into_iter().flatten().flatten().next().unwrap_or_default();
        text.parse().map_err(|_| ClusterError::Failed(format!("reading the timeline of {}", self.name), text))
    }

    /// Whether it follows another server.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn is_standby(&self) -> Result<bool, ClusterError> {
        Ok(is_true(&self.query("SELECT pg_is_in_recovery()")?))
    }

    /// Which standbys must have a write before it is acknowledged: `*` for any, empty for none. Survives restarts.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn set_synchronous_standby_names(&self, names: &str) -> Result<(), ClusterError> {
        let quoted = names.replace('\'', "''");
        self.query(&format!("ALTER SYSTEM SET synchronous_standby_names = '{quoted}'"))?;
        self.query("SELECT pg_reload_conf()").map(drop)
    }

    /// Asks it one statement, past mainstay, as `postgres` in the database `postgres`.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub fn query(&self, sql: &str) -> Result<Rows, ClusterError> {
        query_once(&self.endpoint(), sql, QUERY_TIMEOUT).map_err(|error| ClusterError::Query(sql.to_owned(), error))
    }

    /// Waits until a statement answers `t`.
    pub(super) fn wait_for(&self, sql: &str, what: &str) -> Result<(), ClusterError> {
        let mut ended = false;
        let held = wait::wait_until(STEP_TIMEOUT, || {
            ended = self.pid().is_none();
            ended || accepts(&self.data) && query_once(&self.endpoint(), sql, QUERY_TIMEOUT).is_ok_and(|rows| is_true(&rows))
        });
        let what = format!("{}: {what}", self.name);
        match (held, ended) {
            (true, false) => Ok(()),
            (_, true) => Err(ClusterError::Failed(what, self.log())),
            (false, false) => Err(ClusterError::Timeout(what, self.log())),
        }
    }

    /// A killed server leaves its interlock, a few bytes of System V shared memory, behind. Its id is the last word of line 7 of
    /// `postmaster.pid` (`LOCK_FILE_LINE_SHMEM_KEY`).
    pub(super) fn remove_leftovers(&self) {
        if self.pid().is_some() {
            return;
        }
        if let Some(id) = lock_file(&self.data).lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
            let mut command = Command::new("ipcrm");
            self.shared.owner.apply(&mut command);
            let _ = command.args(["-m", id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }

    fn postmaster_pid(&self) -> Option<Pid> {
        self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the postmaster says of itself in line 8 of `postmaster.pid` (`LOCK_FILE_LINE_PM_STATUS`); asking only then keeps hundreds of
/// "is starting up" out of its log.
pub(crate) fn accepts(data: &Path) -> bool {
    lock_file(data).lines().nth(7).is_some_and(|status| matches!(status.trim(), "ready" | "standby"))
}

fn lock_file(data: &Path) -> String {
    fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default()
}

fn is_true(rows: &Rows) -> bool {
    rows.first().and_then(|row| row.first()).is_some_and(|value| value.as_deref() == Some("t"))
}
