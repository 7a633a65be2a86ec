//! Errors of system calls, injected into a running process with strace.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    process::{Process, Signal},
    wait::{patience, until},
};

/// The kernel lies to one thread of mainstay, or to all that it has, for as long as this lives.
pub struct Injection(Child);

impl Injection {
    /// `what` as strace has it: `accept4:error=EMFILE:when=1..6`.
    pub fn into(process: &Process, thread: &str, what: &str) -> Self {
        Self::attach(process, &process.thread(thread), &[], what)
    }

    /// As [`Injection::into`], into every thread, also those that are still to begin.
    pub fn into_all(process: &Process, what: &str) -> Self {
        Self::attach(process, &process.pid().to_string(), &["-f"], what)
    }

    fn attach(process: &Process, task: &str, more: &[&str], what: &str) -> Self {
        let syscall = what.split(':').next().unwrap();
        let child = Command::new("strace")
            .args(more)
            .args(["-q", "-o", "/dev/null", "-e", &format!("trace={syscall}"), "-e", &format!("inject={what}"), "-p", task])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("strace cannot be run ({error}); tests/install-deps installs it"));
        let mut injection = Self(child);
        until("strace has attached", || {
            if injection.0.try_wait().unwrap().is_some() {
                let mut said = String::new();
                let _ = injection.0.stderr.take().unwrap().read_to_string(&mut said);
                panic!("strace cannot attach; this test needs the right to trace processes (ptrace): {said}");
            }
            let status = std::fs::read_to_string(format!("/proc/{}/task/{task}/status", process.pid())).unwrap();
            status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0")).then_some(())
        });
        injection
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // With SIGTERM strace lets go of the process; killed, it might leave it stopped.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), Signal::TERM);
        // Of a child that its parent waits for while it is held up it does not let go.
        let deadline = Instant::now() + patience();
        while self.0.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
