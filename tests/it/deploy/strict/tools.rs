//! kubectl (kustomize), Helm, the Compose command and the schemas, as `tests/install-deps validators` leaves them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use crate::support::{child::Bounded, repository::path, scratch::Scratch};

pub(super) fn place(name: &str) -> PathBuf {
    path("target/validators").join(name)
}

fn run(command: &mut Command) -> Output {
    let name = command.get_program().to_owned();
    command.bounded_output().unwrap_or_else(|error| panic!("{}: {error}; `make deploy-check` installs it", name.display()))
}

pub(super) fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What kustomize makes of a directory of the repository.
pub(super) fn kustomize(directory: &str) -> String {
    kustomize_at(&path(directory))
}

pub(super) fn kustomize_at(directory: &Path) -> String {
    succeeded(&run(Command::new(place("bin/kubectl")).arg("kustomize").arg(directory).env_clear()))
}

pub(super) fn helm(words: &[&str]) -> Output {
    let home = Scratch::new();
    let mut command = Command::new(place("bin/helm"));
    command.args(words).env_clear();
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HOME"] {
        command.env(name, home.directory());
    }
    run(&mut command)
}

/// The Compose command, in the repository.
pub(super) fn compose(words: &[&str]) -> Output {
    let home = Scratch::new();
    run(Command::new(place("bin/docker-compose")).args(words).current_dir(path("")).env_clear().env("HOME", home.directory()))
}

/// What the strict schemas of a version of Kubernetes say of files: a line for each resource.
pub(super) fn kubernetes_validate(version: &str, files: &[PathBuf]) -> (bool, String) {
    let mut command = Command::new(place("venv/bin/python"));
    command.args(["-m", "kubernetes_validate", "--strict", "-k", version]).args(files);
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

/// What is wrong with resources of the Prometheus operator.
pub(super) fn operator(resources: &[Value]) -> Vec<String> {
    let own = Scratch::new();
    let file = own.file("resources.json", serde_json::to_string(resources).unwrap(), 0o644);
    let output = run(Command::new("node").arg(path("tests/validators/operator.mjs")).arg(place("")).arg(file));
    let faults: Vec<_> = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
    assert_eq!(output.status.success(), faults.is_empty(), "{faults:?}");
    faults
}
