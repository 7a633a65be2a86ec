//! kill -9: the sessions of a dead server end at once, by its kernel or by mainstay.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Instant,
};

use serde_json::{Value, json};

use super::Session;
use crate::support::{
    mariadb::MariaDb,
    postgres::Postgres,
    process::{Process, settings},
    redis::Redis,
    wait::until,
};

const EACH: usize = 20;

/// Idle and busy sessions, as `open` and `keep_busy` make them, end when the server is killed, without another to go to.
fn all_end(backend: u16, check: &Value, open: fn(TcpStream) -> TcpStream, keep_busy: fn(&TcpStream), kill: impl FnOnce()) {
    let mut settings = settings(&[([127, 0, 0, 1], backend).into()]);
    settings["pools"][0]["check"] = check.clone();
    let process = Process::start(&settings).serving();
    let sessions: Vec<_> = (0..2 * EACH).map(|_| open(process.connect())).collect();
    sessions.iter().step_by(2).for_each(keep_busy);
    let killed = Instant::now();
    kill();
    for mut session in &sessions {
        let rest = session.read_to_end(&mut Vec::new());
        println!("ended after {:?}: {rest:?}", killed.elapsed());
        // As a client does that was told.
        let _ = session.shutdown(Shutdown::Both);
    }
    drop(sessions);
    until("no session is left", || (process.metric("mainstay_connections_active", &[]) == 0).then_some(()));
    let closed = |reason| process.metric("mainstay_connections_closed_total", &[("reason", reason)]);
    let reasons = ["server_eof", "server_reset", "client_eof", "client_reset", "revoked"].map(|reason| (reason, closed(reason)));
    // Its kernel was first, or mainstay: a session that broke without a FIN of the check's own is no proof that the kernel will.
    let ended: u64 = ["server_eof", "server_reset", "revoked"].map(closed).iter().sum();
    assert_eq!(ended, 2 * EACH as u64, "{reasons:?}");
}

#[test]
fn sessions_of_a_killed_postgres_end_at_once() {
    let server = Postgres::primary(&["max_connections=60"]);
    let open = |stream| Session::open(stream).unwrap().0;
    let keep_busy = |session: &TcpStream| Session(session.try_clone().unwrap()).ask("SELECT pg_sleep(600)").unwrap();
    all_end(server.port, &json!("postgres"), open, keep_busy, || server.signal_all("-KILL"));
}

#[test]
fn sessions_of_a_killed_mariadb_end_at_once() {
    fn packet(mut stream: &TcpStream) -> Vec<u8> {
        let mut head = [0; 4];
        stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
        stream.read_exact(&mut body).unwrap();
        body
    }
    let server = MariaDb::start(&[]);
    let open = |mut stream: TcpStream| {
        packet(&stream);
        let mut login = vec![0, 0, 0, 1, 0, 0x82, 8, 0, 0, 0, 0, 1, 33];
        login.extend([0; 23]);
        login.extend(b"root\0\0mysql_native_password\0");
        login[0] = u8::try_from(login.len() - 4).unwrap();
        stream.write_all(&login).unwrap();
        assert_eq!(packet(&stream)[0], 0, "it logs in");
        stream
    };
    let keep_busy = |mut session: &TcpStream| session.write_all(b"\x12\0\0\0\x03SELECT SLEEP(600)").unwrap();
    all_end(server.port, &json!({"mysql": {"user": "root"}}), open, keep_busy, || server.signal("-KILL"));
}

#[test]
fn sessions_of_a_killed_redis_end_at_once() {
    let server = Redis::primary(&[]);
    let open = |mut stream: TcpStream| {
        stream.write_all(b"PING\r\n").unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
        stream
    };
    let keep_busy = |mut session: &TcpStream| session.write_all(b"BLPOP nothing 0\r\n").unwrap();
    all_end(server.address().port(), &json!("redis"), open, keep_busy, || server.signal("-KILL"));
}
