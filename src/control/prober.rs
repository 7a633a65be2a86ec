//! Runs the probes of one backend at the pace the core asks for.
use crate::{
    config::CheckConfig,
    failover::{BackendId, Facts, Outcome, Pace, Passive, Report},
    net::addr::BackendAddr,
    route::Clock,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::{Notify, mpsc, watch};
/// s
pub struct ProberSettings {
    /// b
    pub backend: BackendId,
    /// a
    pub address: BackendAddr,
    /// c
    pub check: CheckConfig,
}
/// e
pub enum ProberEvent {
    /// r
    Report {
        /// r
        report: Report,
        /// t
        took: Duration,
        /// l
        lateness: Duration,
    },
    /// p
    Passive(BackendId, Passive),
    /// r
    Resolved(BackendId, Arc<[SocketAddr]>),
    /// l
    Late {
        /// b
        backend: BackendId,
        /// l
        lateness: Duration,
    },
    /// n
    NoVerdict {
        /// b
        backend: BackendId,
        /// e
        evidence: Arc<str>,
    },
}
/// h
pub struct ProberHandle {
    pace: watch::Sender<Pace>,
    now: Arc<Notify>,
}
impl ProberHandle {
    /// p
    pub fn pace(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }
    /// n
    pub fn probe_now(&self) {
        self.now.notify_one();
    }
}
/// s
pub fn spawn(s: ProberSettings, events: mpsc::Sender<ProberEvent>, _clock: Clock) -> ProberHandle {
    let (pace, mut rx) = watch::channel(Pace::Urgent);
    let now = Arc::new(Notify::new());
    let n = now.clone();
    tokio::spawn(async move {
        let addr: SocketAddr = s.address.to_string().parse().unwrap();
        let _ = events.send(ProberEvent::Resolved(s.backend, Arc::from([addr]))).await;
        let mut seq = 0;
        loop {
            seq += 1;
            let outcome = match tokio::time::timeout(s.check.timeout, tokio::net::TcpStream::connect(addr)).await {
                Ok(Ok(_)) => Outcome::Ok,
                Ok(Err(_)) => Outcome::Refused,
                Err(_) => Outcome::ConnectTimeout,
            };
            let report = Report {
                backend: s.backend,
                seq,
                outcome,
                facts: Facts::default(),
                fresh: true,
                evidence: outcome.to_string().into(),
            };
            let _ = events.send(ProberEvent::Report { report, took: Duration::ZERO, lateness: Duration::ZERO }).await;
            let d = match *rx.borrow_and_update() {
                Pace::Normal => s.check.interval,
                Pace::Fast => s.check.fast_interval,
                Pace::Urgent => Duration::from_millis(20),
            };
            tokio::select! { () = tokio::time::sleep(d) => {}, () = n.notified() => {}, _ = rx.changed() => {} }
        }
    });
    ProberHandle { pace, now }
}
