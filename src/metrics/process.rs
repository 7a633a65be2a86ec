//! Metrics of the whole process.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus::{Counter, Error, Gauge, IntCounter, IntGauge};
use rustix::process::{Resource, getrlimit};

use super::{
    names,
    series::{OneHot, Per, Series},
};
use crate::{
    failover::label::Label as _,
    lifecycle::Phase,
    reason::{NotificationResult, PipeError, ReceiverKind, ReloadResult},
};

/// Unit of processor time and start time in `/proc`: `USER_HZ`, which is 100 on every architecture Rust builds for
/// (`proc(5)`, `include/asm-generic/param.h`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Metrics of the process.
#[derive(Debug)]
pub struct ProcessMetrics {
    /// 1 when every pool can serve.
    pub ready: IntGauge,
    /// The phase of the process.
    pub phase: OneHot<Phase>,
    /// Panics.
    pub panics: IntCounter,
    /// Lost log lines.
    pub log_dropped: IntCounter,
    /// Lost reports of the byte path.
    pub reports_dropped: IntCounter,
    /// Times that the control thread did not run, or that no probe of a backend finished in time.
    pub watchdog_trips: IntCounter,
    /// 1 while a change of the state is not yet on disk.
    pub state_write_pending: IntGauge,
    /// Failed attempts to write a state file.
    pub state_write_failures: IntCounter,
    /// Times a pipe could not be had, by reason.
    pub pipe_errors: Per<PipeError, IntCounter>,
    /// Notifications that were sent or given up, by kind of receiver and result.
    pub notifications: Per<ReceiverKind, Per<NotificationResult, IntCounter>>,
    /// Notifications that were left out.
    pub notifications_dropped: IntCounter,
    /// 1 when the last attempt to load the configuration succeeded.
    reload_successful: IntGauge,
    /// When the configuration in use was loaded.
    reload_timestamp: Gauge,
    /// Attempts to load the configuration again.
    reloads: Per<ReloadResult, IntCounter>,
    system: System,
}

impl ProcessMetrics {
    pub(super) fn new(series: &Series<'_>) -> Result<Self, Error> {
        let build = series.with("version", env!("CARGO_PKG_VERSION"));
        build.with("commit", option_env!("MAINSTAY_COMMIT").unwrap_or("unknown")).int_gauge(names::BUILD_INFO)?.set(1);
        series.gauge(names::START_TIME)?.set(unix_now());
        let reload_successful = series.int_gauge(names::CONFIG_LAST_RELOAD_SUCCESSFUL)?;
        reload_successful.set(1);
        let reload_timestamp = series.gauge(names::CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP)?;
        reload_timestamp.set(unix_now());
        Ok(Self {
            ready: series.int_gauge(names::READY)?,
            phase: series.one_hot(names::PHASE, "phase", Phase::Running),
            panics: series.int_counter(names::PANICS)?,
            log_dropped: series.int_counter(names::LOG_DROPPED)?,
            reports_dropped: series.int_counter(names::REPORTS_DROPPED)?,
            watchdog_trips: series.int_counter(names::WATCHDOG_TRIPS)?,
            state_write_pending: series.int_gauge(names::STATE_WRITE_PENDING)?,
            state_write_failures: series.int_counter(names::STATE_WRITE_FAILURES)?,
            pipe_errors: series.int_counters(names::PIPE_ERRORS, "reason")?,
            notifications: Per::new(|kind: ReceiverKind| {
                series.with("kind", kind.as_str()).int_counters(names::NOTIFICATIONS, "result")
            })?,
            notifications_dropped: series.int_counter(names::NOTIFICATIONS_DROPPED)?,
            reload_successful,
            reload_timestamp,
            reloads: series.int_counters(names::CONFIG_RELOADS, "result")?,
            system: System::new(series)?,
        })
    }

    /// An attempt to load the configuration again has ended.
    pub fn reloaded(&self, result: ReloadResult) {
        self.reloads.get(result).inc();
        self.reload_successful.set(i64::from(result == ReloadResult::Success));
        if result == ReloadResult::Success {
            self.reload_timestamp.set(unix_now());
        }
    }

    /// Reads the values of this process from `/proc/self`.
    pub(super) fn refresh(&self) {
        self.system.refresh();
    }
}

fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Values of `/proc/self`, under the names that every Prometheus client library uses.
#[derive(Debug)]
struct System {
    cpu: Counter,
    open_fds: IntGauge,
    max_fds: IntGauge,
    virtual_memory: IntGauge,
    resident_memory: IntGauge,
    threads: IntGauge,
}

impl System {
    fn new(series: &Series<'_>) -> Result<Self, Error> {
        let start: Gauge = series.gauge(names::PROCESS_START_TIME)?;
        start.set(start_time().unwrap_or_default());
        Ok(Self {
            cpu: series.counter(names::PROCESS_CPU)?,
            open_fds: series.int_gauge(names::PROCESS_OPEN_FDS)?,
            max_fds: series.int_gauge(names::PROCESS_MAX_FDS)?,
            virtual_memory: series.int_gauge(names::PROCESS_VIRTUAL_MEMORY)?,
            resident_memory: series.int_gauge(names::PROCESS_RESIDENT_MEMORY)?,
            threads: series.int_gauge(names::PROCESS_THREADS)?,
        })
    }

    fn refresh(&self) {
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory being read.
            self.open_fds.set(i64::try_from(entries.count().saturating_sub(1)).unwrap_or(i64::MAX));
        }
        let max_fds = getrlimit(Resource::Nofile).current;
        self.max_fds.set(max_fds.and_then(|fds| i64::try_from(fds).ok()).unwrap_or(i64::MAX));
        if let Some(stat) = read_stat() {
            self.cpu.inc_by((stat.cpu_seconds - self.cpu.get()).max(0.0));
            self.threads.set(stat.threads);
            self.virtual_memory.set(stat.virtual_memory_bytes);
        }
        if let Some(resident) = resident_memory_bytes() {
            self.resident_memory.set(resident);
        }
    }
}

/// Some fields of `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: i64,
    start_ticks: f64,
    virtual_memory_bytes: i64,
}

fn read_stat() -> Option<Stat> {
    parse_stat(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields are numbered from 1 in `proc(5)`. The second is the program's name in parentheses, which may contain anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
    let ticks = |number| field(number)?.parse::<f64>().ok();
    Some(Stat {
        cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
        threads: field(20)?.parse().ok()?,
        start_ticks: ticks(22)?,
        virtual_memory_bytes: field(23)?.parse().ok()?,
    })
}

fn resident_memory_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?;
    kib.trim().parse::<i64>().ok()?.checked_mul(1024)
}

/// Seconds since 1970 at which the process started: the machine's boot time plus the time until then.
fn start_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + read_stat()?.start_ticks / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_any_program_name() {
        let text = "42 (a) b) (c) S 1 42 42 0 -1 4194560 1 0 0 0 250 150 0 0 20 0 7 0 1000 8192 3 0";
        let stat = Stat { cpu_seconds: 4.0, threads: 7, start_ticks: 1000.0, virtual_memory_bytes: 8192 };
        assert_eq!(parse_stat(text), Some(stat));
    }

    #[test]
    fn the_kernel_tells_about_this_process() {
        assert!(read_stat().unwrap().threads >= 1);
        assert!(resident_memory_bytes().unwrap() > 100_000);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let start = start_time().unwrap();
        assert!(start > now - 86_400.0 && start < now + 2.0, "{start} {now}");
    }
}
