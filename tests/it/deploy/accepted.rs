//! A configuration of `deploy/`, as mainstay reads it.

use std::process::Command;

use serde_json::Value;

use super::yaml;
use crate::support::{child::Bounded, scratch::Scratch};

/// What `mainstay check` says of a configuration.
pub(super) struct Accepted {
    /// The effective configuration.
    pub config: Value,
    pub warnings: Vec<String>,
}

/// A configuration that must be valid, with these environment variables. The files of its Secrets are there.
#[track_caller]
pub(super) fn accepted(config: &str, environment: &[(&str, &str)]) -> Accepted {
    let own = Scratch::new();
    let secrets = "/run/secrets/";
    for at in config.split(secrets).skip(1) {
        let name = at.split(|c: char| c.is_whitespace() || "\"'},".contains(c)).next().unwrap();
        if let Some((directory, _)) = name.split_once('/') {
            std::fs::create_dir_all(own.path(directory)).unwrap();
        }
        // The URL of a webhook is a secret as well.
        own.file(name, if name.ends_with("url") { "https://hooks.example.com/T0" } else { "a-password" }, 0o600);
    }
    let config = config.replace(secrets, &format!("{}/", own.directory().display()));
    let file = own.file("mainstay.yaml", &config, 0o644);
    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.args(["check", "-c"]).arg(&file).args(more).env_clear().envs(environment.iter().copied());
        command.bounded_output().unwrap()
    };
    let said = check(&[]);
    let err = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.success(), "{err}\n{config}");
    let warnings = err.lines().filter_map(|line| line.strip_prefix("warning: ")).map(str::to_owned).collect();
    Accepted { config: yaml(std::str::from_utf8(&check(&["--print"]).stdout).unwrap()), warnings }
}
