//! Unix sockets on both sides: where clients connect, and where backends are.

use std::{
    fs,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    child::Bounded,
    config::relay,
    echo::{Backend, who},
    front::{is_over, unix_client},
    mariadb::MariaDb,
    noise::{Noise, PIECE_MAX},
    postgres::{self, Postgres},
    process::{Process, Signal, settings, start_in_vain},
    redis::Redis,
    scratch::Scratch,
    wait::{patience, until},
};

/// A server at a unix socket; each connection has a thread of its own.
struct Server {
    path: PathBuf,
    listener: UnixListener,
    stop: Arc<AtomicBool>,
}

impl Server {
    fn start(path: PathBuf, script: impl Fn(UnixStream) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let (own, stop, script) = (listener.try_clone().unwrap(), Arc::new(AtomicBool::new(false)), Arc::new(script));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let script = Arc::clone(&script);
                thread::spawn(move || script(stream));
            }
        });
        Self { path, listener: own, stop }
    }

    fn echo(path: PathBuf) -> Self {
        Self::start(path, |mut stream| {
            let _ = io::copy(&mut stream.try_clone().unwrap(), &mut stream);
            let _ = stream.shutdown(Shutdown::Write);
        })
    }

    fn speaker(path: PathBuf, name: u8) -> Self {
        Self::start(path, move |mut stream| {
            let mut byte = [0; 1];
            while let Ok(1) = stream.read(&mut byte)
                && stream.write_all(&[name]).is_ok()
            {}
        })
    }

    /// Closes the socket; its file stays, as after a kill -9.
    fn stop(self) -> PathBuf {
        self.stop.store(true, Ordering::SeqCst);
        socket2::SockRef::from(&self.listener).shutdown(Shutdown::Both).unwrap();
        self.path.clone()
    }
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// One pool that listens at a path, and on TCP as well.
fn pool(listen: &Path, backends: &[(&str, String)]) -> Value {
    let mut settings = settings(&[]);
    let backends: Vec<_> = backends.iter().map(|(name, address)| json!({"name": name, "address": address})).collect();
    let listener = json!({"name": "rw", "listen": ["127.0.0.1:0", unix(listen)], "relay": relay()});
    let pool = settings["pools"][0].as_object_mut().unwrap();
    pool.remove("listen");
    pool.insert("listeners".into(), json!([listener]));
    pool.insert("backends".into(), backends.into());
    settings
}

fn ask(mut client: &UnixStream) -> io::Result<u8> {
    let mut answer = [0; 1];
    client.write_all(b"?")?;
    client.read_exact(&mut answer)?;
    Ok(answer[0])
}

/// Sends so much there, and expects the same back, then the end.
fn echoes<S: Read + Write + Send>(client: S, len: usize, other: impl FnOnce(&S) -> S, finish: impl FnOnce(&S) + Send) {
    let mut noise = Noise::new(7);
    let pieces = (0..len).step_by(PIECE_MAX).map(|at| noise.next(PIECE_MAX.min(len - at)));
    let sent: Vec<u8> = pieces.flatten().copied().collect();
    let mut writer = other(&client);
    let mut reader = client;
    thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || {
            writer.write_all(sent).unwrap();
            finish(&writer);
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert!(got == *sent, "{} of {len} bytes, or others", got.len());
    });
}

#[test]
fn bytes_and_their_end_pass_in_every_combination() {
    let scratch = Scratch::new();
    let door = scratch.path("door");
    let (tcp, server) = (Backend::echo(), Server::echo(scratch.path("db")));
    for backend in [tcp.address.to_string(), unix(&server.path)] {
        let process = Process::start(&pool(&door, &[("db-a", backend)])).serving();
        for len in [1, 100_000, 40 << 20] {
            let by_unix = unix_client(&door);
            echoes(by_unix, len, |s| s.try_clone().unwrap(), |s| s.shutdown(Shutdown::Write).unwrap());
            echoes(process.connect(), len, |s| s.try_clone().unwrap(), |s| s.shutdown(Shutdown::Write).unwrap());
        }
        let ended = |reason| process.metric("mainstay_connections_closed_total", &[("reason", reason)]);
        // A server that answers at once may be found to have finished in the same look as its client.
        until("each has ended in order", || (ended("client_eof") + ended("server_eof") == 6).then_some(()));
    }
}

#[test]
fn clients_of_a_path_move_with_the_others_and_are_shown_as_what_they_are() {
    let scratch = Scratch::new();
    let door = scratch.path("door");
    let (a, b) = (Server::speaker(scratch.path("a"), b'a'), Server::speaker(scratch.path("b"), b'b'));
    let process = Process::start(&pool(&door, &[("db-a", unix(&a.path)), ("db-b", unix(&b.path))])).serving();
    // One after the other: each listener accepts for itself, and sessions are shown in the order in which they came.
    let client = unix_client(&door);
    assert_eq!(ask(&client).unwrap(), b'a');
    let tcp = process.connect();
    assert_eq!(who(&tcp).unwrap(), b'a');

    let status = process.status();
    let (listen, backend) = (&status["pools"][0]["listeners"][0]["listen"], &status["pools"][0]["backends"][0]);
    assert_eq!(listen[1], unix(&door));
    assert_eq!((&backend["address"], &backend["resolved"]), (&json!(unix(&a.path)), &json!([unix(&a.path)])));
    let sessions: Value = serde_json::from_str(&process.get("/api/v1/pools/orders/connections").1).unwrap();
    let clients: Vec<_> = sessions["connections"].as_array().unwrap().iter().map(|session| &session["client"]).collect();
    assert_eq!(clients, [&json!("unix"), &json!(tcp.local_addr().unwrap().to_string())]);

    let path = a.stop();
    assert!(is_over(&client), "a session of a server that is gone");
    assert_eq!(ask(&unix_client(&door)).unwrap(), b'b');
    assert_eq!(who(&process.connect()).unwrap(), b'b');
    // Without its file it is as dead as without its server.
    fs::remove_file(path).unwrap();
    let evidence = || process.status()["pools"][0]["backends"][0]["last_probe"]["evidence"].to_string();
    until("it is missed", || evidence().contains("there is no socket at unix:/").then_some(()));
    assert_eq!(process.status()["pools"][0]["backends"][0]["health"], "down");
}

#[test]
fn the_socket_is_for_everybody_and_goes_with_the_process() {
    let scratch = Scratch::new();
    let (door, admin) = (scratch.path("door"), scratch.path("admin"));
    let server = Server::speaker(scratch.path("a"), b'a');
    let mut settings = pool(&door, &[("db-a", unix(&server.path))]);
    settings["admin"]["listen"] = json!(["127.0.0.1:0", unix(&admin)]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;

    let mut process = Process::start(&settings).serving();
    assert_eq!((mode(&door), mode(&admin)), (0o666, 0o600));
    process.signal(Signal::KILL);
    process.ends_within(patience());
    assert!(fs::metadata(&door).unwrap().file_type().is_socket(), "killed, it cannot clear away");

    let mut process = Process::start(&settings).serving();
    assert_eq!(ask(&unix_client(&door)).unwrap(), b'a', "what was left over is in the way");
    let (code, said) = start_in_vain(&[], &settings);
    assert!(code == Some(1) && said.contains(&format!("cannot listen on {}", unix(&door))) && said.contains("ss -lxp"), "{said}");
    assert_eq!(ask(&unix_client(&door)).unwrap(), b'a', "the one that did not start has taken the place of the one that runs");
    process.signal(Signal::TERM);
    process.ends_within(patience());
    assert!(!door.exists() && !admin.exists());

    fs::write(&door, "precious").unwrap();
    let (code, said) = start_in_vain(&[], &settings);
    assert!(code == Some(1) && said.contains("a file that is no socket"), "{said}");
    assert_eq!(fs::read_to_string(&door).unwrap(), "precious");
    settings["pools"][0]["listeners"][0]["listen"] = unix(&scratch.path("missing/door")).into();
    let (code, said) = start_in_vain(&[], &settings);
    assert!(code == Some(1) && said.contains("its directory does not exist"), "{said}");
}

#[test]
fn a_path_comes_and_goes_by_reload_and_its_queue_is_served() {
    let scratch = Scratch::new();
    let (first, second) = (scratch.path("first"), scratch.path("second"));
    let server = Server::speaker(scratch.path("a"), b'a');
    let at = |door| pool(door, &[("db-a", unix(&server.path))]);
    let process = Process::start(&at(&first)).serving();
    let old = unix_client(&first);
    assert_eq!(ask(&old).unwrap(), b'a');
    for turn in 0..10 {
        let (from, to) = if turn % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let queued: Vec<_> = (0..20).map(|_| unix_client(from)).collect();
        process.reload(&at(to).to_string());
        assert_eq!(ask(&unix_client(to)).unwrap(), b'a');
        for client in &queued {
            assert_eq!(ask(client).unwrap(), b'a');
        }
        until("the other file is gone", || (!from.exists()).then_some(()));
    }
    assert_eq!(ask(&old).unwrap(), b'a');
    assert_eq!(process.metric("mainstay_pool_epoch", &[]), 1);
}

#[test]
fn a_server_whose_queue_is_full_is_waited_for_and_then_given_up() {
    let scratch = Scratch::new();
    let (door, path) = (scratch.path("door"), scratch.path("a"));
    // Nobody accepts, and the queue holds two.
    let address = socket2::SockAddr::unix(&path).unwrap();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&address).unwrap();
    socket.listen(1).unwrap();
    let mut settings = pool(&door, &[("db-a", unix(&path))]);
    settings["pools"][0]["check"]["interval"] = "10s".into();
    // Probes find the queue full as well, and that is not what is asked here.
    settings["pools"][0]["check"]["fall"] = 100.into();
    let process = Process::start(&settings).serving();
    // The probe that connected is part of the queue, and the next one may be: whatever room is left is taken without waiting.
    let mut queued = Vec::new();
    until("the queue is full", || {
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        match client.connect(&address) {
            Ok(()) => queued.push(client),
            Err(error) => return (error.kind() == io::ErrorKind::WouldBlock).then_some(()),
        }
        None
    });
    let client = unix_client(&door);
    let tries = || process.metric("mainstay_dial_failures_total", &[("reason", "timeout")]);
    until("it was waited for in vain", || (tries() > 0).then_some(()));
    // The server wakes up.
    let server = UnixListener::from(socket);
    thread::spawn(move || {
        for mut stream in server.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut byte = [0; 1];
                while let Ok(1) = stream.read(&mut byte)
                    && stream.write_all(b"a").is_ok()
                {}
            });
        }
    });
    assert_eq!(ask(&client).unwrap(), b'a');
}

#[test]
fn what_a_path_cannot_give_is_not_told() {
    let scratch = Scratch::new();
    let door = scratch.path("door");
    let server = Server::start(scratch.path("a"), |mut stream| {
        let mut header = [0; 15];
        if stream.read_exact(&mut header).is_ok() && &header == b"PROXY UNKNOWN\r\n" {
            let _ = io::copy(&mut stream.try_clone().unwrap(), &mut stream);
        }
    });
    let mut settings = pool(&door, &[("db-a", unix(&server.path))]);
    let listener = &mut settings["pools"][0]["listeners"][0];
    listener["proxy_protocol"] = json!({"send": "v1", "accept_from": ["127.0.0.1"]});
    // The clients of a path have no address that could be on a list.
    listener["allow"] = json!(["192.0.2.0/24"]);
    listener["max_connections_per_ip"] = 1.into();
    let process = Process::start(&settings).serving();
    let clients = [unix_client(&door), unix_client(&door)];
    assert!(clients.iter().all(|client| ask(client).unwrap() == b'?'));
    let mut stranger = process.connect();
    stranger.write_all(b"PROXY TCP4 198.51.100.1 192.0.2.2 5 6\r\n?").unwrap();
    assert!(is_over(&stranger), "allow is for those who have an address");
}

fn psql(socket: &Path, port: u16, sql: &str) -> (bool, String) {
    let directory = socket.to_str().unwrap();
    let port = port.to_string();
    let words = ["-X", "-q", "-A", "-t", "-w", "-h", directory, "-p", &port, "-U", "postgres", "-d", "postgres", "-c", sql];
    let output = postgres::binaries().command("psql").args(words).bounded_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn postgresql_is_checked_and_served_by_its_own_socket() {
    let primary = Postgres::primary(&[]);
    let standby = primary.standby(&[]);
    let scratch = Scratch::new();
    let door = scratch.path(".s.PGSQL.5432");
    let socket = |server: &Postgres| unix(&server.socket());
    let mut settings = pool(&door, &[("db-b", socket(&standby)), ("db-a", socket(&primary))]);
    settings["pools"][0]["check"] = json!({"postgres": {"user": "postgres"}, "interval": "200ms", "timeout": "2s"});
    let process = Process::start(&settings).serving();
    assert_eq!(process.status()["pools"][0]["active"], "db-a");
    let (ok, said) = psql(scratch.directory(), 5432, "SELECT pg_is_in_recovery(), inet_server_addr()");
    assert!(ok && said == "f|", "{said}");

    primary.signal("-KILL");
    let waiting = thread::spawn({
        let directory = scratch.directory().to_owned();
        move || psql(&directory, 5432, "SELECT pg_is_in_recovery()")
    });
    standby.promote();
    assert_eq!(waiting.join().unwrap(), (true, "f".to_owned()));
    let backends = process.status()["pools"][0]["backends"].clone();
    assert_eq!((&backends[0]["role"], &backends[1]["health"]), (&json!("primary"), &json!("down")));
    // Nothing else than what is said of any server.
    assert!(!standby.log().contains("could not receive data from client"), "{}", standby.log());
}

fn probe(kind: &str, address: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay")).args(["probe", kind, address]).args(more).bounded_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_kind_of_check_goes_by_a_path() {
    let scratch = Scratch::new();
    let password = scratch.file("password", "secret\n", 0o600);
    let password = ["--user", "probe", "--password-file", password.to_str().unwrap()];
    let server = Server::start(scratch.path("a"), |mut stream| {
        let _ = stream.write_all(b"ready\n");
        let _ = stream.read(&mut [0; 1]);
    });

    let mariadb = MariaDb::start(&[]);
    mariadb.sql(
        "CREATE USER probe@localhost IDENTIFIED BY 'secret'; GRANT REPLICATION CLIENT, SLAVE MONITOR ON *.* TO probe@localhost",
    );
    let redis_socket = scratch.path("redis");
    let redis = Redis::primary(&[&format!("unixsocket {}", redis_socket.display())]);
    let postgres = Postgres::primary(&[]);

    for (kind, path, more, expected) in [
        ("tcp", server.path.clone(), &[][..], "accepted a connection"),
        ("exchange", server.path.clone(), &["--expect", "ready"], "the expected text came"),
        ("mysql", mariadb.socket(), &password, "primary"),
        ("redis", redis_socket.clone(), &[], "primary"),
        ("postgres", postgres.socket(), &["--user", "postgres"], "primary"),
    ] {
        let (code, screen) = probe(kind, &unix(&path), more);
        assert!(code == Some(0) && screen.contains(expected), "{kind}: {screen}");
    }
    // What to grant is said for those who come by the socket.
    let (code, screen) = probe("postgres", &unix(&postgres.socket()), &["--user", "nobody"]);
    assert!(code == Some(1) && screen.contains("local  "), "{screen}");
    drop(redis);
}
