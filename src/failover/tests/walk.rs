//! Every state that two backends can reach, and every event in it, under the judge.
//!
//! The space is made finite by the fields that only name things (sequence numbers, evidence, the height of an epoch) and by
//! time, which moves in whole units and is forgotten beyond the longest window. A walk has a *lens*: the events that lead on
//! to new states. In each state reached through the lens **every** event of the full alphabet is tried and judged.
//!
//! A state keeps only what a later step may read. Without [`forget`], the walks reach 268,000 states by 44 million transitions and
//! compute for two minutes; with it, 87,000 states by 14 million.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    panic::{self, AssertUnwindSafe},
    thread,
    time::Duration,
};

use super::{
    model::{
        HEALTH_EDGES, Judge, READER_EDGES, REVOKE_EDGES, Step, VERDICT_EDGES, i12_ticks, i13_repeats, last_word,
        proof::i27_without_a_guard, rebased,
    },
    *,
};

mod forget;
mod proofs;

const UNIT: Duration = Duration::from_secs(1);
/// The longest window of the walked policies.
const HORIZON: Duration = Duration::from_secs(2);
const NOW: Time = Time::from_millis(100_000);
const OWN: u64 = 7;
const FOREIGN: u64 = 8;

/// One state, at the moment [`NOW`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    pool: Pool,
    judge: Judge,
}

impl State {
    fn start(policy: &Policy) -> Self {
        Self { pool: Pool::new(policy.clone(), 2, NOW), judge: Judge::new(policy.clone(), 2, NOW) }
    }

    /// Takes an event after `wait`, under the judge; what it said, and the successor at its own time.
    fn take(&self, wait: Duration, event: &Event) -> Result<(Vec<Effect>, Self), String> {
        let now = NOW + wait;
        let mut pool = self.pool.clone();
        let effects = pool.advance(now, event);
        pool.check_invariants(&self.pool, now, event, &effects);
        let step = Step { now, event, before: &self.pool, after: &pool, effects: &effects };
        let judge = self.judge.hear(&step)?;
        i12_ticks(&step)?;
        i27_without_a_guard(&step)?;
        Ok((effects, Self { pool, judge }))
    }

    /// This state at `now`, moved back to [`NOW`].
    fn rest(mut self, now: Time) -> Self {
        let horizon = horizon(self.pool.policy());
        abstract_pool(&mut self.pool, now, horizon);
        self.judge.rebase(now, NOW, horizon);
        self
    }
}

/// The abstraction: what two states may differ in and still be one.
fn abstract_pool(pool: &mut Pool, now: Time, horizon: Duration) {
    thread_local!(static NOTHING: Printable = Printable::default());
    let shift = |at: Time| rebased(at, now, NOW, horizon);
    let ages = pool.policy.failback_after.is_some();
    pool.epoch = Epoch(u64::from(pool.epoch.0 > 0));
    pool.switches.retain(|at| now.since(*at) < horizon);
    pool.switches.iter_mut().for_each(|at| *at = shift(*at));
    pool.settle_by = if pool.settled { Time::ZERO } else { shift(pool.settle_by) };
    pool.wake = pool.wake.map(shift);
    pool.paused = pool.paused.map(shift);
    pool.promotions = 0;
    pool.idle_since = pool.idle_since.map(shift);
    if let Some(operation) = &mut pool.operation {
        (operation.began, operation.since) = (shift(operation.since), shift(operation.since));
        if operation.kind == OperationKind::Failover {
            operation.id = OperationId(1 << 63);
        }
    }
    for backend in &mut pool.backends {
        backend.last_seq = 1;
        backend.evidence = NOTHING.with(Clone::clone);
        backend.alert_evidence = NOTHING.with(Clone::clone);
        if let crate::failover::proof::Quick::Asked(until) = &mut backend.quick {
            *until = shift(*until);
        }
        backend.since = NOW;
        backend.trouble_since = backend.trouble_since.map(|_| NOW);
        backend.last_down = backend.last_down.filter(|at| now.since(*at) < horizon).map(shift);
        // Nobody asks how often it failed before a window without a failure.
        backend.relapses = backend.last_down.map_or(0, |_| backend.relapses);
        backend.eligible_since = backend.eligible_since.map(|at| if ages { shift(at) } else { NOW });
    }
}

/// Ages beyond this are alike.
fn horizon(policy: &Policy) -> Duration {
    let rested = policy.promotion.as_ref().map(|rule| rule.after);
    [policy.failback_after, rested].into_iter().flatten().fold(policy.budget_within, Duration::max)
}

/// The edges that were walked.
#[derive(Default)]
struct Seen {
    health: Vec<(Health, Health, Cause)>,
    verdicts: Vec<(Verdict, Verdict)>,
    revokes: Vec<(Cause, RevokeMode)>,
    aborts: Vec<Cause>,
    readers: Vec<(ReadEligibility, RevokeMode)>,
    endings: Vec<(crate::failover::Step, OperationEnd)>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.health.extend(other.health);
        self.verdicts.extend(other.verdicts);
        self.revokes.extend(other.revokes);
        self.aborts.extend(other.aborts);
        self.readers.extend(other.readers);
        self.endings.extend(other.endings);
    }

    fn note(&mut self, effects: &[Effect]) {
        fn add<T: PartialEq>(seen: &mut Vec<T>, edge: T) {
            if !seen.contains(&edge) {
                seen.push(edge);
            }
        }
        for effect in effects {
            match effect {
                Effect::Note(Note::Health { from, to, cause, .. }) => add(&mut self.health, (*from, *to, *cause)),
                Effect::Note(Note::Verdict { from, to }) => add(&mut self.verdicts, (*from, *to)),
                Effect::Revoke { cause, mode, .. } => add(&mut self.revokes, (*cause, *mode)),
                Effect::Abort { cause, .. } => add(&mut self.aborts, *cause),
                Effect::EndOperation { ending, .. } => add(&mut self.endings, (ending.step, ending.why)),
                Effect::Read { to, sessions, .. } => add(&mut self.readers, (*to, *sessions)),
                _ => {}
            }
        }
    }
}

fn facts(role: Option<Role>, read_only: bool, db_epoch: Option<u64>, system_id: Option<u64>) -> Facts {
    Facts { role, read_only, db_epoch, system_id, ..Facts::default() }
}

/// A primary among others of the same cluster.
fn one_of_many(backend: u16, multi_primary: MultiPrimary, system_id: u64) -> Event {
    ok(backend, Facts { multi_primary, ..facts(Some(Role::Primary), false, None, Some(system_id)) }, true)
}

fn ok(backend: u16, facts: Facts, fresh: bool) -> Event {
    report(backend, 2, Outcome::Ok, facts, fresh)
}

fn bad(backend: u16, outcome: Outcome) -> Event {
    report(backend, 2, outcome, Facts::default(), true)
}

fn primary(backend: u16, tl: u64) -> Event {
    ok(backend, facts(Some(Role::Primary), false, Some(tl), Some(OWN)), true)
}

fn standby(backend: u16) -> Event {
    ok(backend, facts(Some(Role::Standby), false, Some(1), Some(OWN)), true)
}

fn set(backend: u16, to: Admin, force: bool) -> Event {
    Event::Command(Command::SetAdmin { backend: BackendId(backend), to, force })
}

fn operate(request: Request) -> Event {
    Event::Operate(Box::new(request))
}

/// A switchover with a promotion, if it must be.
fn promotes(to: u16) -> Request {
    let how = How { fence: Fence::Required, demote: true, promote: true };
    Request { accept_loss: false, how, ..switchover(BackendId(to)) }
}

/// A promotion by hand.
fn by_hand(fence: Fence, to: Option<u16>) -> Request {
    let how = How { fence, demote: true, promote: true };
    Request { kind: OperationKind::Promote, to: to.map(BackendId), how, ..switchover(BackendId(0)) }
}

/// For one unit from now.
fn pause() -> Event {
    Event::Command(Command::Pause { until: NOW + UNIT })
}

/// Every event there is, for two backends and one that does not exist.
fn alphabet() -> Vec<Timed> {
    let mut all = vec![Event::Tick, Event::Passive(BackendId(9), Passive::DialRefused), bad(9, Outcome::Refused)];
    all.push(operate(switchover(BackendId(9))));
    for backend in 0..2 {
        let id = BackendId(backend);
        for fresh in [true, false] {
            for outcome in Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Ok) {
                all.push(report(backend, 2, *outcome, Facts::default(), fresh));
            }
            for role in [None, Some(Role::Unknown), Some(Role::Standby), Some(Role::Primary)] {
                for (epoch, system) in [(1, OWN), (2, OWN), (1, FOREIGN)] {
                    all.push(ok(backend, facts(role, false, Some(epoch), Some(system)), fresh));
                }
            }
            all.push(ok(backend, facts(Some(Role::Primary), true, Some(1), Some(OWN)), fresh));
            all.push(ok(backend, facts(Some(Role::Primary), false, None, None), fresh));
        }
        all.extend([
            one_of_many(backend, MultiPrimary::Synced, OWN),
            one_of_many(backend, MultiPrimary::Behind, OWN),
            one_of_many(backend, MultiPrimary::Synced, FOREIGN),
            report(backend, 1, Outcome::Refused, Facts::default(), true),
            report(backend, 0, Outcome::Ok, Facts::default(), true),
        ]);
        all.extend(Passive::ALL.iter().map(|what| Event::Passive(id, *what)));
        all.extend(Admin::ALL.iter().flat_map(|to| [false, true].map(|force| set(backend, *to, force))));
        all.push(operate(switchover(id)));
        all.push(operate(promotes(backend)));
        all.push(operate(by_hand(Fence::Required, Some(backend))));
    }
    all.extend(crate::failover::Step::ALL.iter().flat_map(|step| [step_done(*step), step_failed(*step)]));
    all.extend([1, 2].map(|id| Event::Command(Command::AbortOperation(OperationId(id)))));
    all.push(operate(Request { to: None, force: true, ..promotes(0) }));
    all.extend([pause(), Event::Command(Command::Resume), Event::Command(Command::Pause { until: NOW })]);
    let mut timed: Vec<_> = all.into_iter().map(|event| (Duration::ZERO, event)).collect();
    timed.extend([UNIT, HORIZON, HORIZON * 3].map(|wait| (wait, Event::Tick)));
    timed
}

/// The lens of the signals: one backend in all its troubles beside one that works or does not.
fn signals() -> Vec<Timed> {
    let mut lens = vec![primary(0, 1), standby(0), primary(1, 1), bad(1, Outcome::Refused)];
    lens.push(ok(0, facts(Some(Role::Primary), false, Some(1), Some(OWN)), false));
    lens.push(report(0, 2, Outcome::Timeout, Facts::default(), false));
    lens.extend(
        [Outcome::Refused, Outcome::Timeout, Outcome::Starting, Outcome::Saturated, Outcome::Misconfigured].map(|o| bad(0, o)),
    );
    lens.extend([Passive::DialRefused, Passive::SessionLost, Passive::StandingShutdown].map(|p| Event::Passive(BackendId(0), p)));
    at_once(lens)
}

fn at_once(events: impl IntoIterator<Item = Event>) -> Vec<Timed> {
    events.into_iter().map(|event| (Duration::ZERO, event)).chain([(UNIT, Event::Tick)]).collect()
}

/// The lens of the claims: both are promoted, demoted, die and come back, in every order.
fn claims() -> Vec<Timed> {
    at_once((0..2).flat_map(|id| [primary(id, 1), primary(id, 2), standby(id), bad(id, Outcome::Refused)]))
}

/// The lens of the operator: commands while there are claims.
fn commands() -> Vec<Timed> {
    let command = |id| [set(id, Admin::Drain, true), set(id, Admin::Ready, false), operate(switchover(BackendId(id)))];
    let said = (0..2).flat_map(command);
    at_once([primary(0, 1), primary(1, 1), primary(1, 2), standby(0), bad(1, Outcome::Refused)].into_iter().chain(said))
}

/// The lens of the orders: pauses, and states without force, beside a promotion, a death and a doubt.
fn orders() -> Vec<Timed> {
    let mut lens = vec![primary(0, 1), primary(1, 2), bad(0, Outcome::Refused), bad(1, Outcome::Refused)];
    lens.push(Event::Passive(BackendId(0), Passive::DialRefused));
    lens.extend([pause(), Event::Command(Command::Resume)]);
    lens.extend((0..2).flat_map(|id| [set(id, Admin::Maint, false), set(id, Admin::Ready, false)]));
    at_once(lens)
}

/// The lens of the operations: one in all its steps, beside a crash, a return and a promotion by somebody else.
fn operations() -> Vec<Timed> {
    let mut lens = vec![primary(0, 1), standby(0), bad(0, Outcome::Refused), bad(0, Outcome::Starting)];
    lens.extend([standby(1), primary(1, 2), bad(1, Outcome::Refused), Event::Passive(BackendId(1), Passive::DialRefused)]);
    lens.extend([operate(promotes(1)), operate(by_hand(Fence::Optional, None))]);
    lens.extend(crate::failover::Step::ALL.iter().map(|step| step_done(*step)));
    lens.extend([crate::failover::Step::Fence, crate::failover::Step::Promote].map(step_failed));
    lens.push(Event::Command(Command::AbortOperation(OperationId(1))));
    at_once(lens)
}

/// As a probe finds it that knows how far its history goes, and whether it hears its primary.
fn at(backend: u16, role: Role, db_epoch: u64, position: u64, hears_primary: Option<bool>) -> Event {
    let facts =
        Facts { position: NonZeroU64::new(position), hears_primary, ..facts(Some(role), false, Some(db_epoch), Some(OWN)) };
    ok(backend, facts, true)
}

/// The lens of the promotions: the conditions come and go while a primary dies and returns.
fn promotions() -> Vec<Timed> {
    let mut lens = vec![at(0, Role::Primary, 1, 2, None), at(1, Role::Primary, 2, 2, None), bad(1, Outcome::Refused)];
    lens.extend([Outcome::Refused, Outcome::Timeout].map(|outcome| bad(0, outcome)));
    lens.extend([(1, Some(true)), (1, Some(false)), (2, Some(false))].map(|(far, hears)| at(1, Role::Standby, 1, far, hears)));
    let steps = [crate::failover::Step::Fence, crate::failover::Step::Promote];
    let told =
        |result: Result<(), Printable>| move |step| Event::StepDone { id: OperationId(1 << 63), step, result: result.clone() };
    lens.extend(steps.map(told(Ok(()))).into_iter().chain(steps.map(told(Err("broken".into())))));
    lens.extend([
        set(0, Admin::Drain, true),
        set(0, Admin::Ready, false),
        operate(promotes(1)),
        step_done(crate::failover::Step::Drain),
    ]);
    at_once(lens)
}

/// The lens of the clusters: who belongs here is learned from the first that serves.
fn clusters() -> Vec<Timed> {
    let of = |backend, system| ok(backend, facts(Some(Role::Primary), false, Some(u64::from(backend) + 1), Some(system)), true);
    at_once([of(0, OWN), of(0, FOREIGN), of(1, OWN), of(1, FOREIGN), bad(0, Outcome::WrongCluster), bad(1, Outcome::Refused)])
}

/// The lens of the many: both may write at the same time, one falls behind, is alone again, or of another cluster.
fn many() -> Vec<Timed> {
    at_once((0..2).flat_map(|id| {
        let (synced, behind) = (one_of_many(id, MultiPrimary::Synced, OWN), one_of_many(id, MultiPrimary::Behind, OWN));
        let foreign = one_of_many(id, MultiPrimary::Synced, FOREIGN);
        [synced, behind, foreign, primary(id, 1), bad(id, Outcome::Refused)]
    }))
}

/// The lens of time: budget and failback, at every distance from their deadlines.
fn times() -> Vec<Timed> {
    let mut timed = Vec::new();
    for backend in 0..2 {
        timed.extend([primary(backend, 1), bad(backend, Outcome::Refused)].map(|event| (Duration::ZERO, event)));
        timed.push((Duration::ZERO, operate(switchover(BackendId(backend)))));
    }
    timed.push((Duration::ZERO, Event::Passive(BackendId(0), Passive::StandingLost)));
    timed.push((UNIT, Event::Tick));
    timed
}

/// The lens of the relapses: one goes down and returns at every distance from the last time, beside one that may take over.
fn relapses() -> Vec<Timed> {
    at_once([primary(0, 1), bad(0, Outcome::Timeout), bad(0, Outcome::Starting), primary(1, 1)])
}

/// The bound of the lag in its walk.
const MAX_LAG: u64 = 4;

/// The lens of the readers: a standby falls behind and catches up, dies, is doubted and promoted, beside a primary.
fn readers() -> Vec<Timed> {
    let lagging = |lag_bytes| {
        let facts = Facts { lag_bytes, ..facts(Some(Role::Standby), false, Some(1), Some(OWN)) };
        ok(1, facts, true)
    };
    let mut lens = vec![primary(0, 1), standby(0), bad(0, Outcome::Refused), primary(1, 2), bad(1, Outcome::Refused)];
    lens.extend([None, Some(0), Some(MAX_LAG / 2), Some(MAX_LAG / 2 + 1), Some(MAX_LAG + 1)].map(lagging));
    lens.push(bad(1, Outcome::Starting));
    lens.extend([Passive::DialRefused, Passive::StandingShutdown].map(|what| Event::Passive(BackendId(1), what)));
    at_once(lens)
}

type Timed = (Duration, Event);

struct Walk {
    states: Vec<State>,
    /// Which states have this hash.
    known: HashMap<u64, Vec<usize>>,
    hasher: RandomState,
    /// Which state and event led there.
    from: Vec<Option<(usize, usize)>>,
    transitions: usize,
    seen: Seen,
}

impl Walk {
    fn run(policy: &Policy, lens: &[Timed], all: &[Timed]) -> Self {
        let others: Vec<_> = all.iter().filter(|timed| !lens.contains(timed)).cloned().collect();
        let (known, hasher) = (HashMap::new(), RandomState::new());
        let mut walk = Self { states: Vec::new(), known, hasher, from: Vec::new(), transitions: 0, seen: Seen::default() };
        walk.reach(State::start(policy), None);
        let mut at = 0;
        while at < walk.states.len() {
            let state = walk.states[at].clone();
            for (index, (wait, event)) in lens.iter().chain(&others).enumerate() {
                walk.transitions += 1;
                let leads_on = index < lens.len();
                let seen = AssertUnwindSafe(&mut walk.seen);
                let taken = panic::catch_unwind(|| {
                    let (effects, next) = state.take(*wait, event)?;
                    { seen }.0.note(&effects);
                    if !leads_on {
                        return Ok::<_, String>(None);
                    }
                    let now = NOW + *wait;
                    i13_repeats(&Step { now, event, before: &state.pool, after: &next.pool, effects: &effects })?;
                    Ok(Some(next.rest(now).forget()))
                });
                let next = taken
                    .unwrap_or_else(|_| Err("the core broke a rule of its own, see above".into()))
                    .unwrap_or_else(|broken| walk.fail(at, lens, *wait, event, &broken));
                if let Some(next) = next {
                    walk.reach(next, Some((at, index)));
                }
            }
            at += 1;
        }
        walk
    }

    fn reach(&mut self, state: State, from: Option<(usize, usize)>) {
        let alike = self.known.entry(self.hasher.hash_one(&state)).or_default();
        if alike.iter().all(|known| self.states[*known] != state) {
            alike.push(self.states.len());
            self.states.push(state);
            self.from.push(from);
        }
    }

    fn fail(&self, mut at: usize, lens: &[Timed], wait: Duration, event: &Event, broken: &str) -> ! {
        let mut path = vec![format!("+{wait:?} {}", event_words(event))];
        while let Some((before, index)) = self.from[at] {
            path.push(format!("+{:?} {}", lens[index].0, event_words(&lens[index].1)));
            at = before;
        }
        path.reverse();
        panic!("{broken}\n  policy {:?}\n  after\n    {}", self.states[0].pool.policy(), path.join("\n    "));
    }
}

fn policy(election: Election, on_conflict: OnConflict, (rise, fall): (u32, u32)) -> Policy {
    Policy {
        rise,
        // Relapses have their own walk: elsewhere their count would only multiply the states.
        relapse_max: 0,
        fall,
        election,
        on_conflict,
        failback_after: None,
        budget_max: 1,
        budget_within: HORIZON,
        settle: UNIT,
        on_down: RevokeMode::Abort,
        max_lag: None,
        max_epoch_step: None,
        promotion: None,
        guard: Guard::default(),
    }
}

/// A walk: its name, the policies and the lens.
type Named = (&'static str, Vec<Policy>, Vec<Timed>);

fn walks() -> Vec<Named> {
    let base = policy(Election::ByRole, OnConflict::Newest, (1, 1));
    let rules = [OnConflict::Newest, OnConflict::Keep, OnConflict::Refuse].map(|rule| policy(Election::ByRole, rule, (1, 1)));
    // Budgets have their own walks; without one, ages do not matter here.
    let unbound = |policy: Policy| Policy { budget_within: Duration::ZERO, ..policy };
    let in_order = policy(Election::ByOrder, OnConflict::Newest, (1, 1));
    let read = Policy { max_lag: Some(MaxLag::Bytes(MAX_LAG)), ..unbound(base.clone()) };
    let again = |election, counts, relapse_max| Policy { relapse_max, ..policy(election, OnConflict::Newest, counts) };
    let promoting = |fence| Policy { promotion: Some(automatic(fence)), budget_within: UNIT, ..base.clone() };
    let signals_policies = vec![
        unbound(policy(Election::ByRole, OnConflict::Newest, (2, 2))),
        Policy { on_down: RevokeMode::Drain, ..unbound(policy(Election::ByOrder, OnConflict::Newest, (2, 1))) },
    ];
    let operations_policies = vec![
        Policy { fall: 2, ..unbound(base.clone()) },
        Policy { on_conflict: OnConflict::Refuse, on_down: RevokeMode::Drain, ..unbound(base.clone()) },
        Policy { failback_after: Some(UNIT), ..unbound(in_order.clone()) },
    ];
    let times_policies = vec![
        in_order.clone(),
        Policy { failback_after: Some(UNIT), ..in_order.clone() },
        Policy { failback_after: Some(HORIZON), budget_max: 2, on_down: RevokeMode::Drain, ..in_order.clone() },
        Policy { failback_after: Some(UNIT), budget_max: 2, rise: 2, fall: 2, ..in_order.clone() },
    ];
    let relapses_policies =
        vec![again(Election::ByOrder, (1, 1), 2), again(Election::ByOrder, (2, 2), 1), again(Election::ByRole, (1, 1), 2)];
    vec![
        ("signals", signals_policies, signals()),
        ("claims", rules.to_vec(), claims()),
        ("commands", rules.to_vec(), commands()),
        // Those that share their writes meet the other rules for a conflict in the two walks above, where every event is tried.
        ("many", rules[..1].to_vec(), many()),
        ("clusters", rules.to_vec(), clusters()),
        ("orders", vec![base.clone(), in_order], orders()),
        ("operations", operations_policies, operations()),
        ("promotions", [Fence::None, Fence::Optional, Fence::Required].map(promoting).to_vec(), promotions()),
        ("times", times_policies, times()),
        ("readers", vec![read.clone(), Policy { on_down: RevokeMode::Drain, max_lag: None, ..read }], readers()),
        ("relapses", relapses_policies, relapses()),
        ("proofs", proofs::policies(), proofs::lens()),
    ]
}

/// Walks every policy of this walk through its lens and demands at least so many states and transitions in all.
fn explore(what: &str, floor: (usize, usize)) -> Seen {
    let (_, policies, lens) = walks().into_iter().find(|walk| walk.0 == what).unwrap();
    let all = if what == "proofs" { proofs::others() } else { alphabet() };
    let (mut states, mut transitions, mut seen) = (0, 0, Seen::default());
    let walks: Vec<_> = thread::scope(|scope| {
        let begun: Vec<_> = policies.iter().map(|policy| scope.spawn(|| Walk::run(policy, &lens, &all))).collect();
        begun.into_iter().map(|walk| walk.join().unwrap_or_else(|broken| panic::resume_unwind(broken))).collect()
    });
    for walk in walks {
        states += walk.states.len();
        transitions += walk.transitions;
        seen.add(walk.seen);
    }
    println!("{what}: {} policies, {states} states, {transitions} transitions", policies.len());
    assert!((states, transitions) >= floor, "{what}: the walk shrank to {states} states and {transitions} transitions");
    seen
}

#[test]
fn every_signal_in_every_state() {
    let seen = explore("signals", (19_000, 3_100_000));
    for edge in HEALTH_EDGES {
        assert!(seen.health.contains(edge), "no walk takes the legal edge {edge:?}");
    }
    for edge in REVOKE_EDGES.iter().filter(|(cause, _)| matches!(cause, Cause::Down | Cause::Starting)) {
        assert!(seen.revokes.contains(edge), "no walk ends sessions as {edge:?}");
    }
    for cause in [Cause::Down, Cause::Demoted, Cause::Command] {
        assert!(seen.aborts.contains(&cause), "no walk ends last words because of {cause}");
    }
}

#[test]
fn every_choice_by_role_in_every_state() {
    let mut seen = explore("claims", (6_500, 1_050_000));
    seen.add(explore("commands", (7_500, 1_200_000)));
    seen.add(explore("many", (11_000, 1_800_000)));
    seen.add(explore("clusters", (1_300, 210_000)));
    // Proofs have their own walk.
    let proofs = |edge: &&(Verdict, Verdict)| edge.0 == Verdict::NoProvenNode || edge.1 == Verdict::NoProvenNode;
    let missing: Vec<_> = VERDICT_EDGES.iter().filter(|edge| !proofs(edge) && !seen.verdicts.contains(edge)).collect();
    assert!(missing.is_empty(), "no walk takes these legal edges: {missing:?}");
    let by_role = |cause| !matches!(cause, Cause::Down | Cause::Starting | Cause::Failback | Cause::Removed);
    // Last words by command are those of an operation; see its walk.
    let words = (Cause::Command, RevokeMode::LastWords);
    for edge in REVOKE_EDGES.iter().filter(|edge| by_role(edge.0) && **edge != words) {
        assert!(seen.revokes.contains(edge), "no walk ends sessions as {edge:?}");
    }
}

#[test]
fn every_order_in_every_state() {
    explore("orders", (5_600, 900_000));
}

#[test]
fn every_operation_in_every_state() {
    let seen = explore("operations", (15_000, 2_500_000));
    for mode in [RevokeMode::Abort, RevokeMode::Drain, RevokeMode::LastWords] {
        assert!(seen.revokes.contains(&(Cause::Command, mode)), "no walk demotes with {mode}");
    }
    let missing: Vec<_> = endings().into_iter().filter(|ending| !seen.endings.contains(ending)).collect();
    assert!(missing.is_empty(), "no walk ends an operation like this: {missing:?}");
}

/// How an operation may end, by its step.
fn endings() -> Vec<(crate::failover::Step, OperationEnd)> {
    use crate::failover::Step as Stage;
    let mut all: Vec<_> = Stage::ALL.iter().flat_map(|step| [(*step, OperationEnd::StepFailed)]).collect();
    all.extend(Stage::ALL.iter().map(|step| (*step, OperationEnd::Deadline)));
    all.extend([Stage::Fence, Stage::Gate, Stage::Drain].map(|step| (step, OperationEnd::Command)));
    all.extend([Stage::Gate, Stage::Drain].map(|step| (step, OperationEnd::ActiveLost)));
    all.extend([Stage::Fence, Stage::Gate, Stage::Drain, Stage::Demote].map(|step| (step, OperationEnd::CandidateLost)));
    all.extend([Stage::Demote, Stage::Promote, Stage::Activate].map(|step| (step, OperationEnd::Complete)));
    all.push((Stage::Fence, OperationEnd::PrimaryReturned));
    all
}

#[test]
fn every_promotion_in_every_state() {
    let seen = explore("promotions", (7_800, 1_300_000));
    assert!(seen.endings.contains(&(crate::failover::Step::Fence, OperationEnd::Condition)), "no walk loses a condition");
}

#[test]
fn every_moment_by_order_in_every_state() {
    let seen = explore("times", (7_800, 1_250_000));
    assert!(seen.revokes.contains(&(Cause::Failback, RevokeMode::Abort)), "no walk fails back");
}

#[test]
fn every_reader_in_every_state() {
    let seen = explore("readers", (1_450, 245_000));
    // Unknown is what a backend begins with, and proofs have their own walk.
    let elsewhere = [ReadEligibility::Unknown, ReadEligibility::Unproven, ReadEligibility::Canary];
    for edge in READER_EDGES.iter().filter(|(to, _)| !elsewhere.contains(to)) {
        assert!(seen.readers.contains(edge), "no walk takes a reader out, or brings one back, by {edge:?}");
    }
}

#[test]
fn every_relapse_in_every_state() {
    explore("relapses", (1_150, 185_000));
}
