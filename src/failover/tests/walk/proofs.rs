//! Two backends in every state of their proofs, under every mode and last resort: who may serve, who waits for what, and that `warn`
//! serves whoever would be served without it (I27–I29).

use super::*;
use crate::failover::Step as Stage;

fn guard(mode: GuardMode, last_resort: LastResort) -> Guard {
    Guard { mode, last_resort, quick: UNIT, canary: last_resort == LastResort::Serve }
}

pub(super) fn policies() -> Vec<Policy> {
    let by_role = Policy { budget_within: Duration::ZERO, ..policy(Election::ByRole, OnConflict::Newest, (1, 1)) };
    let by_order = Policy { election: Election::ByOrder, ..by_role.clone() };
    let returning = Policy { failback_after: Some(UNIT), ..by_order.clone() };
    let modes = [
        (GuardMode::Warn, LastResort::Serve),
        (GuardMode::Enforce, LastResort::Serve),
        (GuardMode::Enforce, LastResort::Hold),
        (GuardMode::Off, LastResort::Hold),
    ];
    let under = |policy: &Policy| modes.map(|(mode, last)| Policy { guard: guard(mode, last), ..policy.clone() });
    let refusing = Policy { on_conflict: OnConflict::Refuse, ..by_role.clone() };
    let at_once = AutomaticPromotion { after: Duration::ZERO, ..automatic(Fence::None) };
    let promoting = Policy { promotion: Some(at_once), ..by_role.clone() };
    // After a switch, whoever failed lately is held back.
    let spent = Policy { budget_within: UNIT, ..by_order.clone() };
    let mut all = under(&by_role).to_vec();
    all.extend(under(&by_order).into_iter().skip(1).take(2));
    all.extend(under(&returning).into_iter().take(1));
    all.extend(under(&refusing).into_iter().skip(1).take(1));
    all.extend(under(&promoting).into_iter().step_by(2).take(2));
    all.extend(under(&spent).into_iter().skip(1).take(1));
    all
}

/// The lens: both are primaries and standbys, die and return, change, and prove themselves or fail.
pub(super) fn lens() -> Vec<Timed> {
    let standby = |id| at(id, Role::Standby, 1, 2, Some(false));
    let mut lens = vec![at(0, Role::Primary, 1, 2, None), standby(0), bad(0, Outcome::Refused)];
    lens.extend([at(1, Role::Primary, 2, 2, None), standby(1), bad(1, Outcome::Refused)]);
    lens.extend([Proof::Proven, Proof::Unproven, Proof::Failed].map(|to| proof(0, to, "")));
    lens.extend([Proof::Proven, Proof::Unproven, Proof::Proving].map(|to| proof(1, to, "")));
    at_once(lens)
}

/// Every proof, every order and every step, and what makes the candidates of an operation.
pub(super) fn others() -> Vec<Timed> {
    let mut all = vec![Event::Tick, proof(9, Proof::Failed, ""), cannot_commit(9)];
    for id in 0..2 {
        all.extend(Proof::ALL.iter().flat_map(|to| ["", "another"].map(|what| proof(id, *to, what))));
        all.extend([set(id, Admin::Maint, true), set(id, Admin::Drain, false), bad(id, Outcome::Starting)]);
        all.extend([primary(id, 2), Event::Passive(BackendId(id), Passive::DialRefused)]);
        all.push(cannot_commit(id));
        all.push(one_of_many(id, MultiPrimary::Synced, OWN));
        for force in [false, true] {
            all.push(operate(Request { force, accept_loss: false, ..switchover(BackendId(id)) }));
            all.push(operate(Request { force, ..promotes(id) }));
            all.push(operate(Request { force, ..by_hand(Fence::None, Some(id)) }));
        }
    }
    all.push(operate(Request { to: None, accept_loss: false, ..promotes(0) }));
    all.extend([Stage::Gate, Stage::Drain, Stage::Promote].map(step_done));
    all.extend([pause(), Event::Command(Command::Resume)]);
    let mut timed: Vec<_> = all.into_iter().map(|event| (Duration::ZERO, event)).collect();
    timed.extend([UNIT, HORIZON * 3].map(|wait| (wait, Event::Tick)));
    timed
}

#[test]
fn every_proof_in_every_state() {
    let seen = explore("proofs", (24_000, 1_550_000));
    for edge in VERDICT_EDGES.iter().filter(|(from, to)| [*from, *to].contains(&Verdict::NoProvenNode)) {
        assert!(seen.verdicts.contains(edge), "no walk takes the legal edge {edge:?}");
    }
    for reading in [ReadEligibility::Unproven, ReadEligibility::Canary] {
        assert!(seen.readers.contains(&(reading, RevokeMode::Drain)), "no reader is {reading}");
    }
}
