//! The check by a command: real scripts, what is left of them, and a pool that follows what they say.

mod leftovers;
mod pool;
mod verdict;

use std::{fs, path::Path};

use mainstay::{
    config::{ExecCheck, exec::Word},
    control::probe::exec::Exec,
    net::addr::BackendAddr,
};

use crate::support::scratch::Scratch;

fn command(program: &Path, arguments: &[&str]) -> ExecCheck {
    let words = [program.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
    ExecCheck::new(words.map(|word| Word::Plain(word.to_owned())).collect())
}

fn roles(program: &Path) -> ExecCheck {
    ExecCheck { roles: true, ..command(program, &[]) }
}

fn exec(check: &ExecCheck) -> Exec {
    let address: BackendAddr = "db-a.example:5432".parse().unwrap();
    Exec::new(&address, check)
}

/// Children of this process that have ended and were not reaped.
fn zombies() -> Vec<u32> {
    let own = std::process::id().to_string();
    let is_zombie = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.first() == Some(&"Z") && fields.get(1) == Some(&own.as_str())
    };
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.filter(is_zombie).collect()
}

pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().is_empty() && !rest.trim_start().starts_with('Z'))
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
