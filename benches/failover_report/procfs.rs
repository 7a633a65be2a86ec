//! What the kernel says of a process and of the machine, proc(5).

use std::fs;

use crate::failure::Failure;

/// Resident memory in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.map(|kibibytes| kibibytes * 1024).ok_or_else(|| Failure::Said(format!("process {pid} has no VmRSS")))
}

/// Open file descriptors.
pub(crate) fn open_files(pid: u32) -> Result<usize, Failure> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Processor time of all threads so far, in nanoseconds (first field of `schedstat`).
pub(crate) fn cpu_nanos(pid: u32) -> Result<u64, Failure> {
    scheduled(pid, 0)
}

/// How often a thread began to run so far (third field of `schedstat`).
pub(crate) fn turns(pid: u32) -> Result<u64, Failure> {
    scheduled(pid, 2)
}

/// One field of `schedstat`, summed over all threads.
fn scheduled(pid: u32, field: usize) -> Result<u64, Failure> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += stat.split_whitespace().nth(field).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// Time the machine's cores have spent so far, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineTime {
    idle: u64,
    stolen: u64,
    total: u64,
}

impl MachineTime {
    pub(crate) fn now() -> Result<Self, Failure> {
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
    pub(crate) fn stolen_percent_since(self, then: Self) -> f64 {
        100.0 * (self.stolen - then.stolen) as f64 / (self.total - then.total).max(1) as f64
    }

    /// Share of the time since then in which the cores worked, in percent.
    pub(crate) fn busy_percent_since(self, then: Self) -> f64 {
        let total = (self.total - then.total).max(1);
        100.0 - 100.0 * (self.idle - then.idle) as f64 / total as f64
    }
}
