//! The load tool's side of its talk with the harness, over standard input and output.

use std::{
    io::{self, BufRead, Write},
    time::Duration,
};

use tokio::sync::oneshot;

use super::Outcome;

/// Tells the harness how far the job is, and learns when to go on.
#[derive(Debug)]
pub(super) struct Coach {
    go: oneshot::Receiver<()>,
    end: oneshot::Receiver<()>,
}

impl Coach {
    /// Listens to standard input from now on.
    pub(super) fn listen() -> Self {
        let (send_go, go) = oneshot::channel();
        let (send_end, end) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let mut input = io::stdin().lock();
            if input.read_line(&mut String::new()).is_ok_and(|bytes| bytes > 0) {
                let _ = send_go.send(());
            }
            let _ = io::copy(&mut input, &mut io::sink());
            drop(send_end);
        });
        Self { go, end }
    }

    /// Everything is open; returns when the measured part may begin.
    pub(super) async fn ready(&mut self) -> io::Result<()> {
        println!("ready");
        io::stdout().flush()?;
        (&mut self.go).await.map_err(|_closed| io::Error::other("the harness went away before it said go"))
    }

    /// Tells the outcome; returns when nothing is needed any more.
    pub(super) async fn done(self, outcome: Outcome) -> io::Result<()> {
        println!("{}", serde_json::to_string(&outcome).map_err(io::Error::other)?);
        io::stdout().flush()?;
        let _ = self.end.await;
        Ok(())
    }
}

/// No step of a job that waits for the other end may take longer.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// The result of a task, bounded in time.
pub(super) async fn joined<T>(task: tokio::task::JoinHandle<io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(io::Error::other(panic)),
        Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came back for a minute")),
    }
}
