//! What a state need not keep: a value that nobody reads before it is written again, and a word that is only passed on.
//!
//! Two states that differ only in such values have the same future, so one of them is enough. That they have is not believed but
//! tried: see [`what_is_forgotten_changes_nothing`]. A value that the core begins to read makes it fail.

use std::collections::HashSet;

use super::*;

/// So many states of each policy are reached without forgetting, and so many of those that have something to forget are tried.
const REACHED: usize = 2_000;
const TRIED: usize = 40;

impl State {
    /// This state without what no later step asks for.
    pub(super) fn forget(mut self) -> Self {
        forget(&mut self.pool);
        self.judge.forget(NOW);
        self
    }

    /// What a step says, and what is kept of the state after it.
    fn answer(&self, (wait, event): &Timed) -> (Vec<Effect>, Self) {
        let (effects, next) = self.take(*wait, event).unwrap();
        (effects.into_iter().map(nameless).collect(), next.rest(NOW + *wait).forget())
    }
}

/// Forgets in the pool what [`Judge::forget`] forgets in the judge.
fn forget(pool: &mut Pool) {
    pool.last_revoke = match pool.last_revoke {
        // Whoever is active is revoked before another is activated, and a promotion without a person begins when nobody is.
        _ if pool.active().is_some() => None,
        // Nobody decides by the others; they are passed on to the next activation.
        Some(cause) if !matches!(cause, Cause::Command | Cause::Removed) => Some(Cause::Down),
        cause => cause,
    };
    let last = pool.backends.len() - 1;
    let failback_after = pool.policy.failback_after;
    let compares_epochs = pool.policy.max_epoch_step.is_some();
    for (index, backend) in pool.backends.iter_mut().enumerate() {
        backend.last_outcome = backend.last_outcome.map(last_word);
        if backend.health() == Health::Down && !backend.is_pending() && !compares_epochs {
            // A success brings new facts. Until then its role may be told, and a standby is measured by what it had written.
            let Facts { role, position, .. } = backend.facts;
            backend.facts = Facts { role: role.filter(|role| *role != Role::Unknown), position, ..Facts::default() };
            backend.foreign = false;
        }
        // Only a backend before the active one is waited for, and no longer than so.
        if let Some(after) = failback_after {
            let oldest = if index == last { NOW } else { Time::new(NOW.since_origin() - after) };
            backend.eligible_since = backend.eligible_since.map(|at| at.max(oldest));
        }
    }
}

/// As an activation is compared: by what the cause decides.
fn nameless(effect: Effect) -> Effect {
    match effect {
        Effect::Activate { epoch, backend, cause } if !matches!(cause, Cause::Startup | Cause::Command) => {
            Effect::Activate { epoch, backend, cause: Cause::Eligible }
        }
        other => other,
    }
}

/// The first states that a walk without forgetting reaches.
fn whole(policy: &Policy, lens: &[Timed], most: usize) -> Vec<State> {
    let start = State::start(policy);
    let (mut states, mut known, mut at) = (vec![start.clone()], HashSet::from([start]), 0);
    while at < states.len() && states.len() < most {
        for (wait, event) in lens {
            let next = states[at].take(*wait, event).unwrap().1.rest(NOW + *wait);
            if known.insert(next.clone()) {
                states.push(next);
            }
        }
        at += 1;
    }
    states
}

/// Each state and what is left of it answer every event alike, and what is left of the states after it is the same.
#[test]
fn what_is_forgotten_changes_nothing() {
    let (mut differing, all) = (0, alphabet());
    for (what, policies, lens) in walks() {
        for policy in policies {
            let states = whole(&policy, &lens, REACHED);
            let shorter: Vec<_> =
                states.into_iter().map(|state| (state.clone().forget(), state)).filter(|(a, b)| a != b).collect();
            for (left, state) in shorter.iter().step_by(shorter.len().div_ceil(TRIED).max(1)) {
                differing += 1;
                for timed in lens.iter().chain(&all) {
                    let (says, leads) = (state.answer(timed), left.answer(timed));
                    assert!(says == leads, "{what}: {} is answered otherwise:\n{says:#?}\n{leads:#?}", event_words(&timed.1));
                }
            }
        }
    }
    println!("{differing} states have something to forget");
    assert!(differing > 500, "only {differing} states have something to forget");
}
