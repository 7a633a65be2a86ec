//! What waits for one receiver: bounded, limited in its rate, and tried again. A receiver that does not answer keeps nobody else.

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    failure::Failure,
    format::Message,
    notice::{Notice, Stage},
    send::{self, Sender},
};
use crate::{
    config::{NotificationKind, ReceiverConfig},
    failover::{Time, label::Label as _},
    metrics::Metrics,
    reason::NotificationResult,
};

/// Messages that may wait for a receiver.
const QUEUE: usize = 128;
/// Places of these that only the end of what was told may take.
const RESERVED: usize = 64;
/// Messages at once, and the time for one more. The end of what was told is not limited.
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(10);
/// Between the tries of one message.
const PAUSES: [Duration; 4] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(9), Duration::from_secs(27)];

/// One receiver and what waits for it.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) config: ReceiverConfig,
    queue: mpsc::Sender<Message>,
    worker: AbortHandle,
    /// Messages that are neither sent nor given up.
    open: Arc<AtomicU64>,
    /// What it was told of, and not of its end.
    told: HashSet<String>,
    rate: Rate,
    /// Messages before the next one that it was not given.
    left_out: u64,
    metrics: Arc<Metrics>,
}

impl Outbox {
    /// Starts it; `position` is that in `notify`.
    pub(super) fn start(config: &ReceiverConfig, position: usize, metrics: &Arc<Metrics>) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        let open = Arc::<AtomicU64>::default();
        let worker = Worker {
            sender: Sender::new(&config.to),
            name: format!("notify[{position}]"),
            metrics: Arc::clone(metrics),
            open: Arc::clone(&open),
        };
        Self {
            config: config.clone(),
            queue,
            worker: tokio::spawn(worker.run(messages)).abort_handle(),
            open,
            told: HashSet::new(),
            rate: Rate::default(),
            left_out: 0,
            metrics: Arc::clone(metrics),
        }
    }

    /// Queues the message, if this receiver is to be told of it.
    pub(super) fn offer(&mut self, now: Time, message: &Message) {
        let notice = &*message.notice;
        match notice.stage {
            Stage::Over(_) => {
                if self.told.remove(&notice.key()) && self.config.on.contains(&NotificationKind::Over) && !self.queue(message) {
                    self.leave_out();
                }
            }
            Stage::Begun | Stage::Happened => {
                if !self.wants(notice) {
                    return;
                }
                if self.queue.capacity() <= RESERVED || !self.rate.takes(now) || !self.queue(message) {
                    self.leave_out();
                } else if notice.stage == Stage::Begun {
                    self.told.insert(notice.key());
                }
            }
        }
    }

    fn wants(&self, notice: &Notice) -> bool {
        notice.kind().is_none_or(|kind| self.config.on.contains(&kind))
    }

    fn queue(&mut self, message: &Message) -> bool {
        self.open.fetch_add(1, Ordering::Relaxed);
        let is_queued = self.queue.try_send(Message { left_out: self.left_out, ..message.clone() }).is_ok();
        if is_queued {
            self.left_out = 0;
        } else {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
        is_queued
    }

    fn leave_out(&mut self) {
        self.left_out += 1;
        self.metrics.process.notifications_dropped.inc();
        if self.left_out == 1 {
            let kind = send::kind(&self.config.to).as_str();
            tracing::warn!(kind, "a notification is left out: there are too many; the next one tells how many");
        }
    }

    /// It is configured no more, or otherwise: what waits for it is dropped.
    pub(super) fn end(self) {
        self.worker.abort();
        self.metrics.process.notifications_dropped.inc_by(self.open.load(Ordering::Relaxed));
    }
}

/// A token bucket.
#[derive(Debug)]
struct Rate {
    tokens: u32,
    /// When the last one was added.
    filled: Time,
}

impl Default for Rate {
    fn default() -> Self {
        Self { tokens: BURST, filled: Time::ZERO }
    }
}

impl Rate {
    fn takes(&mut self, now: Time) -> bool {
        while self.tokens < BURST && now.since(self.filled) >= REFILL {
            (self.tokens, self.filled) = (self.tokens + 1, self.filled + REFILL);
        }
        if self.tokens == BURST {
            self.filled = now;
        }
        let takes = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        takes
    }
}

/// Sends what is queued, one after the other.
struct Worker {
    sender: Sender,
    name: String,
    metrics: Arc<Metrics>,
    open: Arc<AtomicU64>,
}

impl Worker {
    async fn run(self, mut messages: mpsc::Receiver<Message>) {
        while let Some(message) = messages.recv().await {
            let result = tries(&PAUSES, || self.sender.once(&message)).await;
            let (receiver, pool, alert) = (&*self.name, &*message.notice.pool, message.notice.alert);
            let counted = self.metrics.process.notifications.get(self.sender.kind());
            match result {
                Ok(tries) => {
                    counted.get(NotificationResult::Sent).inc();
                    tracing::info!(receiver, kind = %self.sender, pool, %alert, tries, "told");
                }
                Err((tries, why)) => {
                    counted.get(NotificationResult::Failed).inc();
                    tracing::error!(receiver, kind = %self.sender, pool, %alert, tries, %why, "a receiver could not be told");
                }
            }
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Tries until it succeeds, until no other try may do better, or once more than there are pauses; how many it took.
async fn tries<F: Future<Output = Result<(), Failure>>>(
    pauses: &[Duration],
    once: impl Fn() -> F,
) -> Result<usize, (usize, String)> {
    let mut made = 0;
    loop {
        made += 1;
        let failure = match once().await {
            Ok(()) => return Ok(made),
            Err(failure) => failure,
        };
        let Some(pause) = pauses.get(made - 1).filter(|_| failure.may_pass) else { return Err((made, failure.why)) };
        tokio::time::sleep(failure.pause.unwrap_or_default().max(*pause)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_rate_allows_a_burst_and_then_one_at_a_time() {
        let mut rate = Rate::default();
        let start = Time::from_millis(5_000);
        assert_eq!((0..100).filter(|_| rate.takes(start)).count(), 20);
        assert!(!rate.takes(start + Duration::from_millis(9_999)));
        assert!(rate.takes(start + REFILL) && !rate.takes(start + REFILL));
        assert_eq!((0..100).filter(|_| rate.takes(start + Duration::from_hours(9))).count(), 20);
    }

    #[tokio::test]
    async fn five_tries_and_none_where_another_one_is_useless() {
        let pauses = [Duration::ZERO; 4];
        let made = Cell::new(0);
        let fails = |failure: Failure, until: u32| {
            made.set(0);
            let made = &made;
            move || {
                made.set(made.get() + 1);
                let result = if made.get() >= until { Ok(()) } else { Err(failure.clone()) };
                async move { result }
            }
        };
        assert_eq!(tries(&pauses, fails(Failure::again("busy"), 99)).await, Err((5, "busy".into())));
        assert_eq!(tries(&pauses, fails(Failure::again("busy"), 5)).await, Ok(5));
        assert_eq!(tries(&pauses, fails(Failure::never("wrong"), 99)).await, Err((1, "wrong".into())));
        assert_eq!(made.get(), 1);
    }
}
