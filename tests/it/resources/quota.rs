//! `workers: auto` is one worker for each core that this process may really use.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{
    echo::Backend,
    process::{Process, Stderr, settings},
};

/// Data workers of a mainstay started by way of `prefix`.
fn workers(prefix: &[&str]) -> usize {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["workers"] = "auto".into();
    let process = Process::start_under(prefix, &settings, Stderr::Read).serving();
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    names.filter(|name| name.starts_with("mainstay-data-")).count()
}

/// A control group with a quota of processor time, removed with the test.
struct Group(PathBuf);

impl Group {
    /// As much as one core.
    fn of_one_core() -> Self {
        let name = format!("mainstay-test-{}", std::process::id());
        let version_1 = Path::new("/sys/fs/cgroup/cpu");
        let (path, limits) = if version_1.is_dir() {
            (version_1.join(name), [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "100000")].as_slice())
        } else {
            (Path::new("/sys/fs/cgroup").join(name), [("cpu.max", "100000 100000")].as_slice())
        };
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}: this test needs root", path.display()));
        let group = Self(path);
        for (file, limit) in limits {
            fs::write(group.0.join(file), limit).unwrap();
        }
        group
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_quota_counts_as_well_as_the_cores_that_are_allowed() {
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(cores >= 2, "on one core there is nothing to tell apart");
    assert_eq!(workers(&["env"]), cores);
    assert_eq!(workers(&["taskset", "-c", "0"]), 1, "allowed on one core");
    let group = Group::of_one_core();
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    assert_eq!(workers(&["sh", "-c", &enter, "sh"]), 1, "a quota of one core");
}
