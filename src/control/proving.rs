//! Proofs of backends that have changed: the keeper finds, the core is told, operators order.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    guard::{self, Book, Commit, Distrust, Doubt, Heard, News, Scene, Seen, Subject, told},
    node::Node,
    orders,
    probe::Deadline,
    promotion::{Hook, HookKind, Member, Occasion},
    supervisor::Supervisor,
};
use crate::{
    config::OnCommitStuck,
    failover::{
        BackendId, BackendState, Event, GuardMode, Health, Pool, Proof, ReadEligibility, Reason, Role, Verdict, label::Label as _,
    },
    route::{Done, Order, ProofView, Refusal, RefusalCode, Verb},
};

/// A switchover away from a backend that cannot commit is ordered again after this time.
const LEAVE_AGAIN: Duration = Duration::from_mins(1);

impl Supervisor {
    /// The keeper has found something.
    pub(super) fn on_guard(&mut self, heard: Heard) {
        if self.retired.is_cancelled() {
            return;
        }
        let now = self.clock.now();
        let active = self.core.active().map(|id| Arc::clone(self.name(id)));
        let Some((backend, news)) = self.keeper.hear(heard, active.as_deref(), &self.config.guard, now) else { return };
        if news == News::Nothing {
            self.guards.read(&self.config.name, &backend, now);
        } else {
            self.show_guard(&backend);
            // What was found is told before what follows from it begins.
            self.tell_proofs();
            self.teller.reading(&backend, &news);
        }
        self.look_after();
    }

    /// Begins what is due, and tells the core what has changed.
    pub(super) fn look_after(&mut self) {
        if self.retired.is_cancelled() {
            return;
        }
        if self.config.guard.mode == GuardMode::Off {
            return self.look_away();
        }
        tracing::trace!(pool = &*self.config.name, "looks after its prints and proofs");
        let holds = self.core.active().is_some() || self.core.verdict() == Verdict::NoProvenNode;
        let scene = Scene {
            pool: &self.config.name,
            guard: &self.config.guard,
            check: &self.config.check,
            seen: self.core.ids().zip(&self.nodes).filter_map(|(id, node)| seen(&self.core, id, node)).collect(),
            active: self.core.active().map(BackendId::index),
            may_prove: holds && self.core.operation().is_none(),
        };
        self.keeper.look(&scene, self.clock.now());
        self.tell_proofs();
    }

    fn tell_proofs(&mut self) {
        for id in self.core.ids().collect::<Vec<_>>() {
            let name = Arc::clone(self.name(id));
            let Some((proof, what)) = self.keeper.book(&name).map(Book::proof) else { continue };
            let is_known = |state: &BackendState| state.proof == proof && state.proof_what == what;
            if !self.core.backend(id).is_some_and(is_known) {
                self.keeper.told(&name, self.clock.now());
                self.step(&Event::Proof { backend: id, proof, what });
                self.show_guard(&name);
            }
        }
        // One that lasts is a canary; the core knows only that it still proves itself.
        if self.core.ids().any(|id| self.core.read_eligibility(id) == ReadEligibility::Canary) {
            self.offer_readers();
        }
    }

    /// Whoever could serve has changed, which is told once. One that only was away, and has not been read since, is no reason to call
    /// anybody: it is read within a moment, or is told to be unread.
    pub(super) fn tell_unproven(&mut self) {
        let is_held = self.core.verdict() == Verdict::NoProvenNode;
        let has_changed = |id: BackendId| {
            let is_away = |state: &BackendState| Doubt::is_away(&state.proof_what);
            self.core.reason(id) == Reason::Unproven && !self.core.backend(id).is_some_and(is_away)
        };
        let is_bad = is_held && (self.is_unproven || self.core.ids().any(has_changed));
        if is_bad && !std::mem::replace(&mut self.is_unproven, is_bad) {
            tracing::error!(
                pool = &*self.config.name,
                verdict = self.core.verdict().as_str(),
                "whoever could serve has changed and has not proven itself: new clients are held; look at its proofs (mainstay status), and \
                 approve it if it may serve"
            );
        }
        self.is_unproven = is_bad;
    }

    /// Nothing is looked at any more, so everybody is taken as it is.
    fn look_away(&mut self) {
        self.keeper.stop();
        for id in self.core.ids().collect::<Vec<_>>() {
            if self.core.backend(id).is_some_and(|state| state.proof != Proof::default()) {
                self.step(&Event::Proof { backend: id, proof: Proof::default(), what: "guard.mode is off".into() });
            }
        }
    }

    /// Of a hundred new sessions of its readers, how many a backend gets that still proves itself.
    pub(super) fn canary(&self, id: BackendId) -> Option<u32> {
        let lasts = self.keeper.book(self.name(id)).is_some_and(Book::lasts);
        Some(self.config.guard.canary).filter(|_| lasts)
    }

    /// A backend went down, or ended the check's session: what comes back may be another server.
    pub(super) fn on_absence(&mut self, id: BackendId) {
        self.keeper.absent(&self.nodes[id.index()].config.name, Distrust::of(self.config.guard.mode));
        self.guard_is_due = true;
    }

    /// It does not serve, and has told so before: what comes back is looked at then.
    pub(super) fn is_gone(&self, id: BackendId) -> bool {
        self.core.backend(id).is_some_and(|state| state.health() == Health::Down || state.is_starting())
    }

    /// Clients wait for the quick proofs of a backend.
    pub(super) fn prove_now(&mut self, id: BackendId) {
        let now = self.clock.now();
        self.keeper.hurry(&self.nodes[id.index()].config.name, now);
        self.guard_is_due = true;
    }

    pub(super) fn show_guard(&self, name: &Arc<str>) {
        if let Some(view) = self.keeper.view(name, &self.config.guard) {
            if let Some(node) = self.nodes.iter().find(|node| node.config.name == *name) {
                let (metrics, results) = (&node.metrics, &view.results);
                if let Some(digest) = &view.digest {
                    metrics.print.set([digest]);
                }
                let result = |proof: &ProofView| ([proof.name.to_string(), proof.result.to_owned()], 1.0);
                metrics.proof_results.set(results.iter().map(result).collect());
                let took = |proof: &ProofView| ([proof.name.to_string()], proof.took.as_secs_f64());
                metrics.proof_durations.set(results.iter().map(took).collect());
            }
            self.guards.show(&self.config.name, name, view);
        }
    }

    /// Runs the hook that tells a promoter which node not to choose, and which one again.
    pub(super) fn tell_promoter(&mut self, id: BackendId, proof: Proof) {
        let Some(hook) = self.config.guard.on_unproven.clone() else { return };
        let name = Arc::clone(self.name(id));
        let Some(turn) = self.keeper.hook_turn(&name, proof.is_good()) else { return };
        let member = Member::from(&self.nodes[id.index()]);
        let active = self.core.active().filter(|active| *active != id).map(|active| Member::from(&self.nodes[active.index()]));
        let occasion = Occasion { epoch: self.core.epoch().0, cause: proof.as_str() };
        let pool = Arc::clone(&self.config.name);
        self.operations.aside("on_unproven", Arc::clone(&member.name), async move {
            let run = async {
                let run = Hook { kind: HookKind::OnUnproven, command: &hook.command, limit: hook.timeout, pool: &pool };
                run.run(&member, active.as_ref(), &occasion, Deadline::after(hook.timeout)).await
            };
            turn.run(run).await
        });
    }

    /// Takes an order about proofs; gives any other order back.
    pub(super) fn decide_proof(&mut self, order: Order) -> Option<Order> {
        let is_retired = self.retired.is_cancelled();
        let answer = match &order.verb {
            // The one that took its place would not know of it.
            Verb::Prove { .. } | Verb::Approve { .. } | Verb::Reject { .. } if is_retired => Err(orders::gone(&self.config.name)),
            Verb::Prove { backend } => self.prove(backend.as_ref(), order.dry_run),
            Verb::Approve { backend } | Verb::Reject { backend } => {
                let by = format!("by {}: {}", order.by, order.reason);
                let approves = matches!(order.verb, Verb::Approve { .. });
                self.decide_print(backend, if approves { Book::approve } else { Book::reject }, &by, order.dry_run)
            }
            _ => return Some(order),
        };
        // The answer is given once that can be seen.
        self.look_after();
        self.answer(order, answer);
        None
    }

    fn prove(&mut self, backend: Option<&Arc<str>>, is_dry: bool) -> Result<Done, Refusal> {
        let now = self.clock.now();
        if self.config.guard.mode == GuardMode::Off {
            let message = "guard.mode is off: nothing is looked at".to_owned();
            return Err(Refusal { code: RefusalCode::NothingToProve, message });
        }
        let names = self.nodes.iter().map(|node| Arc::clone(&node.config.name));
        let wanted: Vec<_> = names.filter(|name| backend.is_none_or(|one| one == name)).collect();
        let mut lines = Vec::new();
        for name in wanted {
            let Some(book) = self.keeper.book(&name).filter(|book| !book.proof().0.is_good()) else { continue };
            let what_follows = if book.is_rejected() {
                "its proofs would change nothing; mainstay approve takes it"
            } else if book.is_doubtful() {
                "its print is read"
            } else {
                "its proofs begin"
            };
            lines.push(format!("{name} is {}; {what_follows}", told(&book.proof())));
            if !is_dry {
                self.keeper.ask(&name, now);
            }
        }
        if lines.is_empty() {
            let whom = backend.map_or_else(|| "every backend".to_owned(), ToString::to_string);
            let message = format!("{whom} is as it was proven: there is nothing to prove");
            return Err(Refusal { code: RefusalCode::NothingToProve, message });
        }
        Ok(Done { lines, ..Done::default() })
    }

    fn decide_print(
        &mut self,
        name: &Arc<str>,
        decide: fn(&mut Book, &str) -> Option<()>,
        by: &str,
        is_dry: bool,
    ) -> Result<Done, Refusal> {
        let unread = self.keeper.unread(name).map(|why| format!(": {why}")).unwrap_or_default();
        let Some(book) = self.keeper.book(name).filter(|book| book.present().is_some()) else {
            let message = format!("what {name} is made of was not read{unread}; a decision about it would mean nothing");
            return Err(Refusal { code: RefusalCode::NoPrint, message });
        };
        let before = told(&book.proof());
        if !is_dry {
            self.keeper.decide(name, |book| {
                let _ = decide(book, by);
            });
        }
        let mut lines = vec![format!("{name} was {before}; the decision holds until it changes again")];
        if !self.keeper.is_remembered() {
            lines.push("a restart of mainstay forgets this: there is no state_dir".to_owned());
        }
        Ok(Done { lines, ..Done::default() })
    }

    /// The active backend was asked to commit.
    pub(super) fn on_commit(&mut self, backend: &Arc<str>, commit: &Commit) {
        let is_active = self.core.active().is_some_and(|id| self.name(id) == backend);
        let at = (self.clock.now(), self.core.epoch());
        let Some(is_bad) = commit.is_bad().filter(|_| is_active) else {
            if let (Commit::Untried(why), true) = (commit, is_active)
                && self.commits.untried.replace(why.clone()).is_none_or(|before| before != *why)
            {
                self.teller.untried(backend, why);
            }
            return;
        };
        let since = self.commits.bad_since.take();
        self.commits.bad_since = is_bad.then(|| since.unwrap_or_else(Instant::now));
        self.teller.commit(at, backend, commit, since);
        if let (Some(evidence), None, Some(id)) = (commit.trouble(), since, self.core.active()) {
            self.step(&Event::CannotCommit { backend: id, evidence });
        }
        if is_bad && self.config.guard.on_commit_stuck == OnCommitStuck::Failover {
            self.leave_stuck(backend);
        }
    }

    /// Moves the clients away from a backend that cannot commit, once that is possible.
    fn leave_stuck(&mut self, backend: &Arc<str>) {
        let verb = Verb::Switchover { to: None, force: false };
        let rests = self.commits.left_at.is_some_and(|at| at.elapsed() < LEAVE_AGAIN);
        if !rests && self.plan(self.clock.now(), &verb).is_ok() {
            self.commits.left_at = Some(Instant::now());
            self.operate(Order::own(verb, &format!("{backend} cannot commit (guard.on_commit_stuck)")));
        }
    }

    /// Commits are tried on the backend that is active, as long as it is.
    pub(super) fn watch_commits(&mut self) {
        let is_wanted = self.config.guard.mode != GuardMode::Off && guard::can_try(&self.config.check.kind);
        let active = self.core.active().filter(|_| is_wanted).map(|id| {
            let node = &self.nodes[id.index()];
            (self.core.epoch(), Arc::clone(&node.config.name), Subject::of(node, &self.config.check))
        });
        let (was_bad, at) = (self.commits.bad_since.is_some(), (self.clock.now(), self.core.epoch()));
        if self.commits.follow(active) {
            self.teller.commits_elsewhere(at, was_bad);
        }
    }
}

fn seen<'a>(core: &Pool, id: BackendId, node: &'a Node) -> Option<Seen<'a>> {
    let state = core.backend(id)?;
    // One that starts, or shuts down, writes a line for each login.
    let is_up = state.health() == Health::Up && !state.is_pending() && !state.is_starting();
    let is_cut_off = state.facts.role == Some(Role::Standby) && state.facts.hears_primary == Some(false);
    Some(Seen { node, is_up, is_down: state.health() == Health::Down, is_disturbed: !is_up || is_cut_off })
}
