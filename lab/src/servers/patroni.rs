//! A real Patroni cluster: one etcd and two nodes, each on a loopback address of its own.
//!
//! The addresses differ because the ports do not: a check names one port for the endpoints of all backends.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::{end, free_port, output, owner, postgres::binaries};
use crate::{
    child::ended,
    directory::Directory,
    process::{children, send},
    wait::within,
};

/// A new cluster, a switchover, or a failover after the leader's lock has run out (20 s is Patroni's least).
pub const LONG: Duration = Duration::from_secs(90);

/// One node: Patroni and its `PostgreSQL`.
pub struct Node {
    pub name: &'static str,
    pub ip: Ipv4Addr,
    root: PathBuf,
    data: PathBuf,
    patroni: Child,
}

/// Two nodes that replicate synchronously. Dropping it kills all and removes the files.
pub struct Cluster {
    root: Directory,
    /// Of `PostgreSQL`, node by node: each tells by its own who it is.
    ports: [u16; 2],
    /// Of the REST API, on each node.
    pub api: u16,
    etcd: Child,
    pub nodes: [Node; 2],
}

fn command(program: &str, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).current_dir(root).env("LC_ALL", "C.UTF-8").env("HOME", root);
    owner("postgres").apply(&mut command);
    command
}

fn spawn(command: &mut Command, log: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(log).unwrap();
    super::spawn(command.stdout(log.try_clone().unwrap()).stderr(log))
}

impl Cluster {
    /// A cluster whose leader is running and whose other node follows it synchronously.
    pub fn start() -> Self {
        let root = Directory::new(owner("postgres")).unwrap();
        let [first, second] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)];
        let (client, peer) = (free_port(&[first]), free_port(&[first]));
        let (ports, api) = ([free_port(&[first]), free_port(&[second])], free_port(&[first, second]));
        let [client_url, peer_url] = [client, peer].map(|port| format!("http://127.0.0.1:{port}"));
        let etcd = spawn(
            command("etcd", &root)
                .arg("--data-dir")
                .arg(root.join("etcd"))
                .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
                .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
                .args(["--initial-cluster", &format!("default={peer_url}")]),
            &root.join("etcd.log"),
        );
        within(LONG, "etcd listens", || TcpStream::connect_timeout(&(first, client).into(), LONG).is_ok().then_some(()));
        let node = |name, ip, port| Node::start(name, ip, &root, [port, api, client]);
        let nodes = [node("node-a", first, ports[0]), node("node-b", second, ports[1])];
        let cluster = Self { root, ports, api, etcd, nodes };
        within(LONG, "the cluster is whole", || cluster.is_whole().then_some(()));
        cluster
    }

    fn is_whole(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let state = self.sql(leader, "SELECT string_agg(sync_state, ',') FROM pg_stat_replication WHERE state = 'streaming'");
        state.is_some_and(|state| state == "sync")
    }

    /// Which node is the leader, by its own API.
    pub fn leader(&self) -> Option<usize> {
        (0..2).find(|node| self.status(*node).is_some_and(|(status, _)| status == 200))
    }

    /// What `GET /primary` of a node answers.
    fn status(&self, node: usize) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect_timeout(&(self.nodes[node].ip, self.api).into(), Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut text = String::new();
        std::io::Write::write_all(&mut stream, b"GET /primary HTTP/1.0\r\n\r\n").ok()?;
        std::io::Read::read_to_string(&mut stream, &mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.get(9..12)?.parse().ok()?, serde_json::from_str(body).ok()?))
    }

    pub fn address(&self, node: usize) -> SocketAddr {
        (self.nodes[node].ip, self.ports[node]).into()
    }

    /// Runs SQL on a node as the superuser; what it printed, if that succeeded.
    pub fn sql(&self, node: usize, sql: &str) -> Option<String> {
        sql_at(self.address(node), sql)
    }

    /// Runs patronictl, which must succeed.
    pub fn control(&self, words: &[&str]) -> Output {
        let config = self.root.join("node-a.yml");
        let output = output(command("patronictl", &self.root).arg("-c").arg(config).args(words));
        assert!(output.status.success(), "patronictl {words:?}: {output:?}");
        output
    }

    /// What a node and its `PostgreSQL` have written.
    pub fn log_of(&self, node: usize) -> Vec<String> {
        let text = fs::read_to_string(self.root.join(format!("{}.log", self.nodes[node].name))).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The ends of the logs, for a test that fails.
    fn logs(&self) -> String {
        let end = |name: &str| {
            let text = fs::read_to_string(self.root.join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        ["node-a.log", "node-b.log"].map(end).join("\n--- the other node ---\n")
    }
}

/// Runs SQL at an address, over a connection that waits no longer than tests do.
pub fn sql_at(address: SocketAddr, sql: &str) -> Option<String> {
    let connection = format!("host={} port={} user=postgres dbname=postgres connect_timeout=20", address.ip(), address.port());
    let mut psql = binaries().command("psql");
    psql.args(["-X", "-q", "-A", "-t", "-w", "-c", sql, &connection]).env("PGPASSWORD", "secret").env("LC_ALL", "C.UTF-8");
    let output = output(&mut psql);
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn run(name: &str, root: &Path) -> Child {
    spawn(command("patroni", root).arg(root.join(format!("{name}.yml"))), &root.join(format!("{name}.log")))
}

impl Node {
    fn start(name: &'static str, ip: Ipv4Addr, root: &Path, [port, api, etcd]: [u16; 3]) -> Self {
        let data = root.join(name);
        // Both listen on the same port, after which their sockets are named.
        let sockets = root.join(format!("{name}.sockets"));
        fs::create_dir(&sockets).unwrap();
        owner("postgres").own(&sockets).unwrap();
        // JSON is YAML.
        let settings = json!({
            "scope": "orders",
            "name": name,
            "restapi": {"listen": format!("{ip}:{api}"), "connect_address": format!("{ip}:{api}")},
            "etcd3": {"host": format!("127.0.0.1:{etcd}")},
            "bootstrap": {
                "dcs": {
                    "ttl": 20, "loop_wait": 1, "retry_timeout": 3, "synchronous_mode": true,
                    "postgresql": {"use_pg_rewind": true, "parameters": {"max_connections": 30}},
                },
                "initdb": [{"encoding": "UTF8"}, "no-sync"],
            },
            "postgresql": {
                "listen": format!("{ip}:{port}"),
                "connect_address": format!("{ip}:{port}"),
                "data_dir": data,
                "bin_dir": binaries().directory(),
                "pgpass": root.join(format!("{name}.pgpass")),
                "authentication": {
                    "superuser": {"username": "postgres", "password": "secret"},
                    "replication": {"username": "replicator", "password": "secret"},
                },
                "pg_hba": ["local all all trust", "host all all 127.0.0.0/8 trust", "host replication all 127.0.0.0/8 trust"],
                "parameters": {
                    "unix_socket_directories": sockets, "fsync": "off", "autovacuum": "off",
                    "log_destination": "stderr", "logging_collector": "off",
                },
            },
        });
        fs::write(root.join(format!("{name}.yml")), settings.to_string()).unwrap();
        Self { name, ip, root: root.to_owned(), data, patroni: run(name, root) }
    }

    /// Kills Patroni alone and starts it again; `PostgreSQL` goes on meanwhile.
    pub fn restart_patroni(&mut self) {
        self.signal_patroni(Signal::KILL);
        ended(&mut self.patroni);
        self.patroni = run(self.name, &self.root);
    }

    /// Signals Patroni alone.
    pub fn signal_patroni(&self, what: Signal) {
        send(Pid::from_child(&self.patroni), what);
    }

    /// The postmaster and its children.
    fn postgres(&self) -> Vec<Pid> {
        let file = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let pid = file.lines().next().and_then(|line| Pid::from_raw(line.trim().parse().ok()?));
        let Some(postmaster) = pid else { return Vec::new() };
        // The number may be another process's by now.
        if fs::read_link(format!("/proc/{}/cwd", postmaster.as_raw_nonzero())).is_ok_and(|directory| directory != self.data) {
            return Vec::new();
        }
        [postmaster].into_iter().chain(children(postmaster)).collect()
    }

    /// As if its host lost power: Patroni and `PostgreSQL` get no time to say anything.
    pub fn kill(&mut self) {
        self.signal_patroni(Signal::KILL);
        for pid in self.postgres() {
            send(pid, Signal::KILL);
        }
        let _ = self.patroni.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the logs of Patroni:\n{}", self.logs());
        }
        for node in &mut self.nodes {
            node.kill();
        }
        end(&mut self.etcd);
    }
}
