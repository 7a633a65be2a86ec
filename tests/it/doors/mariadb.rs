//! A real server that takes the header: `MariaDB` (`proxy_protocol_networks`).

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

use mainstay::net::proxy_protocol::Version;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{client_from, configured, header};
use crate::support::{front::Front, wait::until};

/// Dropping it kills it and removes its files.
struct MariaDb {
    root: PathBuf,
    port: u16,
    child: Child,
}

/// User and group that may run a server: it refuses to run as root.
fn owner() -> Option<(u32, u32)> {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = ["mysql:", "nobody:"].into_iter().find_map(|name| passwd.lines().find(|line| line.starts_with(name)))?;
    let fields: Vec<_> = line.split(':').collect();
    is_root.then(|| (fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("--no-defaults").stdin(Stdio::null()).current_dir("/");
    if let Some((uid, gid)) = owner() {
        command.uid(uid).gid(gid);
    }
    command
}

fn own(path: &Path) {
    if let Some((uid, gid)) = owner() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

impl MariaDb {
    /// One that runs these statements before it takes clients, and takes the header from the loopback network.
    fn start(statements: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let root = std::env::temp_dir().join(format!("mainstay-doors-mariadb-{}-{port}", std::process::id()));
        fs::create_dir(&root).unwrap();
        own(&root);
        let data = format!("--datadir={}", root.join("data").display());
        let install = command("mariadb-install-db")
            .args([&data, "--auth-root-authentication-method=normal", "--skip-test-db"])
            .output()
            .unwrap_or_else(|error| panic!("mariadb-install-db cannot be run ({error}); tests/install-deps installs it"));
        assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
        fs::write(root.join("init.sql"), statements).unwrap();
        let log = fs::File::create(root.join("log")).unwrap();
        let child = command("/usr/sbin/mariadbd")
            .arg(data)
            .args([format!("--port={port}"), format!("--socket={}", root.join("socket").display())])
            .args([
                format!("--pid-file={}", root.join("pid").display()),
                format!("--init-file={}", root.join("init.sql").display()),
            ])
            .args(["--bind-address=127.0.0.1", "--proxy-protocol-networks=127.0.0.0/8", "--skip-name-resolve"])
            .args(["--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=0"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { root, port, child };
        until("MariaDB listens", || TcpStream::connect(server.address()).is_ok().then_some(()));
        server
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Asks as root, past every proxy.
    fn ask(&self, sql: &str) -> String {
        let socket = format!("--socket={}", self.root.join("socket").display());
        let output = command("mariadb").args([&socket, "--user=root", "-N", "-B", "-e", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A client that logs in as `app` and asks.
fn ask_at(address: SocketAddr, sql: &str) -> Output {
    let (host, port) = (format!("--host={}", address.ip()), format!("--port={}", address.port()));
    command("mariadb").args([&host, &port, "--protocol=tcp", "--user=app", "-N", "-B", "-e", sql]).output().unwrap()
}

/// A proxy in front of `to` that says of every client that it is `client`.
fn proxy_naming(client: &'static str, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = client_from([127, 0, 0, 2], to);
            io::Write::write_all(&mut &far, &header(Version::V1, client)).unwrap();
            for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                thread::spawn(move || {
                    let _ = io::copy(&mut &from, &mut &to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    address
}

#[test]
fn mariadb_sees_the_client_behind_mainstay_and_behind_the_proxy_in_front() {
    const WHO: &str = "SELECT USER(), HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()";
    let server = MariaDb::start("CREATE USER 'app'@'192.0.2.77';\nCREATE USER 'app'@'127.0.0.1';\n");
    for send in ["v1", "v2"] {
        let keys = json!({"proxy_protocol": {"accept_from": ["127.0.0.2"], "send": send}});
        let front = Front::with(&configured(&keys, &[server.address()]));
        // A client that has connected and said nothing yet.
        let stream = front.connect();
        let waiting = || server.ask("SELECT HOST FROM information_schema.PROCESSLIST WHERE USER = 'unauthenticated user'");
        let own = stream.local_addr().unwrap().to_string();
        until("it is listed under its own address and port", || waiting().lines().any(|host| host == own).then_some(()));
        drop(stream);

        let output = ask_at(proxy_naming("192.0.2.77", front.address()), WHO);
        let (answer, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(answer.trim_end(), "app@192.0.2.77\t192.0.2.77:4242", "{send}: {error}");
        // The server judges by it.
        let output = ask_at(proxy_naming("192.0.2.78", front.address()), WHO);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains("'192.0.2.78'"), "{send}: {error}");
    }
    let front = Front::with(&configured(&json!({"proxy_protocol": {"send": "off"}}), &[server.address()]));
    let output = ask_at(front.address(), WHO);
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.starts_with("app@127.0.0.1\t"), "{answer} {}", String::from_utf8_lossy(&output.stderr));
}
