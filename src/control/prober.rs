//! Runs the probes of one backend at the pace that the core orders.
//!
//! | file | what it holds |
//! |---|---|
//! | `events` | the reports of a prober |
//! | `schedule` | when the next probe is due |
//! | `client` | what is asked: a query over the standing session, or a new login |
//! | `unserved` | how a server is watched that says it serves no clients |
//! | `second` | the second opinion by HTTP, asked beside it |
//!
//! If this process was too late to receive the answer of a probe, that is no evidence against the backend: it is reported as
//! [`ProberEvent::Late`] or [`ProberEvent::NoVerdict`], and the probe is repeated.

mod client;
mod events;
mod schedule;
mod second;
mod unserved;

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use self::{
    client::{Answer, ProbeClient},
    events::ProbeEvents,
    schedule::{Schedule, Start},
    second::Second,
};
pub use self::{
    events::{ProberEvent, ProberEventSender, ProberKey},
    schedule::URGENT_INTERVAL,
};
use super::{
    probe::{Deadline, Finding},
    resolver::{self, Resolution, Resolver},
};
use crate::{
    config::CheckConfig,
    failover::{Outcome, Pace, Report},
    net::{addr::BackendAddr, addresses::Addresses},
    route::{Clock, DemandWatch},
};

/// How late a deadline may fire and still count. A later one is not the backend's fault: this process had no processor time.
const SLACK: Duration = Duration::from_millis(50);

/// The backend, and how to probe it.
#[derive(Clone, Debug)]
pub struct ProberSettings {
    /// The supervisor's key for it; unlike the backend's place in the list, it never changes.
    pub key: ProberKey,
    /// Number of the last probe of this backend.
    pub last_seq: u64,
    /// As configured.
    pub address: BackendAddr,
    /// The addresses of its name when they were last known; empty when they never were.
    pub resolved: Addresses,
    /// The pool's check.
    pub check: CheckConfig,
    /// Whether clients wait for any backend of the pool.
    pub demand: DemandWatch,
}

/// Orders to one prober. Dropping it ends the prober.
#[derive(Debug)]
pub struct ProberHandle(watch::Sender<Orders>);

/// The last order. Kept as a state, so that a burst of orders counts as one.
#[derive(Clone, Copy, Debug)]
struct Orders {
    pace: Pace,
    nudges: u64,
}

impl ProberHandle {
    /// Probe at this pace from now on.
    pub fn pace(&self, pace: Pace) {
        self.0.send_if_modified(|orders| std::mem::replace(&mut orders.pace, pace) != pace);
    }

    /// Probe at once with a new connection. Simultaneous requests count as one; they are spaced by the check's `fast_interval`.
    pub fn probe_now(&self) {
        self.0.send_modify(|orders| orders.nudges += 1);
    }
}

/// Starts to probe on the current runtime: at once, and then at [`Pace::Normal`].
pub fn spawn(settings: ProberSettings, events: ProberEventSender, clock: Clock) -> ProberHandle {
    let (handle, orders) = watch::channel(Orders { pace: Pace::Normal, nudges: 0 });
    let events = ProbeEvents { key: settings.key, sender: events };
    let prober = Prober {
        client: ProbeClient::new(&settings.address, &settings.check, events.clone()),
        second: Second::new(&settings.address, &settings.check, events.clone()),
        resolver: Resolver::spawn(&settings.address, settings.resolved.clone()),
        told: settings.resolved.clone(),
        schedule: Schedule::new(&settings.check, settings.key),
        seq: settings.last_seq,
        settings,
        events,
        clock,
        orders,
        nudges: 0,
    };
    tokio::spawn(prober.run());
    ProberHandle(handle)
}

struct Prober {
    settings: ProberSettings,
    events: ProbeEvents,
    clock: Clock,
    orders: watch::Receiver<Orders>,
    resolver: Resolver,
    /// The addresses that the supervisor knows of.
    told: Addresses,
    client: ProbeClient,
    second: Option<Second>,
    schedule: Schedule,
    /// How many requests to probe at once were served.
    nudges: u64,
    seq: u64,
}

impl Prober {
    async fn run(mut self) {
        if self.settings.address.endpoint().is_some() {
            self.tell(self.resolver.get().addresses).await;
        }
        while let Some(start) = self.next_start().await {
            self.probe(start).await;
        }
    }

    /// Waits until a probe is due. `None` when the prober is no longer wanted.
    async fn next_start(&mut self) -> Option<Start> {
        loop {
            let wanted = self.settings.demand.since(std::time::Instant::now()).map(Instant::from_std);
            let due = self.schedule.due(self.client.earliest_login(wanted));
            tokio::select! {
                biased;
                what = self.client.broken() => {
                    self.events.passive(what).await;
                    self.schedule.nudge(Instant::now());
                }
                changed = self.orders.changed() => {
                    changed.ok()?;
                    let orders = *self.orders.borrow_and_update();
                    if orders.nudges != std::mem::replace(&mut self.nudges, orders.nudges) {
                        self.schedule.nudge(Instant::now());
                    }
                    self.schedule.pace(orders.pace, Instant::now());
                }
                () = self.resolver.changed() => if self.has_moved() {
                    self.schedule.nudge(Instant::now());
                },
                // The next probe may be due earlier.
                () = self.settings.demand.begins() => {}
                () = self.events.sender.closed() => return None,
                () = sleep_until(due.at) => return Some(self.schedule.start(due, Instant::now())),
            }
        }
    }

    /// The name resolves to addresses that were not probed yet.
    fn has_moved(&self) -> bool {
        let addresses = self.resolver.get().addresses;
        !addresses.is_empty() && addresses != self.told
    }

    async fn tell(&mut self, addresses: Addresses) {
        if !addresses.is_empty() && addresses != self.told {
            self.told = addresses.clone();
            self.events.say(ProberEvent::Resolved(addresses)).await;
        }
    }

    async fn probe(&mut self, start: Start) {
        self.seq += 1;
        let deadline = Deadline::after(self.settings.check.timeout).with_header(self.settings.check.proxy_header);
        // The first probe of a name waits for its first answer; after that the last good answer is used.
        drop(tokio::time::timeout_at(deadline.at(), self.resolver.settled()).await);
        let known = self.resolver.get();
        // A standing session uses one of the old addresses, and says nothing about the new ones.
        let has_moved = known.addresses != self.told;
        if has_moved {
            self.client.has_moved();
        }
        let fresh = start.fresh || has_moved;
        let answer = self.ask(&known, fresh, deadline).await;
        let now = Instant::now();
        self.schedule.finished(start.at);
        match answer {
            Answer::Unchanged => {}
            Answer::NoVerdict(evidence) => self.events.say(ProberEvent::NoVerdict { evidence }).await,
            Answer::Finding { finding, .. } if overran(&finding, deadline, now) => {
                self.schedule.again();
                self.events.say(ProberEvent::Late { lateness: now - deadline.at() }).await;
            }
            Answer::Finding { finding, fresh } => {
                if matches!(finding.outcome, Outcome::Refused | Outcome::Unreachable | Outcome::ConnectTimeout) {
                    self.resolver.suspect();
                }
                if !fresh && finding.outcome != Outcome::Ok {
                    // The session may be broken although the server is healthy: only a new login tells.
                    self.schedule.nudge(now);
                }
                let (report, at, took) = (Report { seq: self.seq, finding, fresh }, self.clock.now(), now - start.at);
                if fresh {
                    self.tell(known.addresses).await;
                }
                self.events.say(ProberEvent::Report { report, at, took, lateness: start.lateness }).await;
            }
        }
    }

    async fn ask(&mut self, known: &Resolution, fresh: bool, deadline: Deadline) -> Answer {
        if known.addresses.is_empty() {
            let mut finding = resolver::unresolved(&self.settings.address, deadline.timeout());
            if let Some(error) = &known.error {
                finding.evidence = error.clone();
            }
            return Answer::Finding { finding, fresh: true };
        }
        let (orders, ends_at_once) = (self.orders.clone(), self.client.ends_at_once());
        let Self { client, second, .. } = self;
        let asking = async {
            match second {
                None => client.ask(&known.addresses, fresh, deadline).await,
                Some(second) => second.beside(client, &known.addresses, fresh, deadline).await,
            }
        };
        tokio::select! {
            answer = asking => answer,
            () = abandoned(orders), if ends_at_once => Answer::NoVerdict("nobody asks any more".into()),
        }
    }
}

/// When the handle was dropped.
async fn abandoned(mut orders: watch::Receiver<Orders>) {
    while orders.changed().await.is_ok() {}
}

fn overran(finding: &Finding, deadline: Deadline, now: Instant) -> bool {
    matches!(finding.outcome, Outcome::Timeout | Outcome::ConnectTimeout) && now > deadline.at() + SLACK
}
