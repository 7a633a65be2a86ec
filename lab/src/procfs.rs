//! What the kernel says of a process and its children, and of the machine, proc(5).

use std::{fs, io};

use rustix::process::Pid;

use crate::process::children;

/// A process and its children (nginx's worker is a child of its master).
pub fn family(pid: u32) -> Vec<u32> {
    let children = Pid::from_raw(pid.cast_signed()).map(children).unwrap_or_default();
    [pid].into_iter().chain(children.iter().map(|child| child.as_raw_nonzero().get().cast_unsigned())).collect()
}

/// Resident memory of a family in bytes. The roll-up is exact; the kernel's quick counters lag behind by some pages.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for pid in family(pid) {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        sum += 1024 * kib.ok_or_else(|| io::Error::other(format!("process {pid} does not tell its resident memory")))?;
    }
    Ok(sum)
}

/// Open file descriptors of one process.
pub fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Processor time of all threads of a family so far, in nanoseconds (first field of `schedstat`).
pub fn cpu_nanos(pid: u32) -> io::Result<u64> {
    scheduled(pid, 0)
}

/// How often a thread of a family began to run so far (third field of `schedstat`).
pub fn turns(pid: u32) -> io::Result<u64> {
    scheduled(pid, 2)
}

/// One field of `schedstat`, summed over all threads of a family.
fn scheduled(pid: u32, field: usize) -> io::Result<u64> {
    let mut sum = 0;
    for pid in family(pid) {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let stat = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += stat.split_whitespace().nth(field).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(sum)
}

/// Time the machine's cores have spent so far, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct MachineTime {
    idle: u64,
    stolen: u64,
    total: u64,
}

impl MachineTime {
    /// As it stands.
    pub fn now() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        // user nice system idle iowait irq softirq steal; what follows is counted in `user` already.
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|word| word.parse().ok())
            .collect();
        let idle = ticks.iter().skip(3).take(2).sum();
        Ok(Self { idle, stolen: ticks.get(7).copied().unwrap_or(0), total: ticks.iter().sum() })
    }

    /// Share of the time since then that the host gave to others although a core had work, in percent.
    pub fn stolen_percent_since(self, then: Self) -> f64 {
        100.0 * (self.stolen - then.stolen) as f64 / (self.total - then.total).max(1) as f64
    }

    /// Share of the time since then in which the cores worked, in percent.
    pub fn busy_percent_since(self, then: Self) -> f64 {
        let total = (self.total - then.total).max(1);
        100.0 - 100.0 * (self.idle - then.idle) as f64 / total as f64
    }
}
