//! What the walk of two backends cannot show: the choice among several, a restart of mainstay, a change of the rules.

use super::*;

fn pool(policy: Policy, count: u16) -> Pool {
    Pool::new(policy, count, Time::ZERO)
}

fn by_role() -> Policy {
    Policy { election: Election::ByRole, ..Policy::default() }
}

fn tell(pool: &mut Pool, event: &Event) -> Vec<Effect> {
    pool.step(Time::ZERO, event)
}

fn up(backend: u16, seq: u64) -> Event {
    report(backend, seq, Outcome::Ok, Facts::default(), true)
}

fn many(backend: u16, multi_primary: MultiPrimary) -> Event {
    let facts = Facts { role: Some(Role::Primary), multi_primary, system_id: Some(7), ..Facts::default() };
    report(backend, 1, Outcome::Ok, facts, true)
}

/// Of several that share their writes: whoever has all the data comes first, then whoever is good, then the order of the list.
#[test]
fn of_many_primaries_a_good_one_that_has_all_the_data_is_chosen() {
    use MultiPrimary::{Behind, Synced};
    let bad = Proof::Unproven;
    for (sync, proofs, chosen) in [
        ([Synced, Synced, Synced], [bad, Proof::Proven, Proof::Proven], 1),
        ([Synced, Synced, Synced], [bad, Proof::Failed, Proof::Approved], 2),
        ([Synced, Synced, Synced], [bad, bad, bad], 0),
        ([Behind, Synced, Synced], [Proof::Proven, bad, bad], 1),
        ([Behind, Behind, Behind], [bad, bad, Proof::Proven], 2),
    ] {
        let mut pool = pool(by_role(), 3);
        (0..3).for_each(|id| drop(tell(&mut pool, &proof(id, proofs[usize::from(id)], "version"))));
        (0..3).for_each(|id| drop(tell(&mut pool, &many(id, sync[usize::from(id)]))));
        assert_eq!(pool.active(), Some(BackendId(chosen)), "{sync:?} {proofs:?}");
        // It stays, whatever is told of it.
        tell(&mut pool, &proof(chosen, Proof::Failed, "index"));
        assert_eq!(pool.active(), Some(BackendId(chosen)));
    }
}

/// The one that was active last has what was written last.
#[test]
fn the_last_active_one_is_preferred_to_a_good_one() {
    for by_roles in [false, true] {
        let mut pool = pool(if by_roles { by_role() } else { Policy::default() }, 2);
        pool.restore_active(BackendId(1));
        tell(&mut pool, &proof(1, Proof::Failed, "index"));
        let event = |id| if by_roles { many(id, MultiPrimary::Synced) } else { up(id, 1) };
        (0..2).for_each(|id| drop(tell(&mut pool, &event(id))));
        // Where all have all the data, there is nothing to lose.
        assert_eq!(pool.active(), Some(BackendId(u16::from(!by_roles))));
    }
}

#[test]
fn the_best_candidate_of_an_operation_is_good_unless_that_loses_more() {
    let mut pool = pool(by_role(), 3);
    let at = |backend, seq, role, position| {
        let facts = Facts { role: Some(role), position: NonZeroU64::new(position), system_id: Some(7), ..Facts::default() };
        report(backend, seq, Outcome::Ok, facts, true)
    };
    tell(&mut pool, &at(0, 1, Role::Primary, 1000));
    tell(&mut pool, &at(1, 1, Role::Standby, 1000));
    tell(&mut pool, &at(2, 1, Role::Standby, 900));
    tell(&mut pool, &proof(1, Proof::Unproven, "version"));
    let how = How { promote: true, ..How::default() };
    let any = Request { to: None, how, accept_loss: false, max_lag: 500, ..switchover(BackendId(0)) };
    let chosen = |pool: &Pool, request: &Request| pool.preflight(Time::ZERO, request).map(|plan| plan.to.0).map_err(|of| of.why);
    assert_eq!(chosen(&pool, &any), Ok(2));
    assert_eq!(chosen(&pool, &Request { force: true, ..any.clone() }), Ok(2));
    let to = Some(BackendId(1));
    assert_eq!(chosen(&pool, &Request { to, ..any.clone() }), Err(OperationRefusal::Unproven));
    assert_eq!(chosen(&pool, &Request { to, force: true, ..any.clone() }), Ok(1));
    (2..4).for_each(|seq| drop(tell(&mut pool, &report(0, seq, Outcome::Timeout, Facts::default(), true))));
    let promote = Request { kind: OperationKind::Promote, ..any };
    assert_eq!(chosen(&pool, &promote), Ok(1), "nobody loses more than must be");
    assert_eq!(chosen(&pool, &Request { accept_loss: true, ..promote.clone() }), Ok(1));
    assert_eq!(chosen(&pool, &Request { to, ..promote }), Ok(1), "an outage is no time to wait");
}

#[test]
fn a_restart_of_mainstay_remembers_what_is_proven() {
    let guard = Guard { mode: GuardMode::Enforce, last_resort: LastResort::Hold, ..Guard::default() };
    let mut pool = Pool::new(Policy { guard, ..Policy::default() }, 2, Time::ZERO);
    pool.restore_proof(BackendId(0), Proof::Failed, "index".into());
    pool.restore_proof(BackendId(1), Proof::Unproven, "version".into());
    pool.restore_proof(BackendId(9), Proof::Unproven, "nobody".into());
    pool.step(Time::ZERO, &up(0, 1));
    let effects = pool.step(Time::ZERO, &up(1, 1));
    assert_eq!([0, 1].map(|id| pool.reason(BackendId(id))), [Reason::Unproven; 2]);
    // The one that has failed has nothing left to prove.
    let asked: Vec<_> = effects.iter().filter(|effect| matches!(effect, Effect::ProveNow(_))).collect();
    assert_eq!(asked, [&Effect::ProveNow(BackendId(1))]);
    let state = pool.backend(BackendId(1)).unwrap();
    assert_eq!((pool.verdict(), state.proof, &*state.proof_what), (Verdict::NoProvenNode, Proof::Unproven, "version"));
}

#[test]
fn a_guard_that_is_written_or_removed_counts_at_once_and_moves_nobody() {
    let enforcing =
        |last_resort| Policy { guard: Guard { mode: GuardMode::Enforce, last_resort, ..Guard::default() }, ..Policy::default() };
    let mut pool = Pool::new(Policy::default(), 2, Time::ZERO);
    (0..2).for_each(|id| drop(pool.step(Time::ZERO, &up(id, 1))));
    (0..2).for_each(|id| drop(pool.step(Time::ZERO, &proof(id, Proof::Failed, "index"))));
    let mut configure = |policy: Policy| {
        let backends = vec![Some(BackendId(0)), Some(BackendId(1))];
        pool.step(Time::ZERO, &Event::Configure(Box::new(Configuration { policy, backends, admin: vec![] })));
        (pool.active(), pool.epoch(), [0, 1].map(|id| pool.reason(BackendId(id))))
    };
    let stays = (Some(BackendId(0)), Epoch(1));
    for last_resort in LastResort::ALL {
        let (active, epoch, reasons) = configure(enforcing(*last_resort));
        assert_eq!(((active, epoch), reasons), (stays, [Reason::Eligible, Reason::Unproven]));
    }
    let (active, epoch, reasons) = configure(Policy::default());
    assert_eq!(((active, epoch), reasons), (stays, [Reason::Eligible; 2]));
}

/// A deadline counts before what happens at its moment: what changes then is another change, and is proven anew.
#[test]
fn quick_proofs_run_once_for_each_change() {
    let guard = Guard { mode: GuardMode::Enforce, last_resort: LastResort::Hold, ..Guard::default() };
    let mut pool = pool(Policy { guard, ..Policy::default() }, 1);
    let mut asked = |millis, event: &Event| {
        let effects = pool.step(Time::from_millis(millis), event);
        effects.iter().filter(|effect| matches!(effect, Effect::ProveNow(_))).count()
    };
    assert_eq!(asked(0, &proof(0, Proof::Unproven, "version")), 0, "nobody waits for it");
    assert_eq!(asked(0, &up(0, 1)), 1);
    assert_eq!(asked(100, &proof(0, Proof::Unproven, "settings")), 0, "they run");
    assert_eq!(asked(200, &proof(0, Proof::Proving, "settings")), 0);
    assert_eq!(asked(2_000, &proof(0, Proof::Unproven, "extensions")), 1);
    assert_eq!(asked(2_100, &proof(0, Proof::Failed, "extensions")), 0);
    assert_eq!(asked(2_200, &proof(0, Proof::Failed, "top")), 0);
    assert_eq!(asked(2_300, &proof(0, Proof::Proving, "extensions")), 0, "the same change");
    assert_eq!(asked(2_400, &proof(0, Proof::Unproven, "version")), 1);
}
