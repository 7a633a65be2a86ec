//! The judge. It hears every event and sees every effect, remembers only what was said in so many words (runs of outcomes,
//! last facts, signals, times of switches), and says which rule a step broke. It never looks into the pool but to compare.

use std::sync::Arc;

use super::*;

/// Fails with the rule's name.
macro_rules! rule {
    ($holds:expr, $($why:tt)+) => { if !$holds { return Err(format!($($why)+)); } };
}

mod operation;
pub(super) mod proof;
mod trial;

/// The edges health may take, and the rule that takes them (I11). `docs/failover.md` draws exactly these.
pub(super) const HEALTH_EDGES: &[(Health, Health, Cause)] = &[
    (Health::Unknown, Health::Up, Cause::Probe),
    (Health::Unknown, Health::Down, Cause::Probe),
    (Health::Up, Health::Down, Cause::Probe),
    (Health::Up, Health::Down, Cause::TwoSignals),
    (Health::Down, Health::Up, Cause::Probe),
];

/// The edges of a pool's verdict (I11). `docs/failover.md` draws exactly these. `Switch` passes: the step that switches ends in
/// the verdict of the new state.
pub(super) const VERDICT_EDGES: &[(Verdict, Verdict)] = &[
    (Verdict::Settling, Verdict::Switch),
    (Verdict::Settling, Verdict::NoEligible),
    (Verdict::Settling, Verdict::SplitBrain),
    (Verdict::Keep, Verdict::Switch),
    (Verdict::Keep, Verdict::NoEligible),
    (Verdict::Keep, Verdict::SplitBrain),
    (Verdict::Keep, Verdict::HoldDown),
    (Verdict::NoEligible, Verdict::Switch),
    (Verdict::NoEligible, Verdict::HoldDown),
    (Verdict::SplitBrain, Verdict::Keep),
    (Verdict::SplitBrain, Verdict::Switch),
    (Verdict::SplitBrain, Verdict::HoldDown),
    (Verdict::HoldDown, Verdict::Switch),
    (Verdict::HoldDown, Verdict::NoEligible),
    (Verdict::HoldDown, Verdict::SplitBrain),
    (Verdict::Settling, Verdict::NoProvenNode),
    (Verdict::Keep, Verdict::NoProvenNode),
    (Verdict::NoEligible, Verdict::NoProvenNode),
    (Verdict::NoProvenNode, Verdict::NoEligible),
    (Verdict::NoProvenNode, Verdict::Switch),
    (Verdict::NoProvenNode, Verdict::SplitBrain),
    (Verdict::NoProvenNode, Verdict::HoldDown),
    (Verdict::SplitBrain, Verdict::NoProvenNode),
    (Verdict::HoldDown, Verdict::NoProvenNode),
];

/// How sessions may end for which cause (I11). `docs/failover.md` tabulates exactly these.
pub(super) const REVOKE_EDGES: &[(Cause, RevokeMode)] = &[
    (Cause::Down, RevokeMode::Abort),
    (Cause::Down, RevokeMode::LastWords),
    (Cause::Down, RevokeMode::Drain),
    (Cause::Starting, RevokeMode::LastWords),
    (Cause::Demoted, RevokeMode::Abort),
    (Cause::Conflict, RevokeMode::Abort),
    (Cause::Fenced, RevokeMode::Abort),
    (Cause::Failback, RevokeMode::Abort),
    (Cause::Command, RevokeMode::Abort),
    (Cause::Command, RevokeMode::Drain),
    (Cause::Command, RevokeMode::LastWords),
    (Cause::Removed, RevokeMode::Drain),
];

/// What becomes of the sessions of readers, for each word (I14). `docs/replicas.md` tabulates exactly these.
pub(super) const READER_EDGES: &[(ReadEligibility, RevokeMode)] = &[
    (ReadEligibility::Maint, RevokeMode::Abort),
    (ReadEligibility::Drain, RevokeMode::Drain),
    (ReadEligibility::Misconfigured, RevokeMode::Drain),
    (ReadEligibility::Unknown, RevokeMode::Drain),
    (ReadEligibility::Down, RevokeMode::Abort),
    (ReadEligibility::Down, RevokeMode::LastWords),
    (ReadEligibility::Down, RevokeMode::Drain),
    (ReadEligibility::Starting, RevokeMode::LastWords),
    (ReadEligibility::WrongCluster, RevokeMode::Abort),
    (ReadEligibility::Settling, RevokeMode::Drain),
    (ReadEligibility::ClusterUnknown, RevokeMode::Drain),
    (ReadEligibility::InDoubt, RevokeMode::Drain),
    (ReadEligibility::RoleUnknown, RevokeMode::Abort),
    (ReadEligibility::ReadOnly, RevokeMode::Drain),
    (ReadEligibility::Fenced, RevokeMode::Abort),
    (ReadEligibility::NotActive, RevokeMode::Abort),
    (ReadEligibility::Lag, RevokeMode::Drain),
    (ReadEligibility::Unproven, RevokeMode::Drain),
    (ReadEligibility::Active, RevokeMode::Drain),
    (ReadEligibility::Canary, RevokeMode::Drain),
    (ReadEligibility::Reader, RevokeMode::Drain),
];

/// A run of like outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Run {
    None,
    Good(u32),
    Bad(u32),
}

/// What was said of one backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "independent signs, as in the backend itself")]
pub(super) struct Node {
    pub(super) verdict: Health,
    run: Run,
    session_lost: bool,
    refused: bool,
    /// A whole new login failed and none succeeded since.
    login_failed: bool,
    /// Its last word was that it does not serve.
    starting: bool,
    said_shutdown: bool,
    /// Failures in a row, none of them a refusal, since it is down and had left.
    silent: u32,
    doubted: bool,
    /// Asked for a second opinion, no report since.
    asked: bool,
    role: Option<Role>,
    read_only: bool,
    multi: MultiPrimary,
    pub(super) db_epoch: Option<u64>,
    system_id: Option<u64>,
    foreign: bool,
    /// It said that it is a primary before another began to, and nothing since.
    outdated: bool,
    alert: Option<Outcome>,
    last: Option<Outcome>,
    /// As it last told.
    lag: (Option<u64>, Option<Duration>),
    position: Option<std::num::NonZeroU64>,
    hears: Option<bool>,
    /// Told of more than `max_lag`, and not of half of it since.
    behind: bool,
    reading: ReadEligibility,
    /// Its readers were left to its last words.
    readers_left: bool,
    admin: Admin,
    seq: u64,
    down_at: Option<Time>,
    /// How often it went down with less than a window between each time and the next.
    downs: u32,
    pub(super) eligible_since: Option<Time>,
    proof: proof::Proven,
}

/// What an attentive reader of the stream knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts of the pool")]
pub(super) struct Judge {
    /// One for all states of a walk.
    policy: Arc<Policy>,
    pub(super) nodes: Vec<Node>,
    pub(super) active: Option<BackendId>,
    pub(super) last_active: Option<BackendId>,
    /// The sessions of that one were left to its last words.
    last_words: bool,
    epoch: Epoch,
    suspended: bool,
    pub(super) fence: Option<u64>,
    system_id: Option<u64>,
    /// The operator's choice, and the highest database epoch that claimed to be primary when it was made.
    pinned: Option<(BackendId, Option<u64>)>,
    switches: Vec<Time>,
    settle_by: Time,
    settled: bool,
    verdict: Verdict,
    conflict: bool,
    paused: Option<Time>,
    operation: Option<operation::Run>,
    trial: Option<trial::Trial>,
    /// Since when nobody is active; kept only where mainstay promotes by itself, as the next two.
    idle_since: Option<Time>,
    tried: Vec<BackendId>,
    /// The last active one was taken out by an order.
    ordered_out: bool,
}

/// One step as the judge sees it.
pub(super) struct Step<'a> {
    pub(super) now: Time,
    pub(super) event: &'a Event,
    pub(super) before: &'a Pool,
    pub(super) after: &'a Pool,
    pub(super) effects: &'a [Effect],
}

impl Judge {
    pub(super) fn new(policy: Policy, count: usize, now: Time) -> Self {
        let node = Node {
            verdict: Health::Unknown,
            run: Run::None,
            session_lost: false,
            refused: false,
            login_failed: false,
            starting: false,
            said_shutdown: false,
            silent: 0,
            doubted: false,
            asked: false,
            role: None,
            read_only: false,
            multi: MultiPrimary::No,
            db_epoch: None,
            system_id: None,
            foreign: false,
            outdated: false,
            alert: None,
            last: None,
            lag: (None, None),
            position: None,
            hears: None,
            behind: false,
            reading: ReadEligibility::Unknown,
            readers_left: false,
            admin: Admin::Ready,
            seq: 0,
            down_at: None,
            downs: 0,
            eligible_since: None,
            proof: proof::Proven::default(),
        };
        Self {
            settle_by: now + policy.settle,
            policy: Arc::new(policy),
            nodes: vec![node; count],
            active: None,
            last_active: None,
            last_words: false,
            epoch: Epoch(0),
            suspended: false,
            fence: None,
            system_id: None,
            pinned: None,
            switches: Vec::new(),
            settled: false,
            verdict: Verdict::Settling,
            conflict: false,
            paused: None,
            operation: None,
            trial: None,
            idle_since: None,
            tried: Vec::new(),
            ordered_out: false,
        }
    }

    /// Moves every remembered moment so that `now` becomes `to`, and forgets what no rule asks for: how long ago beyond
    /// `horizon`, since when without a failback rule, how often in a row when it agrees with the verdict.
    pub(super) fn rebase(&mut self, now: Time, to: Time, horizon: Duration) {
        let shift = |at: Time| rebased(at, now, to, horizon);
        // Only the newest can fill the budget.
        let old = self.switches.len().saturating_sub(self.policy.budget_max as usize);
        self.switches.drain(..old);
        self.switches.retain(|at| now.since(*at) < horizon);
        self.switches.iter_mut().for_each(|at| *at = shift(*at));
        self.settle_by = if self.settled { Time::ZERO } else { shift(self.settle_by) };
        self.paused = self.paused.map(shift);
        self.idle_since = self.idle_since.map(shift);
        self.operation.iter_mut().for_each(|run| run.rebase(shift));
        for node in &mut self.nodes {
            node.down_at = node.down_at.filter(|at| now.since(*at) < horizon).map(shift);
            // More than the rule counts are alike, and so are those that nobody remembers.
            node.downs = node.down_at.map_or(0, |_| node.downs.min(self.policy.relapse_max + 1));
            let ages = self.policy.failback_after.is_some();
            node.eligible_since = node.eligible_since.map(|at| if ages { shift(at) } else { to });
            node.seq = 1;
            node.proof.asked = node.proof.asked.map(shift);
            if matches!((node.verdict, node.run), (Health::Up, Run::Good(_)) | (Health::Down, Run::Bad(_))) {
                node.run = Run::None;
            }
        }
        self.epoch = Epoch(u64::from(self.epoch.0 > 0));
    }

    /// Forgets at `now` what no rule reads before it is told anew; see the walk's `forget`, which proves it.
    pub(super) fn forget(&mut self, now: Time) {
        self.ordered_out &= self.active.is_none();
        let last = self.nodes.len() - 1;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.last = node.last.map(last_word);
            if node.verdict == Health::Down && !matches!(node.run, Run::Good(_)) && self.policy.max_epoch_step.is_none() {
                node.role = node.role.filter(|role| *role != Role::Unknown);
                (node.read_only, node.multi, node.hears) = (false, MultiPrimary::No, None);
                (node.db_epoch, node.system_id, node.foreign, node.lag) = (None, None, false, (None, None));
            }
            if let Some(after) = self.policy.failback_after {
                let oldest = if index == last { now } else { Time::new(now.since_origin() - after) };
                node.eligible_since = node.eligible_since.map(|at| at.max(oldest));
            }
        }
    }

    /// What it knows after one step; or the first rule that the step breaks.
    pub(super) fn hear(&self, step: &Step) -> Result<Self, String> {
        let mut mid = self.clone();
        mid.end_quick_proofs(step.now);
        let accepted = mid.take_event(step);
        mid.note_sign(self, step, accepted);
        i8_late_reports(self, step)?;
        mid.follow_health(self, step, accepted)?;
        mid.note_older_claims(self);
        mid.settled |= step.now >= mid.settle_by || mid.nodes.iter().all(|node| node.last.is_some());
        mid.raise_fence_of_the_active(step);
        mid.i18_order(self, step)?;
        mid.note_eligible_times(step.now);
        let told = mid.drive(self, step)?;
        let sank = mid.fence < self.fence && !mid.accepts_loss() && !self.accepts_loss();
        rule!(!sank, "I22: the fence sank without accept_loss");
        mid.note_eligible_times(step.now);
        mid.drop_pin();
        let mut end = mid.clone();
        end.follow_route(step)?;
        end.note_eligible_times(step.now);
        end.i2_i10_eligible(&mid, step)?;
        mid.i6_i7_i9_choice(&end, step)?;
        end.i11_edges(self, step)?;
        end.settle(step, told)?;
        end.i16_last_words()?;
        end.suspension(step)?;
        end.quick_proofs(step)?;
        end.paces(step)?;
        proof::i29_revokes(self, step)?;
        end.i14_i15_readers(step)?;
        Ok(end)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = BackendId> + use<> {
        (0..u16::try_from(self.nodes.len()).unwrap()).map(BackendId)
    }

    fn node(&self, id: BackendId) -> &Node {
        &self.nodes[id.index()]
    }

    fn by_role(&self) -> bool {
        self.policy.election == Election::ByRole
    }

    /// Up, serving, of this cluster.
    fn serves(&self, id: BackendId) -> bool {
        self.node(id).verdict == Health::Up && self.belongs(id)
    }

    /// Serving, of this cluster, by what was last heard of it.
    fn belongs(&self, id: BackendId) -> bool {
        let node = self.node(id);
        let elsewhere =
            node.foreign || (self.system_id.is_some() && node.system_id.is_some() && node.system_id != self.system_id);
        !node.starting && !elsewhere
    }

    fn claims(&self, id: BackendId) -> bool {
        self.serves(id) && self.says_primary(id)
    }

    /// Its last word, if it answers: a conflict is told from the first word on.
    fn says_primary(&self, id: BackendId) -> bool {
        let node = self.node(id);
        let answers = node.verdict == Health::Up || matches!(node.run, Run::Good(_));
        let says = node.role == Some(Role::Primary) && !node.read_only;
        self.by_role() && answers && self.belongs(id) && says && !self.is_absurd(id)
    }

    /// Its database epoch is further above the highest that was served, or else is shown by another, than any promotion explains.
    fn is_absurd(&self, id: BackendId) -> bool {
        let (Some(step), Some(epoch)) = (self.policy.max_epoch_step, self.node(id).db_epoch) else { return false };
        let ours = |node: &Node| {
            !node.foreign && (self.system_id.is_none() || node.system_id.is_none() || node.system_id == self.system_id)
        };
        let others = self.ids().filter(|other| *other != id).map(|other| self.node(other)).filter(|node| ours(node));
        let highest = self.fence.or(others.filter_map(|node| node.db_epoch).max());
        highest.is_some_and(|highest| epoch > highest.saturating_add(step))
    }

    fn fenced(&self, id: BackendId) -> bool {
        self.claims(id) && self.node(id).db_epoch.zip(self.fence).is_some_and(|(epoch, fence)| epoch < fence)
    }

    pub(super) fn eligible(&self, id: BackendId) -> bool {
        self.could_serve(id) && !self.is_barred(id)
    }

    /// But for what it must prove.
    pub(super) fn could_serve(&self, id: BackendId) -> bool {
        self.node(id).admin == Admin::Ready && if self.by_role() { self.claims(id) && !self.fenced(id) } else { self.serves(id) }
    }

    pub(super) fn all_eligible(&self) -> Vec<BackendId> {
        self.ids().filter(|id| self.eligible(*id)).collect()
    }

    fn note_eligible_times(&mut self, now: Time) {
        let eligible: Vec<_> = self.ids().map(|id| self.eligible(id)).collect();
        for (node, eligible) in self.nodes.iter_mut().zip(eligible) {
            node.eligible_since = eligible.then(|| node.eligible_since.unwrap_or(now));
        }
    }

    /// A claim that began with this step makes those before it old, unless it comes on top of a conflict or while all settles.
    fn note_older_claims(&mut self, was: &Self) {
        let claimants: Vec<_> = self.ids().filter(|id| self.says_primary(*id)).collect();
        if !was.settled || was.conflict || self.share_writes(&claimants) {
            return;
        }
        for newer in claimants.iter().filter(|id| !was.says_primary(**id)) {
            for older in claimants.iter().filter(|id| *id != newer) {
                self.nodes[older.index()].outdated = true;
            }
        }
    }

    /// New claims are told as a conflict when every one but one was made, or made again, after the others.
    fn is_conflict(&self, told: bool) -> bool {
        let claimants: Vec<_> = self.ids().filter(|id| self.says_primary(*id)).collect();
        let heard = claimants.iter().filter(|id| !self.node(**id).outdated).count();
        claimants.len() > 1 && !self.share_writes(&claimants) && (told || heard > 1)
    }

    /// The active one was not heard of since another began to claim what it has.
    fn awaits_a_word(&self, told: bool) -> bool {
        let eligible = self.all_eligible();
        let outdated = self.active.is_some_and(|id| self.node(id).outdated);
        outdated && eligible.len() > 1 && !self.share_writes(&eligible) && !self.is_conflict(told)
    }

    // ---- what an event says ----

    /// True when the event counts: a backend of this pool, and no late report.
    fn take_event(&mut self, step: &Step) -> bool {
        match step.event {
            Event::Probe(id, report) => self.take_report(*id, report),
            Event::Passive(id, what) => self.take_passive(*id, *what),
            Event::Command(command) => self.take_command(command),
            Event::Operate(_) | Event::StepDone { .. } => true,
            Event::Proof { backend, proof, what } => self.take_proof(*backend, *proof, what),
            Event::CannotCommit { backend, .. } => {
                if self.policy.guard.mode != GuardMode::Off {
                    self.fail_trial(*backend);
                }
                backend.index() < self.nodes.len()
            }
            Event::Configure(_) => unreachable!("the walk leaves the configuration alone"),
            Event::Tick => true,
        }
    }

    fn take_report(&mut self, id: BackendId, report: &Report) -> bool {
        let (pool_id, by) = (self.system_id, id.index());
        let Finding { outcome, facts, .. } = &report.finding;
        let Some(node) = self.nodes.get_mut(by).filter(|node| report.seq > node.seq) else { return false };
        node.seq = report.seq;
        node.asked = false;
        let elsewhere = pool_id.is_some() && facts.system_id.is_some() && facts.system_id != pool_id;
        let outcome = match *outcome {
            Outcome::Ok if elsewhere => Outcome::WrongCluster,
            other => other,
        };
        node.last = Some(outcome);
        node.outdated &= outcome.class() == Class::Failure;
        match outcome {
            Outcome::Ok if node.login_failed && !report.fresh => {
                // Proves no health; a word against itself is believed all the same.
                if facts.role != Some(Role::Primary) || facts.read_only {
                    node.learn(facts);
                }
            }
            Outcome::Ok => {
                node.learn(facts);
                node.run = if let Run::Good(n) = node.run { Run::Good(n + 1) } else { Run::Good(1) };
                node.answered(report.fresh);
                (node.foreign, node.starting) = (false, false);
                node.alert = node.alert.filter(|_| !report.fresh);
            }
            Outcome::Starting => {
                (node.run, node.starting, node.doubted, node.refused) = (Run::None, true, false, false);
            }
            Outcome::Saturated | Outcome::Misconfigured | Outcome::WrongCluster => {
                node.run = Run::None;
                node.alert = Some(outcome);
                node.foreign |= outcome == Outcome::WrongCluster;
                node.answered(report.fresh);
            }
            _ => {
                node.run = if let Run::Bad(n) = node.run { Run::Bad(n + 1) } else { Run::Bad(1) };
                node.refused |= outcome == Outcome::Refused;
                node.login_failed |= report.fresh;
            }
        }
        true
    }

    fn take_passive(&mut self, id: BackendId, what: Passive) -> bool {
        let Some(node) = self.nodes.get_mut(id.index()).filter(|node| node.verdict == Health::Up) else { return false };
        node.refused |= what == Passive::DialRefused;
        let told = matches!(what, Passive::StandingClosed | Passive::StandingShutdown | Passive::StandingOrphaned);
        node.session_lost |= told || matches!(what, Passive::SessionLost | Passive::StandingLost);
        node.said_shutdown |= told;
        node.doubted |= told || matches!(what, Passive::DialRefused | Passive::StandingLost);
        true
    }

    fn take_command(&mut self, command: &Command) -> bool {
        match *command {
            Command::SetAdmin { backend: id, .. } if id.index() >= self.nodes.len() => return false,
            // See I18, and what the judge knows of operations.
            Command::SetAdmin { .. } | Command::AbortOperation(_) => {}
            Command::Pause { until } => self.paused = Some(until),
            Command::Resume => self.paused = None,
        }
        true
    }

    fn highest_claim(&self) -> Option<u64> {
        self.ids().filter(|id| self.claims(*id)).filter_map(|id| self.node(id).db_epoch).max()
    }

    fn drop_pin(&mut self) {
        if let Some((id, ceiling)) = self.pinned
            && (!self.eligible(id) || self.highest_claim() > ceiling)
        {
            self.pinned = None;
        }
    }

    /// The highest epoch served includes what the active one says while it serves.
    fn raise_fence_of_the_active(&mut self, step: &Step) {
        if let (Event::Probe(id, report), Some(active)) = (step.event, self.active)
            && *id == active
            && report.finding.outcome == Outcome::Ok
            && (!self.by_role() || self.claims(active))
        {
            self.fence = self.fence.max(self.node(active).db_epoch);
        }
    }

    // ---- what the effects say ----

    /// I5, and the evidence's words for it.
    fn follow_health(&mut self, was: &Self, step: &Step, accepted: bool) -> Result<(), String> {
        let about = match step.event {
            Event::Probe(id, _) | Event::Passive(id, _) if accepted => Some(*id),
            _ => None,
        };
        for id in self.ids() {
            let node = &mut self.nodes[id.index()];
            // A window without a Down, and all that were before are forgotten.
            node.downs *= u32::from(node.down_at.is_some_and(|at| step.now.since(at) < self.policy.budget_within));
            let doublings = node.downs.saturating_sub(1).min(self.policy.relapse_max);
            // Time alone may lower this; Up takes a success all the same.
            let needed = (0..doublings).fold(self.policy.rise, |needed, _| needed * 2);
            let both = about == Some(id) && node.session_lost && node.refused;
            let passive = matches!(step.event, Event::Passive(..));
            let failed = matches!((about == Some(id), node.run, passive), (true, Run::Bad(_), false));
            let expected = match (was.node(id).verdict, node.run) {
                (Health::Up, _) if both && (passive || failed) => Some((Health::Down, Cause::TwoSignals)),
                (Health::Unknown, Run::Good(_)) => Some((Health::Up, Cause::Probe)),
                (Health::Unknown, Run::Bad(_)) => Some((Health::Down, Cause::Probe)),
                (Health::Up, Run::Bad(n)) if n >= self.policy.fall => Some((Health::Down, Cause::Probe)),
                (Health::Down, Run::Good(n)) if n >= needed && node.run != was.node(id).run => Some((Health::Up, Cause::Probe)),
                _ => None,
            };
            let told: Vec<_> = step
                .effects
                .iter()
                .filter_map(|effect| match effect {
                    Effect::Note(Note::Health { backend, from, to, cause, .. }) if *backend == id => Some((*from, *to, *cause)),
                    _ => None,
                })
                .collect();
            let should: Vec<_> = expected.iter().map(|(to, cause)| (was.node(id).verdict, *to, *cause)).collect();
            rule!(told == should, "I5: health of {} changed as {told:?}, the outcomes say {should:?}", name(id));
            let after = step.after.backend(id).map(BackendState::health);
            let node = &mut self.nodes[id.index()];
            if let Some((to, _)) = expected {
                (node.verdict, node.run) = (to, Run::None);
                if to == Health::Down {
                    node.silent = 0;
                    node.said_shutdown |= node.starting;
                    node.starting = false;
                    node.down_at = Some(step.now);
                    node.downs += 1;
                    node.doubted = false;
                    node.outdated = false;
                    node.role = node.role.map(|_| Role::Unknown);
                    node.read_only = false;
                    node.lag = (None, None);
                }
            }
            if node.verdict == Health::Down && failed {
                node.said_shutdown |= node.starting;
                node.starting = false;
                let silent = expected.is_none() && node.has_left() && node.last != Some(Outcome::Refused);
                node.silent = if silent { node.silent + 1 } else { 0 };
                if node.silent >= self.policy.fall {
                    (node.silent, node.refused) = (0, false);
                }
            }
            rule!(after == Some(node.verdict), "I5: health of {} is {after:?}, the outcomes say {:?}", name(id), node.verdict);
        }
        Ok(())
    }

    /// I1, I3, I4: what Revoke and Activate say, in their order.
    fn follow_route(&mut self, step: &Step) -> Result<(), String> {
        let mut activations = 0;
        for effect in step.effects {
            match effect {
                Effect::Revoke { epoch, backend, mode, cause } => {
                    self.ordered_out = self.policy.promotion.is_some() && matches!(cause, Cause::Command | Cause::Removed);
                    rule!(
                        self.active == Some(*backend) && *epoch == self.epoch,
                        "I4: revoked late, or what was not active: {effect:?}"
                    );
                    (self.active, self.suspended) = (None, false);
                    self.last_words = *mode == RevokeMode::LastWords;
                }
                Effect::Abort { epoch, backend, .. } => {
                    let left = self.last_words && self.last_active == Some(*backend) && *epoch == self.epoch;
                    rule!(left && !self.speaks(*backend), "I16: aborted what was not left, or is still served: {effect:?}");
                    self.last_words = false;
                }
                Effect::Activate { epoch, backend, cause } => {
                    activations += 1;
                    rule!(activations == 1, "I1: two activations in one step");
                    rule!(self.active.is_none(), "I4: {effect:?} before {:?} was revoked", self.active.map(name));
                    rule!(*epoch == self.epoch.next(), "I3: {effect:?} after epoch {}", self.epoch);
                    self.epoch = *epoch;
                    if self.last_active.is_some_and(|last| last != *backend) && *cause != Cause::Command {
                        self.switches.push(step.now);
                    }
                    (self.active, self.last_active) = (Some(*backend), Some(*backend));
                    self.tried.clear();
                    self.last_words = false;
                    let node = &self.nodes[backend.index()];
                    self.fence = self.fence.max(node.db_epoch);
                    self.system_id = self.system_id.or(node.system_id);
                }
                Effect::Suspend { epoch } => {
                    rule!(!self.suspended && *epoch == self.epoch, "suspension: {effect:?} twice or of another epoch");
                    self.suspended = true;
                }
                Effect::Resume { epoch } => {
                    rule!(self.suspended && *epoch == self.epoch, "suspension: {effect:?} without a suspension");
                    self.suspended = false;
                }
                Effect::ProbeNow(id) => {
                    let asked = std::mem::replace(&mut self.nodes[id.index()].asked, true);
                    rule!(!asked, "storm: a second probe of {} was ordered before the first answered", name(*id));
                }
                Effect::Read { .. } | Effect::Pace(..) | Effect::Note(_) => {}
                // See I28.
                Effect::ProveNow(_) => {}
                // See I19.
                Effect::BeginStep { .. } | Effect::Ungate { .. } | Effect::EndOperation { .. } => {}
            }
        }
        let (active, epoch) = (step.after.active(), step.after.epoch());
        rule!(active == self.active, "I1: the effects leave {:?} active, the pool says {active:?}", self.active);
        rule!(epoch == self.epoch, "I3: the effects say epoch {}, the pool {epoch}", self.epoch);
        Ok(())
    }

    /// It may still serve who is there: it said that it takes nobody in, or went after it had said so; or its sessions are to be
    /// left alone whatever it does.
    fn speaks(&self, id: BackendId) -> bool {
        let node = self.node(id);
        match (node.admin, node.verdict) {
            (Admin::Maint, _) => false,
            (Admin::Drain, _) => true,
            // Another server stands where it was.
            (Admin::Ready, Health::Down) if node.last == Some(Outcome::WrongCluster) => false,
            (Admin::Ready, Health::Down) => self.policy.on_down == RevokeMode::Drain || node.has_left(),
            (Admin::Ready, _) => node.starting,
        }
    }

    /// I16: nobody is left to a server that has fallen silent, or serves again.
    fn i16_last_words(&self) -> Result<(), String> {
        let left = self.last_active.filter(|_| self.last_words);
        rule!(left.is_none_or(|id| self.active.is_none() && self.speaks(id)), "I16: sessions are left to {:?}", left.map(name));
        Ok(())
    }

    // ---- the rules of the choice ----

    /// I6: the budget holds this one back.
    fn blocked(&self, id: BackendId, now: Time) -> bool {
        let node = self.node(id);
        let recent = |at: &Time| now.since(*at) < self.policy.budget_within;
        let promoted = self.by_role() && node.db_epoch.zip(self.fence).is_some_and(|(epoch, fence)| epoch > fence);
        self.switches.iter().filter(|at| recent(at)).count() >= self.policy.budget_max as usize
            && node.down_at.as_ref().is_some_and(recent)
            && !promoted
            && self.last_active != Some(id)
    }

    /// I18: the active one is taken out without force exactly when somebody takes over; nothing else is refused.
    fn i18_order(&mut self, was: &Self, step: &Step) -> Result<(), String> {
        let Event::Command(Command::SetAdmin { backend, to, force }) = *step.event else { return Ok(()) };
        let Some(from) = self.nodes.get(backend.index()).map(|node| node.admin) else { return Ok(()) };
        self.nodes[backend.index()].admin = to;
        let mut end = self.clone();
        end.drop_pin();
        let nobody = was.active == Some(backend) && to != Admin::Ready && end.expected(step.now).1.is_none();
        let refused = step.effects.contains(&Effect::Note(Note::NobodyTakesOver(backend)));
        if !refused && from != to {
            self.tried.clear();
        }
        rule!(refused == (nobody && !force), "I18: refused={refused}, nobody takes over={nobody}, force={force}");
        if refused {
            self.nodes[backend.index()].admin = from;
        }
        Ok(())
    }

    /// Who must be active, from the facts, and by which rule.
    fn expected(&self, now: Time) -> (&'static str, Option<BackendId>) {
        let eligible = self.all_eligible();
        let stays = self.active.filter(|id| eligible.contains(id));
        let unless_blocked = |id: BackendId| match () {
            () if self.active == Some(id) || !self.blocked(id, now) => ("I9", Some(id)),
            () => ("I6", stays),
        };
        if !self.settled {
            ("settling", None)
        } else if let Some((pinned, _)) = self.pinned {
            ("pinned", Some(pinned))
        } else if eligible.is_empty() {
            ("I10", None)
        } else if !self.by_role() {
            self.by_order(&eligible, stays, now)
        } else if let [only] = eligible[..] {
            if self.is_due(only) { ("I9", Some(only)) } else { unless_blocked(only) }
        } else if self.share_writes(&eligible) {
            ("I6 many", stays.or_else(|| self.one_of_many(&eligible, now)))
        } else {
            match (self.policy.on_conflict, self.newest(&eligible)) {
                (OnConflict::Refuse, _) => ("I9 refuse", stays.filter(|_| self.awaits_a_word(self.conflict))),
                (OnConflict::Newest, Some(newest)) => unless_blocked(newest),
                (OnConflict::Newest | OnConflict::Keep, _) => ("I9 keep", stays),
            }
        }
    }

    /// I6, I7, I9: who must be active after this step, and under which verdict when the answer is "nobody".
    fn i6_i7_i9_choice(&self, end: &Self, step: &Step) -> Result<(), String> {
        let eligible = self.all_eligible();
        let conflict = end.is_conflict(self.conflict);
        rule!(
            step.after.conflict() == conflict,
            "I9: conflict is said to be {}, the claims say {conflict}",
            step.after.conflict()
        );
        let told = step.effects.iter().any(|e| matches!(e, Effect::Note(Note::Conflict { present, .. }) if *present == conflict));
        rule!(told == (conflict != self.conflict), "I9: the conflict changed without a word, or with a word did not");
        let (why, expected) = self.expected(step.now);
        let active = step.after.active();
        rule!(active == expected, "{why}: {active:?} is active, {expected:?} must be");
        let held = active.is_none() && self.settled && !eligible.is_empty();
        let verdict = step.after.verdict();
        let named = matches!(verdict, Verdict::HoldDown | Verdict::SplitBrain);
        rule!(!held || named, "I9: nobody is active although {eligible:?} are eligible, and the verdict is {verdict}");
        rule!(verdict != Verdict::HoldDown || why.starts_with("I6"), "I6: hold_down, but the budget blocks nobody");
        Ok(())
    }

    /// The unique holder of the highest database epoch, if all are of one cluster and every epoch is known.
    fn newest(&self, eligible: &[BackendId]) -> Option<BackendId> {
        let clusters: Vec<u64> = eligible.iter().filter_map(|id| self.node(*id).system_id).collect();
        let epochs: Option<Vec<u64>> = eligible.iter().map(|id| self.node(*id).db_epoch).collect();
        let highest = epochs?.into_iter().max();
        let top: Vec<_> = eligible.iter().filter(|id| self.node(**id).db_epoch == highest).collect();
        (top.len() == 1 && clusters.windows(2).all(|pair| pair[0] == pair[1])).then(|| *top[0])
    }

    /// All of one cluster, and each knows of others that write.
    fn share_writes(&self, ids: &[BackendId]) -> bool {
        let alike = |pair: &[BackendId]| self.node(pair[0]).system_id == self.node(pair[1]).system_id;
        ids.iter().all(|id| self.node(*id).multi != MultiPrimary::No) && ids.windows(2).all(alike)
    }

    /// The one that was active last; else the first that has everything, else the first; never one that the budget blocks.
    fn one_of_many(&self, eligible: &[BackendId], now: Time) -> Option<BackendId> {
        let free: Vec<_> = eligible.iter().copied().filter(|id| !self.blocked(*id, now)).collect();
        let full = |id: &BackendId| self.last_active == Some(*id) || self.node(*id).multi == MultiPrimary::Synced;
        let best = self.good_ones(some_of(&free, full));
        self.last_active.filter(|id| best.contains(id)).or_else(|| best.first().copied())
    }

    fn by_order(&self, eligible: &[BackendId], stays: Option<BackendId>, now: Time) -> (&'static str, Option<BackendId>) {
        let Some(active) = stays else {
            let returns = self.last_active.filter(|id| eligible.contains(id));
            let free = eligible.iter().copied().filter(|id| !self.blocked(*id, now)).collect();
            return ("I6 order", returns.or_else(|| self.good_ones(free).first().copied()));
        };
        let Some(first) = eligible.iter().copied().find(|id| self.is_good(*id)) else { return ("I7", Some(active)) };
        let node = self.node(first);
        let calm = !node.doubted && !matches!(node.run, Run::Bad(_));
        let waited = self.policy.failback_after.zip(node.eligible_since).is_some_and(|(after, since)| now.since(since) >= after);
        let failback = self.operation.is_none() && first < active && waited && calm && !self.blocked(first, now);
        ("I7", Some(if failback { first } else { active }))
    }

    /// I2 and I10, and that the pool's reasons agree with what was said.
    fn i2_i10_eligible(&self, mid: &Self, step: &Step) -> Result<(), String> {
        if let Some(Effect::Activate { backend, .. }) = step.effects.iter().find(|e| matches!(e, Effect::Activate { .. })) {
            rule!(mid.eligible(*backend), "I2: activated {}, whose last words disqualify it", name(*backend));
        }
        if let Some(active) = self.active {
            rule!(self.eligible(active), "I10: {} is active, its last words disqualify it", name(active));
        }
        for id in self.ids() {
            let (says, is) = (step.after.reason(id), self.eligible(id));
            rule!((says == Reason::Eligible) == is, "I10: {} is said to be {says}, its last words say eligible={is}", name(id));
        }
        Ok(())
    }

    /// I11: every change took a legal edge.
    fn i11_edges(&mut self, was: &Self, step: &Step) -> Result<(), String> {
        for effect in step.effects {
            match effect {
                Effect::Note(Note::Health { from, to, cause, .. }) => {
                    rule!(HEALTH_EDGES.contains(&(*from, *to, *cause)), "I11: illegal edge {effect:?}");
                }
                Effect::Note(Note::Verdict { from, to }) => {
                    rule!(*from == self.verdict, "I11: {effect:?}, but the verdict was {}", self.verdict);
                    rule!(VERDICT_EDGES.contains(&(*from, *to)), "I11: illegal edge {effect:?}");
                    self.verdict = *to;
                }
                Effect::Revoke { cause, mode, backend, .. } => {
                    rule!(REVOKE_EDGES.contains(&(*cause, *mode)), "I11: illegal edge {effect:?}");
                    let node = self.node(*backend);
                    let demotes = self.is_demoted_by_order(*backend);
                    let right = match cause {
                        Cause::Down => node.verdict != Health::Up && node.admin == Admin::Ready,
                        Cause::Starting => node.starting,
                        Cause::Demoted => node.role != Some(Role::Primary) || node.read_only || self.is_absurd(*backend),
                        Cause::Fenced => node.foreign || self.fenced(*backend),
                        Cause::Command => node.admin != Admin::Ready || self.pinned.is_some() || demotes,
                        Cause::Failback => self.policy.failback_after.is_some() && self.active < Some(*backend),
                        Cause::Conflict => self.by_role() && was.active == Some(*backend),
                        _ => false,
                    };
                    rule!(right, "I11: the cause of {effect:?} is not what happened");
                    rule!(!demotes || matches!(cause, Cause::Command | Cause::Fenced), "I11: {effect:?} is what was ordered");
                    let by_order = demotes && node.admin == Admin::Ready;
                    let is_down = *cause == Cause::Down || (by_order && node.verdict == Health::Down);
                    let words = *cause == Cause::Starting
                        || (is_down && node.has_left())
                        || (by_order && node.verdict == Health::Up && node.starting);
                    let drain = is_down && self.policy.on_down == RevokeMode::Drain;
                    rule!(drain || words == (*mode == RevokeMode::LastWords), "I11: {effect:?} ends sessions the wrong way");
                }
                Effect::Activate { cause, .. } => {
                    let first = was.epoch == Epoch(0);
                    rule!((*cause == Cause::Startup) == first, "I11: {effect:?} when first={first}");
                }
                _ => {}
            }
        }
        self.conflict = step.after.conflict();
        // `Switch` is passed through within its step.
        if self.verdict == Verdict::Switch {
            self.verdict = step.after.verdict();
        }
        let verdict = step.after.verdict();
        rule!(verdict == self.verdict, "I11: the verdict became {verdict} without a word (it was {})", self.verdict);
        Ok(())
    }

    /// The active one has not answered since a sign of its death, or may have given way to another.
    fn doubts_the_active(&self) -> bool {
        self.active.is_some_and(|id| self.node(id).doubted) || self.awaits_a_word(self.conflict)
    }

    /// New clients are held exactly while the active one is in doubt, or until a pause ends (I17).
    fn suspension(&mut self, step: &Step) -> Result<(), String> {
        self.paused = self.paused.filter(|until| *until > step.now);
        let (says, paused) = (step.after.paused_until(), self.paused);
        rule!(says == paused, "I17: paused until {says:?}, ordered {paused:?}");
        let doubted = self.doubts_the_active();
        let held = self.active.is_some() && (doubted || paused.is_some() || self.is_gated());
        let says = step.after.suspended();
        rule!(says == self.suspended, "suspension: the effects say {}, the pool {says}", self.suspended);
        rule!(says == held, "suspension, I17: held={says}, doubted={doubted}, paused={paused:?}");
        Ok(())
    }

    /// All that are up and name their cluster name the same, or the pool knows its own.
    fn knows_its_cluster(&self) -> bool {
        let up = self.nodes.iter().filter(|node| node.verdict == Health::Up && !node.foreign);
        let named: Vec<u64> = up.filter_map(|node| node.system_id).collect();
        self.system_id.is_some() || named.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// I14 and I15: who may be read, from the facts; that every change was told; and what becomes of sessions.
    fn i14_i15_readers(&mut self, step: &Step) -> Result<(), String> {
        let max_lag = self.policy.max_lag;
        for node in self.nodes.iter_mut().filter(|node| node.verdict == Health::Up) {
            let (far, near) = match (max_lag, node.lag) {
                (Some(MaxLag::Bytes(max)), (Some(lag), _)) => (lag > max, lag.saturating_mul(2) <= max),
                (Some(MaxLag::Time(max)), (_, Some(lag))) => (lag > max, lag.saturating_mul(2) <= max),
                _ => (false, true),
            };
            node.behind = (node.behind || far) && !near;
        }
        let knows_its_cluster = self.knows_its_cluster();
        for id in self.ids() {
            let (node, reading) = (self.node(id), step.after.read_eligibility(id));
            let is_active = self.active == Some(id);
            let is_sure = self.settled && !node.doubted && (knows_its_cluster || node.system_id.is_none());
            let may = node.admin == Admin::Ready && self.serves(id) && is_sure;
            let stands_by = !self.by_role() || node.role == Some(Role::Standby);
            let near = may && !is_active && stands_by && !node.behind;
            let (is_reader, is_canary) = (near && self.is_read(id), near && self.is_canary(id));
            let expected = (may && is_active, is_reader, is_canary, near && !is_reader && !is_canary);
            let is = |word| reading == word;
            let (unproven, canary) = (is(ReadEligibility::Unproven), is(ReadEligibility::Canary));
            let says = (is(ReadEligibility::Active), is(ReadEligibility::Reader), canary, unproven);
            rule!(says == expected, "I14: {} is said to be {reading}, the facts say {expected:?}", name(id));
            let lags = may && !is_active && stands_by && node.behind;
            rule!(
                (reading == ReadEligibility::Lag) == lags,
                "I15: {} is said to be {reading}, the facts say lag={lags}",
                name(id)
            );
            let told: Vec<_> = step
                .effects
                .iter()
                .filter_map(|effect| match effect {
                    Effect::Read { backend, from, to, sessions } if *backend == id => Some((*from, *to, *sessions)),
                    _ => None,
                })
                .collect();
            let sessions = self.end_of_readers(id, reading);
            let fell_silent = node.readers_left && sessions == RevokeMode::Abort;
            let changed = reading != node.reading;
            let should: Vec<_> = (changed || fell_silent).then_some((node.reading, reading, sessions)).into_iter().collect();
            rule!(told == should, "I14: what was said of {} is {told:?}, what happened {should:?}", name(id));
            let readers_left = sessions == RevokeMode::LastWords && (changed || node.readers_left);
            let node = &mut self.nodes[id.index()];
            (node.reading, node.readers_left) = (reading, readers_left);
        }
        Ok(())
    }

    /// Readers are closed when their backend is gone, and when a session of theirs could write to what is not the active one.
    fn end_of_readers(&self, id: BackendId, reading: ReadEligibility) -> RevokeMode {
        let node = self.node(id);
        let told_by_it = if node.has_left() { RevokeMode::LastWords } else { RevokeMode::Abort };
        let could_write = self.by_role() && node.role != Some(Role::Standby) && !node.read_only && self.active != Some(id);
        match reading {
            ReadEligibility::Down if self.policy.on_down == RevokeMode::Drain => RevokeMode::Drain,
            ReadEligibility::Down => told_by_it,
            ReadEligibility::Starting => RevokeMode::LastWords,
            ReadEligibility::Maint | ReadEligibility::WrongCluster => RevokeMode::Abort,
            ReadEligibility::RoleUnknown | ReadEligibility::Fenced | ReadEligibility::NotActive if could_write => {
                RevokeMode::Abort
            }
            _ => RevokeMode::Drain,
        }
    }

    /// Urgent exactly while new clients wait for this backend (nobody is active, or it is and is in doubt), and never hammering
    /// a check that cannot log in.
    fn paces(&self, step: &Step) -> Result<(), String> {
        for id in self.ids() {
            let (node, pace) = (self.node(id), step.after.pace(id));
            let hopeless = node.last == Some(Outcome::Misconfigured);
            let doubted = self.active == Some(id) && self.doubts_the_active();
            let awaited = self.active.is_none() || doubted || self.is_awaited(id);
            let urgent = awaited && node.admin != Admin::Maint && !hopeless;
            rule!((pace == Pace::Urgent) == urgent, "pace: {} is probed at {pace}, urgent={urgent}", name(id));
            rule!(!hopeless || pace == Pace::Normal, "pace: {} cannot log in and is hammered at {pace}", name(id));
            let watched =
                node.doubted || matches!((node.verdict, node.run), (Health::Up, Run::Bad(_)) | (Health::Down, Run::Good(_)));
            rule!(hopeless || !watched || pace != Pace::Normal, "pace: a change of {} is pending at {pace}", name(id));
        }
        Ok(())
    }
}

impl Node {
    /// It said that it goes, and nobody listens any more.
    fn has_left(&self) -> bool {
        self.said_shutdown && self.refused
    }

    fn learn(&mut self, facts: &Facts) {
        (self.role, self.read_only, self.multi) = (facts.role, facts.read_only, facts.multi_primary);
        (self.db_epoch, self.system_id) = (facts.db_epoch, facts.system_id);
        self.lag = (facts.lag_bytes, facts.lag_time);
        (self.position, self.hears) = (facts.position, facts.hears_primary);
    }

    /// A server answered: every sign of its death is void.
    fn answered(&mut self, fresh: bool) {
        (self.session_lost, self.refused, self.doubted, self.said_shutdown) = (false, false, false, false);
        self.login_failed &= !fresh;
    }
}

/// Those for which this holds, or all if it holds for none.
fn some_of(all: &[BackendId], holds: impl Fn(&BackendId) -> bool) -> Vec<BackendId> {
    let some: Vec<_> = all.iter().copied().filter(holds).collect();
    if some.is_empty() { all.to_vec() } else { some }
}

/// I8: a late or repeated report changes nothing, unless time alone would have.
fn i8_late_reports(was: &Judge, step: &Step) -> Result<(), String> {
    if let Event::Probe(id, report) = step.event
        && was.nodes.get(id.index()).is_some_and(|node| report.seq <= node.seq)
        && step.before.next_deadline(Time::ZERO).is_none_or(|at| at > step.now)
    {
        rule!(step.effects.is_empty(), "I8: a late report had effects: {:?}", step.effects);
        rule!(step.before == step.after, "I8: a late report changed the pool");
    }
    Ok(())
}

/// I12, on the pool itself: a tick that is not due does nothing, and no step leaves work behind.
pub(super) fn i12_ticks(step: &Step) -> Result<(), String> {
    let due = |pool: &Pool| pool.next_deadline(Time::ZERO).is_some_and(|at| at <= step.now);
    if *step.event == Event::Tick && !due(step.before) {
        rule!(step.effects.is_empty(), "I12: a tick before the deadline had effects: {:?}", step.effects);
    }
    rule!(!due(step.after), "I12: a deadline is left behind: {:?} at {:?}", step.after.next_deadline(Time::ZERO), step.now);
    let mut again = step.after.clone();
    let effects = again.advance(step.now, &Event::Tick);
    rule!(effects.is_empty() && again == *step.after, "I12: the step left work for a second tick: {effects:?}");
    Ok(())
}

/// I13, on the pool itself: the same inputs give the same outputs.
pub(super) fn i13_repeats(step: &Step) -> Result<(), String> {
    let mut again = step.before.clone();
    rule!(again.advance(step.now, step.event) == step.effects && again == *step.after, "I13: the same inputs, other outputs");
    Ok(())
}

/// What a rule asks of the outcome of an earlier report.
pub(super) fn last_word(outcome: Outcome) -> Outcome {
    if matches!(outcome, Outcome::Misconfigured | Outcome::WrongCluster) { outcome } else { Outcome::Ok }
}

/// `at`, seen from `now`, put at the same distance from `to`; what is past the horizon is at the horizon.
pub(super) fn rebased(at: Time, now: Time, to: Time, horizon: Duration) -> Time {
    if at > now { to + at.since(now) } else { Time::new(to.since_origin().saturating_sub(now.since(at).min(horizon))) }
}
