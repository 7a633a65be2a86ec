//! How a route ends.

use std::{
    future::poll_fn,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use slab::Slab;

use super::gate::Gating;
use crate::failover::RevokeMode;

/// The end of an epoch, or of a reader's generation, in one or two steps, or of single sessions under it; and its gate, which holds
/// back the clients of its sessions. Checking for all of it is one atomic load, so a session may check at every turn; only
/// registering and unregistering take a lock.
#[derive(Debug, Default)]
pub struct Revocation {
    stage: AtomicU32,
    /// Tasks that have registered.
    clients: AtomicUsize,
    listeners: Mutex<Slab<Waker>>,
}

impl Revocation {
    const REVOKED: u32 = 1;
    const ABORTED: u32 = 2;
    const SINGLED: u32 = 4;
    /// The gate is closed for an operation, and for a pause.
    const GATED: u32 = 8;
    const PAUSED: u32 = 16;
    const CLOSED: u32 = Self::GATED | Self::PAUSED;
    /// From this bit on the stage counts how often the gate was closed.
    const GATING: u32 = 32;

    /// Ends it. A later, harsher call overrides an earlier one; a milder one changes nothing.
    pub fn revoke(&self, mode: RevokeMode) {
        match mode {
            RevokeMode::Drain => {}
            RevokeMode::LastWords => self.advance(Self::REVOKED),
            RevokeMode::Abort => self.advance(Self::REVOKED | Self::ABORTED),
        }
    }

    /// Some of its sessions must end, each of which knows it: all are woken. It stands, and takes new sessions.
    pub(super) fn single_out(&self) {
        self.advance(Self::SINGLED);
    }

    /// Closes the gate: each session stops reading its client at the next boundary, and tells so in its
    /// [`SessionGate`](super::SessionGate). New sessions under it do the same. A closed gate stays closed.
    pub fn gate(&self) {
        self.close(Self::GATED);
    }

    /// Opens the gate: every session goes on, unless they are paused.
    pub fn ungate(&self) {
        self.open(Self::GATED);
    }

    /// Closes the gate for a pause, beside the other closing.
    pub fn pause(&self) {
        self.close(Self::PAUSED);
    }

    /// The pause is over.
    pub fn resume(&self) {
        self.open(Self::PAUSED);
    }

    /// The present closing of the gate, if it is closed.
    pub fn gating(&self) -> Option<Gating> {
        let stage = self.stage();
        (stage & Self::CLOSED != 0).then(|| Gating::number(stage / Self::GATING))
    }

    fn close(&self, by: u32) {
        let close = |stage: u32| match stage & Self::CLOSED {
            0 => Some(stage.wrapping_add(Self::GATING) | by),
            _ => Some(stage | by),
        };
        let before = self.stage.fetch_update(Ordering::AcqRel, Ordering::Acquire, close);
        if before.is_ok_and(|before| before & Self::CLOSED == 0) {
            self.wake();
        }
    }

    fn open(&self, by: u32) {
        if self.stage.fetch_and(!by, Ordering::AcqRel) & Self::CLOSED == by {
            self.wake();
        }
    }

    fn advance(&self, stage: u32) {
        self.stage.fetch_or(stage, Ordering::AcqRel);
        self.wake();
    }

    /// Wakes its sessions.
    pub(super) fn wake(&self) {
        // A task that registers after this sees the stage.
        let listeners: Vec<_> = self.lock().iter().map(|(_, waker)| waker.clone()).collect();
        listeners.into_iter().for_each(Waker::wake);
    }

    /// Clients under it: each from its first dial to the end of its session.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Acquire)
    }

    /// No session may begin (either mode).
    pub fn is_revoked(&self) -> bool {
        self.stage() & Self::REVOKED != 0
    }

    /// The sessions must end.
    pub fn is_aborted(&self) -> bool {
        self.stage() & Self::ABORTED != 0
    }

    /// The sessions must end, or some of them, or the gate is closed: all that concerns a session that has begun.
    pub fn concerns_sessions(&self) -> bool {
        self.stage() & (Self::ABORTED | Self::SINGLED | Self::CLOSED) != 0
    }

    /// Waits until [`Revocation::is_revoked`].
    pub async fn revoked(&self) {
        let mut listening = None;
        poll_fn(|cx| {
            let listens = listening.as_ref().is_some_and(|(_, waker)| cx.waker().will_wake(waker));
            if !listens {
                listening = Some((Ear::new(self, cx.waker().clone()), cx.waker().clone()));
            }
            if self.is_revoked() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn stage(&self) -> u32 {
        self.stage.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Waker>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registration that wakes a task at each call of [`Revocation::revoke`], and counts it among the clients, until this is dropped.
/// Check the stage afterwards: an earlier call does not wake it. One task registers once for dial and session, since registering
/// takes a lock that all sessions share.
#[derive(Debug)]
pub struct Listening(Ear<Arc<Revocation>>);

impl Listening {
    /// Registers the task that waits for this.
    pub async fn begin(revocation: Arc<Revocation>) -> Self {
        revocation.clients.fetch_add(1, Ordering::AcqRel);
        Self(Ear::new(revocation, poll_fn(|cx| Poll::Ready(cx.waker().clone())).await))
    }
}

impl Deref for Listening {
    type Target = Revocation;

    fn deref(&self) -> &Revocation {
        &self.0.revocation
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.clients.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A waker's place among those registered.
#[derive(Debug)]
struct Ear<R: Deref<Target = Revocation>> {
    revocation: R,
    place: usize,
}

impl<R: Deref<Target = Revocation>> Ear<R> {
    fn new(revocation: R, waker: Waker) -> Self {
        let place = revocation.lock().insert(waker);
        Self { revocation, place }
    }
}

impl<R: Deref<Target = Revocation>> Drop for Ear<R> {
    fn drop(&mut self) {
        let waker = self.revocation.lock().try_remove(self.place);
        // Not under the lock.
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Poll, Wake, Waker},
        thread,
        time::{Duration, Instant},
    };

    use super::{Ear, Listening, Revocation};
    use crate::failover::RevokeMode;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_listens_is_woken_at_each_step_and_not_afterwards() {
        let (revocation, counting) = (Revocation::default(), Arc::new(Counting::default()));
        let waker = Waker::from(Arc::clone(&counting));
        let woken = || counting.0.swap(0, Ordering::Relaxed);
        let (first, second) = (Ear::new(&revocation, waker.clone()), Ear::new(&revocation, waker));
        revocation.revoke(RevokeMode::Drain);
        assert_eq!((woken(), revocation.is_revoked()), (0, false));
        revocation.single_out();
        assert_eq!(
            (woken(), revocation.concerns_sessions(), revocation.is_revoked(), revocation.is_aborted()),
            (2, true, false, false)
        );
        revocation.revoke(RevokeMode::LastWords);
        assert_eq!((woken(), revocation.is_revoked(), revocation.is_aborted()), (2, true, false));
        drop(first);
        revocation.revoke(RevokeMode::Abort);
        assert_eq!((woken(), revocation.is_aborted()), (1, true));
        drop(second);
        revocation.revoke(RevokeMode::LastWords);
        assert_eq!((woken(), revocation.is_aborted()), (0, true), "a milder call changes nothing");
        assert!(revocation.lock().is_empty());
    }

    #[test]
    fn a_gate_wakes_who_listens_and_each_closing_has_a_number_of_its_own() {
        let (revocation, counting) = (Revocation::default(), Arc::new(Counting::default()));
        let _ear = Ear::new(&revocation, Waker::from(Arc::clone(&counting)));
        let woken = || counting.0.swap(0, Ordering::Relaxed);
        let mut seen = Vec::new();
        for _ in 0..3 {
            assert!(!revocation.concerns_sessions() && revocation.gating().is_none());
            revocation.gate();
            seen.extend(revocation.gating());
            revocation.gate();
            assert_eq!((woken(), revocation.gating()), (1, seen.last().copied()), "closed is closed");
            assert!(revocation.concerns_sessions() && !revocation.is_revoked() && !revocation.is_aborted());
            revocation.ungate();
            revocation.ungate();
            assert_eq!(woken(), 1);
        }
        assert!(seen.len() == 3 && seen[0] != seen[1] && seen[1] != seen[2]);
        // A pause and an operation do not open it for each other.
        let operation: [fn(&Revocation); 2] = [Revocation::gate, Revocation::ungate];
        let pause: [fn(&Revocation); 2] = [Revocation::pause, Revocation::resume];
        for ([close, open], [close_too, open_too]) in [(operation, pause), (pause, operation)] {
            close(&revocation);
            let gating = revocation.gating();
            close_too(&revocation);
            assert_eq!((woken(), revocation.gating()), (1, gating), "one closing");
            open(&revocation);
            assert_eq!((woken(), revocation.gating()), (0, gating));
            open_too(&revocation);
            assert_eq!((woken(), revocation.gating()), (1, None));
        }
        revocation.gate();
        revocation.revoke(RevokeMode::Abort);
        revocation.ungate();
        assert!(revocation.is_revoked() && revocation.is_aborted());
    }

    #[test]
    fn clients_are_those_who_stand_under_it_and_nobody_who_holds_or_watches_it() {
        let revocation = Arc::new(Revocation::default());
        let waker = Waker::from(Arc::new(Counting::default()));
        let mut context = Context::from_waker(&waker);
        let mut begin = || match pin!(Listening::begin(Arc::clone(&revocation))).poll(&mut context) {
            Poll::Ready(listening) => listening,
            Poll::Pending => panic!("nothing has to be waited for"),
        };
        let (first, second) = (begin(), begin());
        let holders = vec![Arc::clone(&revocation); 5];
        let mut waiting = pin!(first.revoked());
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(revocation.clients(), 2);
        drop((second, holders));
        assert_eq!(revocation.clients(), 1);
    }

    #[test]
    fn waiting_for_the_end_follows_the_task_that_waits() {
        let revocation = Revocation::default();
        let (before, after) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
        let mut waiting = pin!(revocation.revoked());
        for wakes in [&before, &after] {
            assert_eq!(waiting.as_mut().poll(&mut Context::from_waker(&Arc::clone(wakes).into())), Poll::Pending);
        }
        revocation.revoke(RevokeMode::LastWords);
        assert_eq!((before.0.load(Ordering::Relaxed), after.0.load(Ordering::Relaxed)), (0, 1));
        assert_eq!(waiting.as_mut().poll(&mut Context::from_waker(&after.into())), Poll::Ready(()));
    }

    #[test]
    fn nobody_is_forgotten_who_comes_while_it_is_revoked() {
        // On a machine that is busy with others, each time that both come together takes two turns of the processor.
        let began = Instant::now();
        for _ in 0..40 {
            come_together(500);
            if began.elapsed() > Duration::from_secs(5) {
                break;
            }
        }
    }

    fn come_together(times: usize) {
        let revocations: Vec<_> = (0..times).map(|_| Revocation::default()).collect();
        let turn = AtomicUsize::new(0);
        // Both come to each revocation at about the same time.
        let together = |index: usize| {
            turn.fetch_add(1, Ordering::AcqRel);
            let mut looks = 0;
            while turn.load(Ordering::Acquire) < 2 * (index + 1) {
                // On a single core the other one would never come.
                if looks > 10_000 {
                    thread::yield_now();
                } else {
                    std::hint::spin_loop();
                }
                looks += 1;
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                for (index, revocation) in revocations.iter().enumerate() {
                    together(index);
                    revocation.revoke(RevokeMode::Abort);
                }
                together(revocations.len());
            });
            let mut came = Vec::new();
            for (index, revocation) in revocations.iter().enumerate() {
                let counting = Arc::new(Counting::default());
                let waker = Waker::from(Arc::clone(&counting));
                together(index);
                let listening = Ear::new(revocation, waker);
                came.push((revocation.is_revoked(), counting, listening));
            }
            together(revocations.len());
            let forgotten = came.iter().filter(|(knows, counting, _)| !knows && counting.0.load(Ordering::Relaxed) == 0).count();
            assert_eq!(forgotten, 0);
        });
    }
}
