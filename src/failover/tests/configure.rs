//! A change of the configuration keeps what is known of the backends that stay, and nothing of those that go.

use super::{super::proof::Quick, *};

const SECOND: Duration = Duration::from_secs(1);

/// Numbers without a pattern; one seed gives one sequence (xorshift64, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn event(random: &mut Random, pool: &Pool, seq: u64) -> Event {
    let count = pool.ids().count() as u64;
    let backend = u16::try_from(random.below(count)).unwrap();
    match random.below(11) {
        0 => Event::Passive(BackendId(backend), Passive::ALL[usize::try_from(random.below(5)).unwrap()]),
        1 => {
            let to = Admin::ALL[usize::try_from(random.below(3)).unwrap()];
            Event::Command(Command::SetAdmin { backend: BackendId(backend), to, force: true })
        }
        2 | 3 => operation(random, pool, backend),
        4 => Event::Tick,
        10 => proof(
            backend,
            Proof::ALL[usize::try_from(random.below(6)).unwrap()],
            ["version", "settings"][usize::try_from(random.below(2)).unwrap()],
        ),
        n => {
            let outcome = if n < 8 { Outcome::Ok } else { Outcome::ALL[usize::try_from(random.below(11)).unwrap()] };
            let role = [Role::Primary, Role::Standby][usize::try_from(random.below(2)).unwrap()];
            let facts = Facts {
                role: Some(role),
                db_epoch: Some(random.below(3)),
                system_id: Some(7),
                position: NonZeroU64::new(1 + random.below(2)),
                hears_primary: Some(random.below(3) == 0),
                ..Facts::default()
            };
            report(backend, seq, outcome, if outcome == Outcome::Ok { facts } else { Facts::default() }, random.below(2) == 0)
        }
    }
}

/// A request, or what comes of one.
fn operation(random: &mut Random, pool: &Pool, backend: u16) -> Event {
    let mut any = |n| random.below(n);
    let present = pool.operation().map(Operation::step);
    let step = present.unwrap_or(Step::Fence);
    let id = pool.operation().map_or(OperationId(1), Operation::id);
    match any(5) {
        choice if choice == 0 || present.is_none() => Event::Operate(Box::new(Request {
            kind: OperationKind::ALL[usize::try_from(any(2)).unwrap()],
            to: (any(3) > 0).then_some(BackendId(backend)),
            accept_loss: any(2) == 0,
            how: How { fence: Fence::ALL[usize::try_from(any(3)).unwrap()], demote: any(2) == 0, promote: any(4) > 0 },
            limits: limits(20 * LIMIT),
            ..switchover(BackendId(backend))
        })),
        1 => Event::StepDone { id, step, result: Err("broken".into()) },
        _ => Event::StepDone { id, step, result: Ok(()) },
    }
}

/// A pool somewhere in its life.
fn some_pool(random: &mut Random) -> (Pool, Time, u64) {
    let count = 1 + random.below(4);
    let election = [Election::ByRole, Election::ByOrder][usize::try_from(random.below(2)).unwrap()];
    let promotion = (random.below(3) > 0).then(|| AutomaticPromotion { max_lag: 1, ..automatic(Fence::Optional) });
    let mode = GuardMode::ALL[usize::try_from(random.below(3)).unwrap()];
    let guard = Guard { mode, last_resort: LastResort::ALL[usize::try_from(random.below(2)).unwrap()], ..Guard::default() };
    let policy = Policy { election, promotion, guard, ..Policy::default() };
    let mut pool = Pool::new(policy, u16::try_from(count).unwrap(), Time::ZERO);
    let (mut now, mut seq) = (Time::ZERO, 0);
    for _ in 0..random.below(40) {
        now = now + Duration::from_millis(random.below(2000));
        seq += 1;
        let event = event(random, &pool, seq);
        pool.step(now, &event);
    }
    (pool, now, seq)
}

/// Some of the backends, in any order, with some new ones among them.
fn some_list(random: &mut Random, pool: &Pool) -> Vec<Option<BackendId>> {
    let mut left: Vec<BackendId> = pool.ids().collect();
    let mut list = Vec::new();
    while !left.is_empty() && list.len() < 4 {
        let one = left.swap_remove(usize::try_from(random.below(left.len() as u64)).unwrap());
        match random.below(5) {
            0 => {}
            1 => list.extend([None, Some(one)]),
            _ => list.push(Some(one)),
        }
    }
    list
}

/// What is known of the backend, but for what the pool makes of it as a whole.
fn known(pool: &Pool, id: BackendId) -> BackendState {
    let BackendState { reason, read_eligibility, pace, .. } = BackendState::new(Time::ZERO);
    let quick = Default::default();
    BackendState { eligible_since: None, reason, read_eligibility, pace, quick, ..pool.backend(id).unwrap().clone() }
}

#[test]
fn whatever_the_moment_those_that_stay_stay_as_they_are() {
    let (mut removed_active, mut kept_active) = (0, 0);
    let (mut went_on, mut lost) = (0, 0);
    for seed in 1..=20_000 {
        let mut random = Random(seed);
        let (before, now, mut seq) = some_pool(&mut random);
        let list = some_list(&mut random, &before);
        let configuration = Configuration { policy: before.policy().clone(), backends: list.clone(), admin: vec![] };
        let change = Event::Configure(Box::new(configuration));
        let mut after = before.clone();
        let effects = after.step(now, &change);
        assert_eq!(before.clone().step(now, &change), effects, "I13, seed {seed}");
        for (is, was) in after.ids().zip(&list) {
            match was {
                Some(was) => {
                    assert_eq!(known(&after, is), known(&before, *was), "seed {seed}: {list:?}");
                    let quick = |pool: &Pool, id| pool.backend(id).unwrap().quick.at(now);
                    let (is, was) = (quick(&after, is), quick(&before, *was));
                    assert!(is == was || was == Quick::Open, "seed {seed}: clients wait anew");
                }
                None => assert_eq!(known(&after, is), BackendState::new(now), "seed {seed}"),
            }
        }
        let moved = |was: BackendId| after.ids().zip(&list).find(|(_, kept)| **kept == Some(was)).map(|(is, _)| is);
        let revoked = effects.iter().find_map(|effect| match effect {
            Effect::Revoke { backend, mode, cause, epoch } => Some((*backend, *mode, *cause, *epoch)),
            _ => None,
        });
        match before.active().map(|active| (active, moved(active))) {
            Some((_, Some(stays))) => {
                kept_active += 1;
                assert_eq!(
                    (after.active(), after.epoch(), revoked),
                    (Some(stays), before.epoch(), None),
                    "seed {seed}: {list:?}"
                );
            }
            Some((gone, None)) => {
                removed_active += 1;
                let told = (gone, RevokeMode::Drain, Cause::Removed, before.epoch());
                assert_eq!(revoked, Some(told), "seed {seed}: {list:?}");
                assert!(!after.suspended() || after.active().is_some(), "seed {seed}");
            }
            None => assert_eq!(revoked, None, "seed {seed}"),
        }
        if let Some(was) = before.operation() {
            let goes_on = after.operation().is_some_and(|is| is.id() == was.id());
            let needed = was.kind() == OperationKind::Switchover && was.can_abort();
            let stays = moved(was.plan().to).is_some() && (!needed || was.plan().from.and_then(moved).is_some());
            assert_eq!(goes_on, stays, "seed {seed}: {was:?} {list:?} {effects:?}");
            (went_on, lost) = (went_on + u64::from(goes_on), lost + u64::from(!goes_on));
        }
        assert!(after.fence().0 >= before.fence().0, "seed {seed}: the fence sank");
        assert!(after.fence().1.is_some() || before.fence().1.is_none(), "seed {seed}: the cluster was forgotten");
        // It lives on under the invariants.
        for _ in 0..if list.is_empty() { 0 } else { 20 } {
            seq += 1;
            let event = event(&mut random, &after, seq);
            after.step(now + SECOND, &event);
        }
    }
    assert!(went_on > 100 && lost > 100, "the operations are dull: {went_on} {lost}");
    assert!(removed_active > 1000 && kept_active > 5000, "the worlds are dull: {removed_active} {kept_active}");
}

fn up(backend: u16, seq: u64) -> Event {
    report(backend, seq, Outcome::Ok, Facts::default(), true)
}

#[test]
fn a_removed_backend_makes_way_for_the_next_and_comes_back_as_a_stranger() {
    let mut pool = Pool::new(Policy::default(), 2, Time::ZERO);
    pool.step(Time::ZERO, &up(0, 1));
    pool.step(Time::ZERO, &up(1, 1));
    assert_eq!(pool.active(), Some(BackendId(0)));
    let to = |backends: &[Option<u16>]| {
        let backends = backends.iter().map(|was| was.map(BackendId)).collect();
        Event::Configure(Box::new(Configuration { policy: Policy::default(), backends, admin: vec![] }))
    };
    let effects = pool.step(Time::ZERO, &to(&[Some(1)]));
    let switch = |effect: &&Effect| matches!(effect, Effect::Revoke { .. } | Effect::Activate { .. });
    let words: Vec<String> = effects.iter().filter(switch).map(effect_words).collect();
    assert_eq!(words, ["revoke a epoch=1 drain cause=removed", "activate a epoch=2 cause=removed"], "{words:?}");
    pool.step(Time::ZERO, &to(&[None, Some(0)]));
    assert_eq!((pool.active(), pool.epoch(), pool.reason(BackendId(0))), (Some(BackendId(1)), Epoch(2), Reason::Unknown));
    // Its number one is not a late report: nothing is known of it.
    pool.step(Time::ZERO, &up(0, 1));
    assert_eq!((pool.active(), pool.reason(BackendId(0))), (Some(BackendId(1)), Reason::Eligible));
}

#[test]
fn a_streak_goes_on_over_a_change_of_the_list() {
    let mut pool = Pool::new(Policy { fall: 3, ..Policy::default() }, 2, Time::ZERO);
    pool.step(Time::ZERO, &up(0, 1));
    pool.step(Time::ZERO, &up(1, 1));
    let bad = |backend, seq| report(backend, seq, Outcome::Timeout, Facts::default(), true);
    pool.step(Time::ZERO, &bad(0, 2));
    pool.step(Time::ZERO, &bad(0, 3));
    let backends = vec![Some(BackendId(1)), Some(BackendId(0))];
    let policy = Policy { fall: 3, ..Policy::default() };
    pool.step(Time::ZERO, &Event::Configure(Box::new(Configuration { policy, backends, admin: vec![] })));
    assert_eq!(pool.active(), Some(BackendId(1)));
    pool.step(Time::ZERO, &bad(1, 4));
    assert_eq!((pool.active(), pool.reason(BackendId(1))), (Some(BackendId(0)), Reason::Down));
}

#[test]
fn a_backend_that_moved_keeps_what_was_ordered_and_a_pause_goes_on() {
    let mut pool = Pool::new(Policy::default(), 1, Time::ZERO);
    pool.step(Time::ZERO, &up(0, 1));
    let until = Time::ZERO + 9 * SECOND;
    pool.step(Time::ZERO, &Event::Command(Command::Pause { until }));
    let (policy, backends, admin) = (Policy::default(), vec![None, Some(BackendId(0)), None], vec![Admin::Maint]);
    pool.step(Time::ZERO, &Event::Configure(Box::new(Configuration { policy, backends, admin })));
    (0..3).for_each(|backend| drop(pool.step(Time::ZERO, &up(backend, 2))));
    assert_eq!([0, 1, 2].map(|id| pool.reason(BackendId(id))), [Reason::Maint, Reason::Eligible, Reason::Eligible]);
    assert_eq!((pool.active(), pool.suspended(), pool.paused_until()), (Some(BackendId(1)), true, Some(until)));
}
