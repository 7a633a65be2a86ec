//! A real `MariaDB` for a test: its own directory, its own ports, gone when the test is.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::wait::{patience, until};

static NEXT: AtomicU32 = AtomicU32::new(0);
/// Where Debian and its children put the library of Galera.
const GALERA: &str = "/usr/lib/galera/libgalera_smm.so";

/// A server. Dropping it kills it and removes its files.
pub(crate) struct MariaDb {
    root: PathBuf,
    pub(crate) port: u16,
    /// Its `server_id`, unlike that of any other server of this test.
    pub(crate) id: u32,
    arguments: Vec<String>,
    child: Child,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Root must name another user to run a server. (A node that sends its data to another refuses to do so as root.)
fn user() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=mysql")
}

/// Gives a directory to that user.
fn own(path: &Path) {
    if user().is_some() {
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let line = passwd.lines().find(|line| line.starts_with("mysql:")).expect("tests/install-deps makes the user mysql");
        let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
        chown(path, Some(ids[0]), Some(ids[1])).unwrap();
    }
}

fn new_root() -> (u32, PathBuf) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let root = std::env::temp_dir().join(format!("mainstay-mariadb-{}-{number}", std::process::id()));
    for directory in [root.clone(), root.join("tmp")] {
        fs::create_dir(&directory).unwrap();
        own(&directory);
    }
    (number, root)
}

/// Makes the files of a server.
fn install(root: &Path) {
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M"]);
    install.arg(format!("--tmpdir={}", root.join("tmp").display()));
    install.arg(format!("--datadir={}", root.join("data").display())).args(user()).stdin(Stdio::null());
    let output = install.output().unwrap_or_else(|error| panic!("{install:?}: {error}; tests/install-deps installs it"));
    assert!(output.status.success(), "{install:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl MariaDb {
    /// A server with an account `root` without a password, and nothing in it. `arguments` as for mariadbd.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let (number, root) = new_root();
        install(&root);
        Self::run(number, root, arguments)
    }

    /// One whose files lie there.
    fn run(number: u32, root: PathBuf, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let (port, id) = (free_port(), number + 1);
        let child = spawn(&root, port, id, &arguments);
        let server = Self { root, port, id, arguments, child };
        server.wait();
        server
    }

    /// Replicas of `self`: as [`MariaDb::replica`], and installed once for all, which takes longest.
    pub(crate) fn replicas(&self, count: usize, arguments: &[&str]) -> Vec<Self> {
        let roots: Vec<_> = (0..count).map(|_| new_root()).collect();
        for (place, (_, root)) in roots.iter().enumerate() {
            if place == 0 {
                install(root);
                continue;
            }
            let copied = Command::new("cp").arg("-a").arg(roots[0].1.join("data")).arg(root).status();
            assert!(copied.unwrap().success());
        }
        let start = |(number, root)| Self::run(number, root, arguments);
        let replicas: Vec<_> = roots.into_iter().map(start).collect();
        for replica in &replicas {
            replica.follow(self.port);
        }
        replicas
    }

    /// A replica of `self` that follows it.
    pub(crate) fn replica(&self, arguments: &[&str]) -> Self {
        let replica = Self::start(arguments);
        replica.follow(self.port);
        replica
    }

    /// Begins to follow the server on `port`, whatever it was before.
    pub(crate) fn follow(&self, port: u16) {
        self.sql(&format!(
            "CHANGE MASTER TO master_host='127.0.0.1', master_port={port}, master_user='root', master_use_gtid=slave_pos, \
             master_connect_retry=1; START SLAVE"
        ));
        until("the replica follows", || {
            // Both of its threads run.
            (self.status("Slave_running") == "ON").then_some(())
        });
    }

    /// The first node of a Galera cluster, or one that joins that of `first`.
    pub(crate) fn galera(first: Option<&Self>) -> Self {
        let ports = [free_port(), free_port()];
        let peer = first.map_or_else(String::new, |first| format!("127.0.0.1:{}", first.galera_port()));
        let arguments = [
            "--wsrep-on=ON".to_owned(),
            format!("--wsrep-provider={GALERA}"),
            format!("--wsrep-cluster-address=gcomm://{peer}"),
            format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{};ist.recv_addr=127.0.0.1:{};gcache.size=16M;\
                 pc.recovery=false",
                ports[0], ports[1]
            ),
            format!("--wsrep-sst-receive-address=127.0.0.1:{}", free_port()),
            "--wsrep-sst-method=rsync".into(),
            "--wsrep-node-address=127.0.0.1".into(),
            "--binlog-format=ROW".into(),
            "--innodb-autoinc-lock-mode=2".into(),
        ];
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(first.is_none().then_some("--wsrep-new-cluster"));
        Self::start(&arguments)
    }

    fn galera_port(&self) -> u16 {
        let options = self.arguments.iter().find_map(|argument| argument.split_once("listen_addr=tcp://127.0.0.1:")).unwrap();
        options.1.split(';').next().unwrap().parse().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    fn wait(&self) {
        let limit = Instant::now() + 3 * patience();
        while !self.try_sql("SELECT 1").is_ok_and(|answer| answer == "1") {
            assert!(Instant::now() < limit, "MariaDB does not start: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts again what was killed, on the same port.
    pub(crate) fn restart(&mut self) {
        self.child.wait().unwrap();
        self.child = spawn(&self.root, self.port, self.id, &self.arguments);
        self.wait();
    }

    /// Statements as root, over the server's own socket: what they print, without headings.
    pub(crate) fn sql(&self, statements: &str) -> String {
        self.try_sql(statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("socket")
    }

    pub(crate) fn try_sql(&self, statements: &str) -> Result<String, String> {
        let socket = format!("--socket={}", self.socket().display());
        mariadb(&[&socket, "--user=root"], statements)
    }

    /// The value of a status variable.
    pub(crate) fn status(&self, name: &str) -> String {
        self.sql(&format!("SHOW GLOBAL STATUS LIKE '{name}'")).split_whitespace().nth(1).unwrap_or_default().to_owned()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.root.join("log.err")).unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

fn spawn(root: &Path, port: u16, id: u32, arguments: &[String]) -> Child {
    let in_root = |name: &str, file: &str| format!("--{name}={}", root.join(file).display());
    let mut command = Command::new("mariadbd");
    command.arg("--no-defaults").args(user()).args([
        in_root("datadir", "data"),
        // A server that starts clears away what others have in theirs.
        in_root("tmpdir", "tmp"),
        in_root("socket", "socket"),
        in_root("pid-file", "pid"),
        in_root("log-error", "log.err"),
        format!("--port={port}"),
        format!("--server-id={id}"),
    ]);
    // Nothing goes on after the start that would write a line of its own.
    command.arg("--innodb-buffer-pool-load-at-startup=OFF");
    // Every connection that ends without a word is a line in the log.
    command.args(["--bind-address=127.0.0.1", "--log-warnings=9", "--skip-name-resolve", "--log-bin", "--log-slave-updates"]);
    command.args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=2"]);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("mariadbd cannot be run ({error}); tests/install-deps installs it"))
}

/// The server's own client: what it printed, or what it said of an error.
pub(crate) fn mariadb(arguments: &[&str], statements: &str) -> Result<String, String> {
    let mut command = Command::new("mariadb");
    command.arg("--no-defaults").args(arguments).args(["--batch", "--skip-column-names", "--connect-timeout=30"]);
    let output = command.arg(format!("--execute={statements}")).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("mariadb cannot be run ({error}); tests/install-deps installs it"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.root);
    }
}
