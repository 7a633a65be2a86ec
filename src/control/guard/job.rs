//! What the keeper has done beside the supervisor, and the pool as it is then.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    sync::{Mutex, mpsc},
    task::AbortHandle,
};

use super::{
    proofs::{self, Latency, Occasion, Proved, Scope},
    subject::Subject,
};
use crate::{
    config::{CheckConfig, GuardConfig},
    control::node::Node,
    failover::Printable,
    route::Print,
};

/// What a task beside the supervisor has to say.
pub(in crate::control) struct Heard {
    pub(super) backend: Arc<str>,
    pub(super) number: u64,
    pub(super) what: What,
}

/// What it has done.
pub(in crate::control) enum What {
    /// Read a print; `Ok(None)` of a server that has none.
    Read(Result<Option<Print>, Printable>),
    /// Run proofs.
    Proved(Vec<Proved>, Scope),
    /// Nothing: it panicked.
    Lost,
}

/// Dropped, it is given up.
pub(super) struct Job {
    pub(super) number: u64,
    /// Which proofs it runs; `None`: it reads the print.
    pub(super) proves: Option<Scope>,
    task: AbortHandle,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A backend at the moment of a look.
pub(in crate::control) struct Seen<'a> {
    pub(in crate::control) node: &'a Node,
    /// It answers and serves.
    pub(in crate::control) is_up: bool,
    /// It does not answer.
    pub(in crate::control) is_down: bool,
    /// A probe failed, or it follows nobody.
    pub(in crate::control) is_disturbed: bool,
}

impl Seen<'_> {
    pub(super) const fn name(&self) -> &Arc<str> {
        &self.node.config.name
    }
}

/// The pool at that moment.
pub(in crate::control) struct Scene<'a> {
    pub(in crate::control) pool: &'a Arc<str>,
    pub(in crate::control) guard: &'a Arc<GuardConfig>,
    pub(in crate::control) check: &'a CheckConfig,
    pub(in crate::control) seen: Vec<Seen<'a>>,
    /// The place of the active one among them.
    pub(in crate::control) active: Option<usize>,
    /// No operation runs, and somebody is active, or nobody may be before it has proven itself.
    pub(in crate::control) may_prove: bool,
}

/// The hooks for a backend: one at a time, and only the latest.
#[derive(Clone, Default)]
pub(super) struct Hooks(Arc<(AtomicU64, Mutex<()>)>);

impl Hooks {
    /// The turn of one more.
    pub(super) fn turn(&self) -> HookTurn {
        let number = self.0.0.fetch_add(1, Ordering::Relaxed) + 1;
        HookTurn { hooks: self.clone(), number }
    }
}

/// A hook waits for those before it.
pub(in crate::control) struct HookTurn {
    hooks: Hooks,
    number: u64,
}

impl HookTurn {
    /// Runs it when it is its turn, unless there is a later one by then.
    pub(in crate::control) async fn run(
        self,
        hook: impl Future<Output = Result<Printable, Printable>>,
    ) -> Result<Printable, Printable> {
        let _turn = self.hooks.0.1.lock().await;
        if self.hooks.0.0.load(Ordering::Relaxed) == self.number {
            hook.await
        } else {
            Ok("a later change is told instead".into())
        }
    }
}

/// Works beside the supervisor, which hears of the end whatever it is.
pub(super) fn job(
    sender: &mpsc::UnboundedSender<Heard>,
    (name, number): (&Arc<str>, u64),
    proves: Option<Scope>,
    work: impl Future<Output = What> + Send + 'static,
) -> Job {
    let (sender, backend) = (sender.clone(), Arc::clone(name));
    let work = tokio::spawn(work);
    let task = work.abort_handle();
    tokio::spawn(async move {
        let what = match work.await {
            Ok(what) => what,
            Err(end) if end.is_cancelled() => return,
            Err(_) => What::Lost,
        };
        let _ = sender.send(Heard { backend, number, what });
    });
    Job { number, proves, task }
}

/// Proofs that are about to be run.
pub(super) struct Proofs {
    pool: Arc<str>,
    guard: Arc<GuardConfig>,
    subject: (Arc<str>, Subject),
    active: Option<(Arc<str>, Subject)>,
    latency: Option<Latency>,
    scope: Scope,
}

impl Proofs {
    pub(super) fn of(scene: &Scene<'_>, place: usize, scope: Scope) -> Self {
        let named = |seen: &Seen<'_>| (Arc::clone(seen.name()), Subject::of(seen.node, scene.check));
        let (seen, active) =
            (&scene.seen[place], scene.active.filter(|active| *active != place).map(|active| &scene.seen[active]));
        let latency = seen.node.slow_probe().zip(active.and_then(|active| active.node.slow_probe()));
        Self {
            pool: Arc::clone(scene.pool),
            guard: Arc::clone(scene.guard),
            subject: named(seen),
            active: active.map(named),
            latency: latency.map(|(subject, active)| Latency { subject, active }),
            scope,
        }
    }

    pub(super) async fn run(self) -> Vec<Proved> {
        let occasion = Occasion {
            pool: &self.pool,
            backend: &self.subject.0,
            active: self.active.as_ref().map(|(name, _)| &**name),
            guard: &self.guard,
            latency: self.latency,
        };
        proofs::run(&self.subject.1, self.active.as_ref().map(|(_, active)| active), self.scope, &occasion).await
    }
}
