//! What the byte path learns of the backends: data → control.

use tokio::sync::mpsc;

use super::offer::RouteId;
use crate::failover::{Passive, Time};

/// The byte path's reports to the supervisor of a pool: bounded, and dropped rather than waited for.
#[derive(Clone, Debug)]
pub struct ReportSender(mpsc::Sender<PassiveReport>);

/// The supervisor's end.
#[derive(Debug)]
pub struct ReportReceiver(mpsc::Receiver<PassiveReport>);

/// What the byte path learned about the backend of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassiveReport {
    /// Under which route.
    pub id: RouteId,
    /// What.
    pub what: Passive,
    /// When it was learned.
    pub at: Time,
}

/// A bounded channel for reports.
pub(super) fn reports() -> (ReportSender, ReportReceiver) {
    let (tx, rx) = mpsc::channel(1024);
    (ReportSender(tx), ReportReceiver(rx))
}

impl ReportSender {
    /// Sends without waiting; `false` when the report was dropped because the supervisor is behind.
    pub fn send(&self, report: PassiveReport) -> bool {
        !matches!(self.0.try_send(report), Err(mpsc::error::TrySendError::Full(_)))
    }
}

impl ReportReceiver {
    /// The next report; waits for ever when no sender is left.
    pub async fn next(&mut self) -> PassiveReport {
        match self.0.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }
}
