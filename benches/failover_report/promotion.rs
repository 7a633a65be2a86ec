//! Promotes a standby and tells when it became writable, over two sessions that were opened before the fault.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use lab::{
    cluster::Node,
    failure::Failure,
    session::{Session, SessionError},
    stop::Stop,
};
use tokio::runtime::Runtime;

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// A promotion that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A standby that can be promoted without delay.
#[derive(Debug)]
pub(crate) struct Promotion {
    promote: Sender<()>,
    writable: Receiver<Result<Instant, SessionError>>,
}

impl Promotion {
    /// Opens the sessions, past mainstay, and waits on a thread of its own for the word.
    pub(crate) fn prepare(standby: &Node) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let endpoint = standby.endpoint();
        let mut sessions = runtime.block_on(async {
            let order = Session::connect(&endpoint, "postgres", "postgres").await?;
            let watch = Session::connect(&endpoint, "postgres", "postgres").await?;
            Ok::<_, SessionError>((order, watch))
        })?;
        let (promote, word) = mpsc::channel();
        let (tell, writable) = mpsc::channel();
        std::thread::Builder::new().name("promotion".into()).spawn(move || {
            if word.recv().is_ok() {
                let _ = tell.send(promote_and_watch(&runtime, &mut sessions, &word));
            }
        })?;
        Ok(Self { promote, writable })
    }

    /// Promotes, at once.
    pub(crate) fn promote(&self) {
        // Fails only when the thread is gone; then the wait below says so.
        let _ = self.promote.send(());
    }

    /// Waits until the standby said that it takes writes; when it said so.
    pub(crate) fn writable(&self, stop: &Stop) -> Result<Instant, Failure> {
        stop.wait("the promoted standby takes writes", TIMEOUT, || self.writable.try_recv().ok())?.map_err(Failure::from)
    }
}

/// `pg_promote(false)` does not wait: inside the server, waiting looks only every 100 ms.
fn promote_and_watch(
    runtime: &Runtime,
    (order, watch): &mut (Session, Session),
    word: &Receiver<()>,
) -> Result<Instant, SessionError> {
    let deadline = Instant::now() + TIMEOUT;
    runtime.block_on(order.query("SELECT pg_promote(false)"))?;
    loop {
        let rows = runtime.block_on(watch.query("SELECT pg_is_in_recovery()"))?;
        let at = Instant::now();
        if rows.first().and_then(|row| row.first()?.as_deref()) == Some("f") {
            return Ok(at);
        }
        // The pause between two questions; ends early when nobody waits any more.
        let abandoned = word.recv_timeout(ASK_EVERY) == Err(RecvTimeoutError::Disconnected);
        if abandoned || at >= deadline {
            return Err(SessionError::Protocol("the standby did not become a primary".into()));
        }
    }
}
