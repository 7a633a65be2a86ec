//! A real `MariaDB`.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{end, free_port, output, owner, succeed};
use crate::{
    child::ended,
    directory::Directory,
    port::ReservedPort,
    template::Template,
    wait::{patience, until, wait_until},
};

/// Where Debian and its children put the library of Galera.
const GALERA: &str = "/usr/lib/galera/libgalera_smm.so";

/// Where it puts the server.
const SERVER: &str = "/usr/sbin/mariadbd";

/// A server. Dropping it kills it and removes its files.
#[must_use = "it ends when it is dropped"]
pub struct MariaDb {
    root: Directory,
    pub port: u16,
    /// A port of a dead server must not be handed to somebody else.
    _reserved: ReservedPort,
    /// Its `server_id`, unlike that of any other server.
    pub id: u32,
    arguments: Vec<String>,
    program: PathBuf,
    child: Child,
}

/// A server's directory.
fn new_root() -> Directory {
    let owner = owner("mysql");
    let root = Directory::new(owner).unwrap();
    fs::create_dir(root.join("tmp")).unwrap();
    owner.own(&root.join("tmp")).unwrap();
    root
}

/// One of the server's programs. As root it refuses to run, or to send its data to another node.
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    owner("mysql").apply(&mut command);
    command.arg("--no-defaults").current_dir("/").stdin(Stdio::null());
    command
}

/// Makes the files of a server.
fn install(root: &Path) {
    let paths = [format!("--tmpdir={}", root.join("tmp").display()), format!("--datadir={}", root.join("data").display())];
    let plain = ["--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M"];
    let template = Template::of("mariadb", Path::new(SERVER), plain);
    let data = root.join("data");
    if template.as_ref().is_some_and(|template| template.fill(&data).unwrap()) {
        return;
    }
    succeed(command("mariadb-install-db").args(plain).args(paths));
    if let Some(template) = template {
        template.take(&data).unwrap();
    }
}

impl MariaDb {
    /// A server with an account `root` without a password, and nothing in it. `arguments` as for mariadbd.
    pub fn start(arguments: &[&str]) -> Self {
        let root = new_root();
        install(&root);
        Self::run(root, arguments)
    }

    /// One whose files lie there.
    fn run(root: Directory, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let reserved = ReservedPort::new().unwrap();
        let port = reserved.address().port();
        let program = PathBuf::from("mariadbd");
        let child = spawn(&program, &root, port, &arguments);
        let server = Self { root, port, _reserved: reserved, id: port.into(), arguments, program, child };
        server.wait();
        server
    }

    /// Replicas of `self`: as [`MariaDb::replica`], and installed once for all, which takes longest.
    pub fn replicas(&self, count: usize, arguments: &[&str]) -> Vec<Self> {
        let roots: Vec<_> = (0..count).map(|_| new_root()).collect();
        for (place, root) in roots.iter().enumerate() {
            if place == 0 {
                install(root);
                continue;
            }
            succeed(Command::new("cp").arg("-a").arg(roots[0].join("data")).arg(&**root));
        }
        let replicas: Vec<_> = roots.into_iter().map(|root| Self::run(root, arguments)).collect();
        for replica in &replicas {
            replica.follow(self.port);
        }
        replicas
    }

    /// A replica of `self` that follows it.
    pub fn replica(&self, arguments: &[&str]) -> Self {
        let replica = Self::start(arguments);
        replica.follow(self.port);
        replica
    }

    /// Begins to follow the server on `port`, whatever it was before.
    pub fn follow(&self, port: u16) {
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
    pub fn galera(first: Option<&Self>) -> Self {
        let [group, transfer, state] = [(); 3].map(|()| free_port(&[Ipv4Addr::LOCALHOST]));
        let peer = first.map_or_else(String::new, |first| format!("127.0.0.1:{}", first.galera_port()));
        let arguments = [
            "--wsrep-on=ON".to_owned(),
            format!("--wsrep-provider={GALERA}"),
            format!("--wsrep-cluster-address=gcomm://{peer}"),
            format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{group};ist.recv_addr=127.0.0.1:{transfer};\
                 gcache.size=16M;pc.recovery=false"
            ),
            format!("--wsrep-sst-receive-address=127.0.0.1:{state}"),
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

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    fn wait(&self) {
        // The socket is there before a client's program is started in vain.
        let answers = || self.socket().exists() && self.try_sql("SELECT 1").is_ok_and(|answer| answer == "1");
        assert!(wait_until(3 * patience(), answers), "MariaDB does not start: {}", self.log());
    }

    /// Starts again what was killed, on the same port.
    pub fn restart(&mut self) {
        ended(&mut self.child);
        self.child = spawn(&self.program, &self.root, self.port, &self.arguments);
        self.wait();
    }

    /// Stops in order, and runs another program on the same files, with more arguments.
    pub fn update(&mut self, program: &Path, arguments: &[&str]) {
        self.signal("-TERM");
        program.clone_into(&mut self.program);
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self.restart();
    }

    /// Statements as root, over the server's own socket: what they print, without headings.
    pub fn sql(&self, statements: &str) -> String {
        self.try_sql(statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("socket")
    }

    pub fn try_sql(&self, statements: &str) -> Result<String, String> {
        let socket = format!("--socket={}", self.socket().display());
        mariadb(&[&socket, "--user=root"], statements)
    }

    /// The value of a status variable.
    pub fn status(&self, name: &str) -> String {
        self.sql(&format!("SHOW GLOBAL STATUS LIKE '{name}'")).split_whitespace().nth(1).unwrap_or_default().to_owned()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("log.err")).unwrap()
    }

    pub fn signal(&self, signal: &str) {
        super::signal(signal, self.child.id());
    }

    /// By SIGKILL.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }
}

fn spawn(program: &Path, root: &Path, port: u16, arguments: &[String]) -> Child {
    let in_root = |name: &str, file: &str| format!("--{name}={}", root.join(file).display());
    let mut command = command(program);
    command.args([
        in_root("datadir", "data"),
        // A server that starts clears away what others have in theirs.
        in_root("tmpdir", "tmp"),
        in_root("socket", "socket"),
        in_root("pid-file", "pid"),
        in_root("log-error", "log.err"),
        format!("--port={port}"),
        format!("--server-id={port}"),
    ]);
    // Nothing goes on after the start that would write a line of its own.
    command.arg("--innodb-buffer-pool-load-at-startup=OFF");
    // Every connection that ends without a word is a line in the log.
    command.args(["--bind-address=127.0.0.1", "--log-warnings=9", "--skip-name-resolve", "--log-bin", "--log-slave-updates"]);
    command.args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=2"]);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    super::spawn(&mut command)
}

/// The server's own client: what it printed, or what it said of an error.
pub fn mariadb(arguments: &[&str], statements: &str) -> Result<String, String> {
    let mut command = Command::new("mariadb");
    command.arg("--no-defaults").args(arguments).args(["--batch", "--skip-column-names", "--connect-timeout=30"]);
    let output = output(command.arg(format!("--execute={statements}")));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
    }
}
