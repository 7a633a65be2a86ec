//! Processes: who is whose child, and signals. Only ever by process id.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_until;

/// How much of a log is shown.
const TAIL_BYTES: u64 = 2000;

/// The direct children of a process.
pub fn children(parent: Pid) -> Vec<Pid> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        Pid::from_raw(pid)
    });
    pids.filter(|pid| stat(*pid).is_some_and(|(_, ppid)| ppid == parent.as_raw_nonzero().get())).collect()
}

/// It exists and is no zombie.
pub fn is_alive(pid: Pid) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// Stops a process (SIGSTOP) and waits until it stands still: from then on it makes no more children.
pub fn stop(pid: Pid) {
    send(pid, Signal::STOP);
    wait_until(Duration::from_secs(2), || stat(pid).is_none_or(|(state, _)| matches!(state, 'T' | 't' | 'Z' | 'X')));
}

/// Sends a signal; a process that is gone needs none.
pub fn send(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}

/// State and parent from `/proc/PID/stat`, proc(5). The name in parentheses may hold anything, so fields count from its end.
fn stat(pid: Pid) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// The end of a log, for an error message.
pub fn tail(log: &Path) -> String {
    let read = || {
        let mut file = fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(no log: {error})"))
}
