//! Workers: threads with their own event loop. A connection starts on one and stays there. Accept loops run on the first, which
//! hands each client to the worker with the fewest: database connections are few and long-lived, so spreading them by hash would
//! leave cores idle.

use std::{io, sync::Arc, thread::JoinHandle, time::Duration};

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::{
    context::{Load, ProcessContext, WorkerContext},
    event_loop::{self, EventLoop, Handle},
    hold::Hold,
    order::{Order, Turn},
    relay::supply_pipes,
    target::HoldGate,
};
use crate::{
    lifecycle::{Lifeline, Phase},
    net::endpoint::Peer,
    route::SessionTable,
};

/// All workers, as the accept loops see them.
#[derive(Debug)]
pub(super) struct Workers {
    members: Vec<Arc<WorkerContext>>,
    order: Order,
    tasks: TaskTracker,
}

impl Workers {
    /// A share of the load of the least loaded worker; of the accept loops' own, if none has less.
    pub(super) fn least_loaded(&self) -> Option<Load> {
        self.members.iter().min_by_key(|worker| worker.load()).map(Load::new)
    }

    /// A share of the load of the accept loops' own worker.
    pub(super) fn own(&self) -> Option<Load> {
        self.members.first().map(Load::new)
    }

    /// The turn of a client that is served as soon as it was accepted.
    pub(super) fn draw(&self, peer: Peer) -> Option<Turn> {
        self.order.draw(peer)
    }

    /// Starts a task on the worker whose load it is. A panic in a connection ends that connection only; the event loop catches it and
    /// the panic hook counts it.
    pub(super) fn start<F>(&self, inbox: Option<Handle>, task: impl FnOnce(TaskTrackerToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        // It already counts as a task on its way; otherwise a process that is told to stop could believe that nothing is left to
        // do.
        let counted = self.tasks.token();
        let start = move || event_loop::spawn(task(counted));
        match inbox {
            None => start(),
            Some(inbox) => inbox.run(start),
        }
    }
}

/// The running workers, for those who give them work.
#[derive(Debug)]
pub(super) struct WorkerPool {
    workers: Arc<Workers>,
    /// The first worker, which runs the accept loops and releases held clients.
    first: Handle,
    lifeline: Lifeline,
}

impl WorkerPool {
    /// All workers, as an accept loop sees them.
    pub(super) fn workers(&self) -> Arc<Workers> {
        Arc::clone(&self.workers)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.workers.members.len()
    }

    /// Runs an accept loop, for as long as the process accepts.
    pub(super) fn accept<F: Future<Output = ()> + 'static>(&self, task: impl FnOnce() -> F + Send + 'static) {
        let guards = (self.lifeline.vital.guard(), self.workers.tasks.token());
        self.first.run(move || {
            let accepts = task();
            event_loop::spawn(async move {
                let _guards = guards;
                accepts.await;
            });
        });
    }

    /// Releases held clients, until the pool is retired.
    pub(super) fn release(&self, hold: Arc<Hold>, gate: HoldGate, retired: CancellationToken) {
        let guard = self.lifeline.vital.guard();
        self.first.run(move || {
            event_loop::spawn(async move {
                let _guard = guard;
                tokio::select! {
                    () = hold.release(gate) => {}
                    () = retired.cancelled() => {}
                }
            });
        });
    }
}

/// Their sessions, and their threads.
type Spawned = (WorkerPool, Vec<Arc<SessionTable>>, Vec<JoinHandle<()>>);

/// Starts so many workers, each with so many pipes at most. It stays awake for `busy_poll` after its sessions moved bytes.
pub(super) fn spawn(
    count: usize,
    pipes: usize,
    busy_poll: Option<Duration>,
    process: &Arc<ProcessContext>,
    tasks: &TaskTracker,
) -> io::Result<Spawned> {
    let lifeline = &process.lifeline;
    let mut members = Vec::new();
    let mut threads = Vec::new();
    let mut first = None;
    for index in 0..count {
        let event_loop = EventLoop::new()?;
        let handle = event_loop.handle();
        first.get_or_insert_with(|| handle.clone());
        let worker = WorkerContext::new((index > 0).then_some(handle));
        members.push(Arc::new(worker));
        let (tasks, life) = (tasks.clone(), lifeline.clone());
        let process = Arc::clone(process);
        let body = move || {
            supply_pipes(pipes, Box::new(move |error| process.process_metrics().pipe_errors.get(error).inc()));
            if let Err(error) = event_loop.run(busy_poll, run(tasks, life)) {
                tracing::error!(%error, "a worker stopped");
            }
        };
        threads.push(lifeline.vital.thread(format!("mainstay-data-{index}"), body)?);
    }
    let Some(first) = first else { return Err(io::Error::other("there must be a worker")) };
    let sessions = members.iter().map(|worker| Arc::clone(&worker.sessions)).collect();
    let workers = Arc::new(Workers { members, order: Order::among(count), tasks: tasks.clone() });
    Ok((WorkerPool { workers, first, lifeline: lifeline.clone() }, sessions, threads))
}

/// Runs until every accept loop and connection of the process has ended, or until the process is forced; the end of the event loop
/// closes what they hold.
async fn run(tasks: TaskTracker, mut lifeline: Lifeline) {
    tokio::select! {
        () = tasks.wait() => {}
        () = lifeline.phase.reached(Phase::Stopped) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::admission::Admission;

    #[test]
    fn a_panic_ends_its_own_connection_and_gives_back_what_that_held() {
        let (worker, admission) = (Arc::new(WorkerContext::default()), Arc::new(Admission::new(1)));
        let place = admission.admit();
        let (ends_in_panic, ends_well) = (Load::new(&worker), Load::new(&worker));
        event_loop::testing::run(async move {
            let tasks = TaskTracker::new();
            event_loop::spawn(tasks.track_future(async move {
                let _has = (ends_in_panic, place);
                panic!("on purpose");
            }));
            event_loop::spawn(tasks.track_future(async move {
                let _has = ends_well;
            }));
            tasks.close();
            tasks.wait().await;
        });
        assert_eq!(worker.load(), 0);
        assert!(admission.admit().is_some(), "its place is still taken");
    }
}
