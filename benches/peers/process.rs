//! Child processes: on which core they run, and that none outlives the harness.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use lab::{failure::Failure, process, stop::Stop, wait::wait_until};
use rustix::{
    process::{Pid, Signal, kill_process_group},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// Longest wait for the end of a child that was told to end.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// The two cores that are used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// Of load and servers, and of the harness.
    pub(crate) load: usize,
    /// Of the proxies.
    pub(crate) proxy: usize,
}

impl Cores {
    /// Takes two of the cores that we may use, and moves this thread (and with it every child) to the first.
    pub(crate) fn take() -> Result<Self, Failure> {
        let usable = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| usable.is_set(*core));
        let (Some(load), Some(proxy)) = (cores.next(), cores.next()) else {
            return Err(Failure::Said(
                "this process may use one core only; load and proxy need one each: run it where nproc says 2 or more".into(),
            ));
        };
        let mut only = CpuSet::new();
        only.set(load);
        sched_setaffinity(None, &only)?;
        Ok(Self { load, proxy })
    }
}

/// A command that runs on one core, and ends when this thread does, even if that is killed.
pub(crate) fn on_core(core: usize, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--", "taskset", "-c", &core.to_string()]).arg(program);
    command
}

/// A child in a process group of its own (a Ctrl-C at the terminal is for us). Dropping it ends it, and its children.
#[derive(Debug)]
pub(crate) struct Guarded {
    name: String,
    child: Child,
}

impl Guarded {
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Result<Self, Failure> {
        let child = command.process_group(0).spawn();
        let child = child.map_err(|error| {
            let program = command.get_program().display();
            Failure::Said(format!(
                "cannot run {program} for {name}: {error}; run benches/peers/install, which `make bench-peers` does"
            ))
        })?;
        Ok(Self { name: name.to_owned(), child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Why it is no longer there, when it ended.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("{} ended: {status}", self.name)),
            Err(error) => Some(format!("{} cannot be waited for: {error}", self.name)),
        }
    }

    fn raw(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends a signal to the process itself.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.raw() {
            process::send(pid, signal);
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // A second order lets mainstay end without waiting for its sessions; the others need only one.
        for _ in 0..2 {
            if self.ended().is_some() {
                return;
            }
            self.signal(Signal::TERM);
            wait_until(Duration::from_millis(300), || self.ended().is_some());
        }
        if !wait_until(END_TIMEOUT, || self.ended().is_some()) {
            if let Some(pid) = self.raw() {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end; what it wrote to both outputs, which `log` keeps. It fails when the program does.
pub(crate) fn output(stop: &Stop, name: &str, command: &mut Command, log: &Path, timeout: Duration) -> Result<String, Failure> {
    let file = File::create(log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = Guarded::spawn(name, command)?;
    let status = stop.wait(&format!("the end of {name}"), timeout, || child.child().try_wait().transpose())??;
    let text = std::fs::read_to_string(log)?;
    if status.success() { Ok(text) } else { Err(Failure::Said(format!("{name} failed ({status}): {}", process::tail(log)))) }
}
