//! Environment variables in the place of flags.

use std::process::{Command, Output};

use crate::support::{child::Bounded, scratch::Scratch};

const VARIABLES: [&str; 22] = [
    "MAINSTAY_CONFIG",
    "MAINSTAY_POOL",
    "MAINSTAY_LISTEN",
    "MAINSTAY_LISTEN_REPLICA",
    "MAINSTAY_BACKEND",
    "MAINSTAY_CHECK",
    "MAINSTAY_CHECK_USER",
    "MAINSTAY_CHECK_PASSWORD",
    "MAINSTAY_CHECK_PASSWORD_FILE",
    "MAINSTAY_CHECK_DATABASE",
    "MAINSTAY_CHECK_PORT",
    "MAINSTAY_CHECK_TLS",
    "MAINSTAY_CHECK_TLS_CA_FILE",
    "MAINSTAY_CHECK_TLS_CERT_FILE",
    "MAINSTAY_CHECK_TLS_KEY_FILE",
    "MAINSTAY_ADMIN",
    "MAINSTAY_ADMIN_TOKEN_FILE",
    "MAINSTAY_LOG_LEVEL",
    "MAINSTAY_LOG_FORMAT",
    "MAINSTAY_SHUTDOWN_DELAY",
    "MAINSTAY_SHUTDOWN_TIMEOUT",
    "MAINSTAY_STATE_DIR",
];

fn mainstay(words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.args(words).envs(variables.iter().copied()).bounded_output().unwrap()
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let empty = VARIABLES.map(|name| (name, ""));
    // None of them gets so far as to serve, or to ask somebody.
    for words in [
        &["run"][..],
        &["run", "--listen", "localhost:0", "--backend", "db-a:5432"],
        &["check", "--config", "/nowhere/mainstay.yaml"],
        &["check"],
        &["status", "--admin", "127.0.0.1:0"],
        &[],
    ] {
        let (without, with) = (mainstay(words, &[]), mainstay(words, &empty));
        assert!(!without.status.success(), "{words:?}");
        assert_eq!(without, with, "{words:?}");
    }
}

#[test]
fn every_variable_is_in_the_help_and_on_the_page() {
    let output = mainstay(&["run", "--help"], &[]);
    let help = String::from_utf8(output.stdout).unwrap();
    let page = include_str!("../../../docs/container.md");
    for name in VARIABLES {
        assert!(help.contains(name), "{name} is not in the help");
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not in docs/container.md");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `MAINSTAY_")).count();
    assert_eq!(rows, VARIABLES.len(), "docs/container.md has one that is not known here");
    let words = help.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|word| word.starts_with("MAINSTAY_"));
    let unknown: Vec<&str> = words.filter(|word| !VARIABLES.contains(word)).collect();
    assert!(unknown.is_empty(), "the help has some that are not known here: {unknown:?}");
}

#[test]
fn a_file_beside_flags_is_refused_by_the_names_that_were_written() {
    let scratch = Scratch::new();
    let file = scratch.file("mainstay.yaml", "", 0o600);
    let (flag, variable) = (["run", "-c", file.to_str().unwrap()], [("MAINSTAY_CONFIG", file.to_str().unwrap())]);
    let listen = ("MAINSTAY_LISTEN", "127.0.0.1:0");
    let backend = ("MAINSTAY_BACKEND", "db-a:5432");
    let typed = ["run", "--listen", "127.0.0.1:0"];
    for (words, variables, named, not_named) in [
        (&flag[..], &[listen][..], &["--config FILE", "MAINSTAY_LISTEN", "unset MAINSTAY_LISTEN"][..], &["--listen"][..]),
        (&flag, &[backend], &["--config FILE", "MAINSTAY_BACKEND"], &["--backend"]),
        (&typed, &variable, &["MAINSTAY_CONFIG", "--listen"], &["--config FILE", "MAINSTAY_LISTEN"]),
        (&["run"], &[variable[0], listen], &["MAINSTAY_CONFIG", "MAINSTAY_LISTEN"], &["--config FILE", "--listen"]),
        (&[&flag[..], &typed[1..]].concat(), &[], &["--config FILE", "--listen"], &["MAINSTAY_CONFIG"]),
    ] {
        let output = mainstay(words, variables);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        for name in named {
            assert!(text.contains(name), "{name} is missing in: {text}");
        }
        let told = text.lines().next().unwrap();
        assert!(not_named.iter().all(|name| !told.contains(name)), "{text}");
    }
}
