//! `failover::Pool::step`: what a probe that tells nothing new costs, and a whole failover.

use std::time::Duration;

use criterion::{BatchSize, Criterion};
use mainstay::failover::{BackendId, Election, Event, Facts, Finding, Outcome, Policy, Pool, Printable, Report, Role, Time};

fn probe(backend: u16, seq: u64, outcome: Outcome, role: Role, timeline: u64) -> Event {
    let facts = Facts { role: Some(role), db_epoch: Some(timeline), system_id: Some(7), ..Facts::default() };
    let evidence = Printable::from("as asked");
    Event::Probe(BackendId(backend), Report { seq, finding: Finding { outcome, facts, evidence }, fresh: true })
}

/// A primary that serves, and its standby.
fn serving() -> Pool {
    let policy = Policy { election: Election::ByRole, ..Policy::default() };
    let mut pool = Pool::new(policy, 2, Time::from_millis(0));
    pool.step(Time::from_millis(1), &probe(0, 1, Outcome::Ok, Role::Primary, 1));
    pool.step(Time::from_millis(2), &probe(1, 1, Outcome::Ok, Role::Standby, 1));
    pool
}

pub(crate) fn benches(c: &mut Criterion) {
    let mut pool = serving();
    let mut seq = 1;
    c.bench_function("step/probe_that_tells_nothing_new", |b| {
        b.iter(|| {
            seq += 1;
            pool.step(Time::new(Duration::from_millis(seq)), &probe(0, seq, Outcome::Ok, Role::Primary, 1))
        });
    });
    let failover = [
        probe(0, 2, Outcome::Refused, Role::Unknown, 1),
        probe(0, 3, Outcome::Refused, Role::Unknown, 1),
        probe(1, 2, Outcome::Ok, Role::Primary, 2),
    ];
    c.bench_function("step/failover", |b| {
        b.iter_batched_ref(
            serving,
            |pool| {
                for (event, at) in failover.iter().zip(10..) {
                    pool.step(Time::from_millis(at), event);
                }
            },
            BatchSize::SmallInput,
        );
    });
}
