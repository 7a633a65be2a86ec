//! A backend that dies and returns for ever, in virtual time: how often its health may change, whom that touches, and how
//! soon it serves again once it is well.

use std::time::Duration;

use super::*;

const URGENT: Duration = Duration::from_millis(20);
const FAST: Duration = Duration::from_millis(100);
const INTERVAL: Duration = Duration::from_secs(1);
/// Just under the window, so that nothing is forgotten meanwhile.
const TROUBLE: Duration = Duration::from_secs(595);

/// What one run gave.
#[derive(Debug)]
struct Run {
    /// Changes of the first backend's health after its first Up, until the trouble is over.
    transitions: u32,
    activations: Vec<BackendId>,
    /// From the end of the trouble until it was Up.
    recovery: Duration,
    /// The most words that the status had for one that answers and is not Up.
    told: Option<String>,
}

/// The first backend answers for `up` and refuses for `down`, until the trouble is over; all others are well.
fn run(policy: Policy, backends: u16, up: Duration, down: Duration) -> Run {
    let mut pool = Pool::new(policy, backends, Time::ZERO);
    let mut run = Run { transitions: 0, activations: Vec::new(), recovery: Duration::ZERO, told: None };
    let answers = |now: Time| {
        let phase = now.since_origin().as_nanos() % (up + down).as_nanos();
        now.since_origin() >= TROUBLE || phase < up.as_nanos()
    };
    let mut due = vec![Time::ZERO; usize::from(backends)];
    for seq in 1.. {
        let next = (0..due.len()).min_by_key(|index| due[*index]).unwrap();
        let now = due[next];
        let well = next > 0 || answers(now);
        let (role, id) = (if next == 0 { Role::Primary } else { Role::Standby }, BackendId(u16::try_from(next).unwrap()));
        let facts = Facts { role: Some(role).filter(|_| well), ..Facts::default() };
        let event = report(id.0, seq, if well { Outcome::Ok } else { Outcome::Refused }, facts, true);
        for effect in pool.step(now, &event) {
            match effect {
                Effect::Note(Note::Health { backend: BackendId(0), from: Health::Up | Health::Down, .. }) => {
                    run.transitions += u32::from(now.since_origin() < TROUBLE);
                }
                Effect::Activate { backend, .. } => run.activations.push(backend),
                _ => {}
            }
        }
        let state = &pool.backends[0];
        if state.health() == Health::Down && state.is_pending() && state.evidence.contains("keeps going down") {
            run.told = Some(state.evidence.to_string());
        }
        let rest = match pool.pace(id) {
            Pace::Normal => INTERVAL,
            Pace::Fast => FAST,
            Pace::Urgent => URGENT,
        };
        due[next] = now + rest;
        if now.since_origin() >= TROUBLE && state.health() == Health::Up {
            run.recovery = now.since(Time::new(TROUBLE));
            return run;
        }
    }
    unreachable!()
}

/// How often Up follows Down at the most: the n-th needs twice the successes of the one before, and all within one phase.
fn ups(rise: u32, successes: u128) -> u32 {
    (0..64).take_while(|doublings| u128::from(rise) << doublings <= successes).count().try_into().unwrap()
}

/// All times down are longer than the pause between two probes of a pending change: no run of successes spans one.
fn phases() -> impl Iterator<Item = (Duration, Duration)> {
    let millis = [110, 300, 450, 777, 1000];
    millis.into_iter().flat_map(move |up| millis.map(|down| (Duration::from_millis(up), Duration::from_millis(down))))
}

#[test]
fn a_flapping_backend_is_quiet_after_a_few_times_and_moves_nobody_from_a_good_one() {
    for (up, down) in phases() {
        for (rise, fall) in [(1, 1), (2, 2), (3, 1)] {
            let policy = Policy { rise, fall, ..Policy::default() };
            let run = run(policy.clone(), 2, up, down);
            let most = 2 * ups(rise, up.as_nanos() / FAST.as_nanos() + 1) + 1;
            assert!(run.transitions <= most, "{up:?}/{down:?} {rise}/{fall}: more than {most} transitions: {run:?}");
            assert!(run.activations.len() <= 2, "{up:?}/{down:?} {rise}/{fall}: {run:?}");
            let bound = INTERVAL + FAST * (rise << policy.relapse_max);
            assert!(run.recovery <= bound, "{up:?}/{down:?} {rise}/{fall}: later than {bound:?}: {run:?}");
        }
    }
}

#[test]
fn a_lone_primary_that_flaps_serves_within_a_second_or_so_once_it_is_well() {
    let mut longest = Duration::ZERO;
    for (up, down) in phases() {
        let policy = Policy { election: Election::ByRole, ..Policy::default() };
        let run = run(policy.clone(), 2, up, down);
        let most = 2 * ups(policy.rise, up.as_nanos() / URGENT.as_nanos() + 1) + 1;
        assert!(run.transitions <= most, "{up:?}/{down:?}: more than {most} transitions: {run:?}");
        let bound = URGENT * (policy.rise << policy.relapse_max);
        assert!(run.recovery <= bound, "{up:?}/{down:?}: later than {bound:?}: {run:?}");
        longest = longest.max(run.recovery);
    }
    println!("the longest recovery took {longest:?}");
}

#[test]
fn the_status_says_what_an_answering_backend_waits_for() {
    let millis = Duration::from_millis;
    let run = run(Policy { election: Election::ByRole, ..Policy::default() }, 2, millis(300), millis(300));
    let told = run.told.expect("not a word");
    assert_eq!(told, "ok; success 15 of the 16 in a row that it needs, because it keeps going down");
}

#[test]
fn without_doublings_it_would_flap_for_ever() {
    let millis = Duration::from_millis;
    let policy = Policy { election: Election::ByRole, relapse_max: 0, ..Policy::default() };
    let run = run(policy, 2, millis(300), millis(300));
    assert!(run.transitions > 500, "the worlds above are dull: {run:?}");
}
