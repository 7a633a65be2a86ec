//! Looks after the prints and proofs of a pool, beside the supervisor, which hears of each result.
//!
//! One thing at a time is asked of a server. Nothing is proved while nobody is active or an operation runs: the servers have other
//! work then.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{
    book::{Book, Kept, Rules},
    job::{Heard, HookTurn, Hooks, Job, Proofs, Scene, What, job},
    print,
    proofs::{Proved, Scope},
};
use crate::{
    config::{Approval, BackendConfig, GuardConfig},
    control::{probe::Deadline, state_file, state_writer::StateFile},
    failover::{Pool, Printable, Time, label::Label as _},
    route::{GuardView, ProofView},
};

/// A print is read this often, besides after each absence.
const READ_EVERY: Duration = Duration::from_secs(10);

/// After one that could not be read, at first.
const READ_AGAIN: Duration = Duration::from_secs(2);

/// One that changes each time, or never can be read, is read this often in the end.
const READ_SELDOM: Duration = Duration::from_mins(10);

/// What outlives the process, by backend: its address, and its book.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::control) struct Prints(BTreeMap<String, (String, Kept)>);

impl state_file::Kept for Prints {
    const NAME: &'static str = "prints";
    // A print of PostgreSQL is 30 KiB, and there are up to three for each backend.
    const MAX_LEN: u64 = 16 << 20;
    const LOST: &'static str = "every backend is trusted as it is now";
}

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
    /// Why it could not be read last.
    unread: Option<Printable>,
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
    file: Option<StateFile<Prints>>,
    saved: Prints,
    begun: u64,
    sender: mpsc::UnboundedSender<Heard>,
    heard: mpsc::UnboundedReceiver<Heard>,
}

/// How the books of a pool are kept.
pub(in crate::control) fn rules(guard: &GuardConfig) -> Rules<'_> {
    Rules { ignored: &guard.ignore, soak: guard.soak, is_manual: guard.approve == Approval::Manual }
}

impl Keeper {
    /// Reads what an earlier process knew.
    pub(in crate::control) async fn begin(file: Option<StateFile<Prints>>) -> Self {
        let saved = match &file {
            Some(file) => file.read().await,
            None => Prints::default(),
        };
        let (sender, heard) = mpsc::unbounded_channel();
        Self { seats: BTreeMap::new(), file, saved, begun: 0, sender, heard }
    }

    /// The pool has these backends from now on, each with its address. One that moved is another server.
    pub(in crate::control) fn seat<'a>(&mut self, backends: impl Iterator<Item = (&'a Arc<str>, String)>) {
        let mut before = std::mem::take(&mut self.seats);
        for (name, address) in backends {
            let seat = before.remove(name).filter(|seat| seat.address == address).unwrap_or_else(|| {
                let kept = self.saved.0.get(&**name).filter(|(known, _)| *known == address).map(|(_, kept)| kept.clone());
                Seat { address, book: Book::restore(kept.unwrap_or_default()), ..Seat::default() }
            });
            self.seats.insert(Arc::clone(name), seat);
        }
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

    /// The same, to ask it for something.
    pub(in crate::control) fn book_mut(&mut self, name: &str) -> Option<&mut Book> {
        self.seats.get_mut(name).map(|seat| &mut seat.book)
    }

    /// Why its print could not be read last.
    pub(in crate::control) fn unread(&self, name: &str) -> Option<&Printable> {
        self.seats.get(name)?.unread.as_ref()
    }

    /// What is known of a backend, for operators.
    pub(in crate::control) fn view(&self, name: &str, guard: &GuardConfig) -> Option<GuardView> {
        let seat = self.seats.get(name)?;
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
        self.file.is_some()
    }

    /// It was away: it is looked at as soon as it is back.
    pub(in crate::control) fn absent(&mut self, name: &str, distrust: Distrust) {
        let Some(seat) = self.seats.get_mut(name) else { return };
        seat.next = Time::ZERO;
        if distrust == Distrust::UntilRead {
            seat.book.doubt();
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
        let (rules, mut is_proven) = (rules(scene.guard), false);
        for (place, seen) in scene.seen.iter().enumerate() {
            let Some(seat) = self.seats.get_mut(&seen.name) else { continue };
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
            if seat.next <= now {
                seat.pause = seat.pause.max(READ_EVERY);
                seat.next = now + seat.pause;
                let subject = seen.subject.clone();
                let deadline = Deadline::after(subject.check.timeout.max(READ_AGAIN));
                let work = async move { What::Read(print::read(&subject, deadline).await) };
                self.begun += 1;
                seat.job = Some(job(&self.sender, (&seen.name, self.begun), None, work));
            } else if seat.book.is_due(now) && scene.may_prove {
                let scope = if seat.is_awaited { Scope::Quick } else { Scope::All };
                seat.book.begin();
                let proofs = Proofs::of(scene, place, scope);
                let work = async move { What::Proved(proofs.run().await, scope) };
                self.begun += 1;
                seat.job = Some(job(&self.sender, (&seen.name, self.begun), Some(scope), work));
            }
        }
        if is_proven {
            self.save();
        }
    }

    /// Takes a result in; `active` is the one that serves. Returns the backend, unless it was given up meanwhile.
    pub(in crate::control) fn hear(
        &mut self,
        heard: Heard,
        active: Option<&str>,
        guard: &GuardConfig,
        now: Time,
    ) -> Option<Arc<str>> {
        let rules = rules(guard);
        let Heard { backend, number, what } = heard;
        let clients_wait = active.is_none();
        let active = active.filter(|active| **active != *backend).and_then(|active| self.book(active)?.present().cloned());
        let seat = self.seats.get_mut(&backend)?;
        drop(seat.job.take_if(|job| job.number == number)?);
        match what {
            What::Read(Ok(Some(print))) => {
                (seat.unread, seat.read_at) = (None, Some(now));
                let is_new = seat.book.read(print, active.as_deref(), now, rules);
                // One that flaps is not told each time.
                seat.pause = if is_new { (2 * seat.pause).min(READ_SELDOM) } else { READ_EVERY };
                if seat.book.proof().0.is_good() {
                    seat.is_awaited = false;
                }
            }
            What::Read(Ok(None)) => seat.unread = Some("its check does not log in, so it cannot ask".into()),
            What::Read(Err(why)) => {
                seat.unread = Some(why);
                let pause = if seat.pause > READ_EVERY { 2 * seat.pause } else { READ_EVERY + READ_AGAIN };
                seat.next = now + if seat.pause > READ_EVERY { seat.pause } else { READ_AGAIN };
                seat.pause = pause.min(READ_SELDOM);
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
        self.save();
        Some(backend)
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
        self.seats.values_mut().for_each(|seat| seat.job = None);
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
        let known = self.seats.iter().filter(|(_, seat)| *seat.book.kept() != Kept::default());
        let kept = |(name, seat): (&Arc<str>, &Seat)| (name.to_string(), (seat.address.clone(), seat.book.kept().clone()));
        let now = Prints(known.map(kept).collect());
        if now != self.saved {
            if let Some(file) = &self.file {
                file.write(&now);
            }
            self.saved = now;
        }
    }

    /// From now on another supervisor saves the prints of this pool.
    pub(in crate::control) fn leave(&mut self) {
        self.file = None;
    }
}

/// Whether one that was away is trusted when it comes back, before its print was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Distrust {
    /// It is.
    Never,
    /// It is not.
    UntilRead,
}
