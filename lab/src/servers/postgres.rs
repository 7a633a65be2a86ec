//! A real `PostgreSQL`: one server, primary or standby, that a test does with as it likes.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal};

use super::{output, signal, spawn, succeed};
use crate::{
    child::{ended, ends},
    cluster::{Options, Shared, initdb, node::accepts, programs::Binaries},
    port::ReservedPort,
    process,
    procfs::family,
    session::{Endpoint, query_once},
    wait::wait_until,
};

/// Longest wait for a start, far above what it needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server. Dropping it kills it and removes its files.
#[must_use = "it ends when it is dropped"]
pub struct Postgres {
    shared: Shared,
    pub port: u16,
    /// A port of a dead server must not be handed to somebody else.
    _reserved: ReservedPort,
    child: Child,
}

/// Where the server's programs are.
pub fn binaries() -> Binaries {
    Binaries::find().unwrap_or_else(|error| panic!("{error}"))
}

fn new_shared() -> Shared {
    Shared::new().unwrap_or_else(|error| panic!("{error}"))
}

impl Postgres {
    /// A fresh primary; superuser `postgres`, trusted.
    pub fn primary(settings: &[&str]) -> Self {
        Self::primary_in(new_shared(), settings)
    }

    /// A fresh primary that runs other programs.
    pub fn primary_by(binaries: &Binaries, settings: &[&str]) -> Self {
        Self::primary_in(Shared { binaries: binaries.clone(), ..new_shared() }, settings)
    }

    fn primary_in(shared: Shared, settings: &[&str]) -> Self {
        initdb::initdb(&shared, &shared.base.join("data"), &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        Self::start(shared, settings)
    }

    /// A streaming standby of `self`.
    pub fn standby(&self, settings: &[&str]) -> Self {
        Self::start(self.copy(), settings)
    }

    /// A streaming standby of `self` that runs other programs.
    pub fn standby_by(&self, binaries: &Binaries, settings: &[&str]) -> Self {
        Self::start(Shared { binaries: binaries.clone(), ..self.copy() }, settings)
    }

    /// A standby that takes nobody in before it is promoted.
    pub fn standby_that_serves_nobody(&self, settings: &[&str]) -> Self {
        let settings: Vec<_> = settings.iter().chain(&["hot_standby=off"]).copied().collect();
        Self::launch(self.copy(), &settings)
    }

    /// The files of a standby.
    fn copy(&self) -> Shared {
        let shared = new_shared();
        let made = initdb::base_backup(&shared, "127.0.0.1", self.port, &shared.base.join("data"));
        made.unwrap_or_else(|error| panic!("{error}"));
        shared
    }

    fn start(shared: Shared, settings: &[&str]) -> Self {
        let server = Self::launch(shared, settings);
        server.wait_ready();
        server
    }

    fn launch(shared: Shared, settings: &[&str]) -> Self {
        let reserved = ReservedPort::new().unwrap();
        let port = reserved.address().port();
        let child = run(&shared, port, settings);
        Self { shared, port, _reserved: reserved, child }
    }

    /// Starts again after a stop, with other settings.
    pub fn restart(&mut self, settings: &[&str]) {
        ended(&mut self.child);
        self.child = run(&self.shared, self.port, settings);
        self.wait_ready();
    }

    /// Runs other programs on the same files, after a stop; it may not come up.
    pub fn update(&mut self, binaries: &Binaries, settings: &[&str]) {
        ended(&mut self.child);
        self.shared.binaries = binaries.clone();
        self.child = run(&self.shared, self.port, settings);
    }

    /// Becomes a standby of another one when it starts again. It was stopped in order, and the other one had received all.
    pub fn follow(&self, primary: &Self) {
        let conf = self.data().join("postgresql.auto.conf");
        let before = fs::read_to_string(&conf).unwrap();
        let line = format!("primary_conninfo = 'host=127.0.0.1 port={} user=postgres'", primary.port);
        fs::write(conf, format!("{before}{line}\n")).unwrap();
        fs::write(self.data().join("standby.signal"), "").unwrap();
    }

    pub fn wait_ready(&self) {
        let (data, socket) = (self.data(), Endpoint::Unix(self.socket()));
        let answers = || accepts(&data) && query_once(&socket, "SELECT 1", PATIENCE).is_ok();
        assert!(wait_until(PATIENCE, answers), "the server did not start: {}", self.log());
    }

    /// Runs SQL as the superuser; what it printed, without headers.
    pub fn sql(&self, sql: &str) -> String {
        let port = self.port.to_string();
        let args = ["-X", "-q", "-A", "-t", "-w", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", "postgres", "-c", sql];
        succeed(self.shared.command("psql").args(args))
    }

    /// Replaces `pg_hba.conf` and reloads.
    pub fn hba(&self, lines: &str) {
        fs::write(self.data().join("pg_hba.conf"), format!("local all all trust\nhost all postgres all trust\n{lines}\n"))
            .unwrap();
        self.sql("SELECT pg_reload_conf()");
    }

    /// Its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.shared.base.join(format!(".s.PGSQL.{}", self.port))
    }

    pub fn data(&self) -> PathBuf {
        self.shared.base.join("data")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.shared.base.join("log")).unwrap()
    }

    /// Gives the server a file of its own, readable by nobody else, as a key must be.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.shared.base.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        self.shared.owner.own(&path).unwrap();
        path
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, what: &str) {
        signal(what, self.pid());
    }

    /// Signals the server and each of its processes, the first one first: whoever is killed leaves nobody behind, whoever is stopped is
    /// silent.
    pub fn signal_all(&self, what: &str) {
        // One of them may have ended meanwhile.
        output(Command::new("kill").arg(what).args(family(self.pid()).iter().map(u32::to_string)));
    }

    pub fn promote(&self) {
        succeed(self.shared.command("pg_ctl").arg("-D").arg(self.data()).args(["promote", "-w"]));
    }

    /// One of its own processes, by its `backend_type`.
    pub fn process(&self, kind: &str) -> Helper {
        let pid = self.sql(&format!("SELECT pid FROM pg_stat_activity WHERE backend_type = '{kind}'"));
        Helper(pid.parse().unwrap_or_else(|_| panic!("no {kind}: {pid:?}")))
    }

    /// What the control file of a server that has ended says.
    pub fn control(&self, name: &str) -> String {
        let text = succeed(self.shared.command("pg_controldata").arg(self.data()));
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
    }

    /// It has stopped.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Restarts it with TLS, and gives the settings for that. Its certificate is also left in `files`.
    pub fn encrypt(&mut self, files: &Path) -> [String; 3] {
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
        succeed(make.args(["-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.crt"]).current_dir(files));
        let file = |name: &str| self.file(name, &fs::read(files.join(name)).unwrap()).to_str().unwrap().to_owned();
        let (crt, key) = (file("server.crt"), file("server.key"));
        let settings = ["ssl=on".to_owned(), format!("ssl_cert_file={crt}"), format!("ssl_key_file={key}")];
        self.stop_fast();
        self.restart(&settings.each_ref().map(String::as_str));
        settings
    }

    /// `pg_ctl stop -m fast`, waiting until it is down.
    pub fn stop_fast(&mut self) {
        self.signal("-INT");
        ended(&mut self.child);
    }
}

/// A process of a server that may be frozen for a while, until this is dropped at the latest.
pub struct Helper(i32);

impl Helper {
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        process::send(Pid::from_raw(self.0).unwrap(), signal);
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.thaw();
    }
}

fn run(shared: &Shared, port: u16, settings: &[&str]) -> Child {
    let log = fs::File::options().create(true).append(true).open(shared.base.join("log")).unwrap();
    let mut command = shared.command("postgres");
    command.arg("-D").arg(shared.base.join("data")).args(["-p", &port.to_string(), "-k"]).arg(&*shared.base);
    // Without `wal_keep_size` a checkpoint may remove what a standby on a busy machine has not got yet.
    for setting in ["listen_addresses=127.0.0.1", "max_connections=20", "wal_keep_size=1GB"].iter().chain(settings) {
        command.args(["-c", setting]);
    }
    spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("-CONT");
            self.signal("-QUIT");
            if ends(&mut self.child).is_none() {
                self.signal_all("-KILL");
                drop(self.child.wait());
            }
        }
    }
}
