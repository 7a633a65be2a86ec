//! `mainstay probe` as a command: its exit codes.

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::Command,
};

use clap::Parser;
use mainstay::cli::probe::{Args, run};

use crate::support::{child::Bounded, postgres::Postgres, wait::accept};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn exit_code(words: &str) -> u8 {
    let cli = Cli::try_parse_from(["probe"].into_iter().chain(words.split_whitespace()));
    cli.map_or(2, |cli| run(&cli.args))
}

#[test]
fn the_exit_code_tells_what_the_screen_does() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(exit_code(&format!("tcp {address}")), 0);
    assert_eq!(exit_code(&format!("postgres {address} --timeout 50ms --json")), 1);
    assert_eq!(exit_code(&format!("exec {address} --env HOME --env A=b -- /bin/true")), 0);
    assert_eq!(exit_code(&format!("exec {address} --roles -- /bin/echo primary lag=0 --json")), 0);
    assert_eq!(exit_code(&format!("exec {address} --roles --json -- /bin/echo master")), 1);
    assert_eq!(exit_code(&format!("exchange {address} --send PING\\r\\n --expect +PONG --timeout 50ms")), 1);
    for words in [
        "oracle ADDRESS",
        "tcp nowhere",
        "postgres ADDRESS --tls maybe",
        "postgres ADDRESS --tls verify-full",
        "postgres ADDRESS --timeout 5",
        "postgres ADDRESS --password-file /nonexistent/password",
        "http ADDRESS --path primary",
        "http ADDRESS --port 0",
        "http ADDRESS --status 99",
        "http ADDRESS --tls prefer",
        "http ADDRESS --user mainstay",
        "http ADDRESS --tls-cert-file /a.pem",
        "exec ADDRESS",
        "exec ADDRESS -- true",
        "exchange ADDRESS",
        "exchange ADDRESS --send x",
        "exchange ADDRESS --expect x --tls prefer",
    ] {
        assert_eq!(exit_code(&words.replace("ADDRESS", &address.to_string())), 2, "{words}");
    }
    assert_eq!(exit_code(&format!("http {address} --timeout 50ms")), 1);
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = endpoint.local_addr().unwrap().port();
    let answers = std::thread::spawn(move || {
        for _ in 0..3 {
            let mut stream = accept(&endpoint);
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }
    });
    // The backend is asked at another port. A standby answers as asked, too.
    assert_eq!(exit_code(&format!("http {address} --port {port} --path /leader?x=1 --status 200 --status 204")), 0);
    assert_eq!(exit_code(&format!("http {address} --port {port}")), 0);
    assert_eq!(exit_code(&format!("http {address} --port {port} --json")), 0);
    answers.join().unwrap();
    drop(listener);
    assert_eq!(exit_code(&format!("postgres {address}")), 1);
}

#[test]
fn what_the_role_lacks_for_a_switchover_is_told_until_it_is_granted() {
    let server = Postgres::primary(&[]);
    server.sql("CREATE ROLE ordinary LOGIN");
    let address = format!("127.0.0.1:{}", server.port);
    let probe = |more: &[&str]| {
        let words = ["probe", "postgres", &address, "--user", "ordinary", "--tls", "off", "--timeout", "10s"];
        let output = Command::new(env!("CARGO_BIN_EXE_mainstay")).args(words).args(more).bounded_output().unwrap();
        assert!(output.status.success(), "a right that only a switchover needs is no failure: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let screen = probe(&[]);
    for words in ["Only for a switchover", "GRANT pg_monitor TO ordinary", "GRANT pg_signal_backend TO ordinary"] {
        assert!(screen.contains(words), "{words} in {screen}");
    }
    server.sql("GRANT pg_monitor, pg_signal_backend TO ordinary");
    assert!(!probe(&[]).contains("breaks no transaction"));
    let json: serde_json::Value = serde_json::from_str(&probe(&["--json"])).unwrap();
    assert_eq!(json["switchover_lacks"], serde_json::json!([]));
}
