//! The check by a command: real scripts, what is left of them, and a pool that follows what they say.

mod leftovers;
mod pool;
mod verdict;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use mainstay::{
    config::{ExecCheck, exec::Word},
    control::probe::exec::Exec,
    net::addr::BackendAddr,
};

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("mainstay-exec-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What a script wrote into a file, once it has written a whole line.
    fn written(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok().filter(|text| text.ends_with('\n'))
    }

    /// A script for /bin/sh; `$DIR` in it is this directory.
    fn script(&self, body: &str) -> PathBuf {
        self.file("check", &format!("#!/bin/sh\nDIR='{}'\n{body}\n", self.0.display()), 0o755)
    }

    fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

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

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().is_empty() && !rest.trim_start().starts_with('Z'))
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
