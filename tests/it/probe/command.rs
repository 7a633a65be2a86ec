//! `mainstay probe` as a command: its exit codes.

use std::net::TcpListener;

use clap::Parser;
use mainstay::cli::probe::{Args, run};

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
    for words in [
        "mysql ADDRESS",
        "tcp nowhere",
        "postgres ADDRESS --tls maybe",
        "postgres ADDRESS --tls verify-full",
        "postgres ADDRESS --timeout 5",
        "postgres ADDRESS --password-file /nonexistent/password",
    ] {
        assert_eq!(exit_code(&words.replace("ADDRESS", &address.to_string())), 2, "{words}");
    }
    drop(listener);
    assert_eq!(exit_code(&format!("postgres {address}")), 1);
}
