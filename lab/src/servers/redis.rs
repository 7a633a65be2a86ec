//! A real Redis.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::end;
use crate::{
    child::ended,
    directory::{Directory, Owner},
    port::ReservedPort,
    wait::{patience, until},
};

/// A server. Dropping it kills it and removes its files.
#[must_use = "it ends when it is dropped"]
pub struct Redis {
    root: Directory,
    pub port: u16,
    /// A port of a dead server must not be handed to somebody else.
    _reserved: ReservedPort,
    settings: Vec<String>,
    arguments: &'static [&'static str],
    program: PathBuf,
    child: Child,
}

impl Redis {
    /// A server without data. `settings` are written as in redis.conf.
    pub fn primary(settings: &[&str]) -> Self {
        Self::start(settings, &[])
    }

    /// A Sentinel that watches nobody.
    pub fn sentinel() -> Self {
        Self::start(&[], &["--sentinel"])
    }

    /// A Sentinel that watches `self` under the name `mymaster`, and decides alone.
    pub fn watched(&self) -> Self {
        self.watched_with(&[])
    }

    /// The same, with more settings of its own.
    pub fn watched_with(&self, settings: &[&str]) -> Self {
        let monitor = format!("sentinel monitor mymaster 127.0.0.1 {} 1", self.port);
        let patience = ["sentinel down-after-milliseconds mymaster 300", "sentinel failover-timeout mymaster 2000"];
        Self::start(&[&[monitor.as_str()], &patience[..], settings].concat(), &["--sentinel"])
    }

    fn start(settings: &[&str], arguments: &'static [&'static str]) -> Self {
        let (root, reserved) = (Directory::new(Owner::Ourselves).unwrap(), ReservedPort::new().unwrap());
        let port = reserved.address().port();
        let settings: Vec<String> = settings.iter().map(|&line| line.to_owned()).collect();
        let program = PathBuf::from("redis-server");
        let child = spawn(&program, &root, port, &settings, arguments);
        let server = Self { root, port, _reserved: reserved, settings, arguments, program, child };
        until("Redis listens", || TcpStream::connect_timeout(&server.address(), patience()).is_ok().then_some(()));
        server
    }

    /// A replica of `self` that has caught up.
    pub fn replica(&self, settings: &[&str]) -> Self {
        let of = format!("replicaof 127.0.0.1 {}", self.port);
        let replica = Self::primary(&[&[of.as_str()], settings].concat());
        until("the replica follows", || {
            replica.try_ask(&["INFO", "replication"]).ok().filter(|said| said.contains("master_link_status:up"))
        });
        // A moment later, and with a line in its log, the primary agrees.
        let online = format!("port={},state=online", replica.port);
        until("the replica is online", || self.ask(&["INFO", "replication"]).contains(&online).then_some(()));
        replica
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Starts again what was killed, with the settings it had.
    pub fn restart(&mut self) {
        ended(&mut self.child);
        self.child = spawn(&self.program, &self.root, self.port, &self.settings, self.arguments);
        until("Redis listens", || TcpStream::connect_timeout(&self.address(), patience()).is_ok().then_some(()));
    }

    /// Stops in order, and runs another program on the same files, as what it is now.
    pub fn update(&mut self, program: &Path) {
        assert_eq!(self.ask(&["CONFIG", "REWRITE"]), "+OK");
        self.settings_of_file();
        self.signal("-TERM");
        program.clone_into(&mut self.program);
        self.restart();
    }

    /// From now on its settings are what it wrote into its own file (`CONFIG REWRITE`).
    pub fn settings_of_file(&mut self) {
        let file = fs::read_to_string(self.root.join("redis.conf")).unwrap();
        self.settings = file.lines().map(str::to_owned).collect();
    }

    /// Asks over a connection of its own.
    pub fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).unwrap()
    }

    /// As [`Redis::ask`], of a server that may end its connections meanwhile, as one does that begins to follow another.
    pub fn try_ask(&self, words: &[&str]) -> io::Result<String> {
        ask(&mut TcpStream::connect_timeout(&self.address(), patience())?, words)
    }

    /// Asks a question that is answered with a list of texts.
    pub fn ask_list(&self, words: &[&str]) -> Vec<String> {
        let mut stream = TcpStream::connect_timeout(&self.address(), patience()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(command(words).as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        let count = lines.next().and_then(|count| count.strip_prefix('*')?.parse().ok()).unwrap_or(0);
        // Each with its length in front.
        lines.skip(1).step_by(2).take(count).collect()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap()
    }

    pub fn signal(&self, signal: &str) {
        super::signal(signal, self.child.id());
    }

    /// By SIGKILL.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }
}

fn spawn(program: &Path, root: &Path, port: u16, settings: &[String], arguments: &[&str]) -> Child {
    let plain = [
        "bind 127.0.0.1".to_owned(),
        format!("port {port}"),
        "save \"\"".into(),
        "enable-debug-command local".into(),
        // A replica is not let wait for others (5 s) to come.
        "repl-diskless-sync-delay 0".into(),
    ];
    let paths = [format!("dir {}", root.display()), format!("logfile {}", root.join("log").display())];
    let config = plain.iter().chain(&paths).chain(settings).map(|line| line.clone() + "\n").collect::<String>();
    fs::write(root.join("redis.conf"), config).unwrap();
    let mut command = Command::new(program);
    command.arg(root.join("redis.conf")).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    super::spawn(&mut command)
}

/// A command as it is sent.
pub fn command(words: &[&str]) -> String {
    let bulks: Vec<String> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{}", words.len(), bulks.concat())
}

/// One command and its reply: a line, or the text of a bulk string.
pub fn ask(stream: &mut TcpStream, words: &[&str]) -> io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(command(words).as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let Some(length) = line.strip_prefix('$').and_then(|length| length.trim_end().parse::<usize>().ok()) else {
        return Ok(line.trim_end().to_owned());
    };
    let mut text = vec![0; length + 2];
    reader.read_exact(&mut text)?;
    Ok(String::from_utf8_lossy(&text[..length]).into_owned())
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
