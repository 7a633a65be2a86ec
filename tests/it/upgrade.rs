//! A newer mainstay takes over from a running one: `mainstay upgrade`.

mod deaths;
mod failures;
mod load;
mod sessions;
mod sockets;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Child, sync::Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{
    process::{Process, Stderr},
    scratch::Scratch,
    site::{Said, Site},
    wait::until,
};

/// A mainstay whose program can be replaced, and those that took over from it.
struct Succession {
    site: Site,
    program: PathBuf,
    newer: Mutex<Vec<u32>>,
    _scratch: Scratch,
}

impl Succession {
    fn start(settings: &mut Value) -> Self {
        Self::start_in(Scratch::new(), settings)
    }

    fn start_in(scratch: Scratch, settings: &mut Value) -> Self {
        let program = scratch.path("mainstay");
        fs::copy(env!("CARGO_BIN_EXE_mainstay"), &program).unwrap();
        let admin = format!("unix:{}", scratch.path("admin.sock").display());
        settings["admin"]["listen"] = json!(["127.0.0.1:0", admin]);
        // The copy in place of the program that is named.
        let prefix = ["sh", "-c", "shift; exec \"$0\" \"$@\"", program.to_str().unwrap()];
        let process = Process::start_under(&prefix, settings, Stderr::Read).serving();
        Self { site: Site { process, admin }, program, newer: Mutex::default(), _scratch: scratch }
    }

    fn process(&self) -> &Process {
        &self.site.process
    }

    /// Orders an upgrade, which must succeed; the number of the newer process.
    fn upgrade(&self) -> u32 {
        let said = self.site.run(&["upgrade", "--reason", "a test"]);
        said.is_done("has taken over");
        self.took_over(&said)
    }

    fn began(&self) -> Child {
        self.site.begin(&["upgrade", "--reason", "a test"])
    }

    fn took_over(&self, said: &Said) -> u32 {
        let pid = said.out.split("(process ").nth(1).and_then(|rest| rest.split(')').next()?.parse().ok());
        let pid: u32 = pid.unwrap_or_else(|| panic!("{}", said.out));
        self.newer.lock().unwrap().push(pid);
        pid
    }

    /// Puts this script in the place of the program.
    fn replace_by_script(&self, body: &str) {
        let new = self.program.with_extension("new");
        fs::write(&new, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, &self.program).unwrap();
    }

    /// Puts mainstay in the place of the program again.
    fn replace_by_mainstay(&self) {
        let new = self.program.with_extension("new");
        fs::copy(env!("CARGO_BIN_EXE_mainstay"), &new).unwrap();
        fs::rename(new, &self.program).unwrap();
    }

    /// The process that answers now.
    fn answers(&self) -> u32 {
        u32::try_from(self.process().status()["pid"].as_u64().unwrap()).unwrap()
    }

    fn older(&self) -> Vec<Value> {
        self.process().status()["older"].as_array().unwrap().clone()
    }

    /// Waits until the newest process is alone.
    fn is_alone(&self) {
        until("no older process is left", || self.older().is_empty().then_some(()));
    }
}

impl Drop for Succession {
    fn drop(&mut self) {
        for pid in self.newer.lock().unwrap().drain(..) {
            if is_there(pid)
                && let Some(pid) = Pid::from_raw(pid.cast_signed())
            {
                // It may end in this moment.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Whether a process of this number runs and is a mainstay.
fn is_there(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains("(mainstay)") && !stat.contains(") Z ")
}

fn is_gone(pid: u32) {
    until(&format!("process {pid} is gone"), || (!is_there(pid)).then_some(()));
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}
