//! Redis, as the case sees it.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use mainstay::cli::demo::port::ReservedPort;

use super::{Bench, CLIENT_PATIENCE, Client, Database, PATIENCE};
use crate::failure::Failure;

/// A server in a directory of its own. Dropping it ends it.
pub(crate) struct Redis {
    root: PathBuf,
    /// A port of a dead server must not be handed to somebody else.
    port: ReservedPort,
    child: Child,
}

impl Database for Redis {
    const CASE: &'static str = "redis_kill9";
    const CHECK: &'static str = "redis";
    type Client = Session;

    fn start(bench: &Bench, of: Option<&Self>) -> Result<Self, Failure> {
        let port = ReservedPort::new()?;
        let root = std::env::temp_dir().join(format!("mainstay-report-redis-{}", port.address().port()));
        fs::create_dir(&root)?;
        let (number, path) = (port.address().port(), root.display());
        let follow = of.map_or_else(String::new, |primary| format!("replicaof 127.0.0.1 {}\n", primary.port.address().port()));
        let config = format!(
            "bind 127.0.0.1\nport {number}\nsave \"\"\ndir {path}\nlogfile {path}/log\nrepl-diskless-sync-delay 0\n{follow}"
        );
        fs::write(root.join("redis.conf"), config)?;
        let mut command = Command::new("redis-server");
        command.arg(root.join("redis.conf")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| Failure::Said(format!("redis-server: {error}; run tests/install-deps")))?;
        let server = Self { root, port, child };
        let state = if of.is_some() { "master_link_status:up" } else { "role:master" };
        bench.stop.wait("Redis is ready", PATIENCE, || server.says(state).ok().filter(|says| *says).map(drop))?;
        Ok(server)
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }

    fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Redis {
    fn says(&self, line: &str) -> io::Result<bool> {
        let mut session = Session::open(self.address())?;
        session.send(&["INFO", "replication"])?;
        let length = session.line()?.trim_start_matches('$').parse().map_err(io::Error::other)?;
        let mut text = vec![0; length];
        session.0.read_exact(&mut text)?;
        Ok(String::from_utf8_lossy(&text).lines().any(|said| said == line))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A client's connection.
pub(crate) struct Session(BufReader<TcpStream>);

impl Session {
    fn send(&mut self, words: &[&str]) -> io::Result<()> {
        self.0.get_mut().write_all(command(words).as_bytes())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

impl Client for Session {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Counts one up, and asks in the same breath who did it: the port of the server that answered.
    fn write(&mut self) -> io::Result<u16> {
        let both = command(&["INCR", "counter"]) + &command(&["CONFIG", "GET", "port"]);
        self.0.get_mut().write_all(both.as_bytes())?;
        let counted = self.line()?;
        if !counted.starts_with(':') {
            return Err(io::Error::other(counted));
        }
        // *2, $4, port, $N, and the number.
        for _ in 0..4 {
            self.line()?;
        }
        self.line()?.parse().map_err(io::Error::other)
    }

    fn promote(&mut self) -> io::Result<()> {
        self.send(&["REPLICAOF", "NO", "ONE"])?;
        self.line().map(drop)
    }

    fn written(&mut self) -> io::Result<usize> {
        self.send(&["INCRBY", "counter", "0"])?;
        self.line()?.trim_start_matches(':').parse().map_err(io::Error::other)
    }
}

fn command(words: &[&str]) -> String {
    let bulks: Vec<String> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{}", words.len(), bulks.concat())
}
