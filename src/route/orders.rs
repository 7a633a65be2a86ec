//! What operators order of a pool: admin → control, and the answer back.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use crate::{
    failover::{Admin, OperationRefusal, Printable, label::Label},
    labels,
    net::endpoint::Peer,
};

/// Orders that may wait for a pool's supervisor; one more is refused as [`RefusalCode::Busy`].
const QUEUE: usize = 16;

/// What is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Sets the administrative state of a backend.
    SetAdmin {
        /// Its name.
        backend: Arc<str>,
        /// From now on.
        to: Admin,
        /// Although nobody could take over from it.
        force: bool,
    },
    /// Holds new clients until [`Verb::Resume`], for this long at most.
    Pause {
        /// At most.
        max: Duration,
    },
    /// Ends a pause.
    Resume,
    /// Ends sessions.
    Kill {
        /// Only those with this backend.
        backend: Option<Arc<str>>,
        /// Only that of this client.
        client: Option<Peer>,
    },
    /// Moves the clients to another backend, at the ends of their transactions.
    Switchover {
        /// To whom; `None`: the best one.
        to: Option<Arc<str>>,
        /// Also to a standby that is far behind, and although something is missing.
        force: bool,
    },
    /// Makes a standby the primary while no backend is active.
    Promote {
        /// Whom; `None`: the best one.
        to: Option<Arc<str>>,
        /// Although it lacks what the dead primary had, or nobody knows.
        accept_loss: bool,
        /// Although another backend says that it is a primary, or something is missing.
        force: bool,
    },
    /// As [`Verb::Switchover`], and a trial follows.
    Trial {
        /// To whom; `None`: the best one.
        to: Option<Arc<str>>,
        /// Also to a standby that is far behind, and although something is missing.
        force: bool,
        /// How long the trial is.
        time: Duration,
    },
    /// A switchover there and back.
    Rehearse,
    /// Moves the clients back to the backend that was active before.
    Rollback {
        /// When no backend is active: although it lacks what the last one had, or nobody knows.
        accept_loss: bool,
    },
    /// Ends the operation that runs before its point of no return, or the trial.
    AbortPresent,
    /// Ends an operation before its point of no return, or the trial that follows it.
    Abort {
        /// Its number.
        id: u64,
    },
    /// Runs the proofs of a backend, or of every one that has not proven itself.
    Prove {
        /// Its name.
        backend: Option<Arc<str>>,
    },
    /// Takes a backend for good as it is now.
    Approve {
        /// Its name.
        backend: Arc<str>,
    },
    /// Takes a backend for bad as it is now.
    Reject {
        /// Its name.
        backend: Arc<str>,
    },
    /// Changes nothing: the answer says what a failover, a switchover, a promotion and a rollback would do now.
    Drill,
}

/// An order, and who gave it.
#[derive(Debug)]
pub struct Order {
    /// What is ordered.
    pub verb: Verb,
    /// Who ordered it and from where, as events and logs tell it: `uid 0 (root) over /run/mainstay/admin.sock`.
    pub by: Printable,
    /// Why, in the operator's own words; may be empty.
    pub reason: Printable,
    /// Nothing is done; the answer says what would be.
    pub dry_run: bool,
    answer: oneshot::Sender<Result<Done, Refusal>>,
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// In words, one line each.
    pub lines: Vec<String>,
    /// Sessions that were ended, or would be.
    pub sessions: u64,
    /// The operation that has begun.
    pub operation: Option<u64>,
}

labels! {
    /// Why an order is not carried out.
    pub enum RefusalCode {
        /// There is no backend of this name.
        UnknownBackend = "unknown_backend",
        /// It is the active one, and nobody may take over.
        NobodyTakesOver = "nobody_takes_over",
        /// Too many orders wait, or another operation runs.
        Busy = "busy",
        /// Just started: not every backend has answered.
        Settling = "settling",
        /// No backend is active.
        NoActive = "no_active",
        /// A backend is active, or says that it is a primary.
        PrimaryLives = "primary_lives",
        /// No backend could take over.
        NoCandidate = "no_candidate",
        /// This one may not serve.
        NotEligible = "not_eligible",
        /// There is a sign of its death.
        InDoubt = "in_doubt",
        /// Nothing is configured that promotes a standby.
        NoPromoter = "no_promoter",
        /// It is not connected to its primary.
        NotStreaming = "not_streaming",
        /// It is too far behind.
        Lag = "lag",
        /// Nobody knows how far it is behind.
        LagUnknown = "lag_unknown",
        /// Its database epoch is below one that was served.
        Fenced = "fenced",
        /// It has changed and has not proven itself.
        Unproven = "unproven",
        /// Only mainstay itself begins this.
        Automatic = "automatic",
        /// No operation of this number runs.
        UnknownOperation = "unknown_operation",
        /// It cannot be aborted any more.
        PointOfNoReturn = "point_of_no_return",
        /// No other backend was active before.
        NoPrevious = "no_previous",
        /// The backend that was active before does not follow the active one.
        CutOff = "cut_off",
        /// An older process of an upgrade has sessions, whose transactions cannot be waited for.
        OlderSessions = "older_sessions",
        /// Nothing is known of what it is: the check cannot ask, or has not yet.
        NoPrint = "no_print",
        /// Nothing is to be proven.
        NothingToProve = "nothing_to_prove",
        /// Something is missing without which it would fail.
        NotPrepared = "not_prepared",
        /// The pool is not configured any more, or mainstay stops.
        Gone = "gone",
        /// No answer came in time; the order may still be carried out.
        Timeout = "timeout",
    }
}

/// An order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people: why, and what to do.
    pub message: String,
}

/// The ordering end of a pool. The admin plane holds it.
#[derive(Clone, Debug)]
pub struct OrderSender(mpsc::Sender<Order>);

/// The obeying end. The supervisor holds it.
#[derive(Debug)]
pub struct OrderReceiver(mpsc::Receiver<Order>);

/// Both ends.
pub fn orders() -> (OrderSender, OrderReceiver) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (OrderSender(sender), OrderReceiver(receiver))
}

impl From<OperationRefusal> for RefusalCode {
    /// The code with the same word; a test checks that there is one.
    fn from(why: OperationRefusal) -> Self {
        Self::ALL.iter().copied().find(|code| code.as_str() == why.as_str()).unwrap_or(Self::NoCandidate)
    }
}

impl OrderSender {
    /// Gives an order and waits for the answer, `patience` at most.
    ///
    /// # Errors
    /// Why it was not carried out.
    pub async fn give(
        &self,
        verb: Verb,
        (by, reason): (Printable, Printable),
        dry_run: bool,
        patience: Duration,
    ) -> Result<Done, Refusal> {
        let (answer, answered) = oneshot::channel();
        let refused = |code, message: &str| Refusal { code, message: message.to_owned() };
        self.0.try_send(Order { verb, by, reason, dry_run, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                refused(RefusalCode::Busy, "other orders for this pool are waiting; order again in a moment")
            }
            mpsc::error::TrySendError::Closed(_) => refused(RefusalCode::Gone, "this pool has ended, or mainstay is stopping"),
        })?;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(refused(RefusalCode::Gone, "this pool has ended, or mainstay is stopping")),
            Err(_) => Err(refused(
                RefusalCode::Timeout,
                "there was no answer in time; look at the pool's status before you order again: it may still be done",
            )),
        }
    }
}

impl OrderReceiver {
    /// The next order; waits for ever when nobody can give one any more.
    pub async fn next(&mut self) -> Order {
        match self.0.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }
}

impl Order {
    /// One that mainstay itself gives. Nobody waits for the answer.
    pub fn own(verb: Verb, reason: &str) -> Self {
        let (answer, _) = oneshot::channel();
        Self { verb, by: "mainstay".into(), reason: reason.into(), dry_run: false, answer }
    }

    /// Answers it. Nobody may be waiting any more.
    pub fn answer(self, answer: Result<Done, Refusal>) {
        let _ = self.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_an_operation_has_a_code() {
        for why in OperationRefusal::ALL {
            assert_eq!(RefusalCode::from(*why).as_str(), why.as_str());
        }
    }
}
