//! What `MySQL` and `MariaDB` have in common.

use std::{
    ffi::OsStr,
    fs,
    marker::PhantomData,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{end, output, owner, succeed};
use crate::{
    child::ended,
    directory::Directory,
    port::ReservedPort,
    wait::{patience, until, wait_until},
};

/// Which of the two it is, and what it calls things.
pub trait Flavour: Sized + 'static {
    const NAME: &'static str;
    /// The variable that makes it refuse the writes of administrators as well, if it can.
    const READ_ONLY: &'static str;
    /// How a statement begins that names its source.
    const CHANGE_SOURCE: &'static str;
    /// What it calls a source and a replica where it shows them.
    const SOURCE: &'static str;
    const REPLICA: &'static str;
    /// From where on it receives: everything that it does not have.
    const FROM: &'static str;
    /// And if it was a primary before.
    const FROM_AS_FORMER_PRIMARY: &'static str;
    const ARGUMENTS: &'static [&'static str];
    /// What the documentation has the role of a check granted for a switchover.
    const RIGHTS: &'static str;

    fn server() -> PathBuf;
    fn client() -> PathBuf;
    /// Makes a server's files below `root`.
    fn install(root: &Path);
}

/// A server, whose `server_id` is its port. Dropping it kills it and removes its files.
#[must_use = "it ends when it is dropped"]
pub struct Mysqld<F: Flavour> {
    root: Directory,
    pub port: u16,
    /// A port of a dead server must not be handed to somebody else.
    _reserved: ReservedPort,
    pub(super) arguments: Vec<String>,
    program: PathBuf,
    child: Child,
    flavour: PhantomData<F>,
}

/// One of the server's programs. As root it refuses to run, or to send its data to another node.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    owner("mysql").apply(&mut command);
    command.arg("--no-defaults").current_dir("/").stdin(Stdio::null());
    command
}

/// A server's directory.
fn new_root() -> Directory {
    let owner = owner("mysql");
    let root = Directory::new(owner).unwrap();
    fs::create_dir(root.join("tmp")).unwrap();
    owner.own(&root.join("tmp")).unwrap();
    root
}

/// The statements that make a server follow the one on `port`.
#[must_use]
pub fn following<F: Flavour>(port: &str, from: &str) -> String {
    let (change, source) = (F::CHANGE_SOURCE, F::SOURCE);
    format!(
        "{change} TO {source}_host='127.0.0.1', {source}_port={port}, {source}_user='root', {from}, {source}_connect_retry=1; \
         START REPLICA"
    )
}

impl<F: Flavour> Mysqld<F> {
    /// A server with an account `root` without a password, and nothing in it. `arguments` as for the server's program.
    pub fn start(arguments: &[&str]) -> Self {
        let root = new_root();
        F::install(&root);
        Self::run(root, arguments)
    }

    /// One whose files lie there.
    fn run(root: Directory, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let reserved = ReservedPort::new().unwrap();
        let port = reserved.address().port();
        let program = F::server();
        let child = spawn::<F>(&program, &root, port, &arguments);
        let server = Self { root, port, _reserved: reserved, arguments, program, child, flavour: PhantomData };
        server.wait();
        server
    }

    /// Replicas of `self`: as [`Mysqld::replica`], and installed once for all, which takes longest.
    pub fn replicas(&self, count: usize, arguments: &[&str]) -> Vec<Self> {
        let roots: Vec<_> = (0..count).map(|_| new_root()).collect();
        for (place, root) in roots.iter().enumerate() {
            if place == 0 {
                F::install(root);
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

    /// A replica of `self` that follows it by the numbers of its transactions.
    pub fn replica(&self, arguments: &[&str]) -> Self {
        let replica = Self::start(arguments);
        replica.follow(self.port);
        replica
    }

    /// Begins to follow the server on `port`, whatever it was before.
    pub fn follow(&self, port: u16) {
        self.follow_from(port, F::FROM);
    }

    pub(super) fn follow_from(&self, port: u16, from: &str) {
        self.sql(&following::<F>(&port.to_string(), from));
        until("the replica follows", || self.follows().then_some(()));
    }

    /// Both of its threads run.
    pub fn follows(&self) -> bool {
        ["IO", "SQL"].iter().all(|thread| self.replication(&format!("{}_{thread}_Running", F::REPLICA)) == "Yes")
    }

    /// The port of the server that it follows.
    pub fn source_port(&self) -> String {
        self.replication(&format!("{}_Port", F::SOURCE))
    }

    /// A column of `SHOW REPLICA STATUS`; empty when it follows nobody.
    pub fn replication(&self, column: &str) -> String {
        let status = self.client("SHOW REPLICA STATUS", &["--column-names", "--vertical"]).unwrap();
        let value = status.lines().find_map(|line| line.trim().strip_prefix(column)?.strip_prefix(": "));
        value.unwrap_or_default().to_owned()
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    fn wait(&self) {
        // The socket is there before a client's program is started in vain.
        let answers = || self.socket().exists() && self.try_sql("SELECT 1").is_ok_and(|answer| answer == "1");
        // A node of Galera fetches everything from another one first.
        assert!(wait_until(9 * patience(), answers), "{} does not start: {}", F::NAME, self.log());
    }

    /// Starts again what was killed, on the same port.
    pub fn restart(&mut self) {
        ended(&mut self.child);
        self.child = spawn::<F>(&self.program, &self.root, self.port, &self.arguments);
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

    pub fn try_sql(&self, statements: &str) -> Result<String, String> {
        self.client(statements, &[])
    }

    fn client(&self, statements: &str, more: &[&str]) -> Result<String, String> {
        let socket = format!("--socket={}", self.socket().display());
        client::<F>(&[&["--user=root", &socket], more].concat(), statements)
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("socket")
    }

    /// A file of the server's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join("data").join(name)
    }

    /// The value of a status variable.
    pub fn status(&self, name: &str) -> String {
        self.sql(&format!("SHOW GLOBAL STATUS LIKE '{name}'")).split_whitespace().nth(1).unwrap_or_default().to_owned()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("log.err")).unwrap_or_default()
    }

    pub fn signal(&self, signal: &str) {
        super::signal(signal, self.child.id());
    }

    /// By SIGKILL.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }
}

fn spawn<F: Flavour>(program: &Path, root: &Path, port: u16, arguments: &[String]) -> Child {
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
    command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=16M"]);
    command.arg("--innodb-flush-log-at-trx-commit=2").args(F::ARGUMENTS).args(arguments);
    super::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// The server's own client: what it printed, or what it said of an error.
pub(super) fn client<F: Flavour>(arguments: &[&str], statements: &str) -> Result<String, String> {
    let mut command = Command::new(F::client());
    command.arg("--no-defaults").args(["--batch", "--skip-column-names", "--connect-timeout=30"]).args(arguments);
    let output = output(command.arg(format!("--execute={statements}")));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

impl<F: Flavour> Drop for Mysqld<F> {
    fn drop(&mut self) {
        self.kill();
    }
}
