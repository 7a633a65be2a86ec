//! A real `MySQL`: that of Debian's unstable suite, which `tests/install-servers` unpacks (`make versions`).

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{end, output, owner, succeed};
use crate::{
    child::ended,
    directory::Directory,
    port::ReservedPort,
    template::Template,
    wait::{patience, until, wait_until},
};

const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/servers/mysql");

/// A server. Dropping it kills it and removes its files.
#[must_use = "it ends when it is dropped"]
pub struct MySql {
    root: Directory,
    pub port: u16,
    /// A port of a dead server must not be handed to somebody else.
    _reserved: ReservedPort,
    arguments: Vec<String>,
    child: Child,
}

/// One of its programs.
fn program(name: &str) -> PathBuf {
    let path = Path::new(PLACE).join("bin").join(name);
    assert!(path.exists(), "{} is missing: `make versions` unpacks it", path.display());
    path
}

/// The server. As root it refuses to run.
fn command() -> Command {
    let mut command = Command::new(program("mysqld"));
    owner("mysql").apply(&mut command);
    command.args([
        "--no-defaults",
        &format!("--basedir={PLACE}/root/usr"),
        "--secure-file-priv=NULL",
        "--innodb-redo-log-capacity=8M",
    ]);
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// A new server's directory, with its files.
fn install() -> Directory {
    let owner = owner("mysql");
    let root = Directory::new(owner).unwrap();
    fs::create_dir(root.join("tmp")).unwrap();
    owner.own(&root.join("tmp")).unwrap();
    let data = root.join("data");
    let accounts = "CREATE USER root@'%';\nGRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;\n";
    let template = Template::of("mysql", &Path::new(PLACE).join("packages"), accounts);
    if !template.as_ref().is_some_and(|template| template.fill(&data).unwrap()) {
        let init = root.join("init.sql");
        fs::write(&init, accounts).unwrap();
        owner.own(&init).unwrap();
        let [init, data_is] = [("init-file", &init), ("datadir", &data)].map(|(name, at)| format!("--{name}={}", at.display()));
        succeed(command().args(["--initialize-insecure", &init, &data_is]));
        // It holds the server's own identity, which it makes anew.
        fs::remove_file(data.join("auto.cnf")).unwrap();
        if let Some(template) = template {
            template.take(&data).unwrap();
        }
    }
    root
}

impl MySql {
    /// A server with an account `root` without a password, and nothing in it. `arguments` as for mysqld.
    pub fn start(arguments: &[&str]) -> Self {
        let root = install();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let reserved = ReservedPort::new().unwrap();
        let port = reserved.address().port();
        let child = spawn(&root, port, &arguments);
        let server = Self { root, port, _reserved: reserved, arguments, child };
        server.wait();
        server
    }

    /// Where the server's own client is.
    pub fn client_program() -> PathBuf {
        program("mysql")
    }

    /// Replicas of `self`.
    pub fn replicas(&self, count: usize, arguments: &[&str]) -> Vec<Self> {
        (0..count).map(|_| self.replica(arguments)).collect()
    }

    /// A replica of `self` that follows it by the numbers of its transactions.
    pub fn replica(&self, arguments: &[&str]) -> Self {
        let replica = Self::start(arguments);
        replica.follow(self.port);
        replica
    }

    /// Begins to follow the server on `port`, whatever it was before.
    pub fn follow(&self, port: u16) {
        self.follow_from(port, "source_auto_position=1");
    }

    /// One that follows it by file and position.
    pub fn replica_by_position(&self, arguments: &[&str]) -> Self {
        let replica = Self::start(arguments);
        let status = self.sql("SHOW BINARY LOG STATUS");
        let mut place = status.split('\t');
        let (file, position) = (place.next().unwrap(), place.next().unwrap());
        replica.follow_from(self.port, &format!("source_log_file='{file}', source_log_pos={position}"));
        replica
    }

    fn follow_from(&self, port: u16, from: &str) {
        self.sql(&format!(
            "CHANGE REPLICATION SOURCE TO source_host='127.0.0.1', source_port={port}, source_user='root', {from}, \
             source_connect_retry=1; START REPLICA"
        ));
        until("the replica follows", || self.follows().then_some(()));
    }

    /// Both of its threads run.
    pub fn follows(&self) -> bool {
        ["IO", "SQL"].iter().all(|thread| self.replication(&format!("Replica_{thread}_Running")) == "Yes")
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
        assert!(wait_until(3 * patience(), answers), "MySQL does not start: {}", self.log());
    }

    /// Starts again what was killed, on the same port.
    pub fn restart(&mut self) {
        ended(&mut self.child);
        self.child = spawn(&self.root, self.port, &self.arguments);
        self.wait();
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
        mysql(&[&["--user=root", &socket], more].concat(), statements)
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

fn spawn(root: &Path, port: u16, arguments: &[String]) -> Child {
    let in_root = |name: &str, file: &str| format!("--{name}={}", root.join(file).display());
    let mut command = command();
    command.args([
        in_root("datadir", "data"),
        in_root("tmpdir", "tmp"),
        in_root("socket", "socket"),
        in_root("pid-file", "pid"),
        in_root("log-error", "log.err"),
        format!("--port={port}"),
        format!("--server-id={port}"),
    ]);
    // Every connection that ends without a word is a line in the log.
    command.args(["--bind-address=127.0.0.1", "--log-error-verbosity=3", "--skip-name-resolve", "--mysqlx=OFF"]);
    command.args(["--log-bin=bin", "--relay-log=relay", "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--sync-binlog=0"]);
    command.args(["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=2"]);
    // Its performance schema would take 240 MB.
    command.args(["--performance-schema-digests-size=100", "--performance-schema-error-size=0", "--table-open-cache=200"]);
    command.args([
        "--performance-schema-accounts-size=10",
        "--performance-schema-hosts-size=10",
        "--performance-schema-users-size=10",
    ]);
    command.args(["--performance-schema-events-statements-history-long-size=0", "--table-definition-cache=400"]);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    super::spawn(&mut command)
}

/// The server's own client: what it printed, or what it said of an error.
pub fn mysql(arguments: &[&str], statements: &str) -> Result<String, String> {
    let mut command = Command::new(program("mysql"));
    command.arg("--no-defaults").args(["--batch", "--skip-column-names", "--connect-timeout=30"]).args(arguments);
    let output = output(command.arg(format!("--execute={statements}")));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

impl Drop for MySql {
    fn drop(&mut self) {
        self.kill();
    }
}
