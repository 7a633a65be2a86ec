//! Servers that have a login cost as much as they like: they take no time from another pool.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use crate::{
    probe::fake,
    support::{
        config::LOOPBACK,
        echo::{Backend, who},
        process::{Process, settings},
        scratch::Scratch,
        wait::until,
    },
};

const ROGUES: usize = 64;

/// Asks whoever logs in for 2^31 - 1 rounds of SCRAM, and waits.
fn endless(mut stream: TcpStream) {
    let sasl = fake::message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    let mut said = [0; 1024];
    if !matches!(stream.read(&mut said), Ok(1..)) || stream.write_all(&sasl).is_err() {
        return;
    }
    let Ok(length) = stream.read(&mut said) else { return };
    let text = String::from_utf8_lossy(&said[..length]).into_owned();
    let Some((_, nonce)) = text.split_once("r=") else { return };
    let challenge = [&[0, 0, 0, 11], format!("r={nonce}x,s=AAAA,i=2147483647").as_bytes()].concat();
    if stream.write_all(&fake::message(b'R', &challenge)).is_ok() {
        while matches!(stream.read(&mut said), Ok(1..)) {}
    }
}

fn time_of(process: &Process, thread: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/task/{thread}/schedstat", process.pid())).unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn the_rounds_of_rogues_take_no_time_from_the_thread_that_decides() {
    let scratch = Scratch::new();
    let password = scratch.file("password", "secret", 0o600);
    let rogues: Vec<_> = (0..ROGUES).map(|_| Backend::start(endless)).collect();
    let (mut first, second) = (Backend::speaker(b'1', LOOPBACK), Backend::speaker(b'2', LOOPBACK));
    let mut settings = settings(&[first.address, second.address]);
    settings["pools"].as_array_mut().unwrap().push(json!({
        "name": "rogues",
        "listen": "127.0.0.1:0",
        "check": {
            "postgres": {"user": "mainstay", "password_file": password, "database": "postgres", "tls": "off"},
            // Few logins: what the thread does for each is not what is measured.
            "interval": "1s", "fast_interval": "1s", "timeout": "2s",
        },
        "backends": rogues.iter().map(|rogue| rogue.address.to_string()).collect::<Vec<_>>(),
    }));
    let process = Process::start(&settings).serving();
    // Names of threads end after 15 bytes.
    let control = process.thread("mainstay-contro");
    assert_eq!(who(&process.connect()).unwrap(), b'1');
    let before = (process.processor_time_so_far(), time_of(&process, &control));
    first.stop();
    until("the second has taken over", || who(&process.connect()).is_ok_and(|name| name == b'2').then_some(()));
    // However fast the machine is: the rounds are nearly all that there is to do.
    let (whole, own) = until("somebody does the rounds that the rogues want", || {
        let whole = process.processor_time_so_far().saturating_sub(before.0);
        let own = time_of(&process, &control).saturating_sub(before.1);
        (whole > Duration::from_millis(400)).then_some((whole, own))
    });
    assert!(own < whole / 4, "the thread that decides had {own:?} of {whole:?}");
}
