//! A network of the test's own: a network namespace with nothing in it but loopback, deleted with the test.

use std::{
    fs::File,
    os::fd::AsFd,
    panic::resume_unwind,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::child::Bounded;

/// Runs a command, which must succeed.
pub fn run(words: &[&str]) -> String {
    let output: Output = Command::new(words[0])
        .args(&words[1..])
        .bounded_output()
        .unwrap_or_else(|error| panic!("{} cannot be run ({error}); tests/install-deps installs it", words[0]));
    assert!(output.status.success(), "{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub struct Network {
    name: String,
}

impl Network {
    /// A new one, with loopback up.
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        assert!(rustix::process::geteuid().is_root(), "this test makes a network of its own and needs root for it");
        let name = format!("mainstay-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        run(&["ip", "netns", "add", &name]);
        let network = Self { name };
        network.ip(&["link", "set", "lo", "up"]);
        network
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip` inside it.
    pub fn ip(&self, words: &[&str]) -> String {
        run(&[&["ip", "-n", &self.name], words].concat())
    }

    /// A program inside it.
    pub fn run(&self, words: &[&str]) -> String {
        run(&[&["ip", "netns", "exec", &self.name], words].concat())
    }

    /// Runs a test inside it, on a thread of its own: its sockets, and all threads and processes that it starts.
    pub fn inside<T: Send>(&self, test: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let moved = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            test()
        };
        thread::scope(|scope| scope.spawn(moved).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// A firewall rule for what leaves; loopback traffic passes it once each way. Rules are in the order they were added.
    pub fn firewall(&self, rule: &str) {
        let script = format!(
            "add table inet fault; add chain inet fault out {{ type filter hook output priority 0; }}; add rule inet fault out {rule}"
        );
        self.run(&["nft", &script]);
    }

    /// Takes all firewall rules away.
    pub fn heal(&self) {
        self.run(&["nft", "delete table inet fault"]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).bounded_status();
    }
}
