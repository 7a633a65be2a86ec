//! What the kernel says of a process and its children, proc(5).

use std::fs;

use mainstay::cli::demo::cluster::process;
use rustix::process::Pid;

use crate::failure::Failure;

/// A process and its children (nginx's worker is a child of its master).
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let children = Pid::from_raw(pid.cast_signed()).map(process::children).unwrap_or_default();
    [pid].into_iter().chain(children.iter().map(|child| child.as_raw_nonzero().get().cast_unsigned())).collect()
}

/// Processor time of all threads of a family so far, in nanoseconds (first field of `schedstat`).
pub(crate) fn cpu_nanos(pid: u32) -> Result<u64, Failure> {
    let mut sum = 0;
    for pid in family(pid) {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let stat = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += stat.split_whitespace().next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(sum)
}

/// Resident memory of a family in KiB. The roll-up is exact; the kernel's quick counters lag behind by some pages.
pub(crate) fn resident_kib(pid: u32) -> Result<u64, Failure> {
    let mut sum = 0;
    for pid in family(pid) {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        sum += kib.ok_or_else(|| Failure::Said(format!("process {pid} does not tell its resident memory")))?;
    }
    Ok(sum)
}

/// Whether every thread of these processes is traced.
pub(crate) fn all_traced(pids: &[u32]) -> bool {
    let traced = |status: String| status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"));
    pids.iter().all(|pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.map(|task| fs::read_to_string(task.path().join("status"))).all(|status| status.is_ok_and(traced))
    })
}
