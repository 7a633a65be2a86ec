//! A real `PostgreSQL` for a test: its own directory, its own port, gone when the test is.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const BIN: &str = "/usr/lib/postgresql/15/bin";
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A server. Dropping it kills it and removes its files.
pub(crate) struct Postgres {
    root: PathBuf,
    pub(crate) port: u16,
    child: Child,
}

/// User and group that may run a server: root may not.
pub(crate) fn owner() -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let is_root = fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m)).unwrap() == 0;
    let line = passwd.lines().find(|line| line.starts_with("postgres:")).filter(|_| is_root)?;
    let fields: Vec<_> = line.split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

fn command(program: &str) -> Command {
    let mut command = Command::new(format!("{BIN}/{program}"));
    command.stdin(Stdio::null()).current_dir("/").env("LC_ALL", "C.UTF-8");
    if let Some((uid, gid)) = owner() {
        command.uid(uid).gid(gid);
    }
    command
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; PostgreSQL 15 must be installed"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn new_root() -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let root = std::env::temp_dir().join(format!("mainstay-pg-{}-{number}", std::process::id()));
    fs::create_dir(&root).unwrap();
    own(&root);
    root
}

pub(crate) fn own(path: &Path) {
    if let Some((uid, gid)) = owner() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

impl Postgres {
    /// A fresh primary; superuser `postgres`, trusted.
    pub(crate) fn primary(settings: &[&str]) -> Self {
        let root = new_root();
        succeed(command("initdb").arg("-D").arg(root.join("data")).args(["-A", "trust", "-U", "postgres", "-N", "-E", "UTF8"]));
        Self::start(root, settings)
    }

    /// A streaming standby of `self`.
    pub(crate) fn standby(&self, settings: &[&str]) -> Self {
        Self::start(self.copy(), settings)
    }

    /// A standby that takes nobody in before it is promoted.
    pub(crate) fn standby_that_serves_nobody(&self, settings: &[&str]) -> Self {
        let settings: Vec<_> = settings.iter().chain(&["hot_standby=off"]).copied().collect();
        Self::launch(self.copy(), &settings)
    }

    /// The files of a standby.
    fn copy(&self) -> PathBuf {
        let root = new_root();
        succeed(command("pg_basebackup").arg("-D").arg(root.join("data")).args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-U",
            "postgres",
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-N",
        ]));
        root
    }

    fn start(root: PathBuf, settings: &[&str]) -> Self {
        let server = Self::launch(root, settings);
        server.wait_ready();
        server
    }

    fn launch(root: PathBuf, settings: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = spawn(&root, port, settings);
        Self { root, port, child }
    }

    /// Starts again after a stop, with other settings.
    pub(crate) fn restart(&mut self, settings: &[&str]) {
        self.child.wait().unwrap();
        self.child = spawn(&self.root, self.port, settings);
        self.wait_ready();
    }

    fn wait_ready(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.psql("postgres", "SELECT 1").status.success() {
            assert!(Instant::now() < until, "the server did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs SQL as the superuser; what it printed, without headers.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let output = self.psql("postgres", sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn psql(&self, user: &str, sql: &str) -> Output {
        let port = self.port.to_string();
        let args = ["-X", "-q", "-A", "-t", "-w", "-h", "127.0.0.1", "-p", &port, "-U", user, "-d", "postgres", "-c", sql];
        command("psql").args(args).output().unwrap()
    }

    /// Replaces `pg_hba.conf` and reloads.
    pub(crate) fn hba(&self, lines: &str) {
        fs::write(self.data().join("pg_hba.conf"), format!("local all all trust\nhost all postgres all trust\n{lines}\n"))
            .unwrap();
        self.sql("SELECT pg_reload_conf()");
    }

    /// Its unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join(format!(".s.PGSQL.{}", self.port))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap()
    }

    /// Gives the server a file of its own, readable by nobody else, as a key must be.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.root.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        own(&path);
        path
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap().success());
    }

    /// Signals the server and each of its processes, the first one first: whoever is killed leaves nobody behind, whoever is stopped is
    /// silent.
    pub(crate) fn signal_all(&self, signal: &str) {
        let first = self.pid();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap();
        let mut kill = Command::new("kill");
        kill.arg(signal).arg(first.to_string()).args(children.split_whitespace());
        // One of the children may have ended meanwhile.
        kill.stderr(Stdio::null()).status().unwrap();
    }

    pub(crate) fn promote(&self) {
        succeed(command("pg_ctl").arg("-D").arg(self.data()).args(["promote", "-w"]));
    }

    /// One of its own processes, by its `backend_type`.
    pub(crate) fn process(&self, kind: &str) -> Helper {
        let pid = self.sql(&format!("SELECT pid FROM pg_stat_activity WHERE backend_type = '{kind}'"));
        Helper(pid.parse().unwrap_or_else(|_| panic!("no {kind}: {pid:?}")))
    }

    /// What the control file of a server that has ended says.
    pub(crate) fn control(&self, name: &str) -> String {
        let output = succeed(command("pg_controldata").arg(self.data()));
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
    }

    /// It has stopped.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// `pg_ctl stop -m fast`, waiting until it is down.
    /// Restarts it with TLS, and gives the settings for that. Its certificate is also left in `files`.
    pub(crate) fn encrypt(&mut self, files: &Path) -> [String; 3] {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.crt"])
            .current_dir(files)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let file = |name: &str| self.file(name, &fs::read(files.join(name)).unwrap()).to_str().unwrap().to_owned();
        let (crt, key) = (file("server.crt"), file("server.key"));
        let settings = ["ssl=on".to_owned(), format!("ssl_cert_file={crt}"), format!("ssl_key_file={key}")];
        self.stop_fast();
        self.restart(&settings.each_ref().map(String::as_str));
        settings
    }

    pub(crate) fn stop_fast(&mut self) {
        self.signal("-INT");
        self.child.wait().unwrap();
    }
}

/// A process of a server that may be frozen for a while, until this is dropped at the latest.
pub(crate) struct Helper(i32);

impl Helper {
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // It may have ended.
        let _ = kill_process(Pid::from_raw(self.0).unwrap(), signal);
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.thaw();
    }
}

fn spawn(root: &Path, port: u16, settings: &[&str]) -> Child {
    let log = fs::File::options().create(true).append(true).open(root.join("log")).unwrap();
    let socket_dir = root.to_str().unwrap();
    let mut command = command("postgres");
    command.arg("-D").arg(root.join("data")).args(["-p", &port.to_string(), "-k", socket_dir]);
    // Without `wal_keep_size` a checkpoint may remove what a standby on a busy machine has not got yet.
    let own = ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=20", "autovacuum=off", "wal_keep_size=1GB"];
    for setting in own.iter().chain(settings) {
        command.args(["-c", setting]);
    }
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("-CONT");
            self.signal("-QUIT");
            drop(self.child.wait());
        }
        drop(fs::remove_dir_all(&self.root));
    }
}
