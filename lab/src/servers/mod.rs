//! Real servers for tests and benches, each in a directory of its own and on a port of its own, gone when it is dropped. Whatever
//! does not do as it should panics, and says why.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "only tests and benches start them: a failing test should panic, and the names of a server's verbs explain themselves"
)]

pub mod mariadb;
pub mod mysql;
pub mod mysqld;
pub mod patroni;
pub mod postgres;
pub mod redis;
pub mod release;

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Output},
};

use crate::{
    child::{Bounded, until_stopped},
    directory::Owner,
};

/// As whom a server runs.
fn owner(user: &str) -> Owner {
    Owner::of(user).unwrap_or_else(|| panic!("there is no user {user}; tests/install-deps makes it"))
}

/// A port that nobody has on any of these addresses at the moment.
fn free_port(ips: &[Ipv4Addr]) -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if ips.iter().all(|ip| TcpListener::bind((*ip, port)).is_ok()) {
            return port;
        }
    }
}

fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; tests/install-deps installs it"))
}

/// Runs a program, which has no input, to its end.
fn output(command: &mut Command) -> Output {
    command.bounded_output().unwrap_or_else(|error| panic!("{command:?}: {error}; tests/install-deps installs it"))
}

/// Runs a program that must succeed; what it printed.
fn succeed(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Signals a process as kill(1) does. One that is to stop has stopped then.
fn signal(signal: &str, pid: u32) {
    succeed(Command::new("kill").args([signal, &pid.to_string()]));
    if signal == "-STOP" {
        until_stopped(pid);
    }
}

/// Kills a server and reaps it.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
