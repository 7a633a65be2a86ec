//! Looks after the prints and proofs of a pool, beside the supervisor, which hears of each result.
//!
//! One thing at a time is asked of a server. Nothing is proved while nobody is active or an operation runs: the servers have other
//! work then.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    book::{Book, Doubt, Rules},
    distrust::Distrust,
    job::{Heard, HookTurn, Hooks, Job, Proofs, Scene, What, job},
    known::Known,
    print::{self, Fingerprints},
    proofs::{Proved, Scope},
    subject::Subject,
};
use crate::{
    config::{BackendConfig, GuardConfig},
    control::probe::Deadline,
    failover::{Pool, Printable, Time, label::Label as _},
    route::{GuardView, ProofView},
    state::StateWriter,
};

/// A print is read this often, besides after each absence.
const READ_EVERY: Duration = Duration::from_secs(10);

/// After one that could not be read, at first.
const READ_AGAIN: Duration = Duration::from_secs(2);

/// One that changes each time, or never can be read, is read this often in the end.
const READ_SELDOM: Duration = Duration::from_mins(10);

/// So many reads in a row that failed are no accident.
const MISSES: u32 = 2;

/// One backend.
#[derive(Default)]
struct Seat {
    address: String,
    book: Book,
    job: Option<Job>,
    /// When its print is read next, and how long it was until then.
    next: Time,
    pause: Duration,
    /// When it was read last.
    read_at: Option<Time>,
    /// Why it could not be read last, and how often in a row it could not.
    unread: Option<Printable>,
    misses: u32,
    /// It was away, and what it is made of has not been asked with success since.
    was_away: bool,
    /// It answered and served at the last look.
    was_up: bool,
    /// When its proofs ended last.
    proved_at: Time,
    /// Since when it is told as it is.
    since: Time,
    /// What a promoter was told last: whether it may choose it.
    told: Option<bool>,
    hooks: Hooks,
    /// Clients wait for its quick proofs.
    is_awaited: bool,
}

/// The books of a pool.
pub(in crate::control) struct Keeper {
    seats: BTreeMap<Arc<str>, Seat>,
    known: Known,
    fingerprints: Fingerprints,
    begun: u64,
    sender: mpsc::UnboundedSender<Heard>,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Keeper {
    /// Reads what an earlier process knew.
    pub(in crate::control) async fn begin(state: Option<&StateWriter>, pool: &str) -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let (known, fingerprints) = Known::read(state, pool).await;
        Self { seats: BTreeMap::new(), known, fingerprints, begun: 0, sender, heard }
    }

    /// The pool has these backends from now on.
    pub(in crate::control) fn seat(&mut self, backends: &[BackendConfig], distrust: Distrust) {
        let mut before = std::mem::take(&mut self.seats);
        let mut others = Vec::new();
        for backend in backends {
            let address = backend.address.to_string();
            if before.get(&backend.name).is_some_and(|seat| seat.address == address) {
                self.seats.extend(before.remove_entry(&backend.name));
            } else {
                others.push((Arc::clone(&backend.name), address));
            }
        }
        for (name, seat) in before {
            self.known.part(&name, seat.address, seat.book.kept());
        }
        for (name, address, kept) in self.known.meet(others) {
            let mut book = Book::restore(kept);
            // A promoter that was told by an earlier process is told the end as well.
            let told = (!book.proof().0.is_good()).then_some(false);
            if distrust == Distrust::UntilRead {
                book.doubt(Doubt::Away);
            }
            self.seats.insert(name, Seat { address, book, told, ..Seat::default() });
        }
        self.save();
    }

    /// Tells the core what an earlier process knew.
    pub(in crate::control) fn restore(&self, core: &mut Pool, backends: &[BackendConfig]) {
        for (id, backend) in core.ids().zip(backends) {
            let Some((proof, what)) = self.book(&backend.name).map(Book::proof) else { continue };
            core.restore_proof(id, proof, what);
        }
    }

    /// The next result.
    pub(in crate::control) async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }

    /// The book of a backend.
    pub(in crate::control) fn book(&self, name: &str) -> Option<&Book> {
        self.seats.get(name).map(|seat| &seat.book)
    }

    /// Its print is read, and its proofs are run.
    pub(in crate::control) fn ask(&mut self, name: &str, now: Time) {
        if let Some(seat) = self.seats.get_mut(name) {
            seat.next = Time::ZERO;
            seat.book.ask(now);
        }
    }

    /// It was away, and may be another one than before: what it is made of will be known in a moment.
    pub(in crate::control) fn was_away(&self, name: &str) -> bool {
        self.seats.get(name).is_some_and(|seat| seat.was_away)
    }

    /// Why its print could not be read last.
    pub(in crate::control) fn unread(&self, name: &str) -> Option<&Printable> {
        self.seats.get(name)?.unread.as_ref()
    }

    /// What is known of a backend, for operators.
    pub(in crate::control) fn view(&self, name: &str, guard: &GuardConfig) -> Option<GuardView> {
        let seat = self.seats.get(name).filter(|seat| seat.book.present().is_some() || seat.unread.is_some())?;
        let (book, ignored) = (&seat.book, &*guard.ignore);
        let result = |proved: &Proved| ProofView {
            name: proved.name.clone(),
            result: proved.result.as_str(),
            evidence: proved.evidence.clone(),
            at: seat.proved_at,
            took: proved.took,
        };
        let (present, proven) = (book.present(), book.proven());
        let changed = present.zip(proven).map(|(present, proven)| proven.differences(present, ignored)).unwrap_or_default();
        Some(GuardView {
            print: present.cloned(),
            read_at: seat.read_at,
            unread: seat.unread.clone(),
            digest: present.map(|print| print.digest(ignored).into()),
            proven: proven.map(|print| print.digest(ignored).into()),
            proof: book.proof().0,
            since: seat.since,
            changed: changed.iter().map(|difference| difference.to_string().into()).collect(),
            results: book.results().iter().map(result).collect(),
        })
    }

    /// Whether what is known outlives the process.
    pub(in crate::control) const fn is_remembered(&self) -> bool {
        self.known.is_remembered()
    }

    /// It was away: it is looked at as soon as it is back.
    pub(in crate::control) fn absent(&mut self, name: &str, distrust: Distrust) {
        let Some(seat) = self.seats.get_mut(name) else { return };
        // What was read before does not tell what comes back.
        seat.job.take_if(|job| job.proves.is_none());
        (seat.next, seat.misses, seat.was_away) = (Time::ZERO, 0, true);
        if distrust == Distrust::UntilRead {
            seat.book.doubt(Doubt::Away);
        }
    }

    /// Clients wait for it: what is under way there gives way to its quick proofs.
    pub(in crate::control) fn hurry(&mut self, name: &str, now: Time) {
        if let Some(seat) = self.seats.get_mut(name) {
            seat.is_awaited = true;
            if seat.job.take_if(|job| job.proves == Some(Scope::All)).is_some() {
                seat.book.interrupted(now);
            }
            seat.book.ask(now);
        }
    }

    /// Begins what is due.
    pub(in crate::control) fn look(&mut self, scene: &Scene<'_>, now: Time) {
        let (rules, mut is_proven) = (Rules::of(scene.guard), false);
        for (place, seen) in scene.seen.iter().enumerate() {
            let Some(seat) = self.seats.get_mut(seen.name()) else { continue };
            // It is back: what could not be read or answered meanwhile says nothing.
            if std::mem::replace(&mut seat.was_up, seen.is_up) != seen.is_up && seen.is_up {
                (seat.next, seat.misses) = (Time::ZERO, 0);
                seat.book.is_back(now);
            }
            // Nobody waits for it.
            seat.is_awaited &= scene.active.is_none();
            if seen.is_disturbed {
                seat.book.disturbed(now);
            }
            is_proven |= seat.book.tick(now, rules);
            if seat.job.take_if(|job| job.proves == Some(Scope::All) && (!scene.may_prove || seen.is_down)).is_some() {
                seat.book.interrupted(now);
            }
            if seat.job.is_some() || !seen.is_up {
                continue;
            }
            // One that changes each time is not read more often for that.
            if seat.next <= now || (seat.pause <= 2 * READ_EVERY && seat.book.is_to_be_read(now, rules)) {
                seat.pause = seat.pause.max(READ_EVERY);
                seat.next = now + seat.pause;
                let (subject, fingerprints) = (Subject::of(seen.node, scene.check), self.fingerprints.clone());
                let deadline = Deadline::after(subject.check.timeout.max(READ_AGAIN));
                let work = async move { What::Read(print::read(&subject, &fingerprints, deadline).await) };
                self.begun += 1;
                seat.job = Some(job(&self.sender, (seen.name(), self.begun), None, work));
            } else if seat.book.is_due(now) && scene.may_prove {
                let scope = if seat.is_awaited { Scope::Quick } else { Scope::All };
                seat.book.begin();
                let proofs = Proofs::of(scene, place, scope);
                let work = async move { What::Proved(proofs.run().await, scope) };
                self.begun += 1;
                seat.job = Some(job(&self.sender, (seen.name(), self.begun), Some(scope), work));
            }
        }
        if is_proven {
            self.save();
        }
    }

    /// Takes a result in; `active` is the one that serves. Returns the backend and what is new of it, unless it was given up meanwhile.
    pub(in crate::control) fn hear(
        &mut self,
        heard: Heard,
        active: Option<&str>,
        guard: &GuardConfig,
        now: Time,
    ) -> Option<(Arc<str>, News)> {
        let rules = Rules::of(guard);
        let Heard { backend, number, what } = heard;
        let clients_wait = active.is_none();
        let active = active.filter(|active| **active != *backend).and_then(|active| self.book(active)?.present().cloned());
        let seat = self.seats.get_mut(&backend)?;
        drop(seat.job.take_if(|job| job.number == number)?);
        let mut news = News::Changed;
        match what {
            What::Read(Ok(Some(print))) => {
                let before = (seat.book.proof(), seat.book.present().cloned());
                let was_told = seat.misses >= MISSES && !seat.book.is_doubtful();
                let is_new = seat.book.read(print, active.as_ref(), now, rules);
                // One that flaps is not told each time.
                seat.pause = if is_new { (2 * seat.pause).min(READ_SELDOM) } else { READ_EVERY };
                let (proof, present) = (seat.book.proof(), seat.book.present());
                seat.is_awaited &= !proof.0.is_good();
                let is_same = before == (proof, present.cloned()) && seat.unread.is_none();
                if was_told {
                    news = News::ReadAgain;
                } else if is_same {
                    news = News::Nothing;
                }
                (seat.unread, seat.misses, seat.read_at, seat.was_away) = (None, 0, Some(now), false);
            }
            What::Read(Ok(None)) => {
                seat.unread = Some("its check does not log in, so it cannot ask".into());
                (seat.next, seat.was_away) = (now + READ_SELDOM, false);
            }
            What::Read(Err(why)) => {
                seat.misses += 1;
                let pause = READ_EVERY * 2_u32.saturating_pow(seat.misses - 1);
                seat.next = now + if seat.misses < MISSES { READ_AGAIN } else { pause.min(READ_SELDOM) };
                if seat.misses == MISSES {
                    seat.was_away = false;
                    seat.book.doubt(Doubt::Unread(why.clone()));
                    // Else its doubt is told.
                    if !seat.book.is_doubtful() {
                        news = News::Unread(why.clone());
                    }
                }
                seat.unread = Some(why);
            }
            What::Proved(results, scope) => {
                seat.proved_at = now;
                seat.is_awaited &= scope != Scope::Quick;
                // Whoever passes while clients wait serves them first.
                let scope = if clients_wait { Scope::Quick } else { scope };
                seat.book.proved(results, scope, now, rules);
            }
            What::Lost => seat.book.interrupted(now + READ_SELDOM),
        }
        if news != News::Nothing {
            self.save();
        }
        Some((backend, news))
    }

    /// A person decides: what is under way there is given up.
    pub(in crate::control) fn decide(&mut self, name: &str, decide: impl FnOnce(&mut Book)) {
        if let Some(seat) = self.seats.get_mut(name) {
            seat.job = None;
            decide(&mut seat.book);
            self.save();
        }
    }

    /// Nothing is looked at any more.
    pub(in crate::control) fn stop(&mut self) {
        for seat in self.seats.values_mut() {
            seat.job = None;
            seat.book.interrupted(Time::ZERO);
        }
    }

    /// What was found out under other rules does not count.
    pub(in crate::control) fn start_again(&mut self) {
        self.stop();
        for seat in self.seats.values_mut() {
            seat.next = Time::ZERO;
            seat.book.ask(Time::ZERO);
        }
    }

    /// Whoever was away is trusted.
    pub(in crate::control) fn trust(&mut self) {
        self.seats.values_mut().for_each(|seat| seat.book.trust());
    }

    /// Whether a promoter is to be told of a backend, which it may choose or not: then its turn among the hooks for it.
    pub(in crate::control) fn hook_turn(&mut self, name: &str, may_choose: bool) -> Option<HookTurn> {
        let seat = self.seats.get_mut(name).filter(|seat| !seat.book.is_doubtful())?;
        // At first it may choose everybody.
        if seat.told.unwrap_or(true) == may_choose {
            return None;
        }
        seat.told = Some(may_choose);
        Some(seat.hooks.turn())
    }

    /// It is told as it is from now on.
    pub(in crate::control) fn told(&mut self, name: &str, now: Time) {
        if let Some(seat) = self.seats.get_mut(name) {
            seat.since = now;
        }
    }

    /// Saves what has changed.
    pub(in crate::control) fn save(&mut self) {
        self.known.save(self.seats.iter().map(|(name, seat)| (&**name, &*seat.address, seat.book.kept())));
    }

    /// From now on another supervisor looks after the backends of this pool.
    pub(in crate::control) fn leave(&mut self) {
        self.stop();
        self.known.leave();
    }
}

/// What is new of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) enum News {
    /// Its print was read, and is as it was.
    Nothing,
    /// Something.
    Changed,
    /// Its print cannot be read.
    Unread(Printable),
    /// It can be read again.
    ReadAgain,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Approval, OnCommitStuck},
        failover::{GuardMode, LastResort, Proof},
        route::{Print, PrintGroup, PrintItem},
    };

    fn backends(list: &[(&str, &str)]) -> Vec<BackendConfig> {
        let backend = |(name, address): &(&str, &str)| BackendConfig {
            name: (*name).into(),
            address: address.parse().unwrap(),
            max_connections: None,
        };
        list.iter().map(backend).collect()
    }

    async fn keeper(list: &[(&str, &str)]) -> Keeper {
        let mut keeper = Keeper::begin(None, "orders").await;
        keeper.seat(&backends(list), Distrust::Never);
        keeper
    }

    /// What follows when its print is this one.
    fn read(keeper: &mut Keeper, name: &str, version: &str) -> Proof {
        let mut print = Print::default();
        print.add(PrintGroup::Version, "server", PrintItem { value: version.into(), ..PrintItem::default() });
        let rules = Rules { ignored: &[], soak: Duration::ZERO, is_manual: false };
        let book = &mut keeper.seats.get_mut(name).unwrap().book;
        book.read(print, None, Time::ZERO, rules);
        book.proof().0
    }

    #[tokio::test]
    async fn what_is_known_follows_the_server() {
        let [a, b, moved, renamed] = [("a", "x:1"), ("b", "x:2"), ("b", "x:3"), ("c", "x:2")];
        for (then, name, is) in [
            (vec![a, b], "b", Proof::Unproven),
            (vec![a, moved], "b", Proof::Unproven),
            (vec![a, renamed], "c", Proof::Unproven),
            // They change places.
            (vec![("a", "x:2"), ("b", "x:1")], "a", Proof::Unproven),
            (vec![("a", "x:2"), ("b", "x:1")], "b", Proof::Proven),
            // One that nobody has seen.
            (vec![a, b, ("c", "x:3")], "c", Proof::Proven),
            (vec![a, renamed, moved], "b", Proof::Proven),
        ] {
            for has_left in [false, true] {
                let mut keeper = keeper(&[a, b]).await;
                assert_eq!((read(&mut keeper, "a", "2"), read(&mut keeper, "b", "1")), (Proof::Proven, Proof::Proven));
                if has_left {
                    keeper.seat(&backends(&[("z", "z:1")]), Distrust::Never);
                    keeper.known.restart();
                    let known = keeper.known;
                    keeper = Keeper { known, ..self::keeper(&[]).await };
                }
                keeper.seat(&backends(&then), Distrust::Never);
                assert_eq!(read(&mut keeper, name, "2"), is, "{then:?} {name}, left: {has_left}");
            }
        }
    }

    #[tokio::test]
    async fn one_that_is_known_is_in_doubt_until_it_is_read_where_that_matters() {
        let both = [("a", "x:1"), ("b", "x:2")];
        let mut keeper = keeper(&both).await;
        read(&mut keeper, "b", "1");
        keeper.seat(&backends(&both[..1]), Distrust::UntilRead);
        keeper.seat(&backends(&[both[0], both[1], ("c", "x:3")]), Distrust::UntilRead);
        let is_doubtful = ["a", "b", "c"].map(|name| keeper.book(name).unwrap().is_doubtful());
        assert_eq!(is_doubtful, [false, true, false]);
        assert_eq!(read(&mut keeper, "b", "1"), Proof::Proven);
    }

    #[tokio::test]
    async fn what_was_read_before_an_absence_does_not_count() {
        let mut keeper = keeper(&[("a", "x:1")]).await;
        read(&mut keeper, "a", "1");
        let reading = job(&keeper.sender, (&"a".into(), 7), None, std::future::pending());
        keeper.seats.get_mut("a").unwrap().job = Some(reading);
        keeper.absent("a", Distrust::UntilRead);
        let heard = |number| Heard { backend: "a".into(), number, what: What::Read(Ok(Some(Print::default()))) };
        let guard = GuardConfig {
            mode: GuardMode::Enforce,
            ignore: Vec::new(),
            soak: Duration::ZERO,
            approve: Approval::Automatic,
            last_resort: LastResort::Serve,
            canary: 0,
            proofs: Vec::new(),
            on_unproven: None,
            on_commit_stuck: OnCommitStuck::Warn,
        };
        assert!(keeper.hear(heard(7), None, &guard, Time::ZERO).is_none());
        assert!(keeper.book("a").unwrap().is_doubtful() && keeper.was_away("a"));
        let reading = job(&keeper.sender, (&"a".into(), 8), None, std::future::pending());
        keeper.seats.get_mut("a").unwrap().job = Some(reading);
        assert!(keeper.hear(heard(8), None, &guard, Time::ZERO).is_some());
        assert!(!keeper.book("a").unwrap().is_doubtful() && !keeper.was_away("a"));
    }

    #[tokio::test]
    async fn not_everybody_is_remembered_for_ever() {
        let mut keeper = keeper(&[]).await;
        for number in 0..100 {
            let (name, address) = (format!("b{number}"), format!("x{number}:1"));
            keeper.seat(&backends(&[(&name, &address)]), Distrust::Never);
            read(&mut keeper, &name, "1");
        }
        keeper.save();
        assert_eq!(keeper.known.lengths(), (16, 17));
    }
}
