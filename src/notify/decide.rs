//! What of a pool is told, and when. Pure: the pool as it stands and the time in, notices out.

use std::{sync::Arc, time::Duration};

use super::{
    latch::{Latch, Turn},
    notice::{Alert, Felt, Notice},
    words::{self, Takeover},
};
use crate::{
    failover::{Epoch, Proof, Time, Verdict, label::Label as _},
    incidents::{FIRST_OUTAGE, is_ordered},
    route::Snapshot,
};

/// A shorter time without a backend is a failover.
const OUTAGE: Duration = Duration::from_millis(500);
/// For the clients that waited to be served, so that they are counted.
const SERVED: Duration = Duration::from_millis(500);
const CONFLICT: Duration = Duration::from_secs(1);
/// Proofs of a backend that has changed need a moment.
const UNPROVEN: Duration = Duration::from_mins(1);
const FAILED_PROOF: Duration = Duration::from_secs(1);
const CHECK_BROKEN: Duration = Duration::from_secs(10);
/// How long something must be over before that is told, the first time.
const OVER: Duration = Duration::from_secs(2);
/// Failovers of a pool within this time are one message.
const FAILOVERS: Duration = Duration::from_mins(1);

/// How a backend was lost.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) at: Time,
    pub(super) backend: Arc<str>,
    pub(super) cause: &'static str,
    pub(super) evidence: String,
}

/// What is seen of a pool.
pub(super) struct Sight<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// Its counters.
    pub(super) felt: Felt,
    /// It needs an active backend; otherwise one that may be read is enough.
    pub(super) is_for_writing: bool,
    /// The last time that an active backend was withdrawn.
    pub(super) loss: Option<&'a Loss>,
}

/// What was told of one pool.
#[derive(Debug)]
pub(super) struct Decider {
    outage: Latch,
    conflict: Latch,
    unproven: Latch,
    check_broken: Latch,
    /// What clients had felt when it last served.
    before: Felt,
    /// The same when the outage began.
    base: Felt,
    /// The last epoch that was seen active; 0 before.
    epoch: Epoch,
    /// The last failover that was seen.
    last_failover: Time,
    /// The same before the failover that waits to be told.
    takeover_base: Felt,
    /// Waits to be told.
    takeover: Option<(Time, Takeover)>,
    /// A failover was told.
    told: Option<Time>,
}

impl Decider {
    pub(super) fn new() -> Self {
        Self {
            outage: Latch::new(OUTAGE, OVER),
            conflict: Latch::new(CONFLICT, OVER),
            unproven: Latch::new(UNPROVEN, OVER),
            check_broken: Latch::new(CHECK_BROKEN, OVER),
            before: Felt::default(),
            base: Felt::default(),
            takeover_base: Felt::default(),
            epoch: Epoch::default(),
            last_failover: Time::ZERO,
            takeover: None,
            told: None,
        }
    }

    /// What is to be told of the pool as it stands.
    pub(super) fn look(&mut self, now: Time, sight: &Sight<'_>) -> Vec<Notice> {
        let pool = sight.snapshot;
        // Before the first decision nothing is known.
        if pool.verdict == Verdict::Settling && pool.active.is_none() {
            return Vec::new();
        }
        let mut notices = Vec::new();
        notices.extend(self.outage(now, sight));
        notices.extend(self.failover(now, sight));
        let conflict = pool.conflict.then_some(now);
        notices.extend(turned(self.conflict.look(now, conflict, None), now, pool, Alert::Conflict, words::conflict));
        let bad = |(index, backend)| words::is_unproven(backend, pool.active.is_some_and(|id| id.index() == index));
        let is_unproven = pool.backends.iter().enumerate().any(bad);
        let has_failed = pool.backends.iter().any(|backend| backend.proof == Proof::Failed);
        let turn = self.unproven.look(now, is_unproven.then_some(now), has_failed.then_some(FAILED_PROOF));
        notices.extend(turned(turn, now, pool, Alert::Unproven, words::unproven));
        let broken = pool.backends.iter().any(words::is_check_broken).then_some(now);
        notices.extend(turned(self.check_broken.look(now, broken, None), now, pool, Alert::CheckBroken, words::check_broken));
        if pool.active.is_some() {
            (self.before, self.epoch) = (sight.felt, pool.epoch);
        }
        self.last_failover = pool.last_failover.as_ref().map_or(self.last_failover, |last| last.at);
        notices
    }

    fn outage(&mut self, now: Time, sight: &Sight<'_>) -> Option<Notice> {
        let pool = sight.snapshot;
        let may_be_read = || pool.backends.iter().any(|backend| backend.read_eligibility.may_be_read());
        let serves = pool.active.is_some() || (!sight.is_for_writing && may_be_read());
        // Clients wait because an operator wants it so.
        let is_planned = pool.operation.is_some() && sight.loss.is_some_and(|loss| is_ordered(loss.cause));
        let is_out = !serves && !is_planned;
        if is_out && !self.outage.is_pending() && !self.outage.is_told() {
            self.base = self.before;
        }
        let has_served = pool.epoch > Epoch::default();
        let since = sight.loss.filter(|loss| !is_ordered(loss.cause)).map_or(now, |loss| loss.at);
        let lasts = (!has_served).then_some(FIRST_OUTAGE);
        let turn = self.outage.look(now, is_out.then_some(since), lasts)?;
        Some(match turn {
            Turn::Begun => {
                self.takeover = None;
                words::outage(now, pool, sight.is_for_writing)
            }
            Turn::Over { lasted, returned } => words::outage_over(now, pool, lasted, returned, sight.felt.since(self.base)),
        })
    }

    /// A change of the active backend that was no outage and no order.
    fn failover(&mut self, now: Time, sight: &Sight<'_>) -> Option<Notice> {
        let pool = sight.snapshot;
        let is_new = self.epoch > Epoch::default() && pool.active.is_some() && pool.epoch > self.epoch;
        if is_new
            && !self.outage.is_told()
            && let Some(mut takeover) = takeover(now, sight, self.last_failover)
        {
            if self.takeover.is_none() {
                self.takeover_base = self.before;
            }
            // One that has not been told yet is told by its number. A pool that never stands still is told, too.
            let (at, earlier) = self.takeover.take().map_or((now, 0), |(at, before)| (at, before.earlier + 1));
            takeover.earlier = earlier;
            self.takeover = Some((at, takeover));
        }
        let (at, _) = self.takeover.as_ref()?;
        let is_early = now.since(*at) < SERVED || self.told.is_some_and(|told| now.since(told) < FAILOVERS);
        if is_early || pool.active.is_none() {
            return None;
        }
        let (_, takeover) = self.takeover.take()?;
        self.told = Some(now);
        let felt = sight.felt.since(self.takeover_base);
        Some(words::failover(now, pool, &takeover, felt))
    }

    /// What is told when the pool is no longer configured.
    pub(super) fn removed(&self, now: Time, pool: &Arc<str>) -> Vec<Notice> {
        let latches = [
            (&self.outage, Alert::Outage),
            (&self.conflict, Alert::Conflict),
            (&self.unproven, Alert::Unproven),
            (&self.check_broken, Alert::CheckBroken),
        ];
        latches.into_iter().filter(|(latch, _)| latch.is_told()).map(|(_, alert)| words::removed(now, pool, alert)).collect()
    }

    /// Time alone may change something.
    pub(super) fn is_pending(&self) -> bool {
        let latches = [&self.outage, &self.conflict, &self.unproven, &self.check_broken];
        self.takeover.is_some() || latches.into_iter().any(Latch::is_pending)
    }
}

fn turned(
    turn: Option<Turn>,
    now: Time,
    pool: &Snapshot,
    alert: Alert,
    begun: impl Fn(Time, &Snapshot) -> Notice,
) -> Option<Notice> {
    Some(match turn? {
        Turn::Begun => begun(now, pool),
        Turn::Over { lasted, .. } => words::over(now, pool, alert, lasted),
    })
}

/// How the present backend became active; `None` when that was ordered.
fn takeover(now: Time, sight: &Sight<'_>, before: Time) -> Option<Takeover> {
    let pool = sight.snapshot;
    let to = &words::active(pool)?.name;
    if let Some(last) = pool.last_failover.as_ref().filter(|last| last.at > before && last.to == *to) {
        let cause = last.cause.as_str();
        return (!is_ordered(cause)).then(|| Takeover {
            from: Arc::clone(&last.from),
            to: Arc::clone(to),
            cause,
            evidence: last.evidence.to_string(),
            gap: last.gap,
            sessions: Some(last.sessions_closed),
            earlier: 0,
        });
    }
    // The same backend came back.
    let loss = sight.loss.filter(|loss| loss.backend == *to)?;
    (!is_ordered(loss.cause)).then(|| Takeover {
        from: Arc::clone(&loss.backend),
        to: Arc::clone(to),
        cause: loss.cause,
        evidence: loss.evidence.clone(),
        gap: now.since(loss.at),
        sessions: None,
        earlier: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        failover::{BackendId, Cause, OperationKind, Outcome, ReadEligibility, Reason},
        notify::notice::Stage,
        route::{BackendView, LastFailover},
    };

    fn backend(name: &str) -> BackendView {
        BackendView {
            name: name.into(),
            address: "".into(),
            resolved: crate::net::addresses::Addresses::default(),
            health: crate::failover::Health::Up,
            pending: false,
            admin: crate::failover::Admin::Ready,
            reason: Reason::Eligible,
            read_eligibility: ReadEligibility::NotActive,
            proof: Proof::Proven,
            proof_what: "".into(),
            facts: crate::failover::Facts::default(),
            alert: None,
            alert_evidence: "".into(),
            since: Time::ZERO,
            last_probe: None,
            silent_since: None,
        }
    }

    /// A pool that is looked at every tenth of a second.
    struct Watch {
        decider: Decider,
        pool: Snapshot,
        loss: Option<Loss>,
        felt: Felt,
        now: u64,
        told: Vec<(u64, Alert, Stage)>,
    }

    impl Watch {
        fn new() -> Self {
            let backends = vec![backend("db-a"), backend("db-b")];
            let pool = Snapshot { pool: "orders".into(), backends, ..Snapshot::default() };
            Self { decider: Decider::new(), pool, loss: None, felt: Felt::default(), now: 1000, told: Vec::new() }
        }

        fn serving() -> Self {
            let mut watch = Self::new();
            watch.activate(0);
            watch.pass(5000);
            assert_eq!(watch.told, []);
            watch
        }

        fn activate(&mut self, index: u16) {
            (self.pool.active, self.pool.verdict) = (Some(BackendId(index)), Verdict::Keep);
            self.pool.epoch = self.pool.epoch.next();
        }

        fn lose(&mut self, cause: Cause) {
            let at = Time::from_millis(self.now);
            let backend = Arc::clone(&words::active(&self.pool).unwrap().name);
            self.loss = Some(Loss { at, backend, cause: cause.as_str(), evidence: "connect refused".into() });
            (self.pool.active, self.pool.verdict) = (None, Verdict::NoEligible);
        }

        /// Another takes over at once.
        fn fail_over(&mut self, to: u16, cause: Cause) {
            let from = Arc::clone(&words::active(&self.pool).unwrap().name);
            self.lose(cause);
            self.activate(to);
            self.pool.last_failover = Some(LastFailover {
                at: Time::from_millis(self.now),
                from,
                to: Arc::clone(&self.pool.backends[usize::from(to)].name),
                cause,
                evidence: "connect refused".into(),
                detected: Duration::from_millis(4),
                gap: Duration::from_millis(51),
                sessions_closed: 97,
            });
        }

        fn pass(&mut self, millis: u64) -> Vec<Notice> {
            let mut notices = Vec::new();
            let until = self.now + millis;
            while self.now < until {
                self.now += 100;
                let sight = Sight { snapshot: &self.pool, felt: self.felt, is_for_writing: true, loss: self.loss.as_ref() };
                let told = self.decider.look(Time::from_millis(self.now), &sight);
                self.told.extend(told.iter().map(|notice| (self.now, notice.alert, notice.stage)));
                notices.extend(told);
            }
            notices
        }
    }

    #[test]
    fn nothing_is_told_before_the_first_decision_and_little_soon_after() {
        let mut watch = Watch::new();
        assert_eq!(watch.pass(60_000), []);
        watch.pool.verdict = Verdict::NoEligible;
        assert_eq!(watch.pass(14_900), []);
        assert_eq!(watch.pass(300)[0].alert, Alert::Outage);
        let mut watch = Watch::new();
        watch.pool.verdict = Verdict::NoEligible;
        watch.pass(10_000);
        watch.activate(1);
        assert_eq!(watch.pass(60_000), []);
    }

    #[test]
    fn an_outage_is_told_after_half_a_second_and_its_end_with_what_clients_felt() {
        let mut watch = Watch::serving();
        let lost = watch.now;
        watch.lose(Cause::Down);
        assert_eq!(watch.pass(400), []);
        let begun = &watch.pass(200)[0];
        assert_eq!((begun.alert, begun.stage, begun.at), (Alert::Outage, Stage::Begun, Time::from_millis(lost + 500)));
        watch.felt = Felt { held: 4, late: 3, turned_away: 2, waited: 31.25 };
        watch.pass(10_000);
        watch.activate(1);
        let over = watch.pass(3000).remove(0);
        assert_eq!(over.stage, Stage::Over(Duration::from_millis(10_700)));
        assert_eq!(over.felt, Some(watch.felt));
        assert_eq!(over.summary, "Pool orders: served again, by db-b, after 10.7 s.");
        assert!(over.did.contains("4 waited (31.2 s in all), 3 of them were served late, 2 were turned away"), "{}", over.did);
        assert_eq!(watch.told.len(), 2, "and no failover: {:?}", watch.told);
    }

    #[test]
    fn a_failover_is_told_once_and_those_that_follow_are_counted() {
        let mut watch = Watch::serving();
        watch.fail_over(1, Cause::Down);
        let told = watch.pass(1000).remove(0);
        assert_eq!(told.summary, "Pool orders failed over from db-a to db-b within 51 ms.");
        assert!(told.did.contains("It closed 97 sessions with db-a."), "{}", told.did);
        for turn in 0..10 {
            watch.fail_over(turn % 2, Cause::Down);
            assert_eq!(watch.pass(2000), [], "{turn}");
        }
        let told = watch.pass(60_000).remove(0);
        assert!(told.did.contains("Since the last message there were 9 more."), "{}", told.did);
        assert_eq!(watch.told.len(), 2);
    }

    #[test]
    fn a_pool_that_never_stands_still_is_told_once_a_minute() {
        let mut watch = Watch::serving();
        for _ in 0..600 {
            watch.lose(Cause::Down);
            watch.pass(200);
            watch.activate(0);
            watch.pass(300);
        }
        let moments: Vec<u64> = watch.told.iter().map(|(now, ..)| *now).collect();
        assert!((5..=6).contains(&moments.len()), "{:?}", watch.told);
        assert!(moments[0] < 8000 && moments.windows(2).all(|pair| pair[1] - pair[0] >= 60_000), "{moments:?}");
        assert!(watch.told.iter().all(|(_, alert, _)| *alert == Alert::Failover), "{:?}", watch.told);
    }

    #[test]
    fn the_same_backend_that_comes_back_at_once_is_told_as_a_failover() {
        let mut watch = Watch::serving();
        watch.lose(Cause::Down);
        watch.pass(300);
        watch.activate(0);
        let told = watch.pass(2000).remove(0);
        assert_eq!(
            (told.alert, told.summary.as_str()),
            (Alert::Failover, "Pool orders: db-a was lost for 400 ms and serves again.")
        );
    }

    #[test]
    fn what_is_ordered_is_not_told_unless_nobody_serves_after_it() {
        let mut watch = Watch::serving();
        watch.fail_over(1, Cause::Command);
        watch.pass(5000);
        watch.pool.operation = Some(OperationKind::Switchover);
        watch.lose(Cause::Command);
        watch.pass(5000);
        watch.activate(0);
        watch.pool.operation = None;
        watch.pass(5000);
        assert_eq!(watch.told, []);
        watch.pool.operation = Some(OperationKind::Switchover);
        watch.lose(Cause::Command);
        watch.pass(5000);
        watch.pool.operation = None;
        assert_eq!(watch.pass(1000)[0].alert, Alert::Outage);
        // An automatic promotion is no order.
        let mut watch = Watch::serving();
        watch.lose(Cause::Down);
        watch.pool.operation = Some(OperationKind::Failover);
        let told = watch.pass(1000).remove(0);
        assert!(told.did.contains("is promoting another backend now"), "{}", told.did);
    }

    #[test]
    fn a_pool_for_readers_needs_no_active_backend() {
        let mut watch = Watch::serving();
        watch.pool.active = None;
        watch.pool.verdict = Verdict::NoEligible;
        let look = |watch: &mut Watch| {
            watch.now += 1000;
            let sight = Sight { snapshot: &watch.pool, felt: watch.felt, is_for_writing: false, loss: None };
            watch.decider.look(Time::from_millis(watch.now), &sight)
        };
        watch.pool.backends[1].read_eligibility = ReadEligibility::Reader;
        assert_eq!((look(&mut watch), look(&mut watch)), (vec![], vec![]));
        watch.pool.backends[1].read_eligibility = ReadEligibility::Down;
        look(&mut watch);
        assert!(look(&mut watch)[0].summary.contains("no database may be read"));
    }

    #[test]
    fn each_other_state_is_told_when_it_has_lasted_and_when_it_is_over() {
        type Change = fn(&mut Snapshot);
        let cases: [(Alert, Change, Change, u64); 5] = [
            (Alert::Conflict, |pool| pool.conflict = true, |pool| pool.conflict = false, 1000),
            (
                Alert::Unproven,
                |pool| pool.backends[0].proof = Proof::Proving,
                |pool| pool.backends[0].proof = Proof::Proven,
                60_000,
            ),
            (
                Alert::Unproven,
                |pool| pool.backends[1].proof = Proof::Failed,
                |pool| pool.backends[1].proof = Proof::Approved,
                1000,
            ),
            (
                Alert::CheckBroken,
                |pool| pool.backends[1].alert = Some(Outcome::Misconfigured),
                |pool| pool.backends[1].alert = None,
                10_000,
            ),
            (
                Alert::CheckBroken,
                |pool| pool.backends[1].reason = Reason::Fenced,
                |pool| pool.backends[1].reason = Reason::Standby,
                10_000,
            ),
        ];
        for (alert, begin, end, lasts) in cases {
            let mut watch = Watch::serving();
            begin(&mut watch.pool);
            assert_eq!(watch.pass(lasts), [], "{alert}");
            let begun = watch.pass(200).remove(0);
            assert_eq!((begun.alert, begun.stage), (alert, Stage::Begun));
            assert_eq!(watch.decider.removed(Time::ZERO, &"orders".into())[0].alert, alert);
            end(&mut watch.pool);
            assert_eq!(watch.pass(2000), [], "{alert}");
            let over = watch.pass(200).remove(0);
            assert!(over.alert == alert && over.is_over(), "{over:?}");
            assert!(!watch.decider.is_pending());
        }
        // A standby that proves itself is everyday life.
        let mut watch = Watch::serving();
        watch.pool.backends[1].proof = Proof::Proving;
        assert_eq!(watch.pass(600_000), []);
    }
}
