//! One failover, from the fault to the new primary's first acknowledged write, and what its books say.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use lab::{cluster::Node, failure::Failure, stats::millis};

use super::Bench;
use crate::{
    mainstay::{LastFailover, Mainstay, PoolSpec},
    pair::{self, Pair},
    promotion::Promotion,
    writers::{self, Books, End, Writers},
};

/// The fault comes this much after the clients have warmed up, at most: more than one interval of the check, so that it meets
/// every phase of it.
const PHASE: Duration = Duration::from_millis(1200);
/// Longest wait for the clients.
pub(super) const CLIENT_TIMEOUT: Duration = Duration::from_secs(40);
/// Clients go on for this long after the last of them was served.
const SETTLE: Duration = Duration::from_millis(300);
/// A frozen primary that comes back gets this long to do something wrong.
const THAWED: Duration = Duration::from_millis(1500);

/// mainstay in front of a cluster. Fields are dropped in this order.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) mainstay: Mainstay,
    pub(super) pair: Pair,
}

impl Scene {
    /// A cluster and a mainstay with the default configuration, ready for a failover.
    pub(super) fn open(bench: &mut Bench, case: &str, settings: &[&str]) -> Result<Self, Failure> {
        Self::holding(bench, case, settings, None)
    }

    /// The same, with clients that are held for so long.
    pub(super) fn holding(bench: &mut Bench, case: &str, settings: &[&str], hold: Option<Duration>) -> Result<Self, Failure> {
        let pair = Pair::create(settings)?;
        bench.postgres = Some(pair.version()?);
        let pool = PoolSpec { hold, ..PoolSpec::of_nodes(pair.nodes(), "") };
        let mainstay = Mainstay::start(&[pool], &bench.log(case), None)?;
        mainstay.wait_ready(&bench.stop, pair.primary().name())?;
        Ok(Self { mainstay, pair })
    }

    /// Clients that all have written once.
    pub(super) fn writers(&self, bench: &Bench, run: u32) -> Result<Writers, Failure> {
        let writers = Writers::start(self.mainstay.address(0), run)?;
        let node = self.pair.primary().address().port();
        bench
            .stop
            .wait("every client writes", CLIENT_TIMEOUT, || writers.look(|books| books.all_wrote_to(node)).then_some(()))?;
        Ok(writers)
    }

    /// After a failover: roles are swapped, and everything is ready for the next.
    pub(super) fn next_run(&mut self, bench: &Bench) -> Result<(), Failure> {
        self.pair.swap_roles()?;
        self.mainstay.wait_ready(&bench.stop, self.pair.primary().name())?;
        Ok(())
    }
}

/// Waits for a random part of the check's rhythm.
pub(super) fn random_phase(bench: &mut Bench) -> Result<(), Failure> {
    let phase = bench.rng.duration_below(PHASE);
    bench.stop.pause(phase)
}

/// What happens to the primary, and when the standby is promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Kill9,
    /// As `Kill9`, and the standby is promoted so long after it.
    Kill9Then(Duration),
    Freeze,
    /// As `Freeze`, but nobody promotes the standby before mainstay has given the primary up.
    FreezeUnnoticed,
    StopFast,
}

impl Fault {
    /// Inflicts it; the moment just before.
    fn inflict(self, node: &Node) -> Result<Instant, Failure> {
        match self {
            Self::Kill9 | Self::Kill9Then(_) => pair::kill9(node),
            Self::Freeze | Self::FreezeUnnoticed => Ok(pair::freeze(node)),
            Self::StopFast => pair::stop_fast(node),
        }
    }

    /// A frozen primary wakes up; the rows it then holds. The others have nothing more to say.
    fn aftermath(self, bench: &Bench, node: &Node) -> Result<BTreeSet<u64>, Failure> {
        if !matches!(self, Self::Freeze | Self::FreezeUnnoticed) {
            return Ok(BTreeSet::new());
        }
        node.sigcont_all();
        bench.stop.pause(THAWED)?;
        let rows = pair::rows(node)?;
        node.kill9()?;
        Ok(rows)
    }
}

/// What one failover showed.
#[derive(Debug)]
pub(super) struct Failover {
    pub(super) fault: Instant,
    /// The standby itself said that it takes writes.
    pub(super) writable: Instant,
    /// mainstay published that the old primary serves no more.
    pub(super) revoked: Instant,
    /// The new primary acknowledged a write through mainstay.
    pub(super) first_ack: Instant,
    /// mainstay's own account.
    pub(super) own: Option<LastFailover>,
    pub(super) books: Books,
    /// Acknowledged rows that the new primary does not hold.
    pub(super) lost: usize,
    /// Writes that the old primary took after the new one's first.
    pub(super) late: usize,
}

impl Failover {
    /// The gap that mainstay adds: from when a write could have been acknowledged to when one was.
    pub(super) fn share(&self) -> f64 {
        millis(self.first_ack.saturating_duration_since(self.writable.max(self.fault)))
    }

    /// The same, counted from the revocation when that came later.
    pub(super) fn share_after_revocation(&self) -> f64 {
        millis(self.first_ack.saturating_duration_since(self.writable.max(self.revoked)))
    }

    pub(super) fn detection(&self) -> f64 {
        millis(self.revoked.saturating_duration_since(self.fault))
    }

    pub(super) fn failed_connects(&self) -> f64 {
        self.books.refusals.len() as f64
    }

    /// How the clients' sessions at the fault ended, for each client whose session did.
    pub(super) fn ends(&self) -> Vec<&End> {
        (0..writers::COUNT).filter_map(|writer| self.books.end_of(writer, self.fault)).collect()
    }

    fn log(&self, case: &str, run: u32, runs: u32, fault: Fault) {
        eprintln!(
            "{case} {}/{runs}: writable after {:.1} ms, revoked after {:.1} ms, first write after {:.1} ms, share {:.1} ms, \
             failed connects {}, lost {}, late {}",
            run + 1,
            millis(self.writable.duration_since(self.fault)),
            self.detection(),
            millis(self.first_ack.duration_since(self.fault)),
            self.share(),
            self.books.refusals.len(),
            self.lost,
            self.late,
        );
        if fault == Fault::StopFast {
            for end in self.ends().iter().filter(|end| end.code.is_none()) {
                let (cut, warned) = (end.cut.as_deref().unwrap_or("ended"), end.warned.as_deref().unwrap_or("nothing"));
                eprintln!(
                    "    session cut {:.1} ms after the fault: {cut}; warned of {warned}",
                    millis(end.at.duration_since(self.fault))
                );
            }
        }
        for refusal in &self.books.refusals {
            eprintln!(
                "    failed connect {:.1} ms after the fault: {}",
                millis(refusal.at.saturating_duration_since(self.fault)),
                refusal.what
            );
        }
    }
}

/// A failover under eight writing clients. Leaves the roles as they are then.
pub(super) fn fail_over(bench: &mut Bench, scene: &Scene, case: &str, run: u32, fault: Fault) -> Result<Failover, Failure> {
    let (old, new) = (scene.pair.primary(), scene.pair.standby());
    let events = scene.mainstay.newest_event()?;
    let promotion = Promotion::prepare(new)?;
    let writers = scene.writers(bench, run)?;
    random_phase(bench)?;

    let at = fault.inflict(old)?;
    if let Fault::Kill9Then(delay) = fault {
        bench.stop.pause(delay)?;
    }
    if fault == Fault::FreezeUnnoticed {
        scene.mainstay.wait_for(&bench.stop, "the frozen primary is active no more", |pool| pool.active.is_none())?;
    }
    promotion.promote();
    let writable = promotion.writable(&bench.stop)?;
    let new_port = new.address().port();
    bench.stop.wait("every client writes to the new primary", CLIENT_TIMEOUT, || {
        writers.look(|books| books.all_wrote_to(new_port)).then_some(())
    })?;
    bench.stop.pause(SETTLE)?;
    let old_rows = fault.aftermath(bench, old)?;
    let books = writers.stop();

    let revoked = scene
        .mainstay
        .events_since(events)?
        .iter()
        .find(|event| event.kind == "revoke")
        .and_then(|event| scene.mainstay.moment(event));
    let revoked = revoked.ok_or_else(|| Failure::Said("mainstay published no revocation".into()))?;
    let first = books.first_by(new_port).ok_or_else(|| Failure::Said("the new primary acknowledged nothing".into()))?;
    let survivors = pair::rows(new)?;
    let own = scene.mainstay.pool()?.last_failover.filter(|last| last.to == new.name());
    let failover = Failover {
        fault: at,
        writable,
        revoked,
        first_ack: first.at,
        own,
        lost: books.acks.iter().filter(|ack| !survivors.contains(&ack.row)).count(),
        late: books.late_writes(old.address().port(), first.at, &old_rows),
        books,
    };
    failover.log(case, run, bench.runs, fault);
    Ok(failover)
}
