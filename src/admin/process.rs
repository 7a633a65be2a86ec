//! Orders for the whole process: from the admin plane to whoever runs it, and the answer back.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::{config::Errors, failover::Printable, route::Done};

/// Orders that may wait; one more is refused.
const QUEUE: usize = 4;
/// A configuration may be on a slow disk, and a newer process may start slowly.
const PATIENCE: Duration = Duration::from_secs(40);

/// What is ordered of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessVerb {
    /// As SIGHUP.
    Reload,
    /// As SIGTERM.
    Shutdown {
        /// As a second SIGTERM: sessions are cut.
        force: bool,
    },
    /// A newer process takes over.
    Upgrade,
}

/// An order for the process, and who gave it.
#[derive(Debug)]
pub struct ProcessOrder {
    /// What is ordered.
    pub verb: ProcessVerb,
    /// Who ordered it and from where.
    pub by: Printable,
    /// Why, in the operator's own words; may be empty.
    pub reason: Printable,
    /// Nothing is done; the answer says what would be.
    pub dry_run: bool,
    answer: oneshot::Sender<Result<Done, ProcessRefusal>>,
}

/// Why an order for the process was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessRefusal {
    /// The configuration has these errors.
    Invalid(Errors),
    /// Something else; in words.
    Refused(String),
    /// Other orders wait.
    Busy,
    /// Nobody takes orders any more, or none came back.
    Gone,
    /// No answer came in time.
    Timeout,
}

impl ProcessRefusal {
    /// For programs.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "bad_configuration",
            Self::Refused(_) => "refused",
            Self::Busy => "busy",
            Self::Gone => "gone",
            Self::Timeout => "timeout",
        }
    }

    /// For people: why, and what to do.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Invalid(errors) => match errors.errors().count() {
                1 => "the configuration has an error: mainstay keeps the one in use".to_owned(),
                count => format!("the configuration has {count} errors: mainstay keeps the one in use"),
            },
            Self::Refused(message) => message.clone(),
            Self::Busy => "other orders for mainstay itself are waiting; order again in a moment".to_owned(),
            Self::Gone => "mainstay is stopping".to_owned(),
            Self::Timeout => "there was no answer in time; it may still be done: look into the log".to_owned(),
        }
    }
}

/// The ordering end. The admin plane holds it.
#[derive(Clone, Debug)]
pub struct ProcessOrderSender(mpsc::Sender<ProcessOrder>);

/// The obeying end.
#[derive(Debug)]
pub struct ProcessOrderReceiver(mpsc::Receiver<ProcessOrder>);

/// Both ends.
pub fn process_orders() -> (ProcessOrderSender, ProcessOrderReceiver) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (ProcessOrderSender(sender), ProcessOrderReceiver(receiver))
}

impl ProcessOrderSender {
    pub(super) async fn give(
        &self,
        verb: ProcessVerb,
        (by, reason): (Printable, Printable),
        dry_run: bool,
    ) -> Result<Done, ProcessRefusal> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(ProcessOrder { verb, by, reason, dry_run, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProcessRefusal::Busy,
            mpsc::error::TrySendError::Closed(_) => ProcessRefusal::Gone,
        })?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(answer) => answer.unwrap_or(Err(ProcessRefusal::Gone)),
            Err(_) => Err(ProcessRefusal::Timeout),
        }
    }
}

impl ProcessOrderReceiver {
    /// The next order; waits for ever when nobody can give one any more.
    pub async fn next(&mut self) -> ProcessOrder {
        match self.0.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }
}

impl ProcessOrder {
    /// Answers it. Nobody may be waiting any more.
    pub fn answer(self, answer: Result<Done, ProcessRefusal>) {
        let _ = self.answer.send(answer);
    }
}
