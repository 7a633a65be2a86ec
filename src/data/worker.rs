//! Workers: threads with their own runtime. A connection starts on one and stays there. Accept loops run on the first, which
//! hands each client to the worker that has the fewest: database connections are few and long-lived, so spreading them by hash
//! would leave cores idle.

use std::{
    io,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{runtime, sync::mpsc};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{DataPlane, PoolContext, admission::Place, connection, connection::Accepted, listener, listener::ListenerContext};
use crate::{
    lifecycle::{Lifeline, Phase},
    route::SessionTable,
};

/// What the connections of one worker share.
#[derive(Debug, Default)]
pub(super) struct WorkerContext {
    pub(super) sessions: Arc<SessionTable>,
    /// Clients that were handed to it and have not ended.
    load: AtomicUsize,
}

/// All workers, as the accept loops see them.
#[derive(Debug)]
pub(super) struct Workers {
    workers: Vec<(Arc<WorkerContext>, Inbox)>,
    tasks: TaskTracker,
}

/// A client on its way to another worker. It counts as a task meanwhile, or a process that is told to stop could believe
/// that nothing is left to do.
type Handover = (Accepted, TaskTrackerToken);
type Inbox = mpsc::UnboundedSender<Handover>;
type InboxReceiver = mpsc::UnboundedReceiver<Handover>;

impl Workers {
    /// Gives a client to the least loaded worker; the accept loop's own, without a wake-up, when it is as good as any.
    pub(super) fn hand_over(&self, accepted: Accepted) {
        let least = self.workers.iter().enumerate().min_by_key(|(_, (context, _))| context.load.load(Ordering::Relaxed));
        if let Some((index, (context, inbox))) = least {
            context.load.fetch_add(1, Ordering::Relaxed);
            if index == 0 {
                start(accepted, None, Arc::clone(context), &self.tasks);
            } else {
                // The channel is closed only when the worker has stopped, and the process with it.
                let _ = inbox.send((accepted, self.tasks.token()));
            }
        }
    }

    /// Lets the accept loop's own worker tell a client that it is one too many.
    pub(super) fn refuse(&self, accepted: Accepted, refusal: Place) {
        if let Some((context, _)) = self.workers.first() {
            context.load.fetch_add(1, Ordering::Relaxed);
            start(accepted, Some(refusal), Arc::clone(context), &self.tasks);
        }
    }
}

/// A panic in a connection ends that connection only; the runtime catches it and the panic hook counts it.
fn start(accepted: Accepted, refusal: Option<Place>, worker: Arc<WorkerContext>, tasks: &TaskTracker) {
    let load = Load(Arc::clone(&worker));
    tasks.spawn(async move {
        let _load = load;
        connection::serve(accepted, worker).await;
        drop(refusal);
    });
}

struct Load(Arc<WorkerContext>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts `count` workers; the first runs the accept loops and lets held clients go.
pub(super) fn spawn(
    count: usize,
    lifeline: &Lifeline,
    tasks: &TaskTracker,
    acceptors: Vec<(Arc<ListenerContext>, TcpListener)>,
    pools: Vec<Arc<PoolContext>>,
) -> io::Result<DataPlane> {
    let mut workers = Vec::new();
    let mut inboxes = Vec::new();
    for _ in 0..count {
        let (inbox, receiver) = mpsc::unbounded_channel();
        workers.push((Arc::new(WorkerContext::default()), inbox));
        inboxes.push(receiver);
    }
    let sessions = workers.iter().map(|(context, _)| Arc::clone(&context.sessions)).collect();
    let contexts: Vec<_> = workers.iter().map(|(context, _)| Arc::clone(context)).collect();
    let workers = Arc::new(Workers { workers, tasks: tasks.clone() });
    let mut first = Some((acceptors, pools, workers));
    let mut threads = Vec::new();
    for (index, (context, inbox)) in contexts.into_iter().zip(inboxes).enumerate() {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let tasks = tasks.clone();
        let first = first.take();
        let life = lifeline.clone();
        let body = move || runtime.block_on(run(context, inbox, tasks, first, life));
        threads.push(lifeline.vital.thread(format!("mainstay-data-{index}"), body)?);
    }
    Ok(DataPlane { sessions, tasks: tasks.clone(), threads })
}

type First = (Vec<(Arc<ListenerContext>, TcpListener)>, Vec<Arc<PoolContext>>, Arc<Workers>);

/// Runs until every accept loop and connection of the process has ended, or the process is out of patience with those that
/// have not; dropping the runtime closes what they hold.
async fn run(
    context: Arc<WorkerContext>,
    mut inbox: InboxReceiver,
    tasks: TaskTracker,
    first: Option<First>,
    mut lifeline: Lifeline,
) {
    if let Some((acceptors, pools, workers)) = first {
        for pool in pools {
            let guard = lifeline.vital.guard();
            tokio::spawn(async move {
                let _guard = guard;
                pool.hold.release(pool.routes.clone()).await;
            });
        }
        for (listener, socket) in acceptors {
            let name = Arc::clone(&listener.name);
            let accept = listener::accept_loop(listener, socket, Arc::clone(&workers));
            let guard = lifeline.vital.guard();
            tasks.spawn(async move {
                let _guard = guard;
                if let Err(error) = accept.await {
                    tracing::error!(listener = %name, %error, "the listener stopped");
                }
            });
        }
        tasks.close();
    }
    loop {
        tokio::select! {
            biased;
            // Nothing more comes once the accept loops have ended; what came before lives on.
            Some((accepted, _counted)) = inbox.recv() => start(accepted, None, Arc::clone(&context), &tasks),
            () = tasks.wait() => break,
            () = lifeline.phase.reached(Phase::Stopped) => break,
        }
    }
}
