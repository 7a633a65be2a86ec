//! `mainstay man`: a page for each command, and one for the configuration, which groff and mandoc read without complaint.

use std::{collections::BTreeSet, fs, process::Command};

use mainstay::config;

use crate::support::{child::Bounded as _, scratch::Scratch};

fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).bounded_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{words:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn pages() -> Scratch {
    let scratch = Scratch::new();
    let dir = scratch.path("deeper/man");
    run(&[env!("CARGO_BIN_EXE_mainstay"), "man", "--dir", dir.to_str().unwrap()]);
    scratch
}

/// Every command, as the help names them.
fn commands() -> BTreeSet<String> {
    let help = run(&[env!("CARGO_BIN_EXE_mainstay"), "--help"]);
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    // A sentence goes on in the column in which it began.
    let names = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_page() {
    let scratch = pages();
    let files: BTreeSet<String> = fs::read_dir(scratch.path("deeper/man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let commands = commands();
    assert!(commands.contains("switchover") && commands.len() > 20, "{commands:?}");
    let wanted = commands.iter().map(|name| format!("mainstay-{name}.1"));
    assert_eq!(files, wanted.chain(["mainstay.1".to_owned(), "mainstay.yaml.5".to_owned()]).collect());
}

#[test]
fn groff_and_mandoc_read_them_without_complaint() {
    let scratch = pages();
    for entry in fs::read_dir(scratch.path("deeper/man")).unwrap() {
        let path = entry.unwrap().path();
        let path = path.to_str().unwrap();
        let shown = run(&["groff", "-ww", "-man", "-K", "utf8", "-T", "utf8", path]);
        assert!(shown.contains("mainstay"), "{path}: {shown}");
        // A page without a date is one of its warnings.
        run(&["mandoc", "-T", "lint", "-W", "error", path]);
    }
}

#[test]
fn the_page_of_the_configuration_has_every_key() {
    let scratch = pages();
    let path = scratch.path("deeper/man/mainstay.yaml.5");
    let shown = run(&["groff", "-man", "-K", "utf8", "-T", "ascii", "-P", "-cbou", path.to_str().unwrap()]);
    for (title, rows) in config::reference() {
        let title = title.replace('`', "").to_uppercase();
        assert!(shown.lines().any(|line| line == title), "{title}:\n{shown}");
        for row in rows {
            let is_shown = |line: &str| line.split_whitespace().next() == Some(row.key);
            assert!(shown.lines().any(is_shown), "{title} has no {}", row.key);
        }
    }
}

#[test]
fn without_a_directory_the_first_page_is_printed() {
    let page = run(&[env!("CARGO_BIN_EXE_mainstay"), "man"]);
    assert!(page.starts_with(".TH \"MAINSTAY\" 1"), "{page}");
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay")).args(["man", "--dir", "/dev/null/man"]).bounded_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/dev/null/man"), "{output:?}");
}
