//! Keeps the service manager informed while mainstay runs: signs of life, the status line, the stop.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{self, Runtime},
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    notify::Manager,
    status::{self, PoolState},
    watchdog::Watchdog,
};
use crate::{
    incidents::WatchedPool,
    lifecycle::{Deadlines, Phase, PhaseWatch},
    metrics::Metrics,
};

/// Between two looks. The status changes at most as often as this.
const TICK: Duration = Duration::from_secs(1);
/// Each change of the status is a signal on the machine's bus. The number of sessions alone changes it at most as often as this.
const SESSIONS: Duration = Duration::from_secs(30);
/// For the threads to end, besides the time of the sessions.
const END: Duration = Duration::from_secs(10);

/// What the service manager is told of.
pub struct Followed {
    /// The phase of the process.
    pub phase: PhaseWatch,
    /// How long a stop may take.
    pub deadlines: Deadlines,
    /// A number that changes each time the decision loop has its turn.
    pub beat: Box<dyn Fn() -> u64 + Send>,
    /// The pools that are configured.
    pub pools: watch::Receiver<Arc<Vec<WatchedPool>>>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followed").finish_non_exhaustive()
    }
}

impl Manager {
    /// Keeps the manager informed, on a thread of its own, until the process ends. Without a manager there is no such thread.
    ///
    /// # Errors
    /// When there is no thread or no runtime for it.
    pub fn follow(&self, followed: Followed, watchdog: Option<Watchdog>) -> io::Result<()> {
        if !self.is_listening() {
            return Ok(());
        }
        let runtime: Runtime = runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = Follower { manager: self.clone(), followed, watchdog, fed: None, line: String::new(), told: None };
        thread::Builder::new().name("mainstay-systemd".to_owned()).spawn(move || runtime.block_on(thread.run()))?;
        Ok(())
    }
}

struct Follower {
    manager: Manager,
    followed: Followed,
    watchdog: Option<Watchdog>,
    /// The last sign of life: when it was sent, and the beat that was its reason.
    fed: Option<(Instant, u64)>,
    /// The status as it was sent, without the number of sessions; and when, and with how many.
    line: String,
    told: Option<(Instant, u64)>,
}

impl Follower {
    async fn run(mut self) {
        let pause = self.watchdog.map_or(TICK, |watchdog| watchdog.pause().min(TICK));
        let mut ticks = interval(pause.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut phase = self.followed.phase.clone();
        let mut is_stopping = false;
        loop {
            tokio::select! {
                () = phase.reached(Phase::Draining), if !is_stopping => {
                    is_stopping = true;
                    let Deadlines { delay, timeout } = self.followed.deadlines;
                    self.manager.stopping(delay + timeout + END);
                }
                _ = ticks.tick() => {}
            }
            self.manager.flush();
            self.show_life();
            self.show_status(is_stopping);
        }
    }

    /// A beat that was told of before is no sign of life: a decision loop that hangs is found out by the manager.
    fn show_life(&mut self) {
        let Some(watchdog) = self.watchdog else { return };
        let beat = (self.followed.beat)();
        let is_due = self.fed.is_none_or(|(at, last)| beat != last && at.elapsed() >= watchdog.pause());
        if is_due && self.manager.alive() {
            self.fed = Some((Instant::now(), beat));
        }
    }

    fn show_status(&mut self, is_stopping: bool) {
        let sessions = self.followed.metrics.sessions();
        let line = if is_stopping { "stopping".to_owned() } else { self.state() };
        let is_due = match self.told {
            None => true,
            Some((at, last)) => {
                let pause = if is_stopping || line != self.line { TICK } else { SESSIONS };
                (line != self.line || sessions != last) && at.elapsed() >= pause
            }
        };
        if is_due && self.manager.status(&format!("{line}; {}", status::sessions(sessions))) {
            self.line = line;
            self.told = Some((Instant::now(), sessions));
        }
    }

    fn state(&self) -> String {
        let pools = self.followed.pools.borrow();
        let state = |pool: &WatchedPool| PoolState { snapshot: pool.snapshot.get(), held: pool.metrics.held.get() };
        let pools = status::pools(&pools.iter().map(state).collect::<Vec<_>>());
        if self.manager.is_reload_refused() {
            return format!("the configuration was not loaded again, see the log; {pools}");
        }
        pools
    }
}
