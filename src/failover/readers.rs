//! Which backends may be read: a second decision, made after the election. Each backend is judged separately, from its state and
//! the active backend; nothing here changes which one is active.

use super::{
    backend::BackendState,
    event::Effect,
    lag::MaxLag,
    policy::Election,
    pool::Pool,
    proof::{Guard, GuardMode, Proof},
    vocabulary::{BackendId, Cause, Health, ReadEligibility, Reason, RevokeMode},
};

impl Pool {
    /// Whether a backend may be read, as of the last step; `Unknown` for one that the pool does not have.
    pub fn read_eligibility(&self, id: BackendId) -> ReadEligibility {
        self.backend(id).map_or(ReadEligibility::Unknown, |backend| backend.read_eligibility)
    }

    /// Judges every backend, once the active one is known.
    pub(super) fn refresh_read_eligibility(&mut self, effects: &mut Vec<Effect>) {
        let max_lag = self.policy.max_lag;
        self.backends.iter_mut().for_each(|backend| backend.judge_lag(max_lag));
        let one_cluster = self.is_one_cluster();
        for index in 0..self.backends.len() {
            let to = self.judge_reader(index, one_cluster);
            let sessions = self.end_of_readers(index, to);
            let backend = &mut self.backends[index];
            let from = std::mem::replace(&mut backend.read_eligibility, to);
            let left = &mut backend.readers_left;
            // A server that has nothing more to send will end no session.
            let fell_silent = *left && sessions == RevokeMode::Abort;
            *left = sessions == RevokeMode::LastWords && (from != to || *left);
            if from != to || fell_silent {
                effects.push(Effect::Read { backend: BackendId::at(index), from, to, sessions });
            }
        }
    }

    fn judge_reader(&self, index: usize, one_cluster: bool) -> ReadEligibility {
        let backend = &self.backends[index];
        let by_role = match backend.reason {
            Reason::Maint => return ReadEligibility::Maint,
            Reason::Drain => return ReadEligibility::Drain,
            Reason::Misconfigured => return ReadEligibility::Misconfigured,
            Reason::Unknown => return ReadEligibility::Unknown,
            Reason::Down => return ReadEligibility::Down,
            Reason::Starting => return ReadEligibility::Starting,
            Reason::WrongCluster => return ReadEligibility::WrongCluster,
            Reason::RoleUnknown => ReadEligibility::RoleUnknown,
            Reason::ReadOnly => ReadEligibility::ReadOnly,
            Reason::Fenced => ReadEligibility::Fenced,
            Reason::Eligible if self.active() == Some(BackendId::at(index)) => ReadEligibility::Active,
            Reason::Eligible | Reason::Unproven if self.policy.election == Election::ByRole => ReadEligibility::NotActive,
            Reason::Standby | Reason::Eligible | Reason::Unproven if backend.behind => ReadEligibility::Lag,
            Reason::Standby | Reason::Eligible | Reason::Unproven => self.judge_proof(backend.proof),
        };
        if !self.settled {
            ReadEligibility::Settling
        } else if !one_cluster && backend.facts.system_id.is_some() {
            ReadEligibility::ClusterUnknown
        } else if backend.signs.in_doubt {
            ReadEligibility::InDoubt
        } else {
            by_role
        }
    }

    fn judge_proof(&self, proof: Proof) -> ReadEligibility {
        let Guard { mode, canary, .. } = self.policy.guard;
        match proof {
            Proof::Proving if mode == GuardMode::Enforce && canary => ReadEligibility::Canary,
            _ if mode == GuardMode::Enforce && !proof.is_good() => ReadEligibility::Unproven,
            _ => ReadEligibility::Reader,
        }
    }

    /// Whether the pool knows its own cluster, or all backends that name a cluster name the same.
    fn is_one_cluster(&self) -> bool {
        let up = self.backends.iter().filter(|backend| backend.health() == Health::Up && !backend.is_foreign(self.system_id));
        let mut named = up.filter_map(|backend| backend.facts.system_id);
        let first = named.next();
        self.system_id.is_some() || named.all(|other| Some(other) == first)
    }

    /// What happens to the sessions of a backend's readers; `Drain`: they go on.
    fn end_of_readers(&self, index: usize, to: ReadEligibility) -> RevokeMode {
        match to.closes_sessions() {
            None => RevokeMode::Drain,
            Some(Cause::Down) if self.policy.on_down == RevokeMode::Drain => RevokeMode::Drain,
            Some(Cause::Down) if self.backends[index].has_left() => RevokeMode::LastWords,
            Some(Cause::Starting) => RevokeMode::LastWords,
            Some(_) => RevokeMode::Abort,
        }
    }
}

impl BackendState {
    /// Too far behind above `max`, near enough again at half of it; in between nothing changes. A standby that reports no lag is
    /// near enough. The report of one that is not up dates from before it went down.
    fn judge_lag(&mut self, max: Option<MaxLag>) {
        if self.health() != Health::Up {
            return;
        }
        self.behind = match max {
            Some(max) if max.is_exceeded(&self.facts) => true,
            Some(max) if max.half().is_exceeded(&self.facts) => self.behind,
            _ => false,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failover::{
        Admin, Command, Epoch, Event, Facts, Finding, OnConflict, Outcome, Passive, Policy, Report, Role, Time, label::Label,
    };

    const MAX: u64 = 100;

    struct World {
        pool: Pool,
        seq: u64,
    }

    impl World {
        fn new(policy: &Policy, count: u16) -> Self {
            Self { pool: Pool::new(Policy { max_lag: Some(MaxLag::Bytes(MAX)), ..policy.clone() }, count, Time::ZERO), seq: 0 }
        }

        fn by_role(count: u16) -> Self {
            Self::new(&Policy { election: Election::ByRole, ..Policy::default() }, count)
        }

        /// What the step ordered of readers.
        fn step(&mut self, event: &Event) -> Vec<(u16, ReadEligibility, RevokeMode)> {
            let effects = self.pool.step(Time::ZERO, event);
            let read = effects.into_iter().filter_map(|effect| match effect {
                Effect::Read { backend, to, sessions, .. } => Some((backend.0, to, sessions)),
                _ => None,
            });
            read.collect()
        }

        fn report(&mut self, backend: u16, outcome: Outcome, facts: Facts) -> Vec<(u16, ReadEligibility, RevokeMode)> {
            self.seq += 1;
            let finding = Finding { outcome, facts, evidence: "seen".into() };
            self.step(&Event::Probe(BackendId(backend), Report { seq: self.seq, finding, fresh: true }))
        }

        fn primary(&mut self, backend: u16, db_epoch: u64) -> Vec<(u16, ReadEligibility, RevokeMode)> {
            let facts = Facts { role: Some(Role::Primary), db_epoch: Some(db_epoch), system_id: Some(7), ..Facts::default() };
            self.report(backend, Outcome::Ok, facts)
        }

        fn standby(&mut self, backend: u16, lag_bytes: Option<u64>) -> Vec<(u16, ReadEligibility, RevokeMode)> {
            let facts = Facts { role: Some(Role::Standby), lag_bytes, db_epoch: Some(1), system_id: Some(7), ..Facts::default() };
            self.report(backend, Outcome::Ok, facts)
        }

        fn plain(&mut self, backend: u16) -> Vec<(u16, ReadEligibility, RevokeMode)> {
            self.report(backend, Outcome::Ok, Facts::default())
        }

        fn fail(&mut self, backend: u16, outcome: Outcome) -> Vec<(u16, ReadEligibility, RevokeMode)> {
            self.report(backend, outcome, Facts::default())
        }

        fn order(&mut self, backend: u16, admin: Admin) -> Vec<(u16, ReadEligibility, RevokeMode)> {
            self.step(&Event::Command(Command::SetAdmin { backend: BackendId(backend), to: admin, force: false }))
        }

        fn readings(&self) -> Vec<&'static str> {
            self.pool.ids().map(|id| self.pool.read_eligibility(id).as_str()).collect()
        }
    }

    #[test]
    fn a_standby_may_be_read_and_the_active_primary_by_those_who_take_any() {
        let mut world = World::by_role(2);
        world.standby(1, Some(0));
        assert_eq!(world.readings(), ["unknown", "settling"], "the first to answer may be anything");
        assert_eq!(
            world.primary(0, 1),
            [(0, ReadEligibility::Active, RevokeMode::Drain), (1, ReadEligibility::Reader, RevokeMode::Drain)]
        );
        assert_eq!(world.pool.active(), Some(BackendId(0)));
    }

    #[test]
    fn lag_takes_a_standby_out_above_the_bound_and_brings_it_back_at_half_of_it() {
        let mut world = World::by_role(2);
        world.primary(0, 1);
        for (lag, reading) in [
            (0, "reader"),
            (MAX, "reader"),
            (MAX + 1, "lag"),
            (MAX, "lag"),
            (MAX / 2 + 1, "lag"),
            (MAX / 2, "reader"),
            (MAX / 2 + 1, "reader"),
            (MAX, "reader"),
            (u64::MAX, "lag"),
        ] {
            world.standby(1, Some(lag));
            assert_eq!(world.readings()[1], reading, "at {lag}");
        }
        assert_eq!(world.standby(1, None), [(1, ReadEligibility::Reader, RevokeMode::Drain)], "who tells no lag is near enough");
    }

    #[test]
    fn the_bound_may_be_nothing_at_all() {
        let mut world = World::by_role(2);
        world.primary(0, 1);
        world.pool.policy.max_lag = Some(MaxLag::Bytes(0));
        for (lag, reading) in [(0, "reader"), (1, "lag"), (0, "reader")] {
            world.standby(1, Some(lag));
            assert_eq!(world.readings()[1], reading, "at {lag}");
        }
    }

    #[test]
    fn a_standby_that_was_behind_and_died_is_behind_until_it_tells_that_it_is_not() {
        let mut world = World::by_role(2);
        world.primary(0, 1);
        world.standby(1, Some(MAX + 1));
        world.fail(1, Outcome::Timeout);
        assert_eq!(world.fail(1, Outcome::Timeout), [(1, ReadEligibility::Down, RevokeMode::Abort)]);
        world.standby(1, Some(MAX / 2 + 1));
        assert_eq!(world.standby(1, Some(MAX / 2 + 1)), [(1, ReadEligibility::Lag, RevokeMode::Drain)]);
        assert_eq!(world.standby(1, Some(MAX / 2)), [(1, ReadEligibility::Reader, RevokeMode::Drain)]);
    }

    #[test]
    fn what_closes_sessions_and_what_lets_them_go_on() {
        let served = || {
            let mut world = World::by_role(2);
            world.primary(0, 1);
            world.standby(1, Some(0));
            world
        };
        assert_eq!(served().standby(1, Some(MAX + 1)), [(1, ReadEligibility::Lag, RevokeMode::Drain)]);
        assert_eq!(served().order(1, Admin::Drain), [(1, ReadEligibility::Drain, RevokeMode::Drain)]);
        assert_eq!(served().order(1, Admin::Maint), [(1, ReadEligibility::Maint, RevokeMode::Abort)]);
        assert_eq!(served().fail(1, Outcome::Starting), [(1, ReadEligibility::Starting, RevokeMode::LastWords)]);
        assert_eq!(served().fail(1, Outcome::WrongCluster), [(1, ReadEligibility::WrongCluster, RevokeMode::Abort)]);
        assert_eq!(served().plain(1), [(1, ReadEligibility::RoleUnknown, RevokeMode::Abort)]);
        let doubt = Event::Passive(BackendId(1), Passive::DialRefused);
        assert_eq!(served().step(&doubt), [(1, ReadEligibility::InDoubt, RevokeMode::Drain)]);
        let mut dying = served();
        dying.step(&Event::Passive(BackendId(1), Passive::StandingShutdown));
        assert_eq!(dying.fail(1, Outcome::Refused), [(1, ReadEligibility::Down, RevokeMode::LastWords)]);
        // Then its host is silent as well: nobody is there who would end its sessions.
        assert_eq!(dying.fail(1, Outcome::ConnectTimeout), []);
        assert_eq!(dying.fail(1, Outcome::ConnectTimeout), [(1, ReadEligibility::Down, RevokeMode::Abort)]);
        (0..4).for_each(|_| assert_eq!(dying.fail(1, Outcome::ConnectTimeout), [], "told once"));
        let mut keeping = served();
        keeping.pool.policy.on_down = RevokeMode::Drain;
        keeping.fail(1, Outcome::Timeout);
        assert_eq!(keeping.fail(1, Outcome::Timeout), [(1, ReadEligibility::Down, RevokeMode::Drain)]);
    }

    #[test]
    fn readers_of_a_promoted_standby_and_of_a_demoted_primary_go_on() {
        let mut world = World::by_role(2);
        world.primary(0, 1);
        world.standby(1, Some(0));
        // Both within one step: the promoted one takes over, and the old one is an old one.
        let changes = world.primary(1, 2);
        assert_eq!(changes, [(0, ReadEligibility::Fenced, RevokeMode::Abort), (1, ReadEligibility::Active, RevokeMode::Drain)]);
        assert_eq!(world.standby(0, Some(0)), [(0, ReadEligibility::Reader, RevokeMode::Drain)]);
        assert_eq!((world.pool.active(), world.pool.epoch()), (Some(BackendId(1)), Epoch(2)));
        // A demotion without a successor.
        assert_eq!(world.standby(1, Some(0)), [(1, ReadEligibility::Reader, RevokeMode::Drain)]);
        assert_eq!(world.pool.active(), None);
    }

    #[test]
    fn a_primary_that_is_not_active_is_never_read() {
        for rule in OnConflict::ALL {
            let mut world = World::new(&Policy { election: Election::ByRole, on_conflict: *rule, ..Policy::default() }, 2);
            world.primary(0, 1);
            world.standby(1, Some(0));
            let changes = world.primary(1, 1);
            assert!(changes.contains(&(1, ReadEligibility::NotActive, RevokeMode::Abort)), "{rule}: {changes:?}");
            world.primary(0, 1);
            let active = if *rule == OnConflict::Refuse { "not_active" } else { "active" };
            assert_eq!(world.readings(), [active, "not_active"], "{rule}");
        }
    }

    #[test]
    fn without_roles_everybody_but_the_active_one_is_read() {
        let mut world = World::new(&Policy::default(), 3);
        (0..3).for_each(|backend| drop(world.plain(backend)));
        assert_eq!(world.readings(), ["active", "reader", "reader"]);
        world.step(&Event::Passive(BackendId(0), Passive::StandingLost));
        assert_eq!(world.readings(), ["in_doubt", "reader", "reader"]);
        let changes = world.fail(0, Outcome::Refused);
        assert_eq!(changes, [(0, ReadEligibility::Down, RevokeMode::Abort), (1, ReadEligibility::Active, RevokeMode::Drain)]);
    }

    #[test]
    fn nobody_is_read_while_it_is_open_whose_cluster_this_is() {
        let of = |system| Facts { role: Some(Role::Standby), system_id: Some(system), ..Facts::default() };
        let mut world = World::by_role(3);
        (0..3).for_each(|backend| drop(world.report(backend, Outcome::Ok, of(7))));
        assert_eq!(world.readings(), ["reader"; 3], "standbys alone, of one cluster");
        world.report(2, Outcome::Ok, of(8));
        assert_eq!(world.readings(), ["cluster_unknown"; 3]);
        let changes = world.primary(0, 1);
        assert!(changes.contains(&(2, ReadEligibility::WrongCluster, RevokeMode::Abort)), "{changes:?}");
        assert_eq!(world.readings(), ["active", "reader", "wrong_cluster"]);
    }

    #[test]
    fn a_bound_that_is_lowered_counts_at_once() {
        let mut world = World::by_role(2);
        world.primary(0, 1);
        world.standby(1, Some(40));
        let backends = world.pool.ids().map(Some).collect();
        let policy = Policy { max_lag: Some(MaxLag::Bytes(30)), ..world.pool.policy().clone() };
        let configuration = crate::failover::Configuration { policy, backends, admin: vec![] };
        let changes = world.step(&Event::Configure(Box::new(configuration)));
        assert_eq!(changes, [(1, ReadEligibility::Lag, RevokeMode::Drain)]);
    }

    #[test]
    fn a_pool_without_backends_and_a_stranger_are_no_trouble() {
        let mut pool = Pool::new(Policy::default(), 0, Time::ZERO);
        assert_eq!(pool.step(Time::ZERO + Duration::from_secs(9), &Event::Tick).len(), 1, "the verdict alone");
        assert_eq!(pool.read_eligibility(BackendId(9)), ReadEligibility::Unknown);
    }
}
