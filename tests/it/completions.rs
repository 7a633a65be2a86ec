//! `mainstay completions`: each shell can read what it gets, and completes by it.

use std::process::Command;

use crate::support::{child::Bounded as _, scratch::Scratch};

fn completions(shell: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay")).args(["completions", shell]).bounded_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_shell_can_read_them() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        let text = completions(shell);
        for word in ["switchover", "schema", "completions"] {
            assert!(text.contains(word), "{shell} has no {word}");
        }
        let file = scratch.file(shell, &text, 0o644);
        let output = Command::new(shell).arg("-n").arg(&file).bounded_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{shell}: {said}");
    }
}

/// What bash offers behind these words.
fn bash(words: &[&str]) -> Vec<String> {
    let scratch = Scratch::new();
    let file = scratch.file("mainstay.bash", completions("bash"), 0o644);
    let (last, before) = (words.last().unwrap(), words[words.len() - 2]);
    let script = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; _mainstay mainstay '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        file.display(),
        words.join(" "),
        words.len() - 1
    );
    let output = Command::new("bash").args(["--norc", "-c", &script]).bounded_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    assert_eq!(bash(&["mainstay", "swi"]), ["switchover"]);
    assert_eq!(bash(&["mainstay", "switchover", "--tr"]), ["--trial"]);
    assert_eq!(bash(&["mainstay", "completions", "f"]), ["fish"]);
}

#[test]
fn another_shell_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay")).args(["completions", "tcsh"]).bounded_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("bash, zsh, fish"), "{output:?}");
}
