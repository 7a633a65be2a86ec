//! A network of the measurement's own: a namespace with nothing in it but loopback, whose TCP works as on most machines.
//!
//! How a connection sends is the kernel's choice (`net.ipv4.tcp_congestion_control`), and each network namespace has its own.
//! On loopback it decides more than any proxy does: BBR paces what is sent by a timer for each connection, and what a proxy
//! then costs is mostly those timers. cubic, the default of Linux, sends what the window allows.

use std::{fs, fs::File, os::fd::AsFd, process::Command};

use lab::failure::Failure;
use rustix::{
    process::geteuid,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// Window-based, the most usual first. A namespace may only choose what the machine allows to everybody.
const WINDOW_BASED: [&str; 2] = ["cubic", "reno"];

/// Moves this thread, and with it every thread and child to come, into a new network; without root it stays in the machine's.
/// The congestion control that counts now, and whose it is.
pub(crate) fn enter() -> Result<String, Failure> {
    if !geteuid().is_root() {
        return Ok(format!("{}, the machine's own (a network of the measurement's own needs root)", congestion()?));
    }
    let name = format!("mainstay-peers-{}", std::process::id());
    ip(&["netns", "add", &name])?;
    let moved = File::open(format!("/run/netns/{name}"))
        .and_then(|file| Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?));
    // It lives on for as long as somebody is in it.
    ip(&["netns", "del", &name])?;
    moved?;
    ip(&["link", "set", "lo", "up"])?;
    let machines = congestion()?;
    let chosen = WINDOW_BASED.iter().find(|name| fs::write(CONGESTION, name).is_ok());
    Ok(chosen.map_or_else(|| format!("{machines}, as the machine has it"), |name| format!("{name} (the machine has {machines})")))
}

fn congestion() -> Result<String, Failure> {
    Ok(fs::read_to_string(CONGESTION)?.trim().to_owned())
}

fn ip(words: &[&str]) -> Result<(), Failure> {
    let output = Command::new("ip").args(words).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::Said(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim())))
}
