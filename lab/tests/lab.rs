//! What `mainstay demo` is made of, each on its own: the embedded server, the writing clients, the real cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test should panic")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use lab::{
    child::Bounded,
    clients::{ClientOptions, Clients, READ_ROWS},
    cluster::{Auth, Cluster, Options},
    server::MiniServer,
    session::{Endpoint, Session, SessionError, query_once},
    system::{Build, Fault, Role, System},
    wait::{self, accept, patience, stands_still},
};

/// Waits for a condition, for a bounded time.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    wait::until(what, || condition().then_some(()));
}

fn ask(address: SocketAddr, sql: &str) -> Result<Vec<Vec<Option<String>>>, SessionError> {
    query_once(&Endpoint::Tcp(address), sql, patience())
}

/// The SQLSTATE a statement is refused with.
fn refusal(address: SocketAddr, sql: &str) -> String {
    match ask(address, sql) {
        Err(SessionError::Server(error)) => error.code,
        other => panic!("expected the server to refuse {sql}, got {other:?}"),
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, patience()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream
}

fn pair() -> (MiniServer, MiniServer) {
    let system = System::new();
    let primary = MiniServer::start(&system, Role::Primary, 1).unwrap();
    let standby = MiniServer::start(&system, Role::Standby, 1).unwrap();
    standby.follow(&primary);
    (primary, standby)
}

#[test]
fn mini_server_answers_byte_for_byte() {
    let (primary, _standby) = pair();
    let mut stream = connect(primary.address());
    stream.write_all(b"\0\0\0\x08\x04\xd2\x16\x2f").unwrap(); // SSLRequest
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"N");
    stream.write_all(b"\0\0\0\x11\0\x03\0\0user\0me\0\0").unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"R\0\0\0\x08\0\0\0\0");
    stream.write_all(b"Q\0\0\0\x0cwrite 7\0X\0\0\0\x04").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let end = b"C\0\0\0\x0fINSERT 0 1\0Z\0\0\0\x05I";
    assert!(rest.ends_with(end), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(primary.rows().into_iter().collect::<Vec<_>>(), [7]);
}

#[test]
fn mini_server_tells_its_role_as_the_check_asks() {
    let (primary, standby) = pair();
    let sql = "SELECT pg_is_in_recovery(), whatever";
    let of = |server: &MiniServer| ask(server.address(), sql).unwrap().remove(0).into_iter().collect::<Vec<_>>();
    let (first, second) = (of(&primary), of(&standby));
    let text = |value: &str| Some(value.to_owned());
    assert_eq!(first[..3], [text("f"), text("off"), text("1")]);
    assert_eq!(second[..3], [text("t"), text("on"), text("1")]);
    assert_eq!((first[3].clone(), first[4].clone()), (second[3].clone(), None), "one cluster, one system identifier");
    standby.promote();
    assert_eq!(of(&standby)[..3], [text("f"), text("off"), text("2")]);
}

#[test]
fn mini_server_understands_the_library_that_the_check_uses() {
    let (primary, _standby) = pair();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(primary.address()).await.unwrap();
        let config = "user=probe dbname=postgres sslmode=prefer".parse::<tokio_postgres::Config>().unwrap();
        let (client, connection) = config.connect_raw(stream, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let answer = client.simple_query("SELECT pg_is_in_recovery() AS in_recovery").await.unwrap();
        let row = answer.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.expect("one row");
        assert_eq!((row.get("in_recovery"), row.get("timeline"), row.get("lag_bytes")), (Some("f"), Some("1"), None));
        assert_eq!(row.get("version"), Some("15.0 (mainstay demo)"));
        drop(client);
        connection.await.unwrap().unwrap();
    });
}

#[test]
fn mini_server_survives_garbage() {
    let (primary, _standby) = pair();
    let login = b"\0\0\0\x0b\0\x03\0\0a\0\0";
    let after_login: [&[u8]; 5] =
        [b"Q\0\0\0\0", b"Q\xff\xff\xff\xff", b"\xde\xad\xbe\xef\0\0\0\x04", b"?\0\0\0\x04", b"Q\0\0\0\x07\xff\xfe\xfd"];
    let openings: [&[u8]; 6] =
        [b"", b"\0", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x04", b"\0\0\0\x08\0\x09\0\0", b"\0\0\0\x10\x04\xd2\x16\x2e01234567"];
    for garbage in openings {
        let mut stream = connect(primary.address());
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    for garbage in after_login {
        let mut stream = connect(primary.address());
        stream.write_all(&[login, garbage].concat()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // A small fixed sequence of pseudo-random bytes (xorshift), cut into pieces of all lengths.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for length in 0..64 {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        let mut stream = connect(primary.address());
        let _ = stream.write_all(&[&login[..], &noise].concat());
    }
    assert_eq!(ask(primary.address(), "select count(*) from demo").unwrap(), [[Some("0".to_owned())]]);
    assert_eq!(refusal(primary.address(), "DROP TABLE demo"), "0A000");
}

#[test]
fn mini_server_replicates_before_it_acknowledges_and_a_standby_refuses() {
    let (primary, standby) = pair();
    ask(primary.address(), "insert into demo values (1)").unwrap();
    assert_eq!(standby.rows(), primary.rows());
    assert_eq!(refusal(standby.address(), "insert into demo values (2)"), "25006");
    assert_eq!(refusal(primary.address(), "insert into demo values (1)"), "23505");

    standby.freeze();
    let short = Duration::from_millis(200);
    let waiting = query_once(&Endpoint::Tcp(primary.address()), "insert into demo values (3)", short);
    assert!(matches!(waiting, Err(SessionError::Io(_))), "acknowledged without the standby: {waiting:?}");
    standby.thaw();
    ask(primary.address(), "insert into demo values (4)").unwrap();
    assert!(standby.rows().contains(&4));
}

#[test]
fn mini_server_dies_by_reset_and_comes_back_at_the_same_address() {
    let (primary, standby) = pair();
    ask(primary.address(), "write 1").unwrap();
    let mut session = connect(primary.address());
    session.write_all(b"\0\0\0\x0b\0\x03\0\0a\0\0").unwrap();
    let mut first = [0; 9];
    session.read_exact(&mut first).unwrap();
    primary.kill().unwrap();
    let reset = session.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(
        TcpStream::connect_timeout(&primary.address(), patience()).unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );

    standby.promote();
    ask(standby.address(), "write 2").unwrap();
    primary.start_as(Role::Primary, 1).unwrap();
    ask(primary.address(), "write 3").unwrap();
    assert_eq!(standby.rows().into_iter().collect::<Vec<_>>(), [1, 2], "two primaries do not see each other's rows");
    primary.follow(&standby);
    assert_eq!((primary.role(), primary.timeline()), (Role::Standby, 2));
    assert_eq!(primary.rows().into_iter().collect::<Vec<_>>(), [1, 2], "the row of the wrong primary is gone");
    assert!(primary.start_as(Role::Primary, 1).is_err(), "started twice");
}

#[test]
fn mini_server_says_goodbye_when_it_is_stopped_and_counts_its_clients() {
    let (primary, _standby) = pair();
    let mut session = connect(primary.address());
    session.write_all(b"\0\0\0\x11\0\x03\0\0user\0me\0\0").unwrap();
    session.read_exact(&mut [0; 9]).unwrap();
    until("it is logged in", || primary.logins("me") == 1);
    primary.stop().unwrap();
    let mut rest = Vec::new();
    session.read_to_end(&mut rest).unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("57P01"), "{}", String::from_utf8_lossy(&rest));
    primary.stop().unwrap();
    primary.start_as(Role::Primary, 1).unwrap();
    assert_eq!((primary.logins("me"), primary.logins("postgres")), (1, 0));
}

#[test]
fn mini_server_answers_as_its_update_has_it() {
    let (primary, standby) = pair();
    for row in 1..=3 {
        ask(primary.address(), &format!("write {row}")).unwrap();
    }
    let report = || ask(standby.address(), "select count(*), sum(id) from demo where id <= 3").unwrap().remove(0);
    assert_eq!(report(), [Some("3".to_owned()), Some("6".to_owned())]);
    standby.install(Build { fault: Some(Fault::Wrong), ..Build::of("15.1 (mainstay demo)") });
    assert_eq!(report(), [Some("2".to_owned()), Some("3".to_owned())]);
    assert_eq!(ask(standby.address(), "SELECT pg_is_in_recovery()").unwrap()[0][5].as_deref(), Some("15.1 (mainstay demo)"));
    let missing = || ask(standby.address(), "SELECT x FROM pg_catalog.pg_available_extension_versions() v").unwrap().len();
    assert_eq!(missing(), 0);
    standby.install(Build { fault: Some(Fault::NoExtension), ..Build::of("15.1 (mainstay demo)") });
    assert_eq!(missing(), 1);
}

#[test]
fn mini_server_answers_nothing_while_frozen() {
    let (primary, _standby) = pair();
    primary.freeze();
    let answer = query_once(&Endpoint::Tcp(primary.address()), "select count(*) from demo", Duration::from_millis(200));
    assert!(matches!(&answer, Err(SessionError::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut), "{answer:?}");
    primary.thaw();
    ask(primary.address(), "select count(*) from demo").unwrap();
}

#[test]
fn clients_count_what_was_acknowledged_and_call_the_rest_indeterminate() {
    let (primary, standby) = pair();
    let options = ClientOptions { count: 4, ..ClientOptions::default() };
    let clients = Clients::start(&Endpoint::Tcp(primary.address()), &options).unwrap();
    until("acknowledged writes", || clients.tally().acknowledged > 50);
    assert!(clients.recently(Duration::from_secs(1)) > 0);
    assert_eq!(clients.tally().refused, 0);

    // A frozen standby stops the acknowledgements; the kill then comes with one write of each client in flight.
    standby.freeze();
    stands_still("no more acknowledgements", Duration::from_millis(500), || clients.tally().acknowledged);
    primary.kill().unwrap();
    until("every client lost its session and was refused", || {
        let tally = clients.tally();
        tally.lost_sessions == 4 && tally.refused >= 4
    });
    let tally = clients.tally();
    assert_eq!((tally.indeterminate, tally.rejected), (4, 0));
    assert!(tally.last_refusal.is_some());

    standby.thaw();
    let back = Instant::now();
    primary.start_as(Role::Primary, 1).unwrap();
    until("every client is back, and writes", || clients.tally().connected == 8 && clients.first_since(back).is_some());
    let acknowledged = clients.acknowledged();
    let tally = clients.stop();
    assert_eq!(tally.connected, 8);
    assert!(tally.longest_pause >= Duration::from_millis(50), "{tally:?}");
    let rows = primary.rows();
    assert!(acknowledged.iter().all(|row| rows.contains(row)));
    let read = ask(primary.address(), READ_ROWS).unwrap();
    assert_eq!(read.len(), rows.len());
}

#[test]
fn clients_call_an_answer_a_rejection_and_keep_their_session() {
    let (_primary, standby) = pair();
    let clients =
        Clients::start(&Endpoint::Tcp(standby.address()), &ClientOptions { count: 1, ..ClientOptions::default() }).unwrap();
    until("rejected writes", || clients.tally().rejected > 3);
    let tally = clients.stop();
    assert_eq!((tally.acknowledged, tally.indeterminate, tally.connected, tally.refused), (0, 0, 1, 0));
    assert!(tally.last_rejection.unwrap().contains("25006"));
}

#[test]
fn a_session_that_is_refused_before_login_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let mut stream = accept(&listener);
        stream.read_exact(&mut [0; 8]).unwrap();
        stream.write_all(b"E\0\0\0\x1fSFATAL\0C57P03\0Mno primary\0\0").unwrap();
        // Reads to the end, so that closing does not reset what was written.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(Session::connect(&Endpoint::Tcp(address), "a", "b")).unwrap_err();
    assert!(error.ends_session());
    assert_eq!(error.to_string(), "FATAL 57P03: no primary");
    server.join().unwrap();
}

/// The processes whose command line or working directory lies in `directory`; zombies have neither.
fn processes_in(directory: &Path) -> Vec<String> {
    let name = directory.to_str().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let inside = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
        if command.contains(name) || inside {
            found.push(command.replace('\0', " "));
        }
    }
    found
}

fn psql(address: SocketAddr, sql: &str) -> String {
    let output = std::process::Command::new("psql")
        .args(["-X", "-A", "-t", "-h", "127.0.0.1", "-p", &address.port().to_string(), "-U", "postgres", "-c", sql])
        .env("PGPASSWORD", "pencil")
        .bounded_output()
        .expect("psql is needed for this test: apt-get install postgresql-client");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn cluster_fails_over_like_the_real_thing_and_leaves_nothing_behind() {
    let auth = Auth::Scram("pencil".into());
    let cluster = Cluster::create(&Options { auth, ..Options::default() }).unwrap();
    let directory = cluster.directory().to_owned();
    let (first, second) = (cluster.node(0), cluster.node(1));
    cluster.wait_ready(0).unwrap();
    assert_eq!((first.timeline().unwrap(), second.timeline().unwrap()), (1, 1));
    assert!(!first.is_standby().unwrap() && second.is_standby().unwrap());
    psql(first.address(), "CREATE TABLE demo (id int); INSERT INTO demo VALUES (1)");

    first.kill9().unwrap();
    assert_eq!(first.pid(), None);
    assert_eq!(
        TcpStream::connect_timeout(&first.address(), patience()).unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    second.promote().unwrap();
    assert_eq!(second.timeline().unwrap(), 2);
    assert_eq!(psql(second.address(), "INSERT INTO demo VALUES (2) RETURNING (SELECT id FROM demo)"), "1\nINSERT 0 1");

    first.start().unwrap();
    assert_eq!((first.is_standby().unwrap(), first.timeline().unwrap()), (false, 1), "the old one comes back as a primary");
    cluster.rejoin(0, 1).unwrap();
    assert_eq!((first.is_standby().unwrap(), first.timeline().unwrap()), (true, 2));
    until("the write of the new timeline on the rejoined node", || psql(first.address(), "SELECT sum(id) FROM demo") == "3");

    second.sigstop_all();
    let asked = query_once(&second.endpoint(), "SELECT 1", Duration::from_millis(200));
    assert!(asked.is_err(), "a stopped server answered");
    second.sigcont_all();
    assert_eq!(psql(second.address(), "SELECT 1"), "1");

    second.kill9().unwrap();
    assert!(!processes_in(&directory).is_empty(), "the other node runs, and the test can see it");
    drop(cluster);
    assert_eq!(processes_in(&directory), Vec::<String>::new());
    assert!(!directory.exists());
}
