//! Chooses a reader for each client of a listener with readers, and the next one when a reader does not answer.

use std::{
    cmp::Reverse,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::Semaphore;

use super::target::ReadTarget;
use crate::{
    config::Balance,
    metrics::LiveCount,
    route::{Gate, Reader, Route, RouteId, RouteWatch, TakenRoute},
};

/// Cancel requests that are sent to several backends at the same time: each opens a connection to every backend.
const CANCELS_AT_ONCE: usize = 16;

/// Spreads the clients of a listener over its readers.
#[derive(Debug)]
pub(super) struct ReaderBalancer {
    target: ReadTarget,
    balance: Balance,
    /// Clients so far; round robin follows from it.
    turns: AtomicUsize,
    /// New clients so far, while there was a canary; whose turn it is follows from it.
    news: AtomicUsize,
    /// Cancel requests that are being sent to several backends.
    pub(super) cancels: Semaphore,
}

impl ReaderBalancer {
    pub(super) fn new(target: ReadTarget, balance: Balance) -> Self {
        Self { target, balance, turns: AtomicUsize::new(0), news: AtomicUsize::new(0), cancels: Semaphore::new(CANCELS_AT_ONCE) }
    }

    /// Why there is none.
    pub(super) fn why(&self, routes: &RouteWatch) -> Arc<str> {
        match self.target.gate(routes) {
            Gate::Open => "the last one did not answer".into(),
            Gate::Stale => "the last verdict is too old; checking again".into(),
            Gate::Shut => {
                let what = match self.target {
                    ReadTarget::Replica => "no replica may be read",
                    ReadTarget::ReplicaOrActive => "no replica may be read, and no primary is in use",
                    ReadTarget::Any => "no node may be read",
                };
                format!("{what}: {}", routes.why_not_read()).into()
            }
        }
    }

    /// Where its clients may be.
    pub(super) fn routes(&self, routes: &RouteWatch, now: Instant) -> Vec<Arc<Route>> {
        self.target.routes(routes, now)
    }

    /// Where any of its clients may go, in the order to try.
    pub(super) fn places(&self, routes: &RouteWatch, now: Instant) -> Vec<Arc<Route>> {
        self.target.places(routes, now)
    }

    /// Whether a client that waited, and was dropped `drops` times, goes to any reader that has a place for it.
    pub(super) fn is_for_any(&self, drops: u32) -> bool {
        self.balance != Balance::Source && drops == 0
    }

    /// A canary, for those of the new clients that it gets. Asked once for each client.
    pub(super) fn canary(
        &self,
        (routes, held): (&RouteWatch, &LiveCount),
        client: Option<IpAddr>,
        now: Instant,
    ) -> Option<TakenRoute> {
        let readers = routes.readers();
        let mut canaries = readers.iter().filter(|reader| reader.percent().is_some()).peekable();
        canaries.peek()?;
        let turns = self.news.fetch_add(1, Ordering::Relaxed);
        let mut its_own: Vec<_> = canaries
            .filter(|reader| self.target.takes(reader) && routes.is_fresh(reader, now) && self.is_turn_of(reader, turns, client))
            .collect();
        // Several share what one would get.
        if let Some(percent) = its_own.first().and_then(|reader| reader.percent()) {
            let count = its_own.len();
            its_own.rotate_left(share(turns, percent) % count);
        }
        its_own.into_iter().find_map(|reader| TakenRoute::take(Arc::clone(&reader.route), now, held).ok())
    }

    /// Chooses among the readers that take more, except those that just failed, then the fallback. `held` clients of the pool wait.
    /// For a client that was dropped `drops` times before a byte, readers take turns, since the reader with the fewest sessions may
    /// be the one that drops every client. Once all of them may have dropped it, the fallback is next.
    pub(super) fn choose(
        &self,
        (routes, held): (&RouteWatch, &LiveCount),
        failed: &[RouteId],
        drops: u32,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Option<TakenRoute> {
        let readers = routes.readers();
        let good = || {
            let taken = readers.iter().filter(|reader| self.target.takes(reader) && reader.percent().is_none());
            taken.filter(|reader| !failed.contains(&reader.route.id) && routes.is_fresh(reader, now))
        };
        let take = |route: &Arc<Route>| TakenRoute::take(Arc::clone(route), now, held).ok();
        let fallback = || take(&self.target.fallback(routes, now)?);
        let turns = self.turns.fetch_add(1, Ordering::Relaxed);
        let count = good().count();
        if count == 0 {
            return fallback();
        }
        if usize::try_from(drops).is_ok_and(|drops| drops >= count)
            && let Some(chosen) = fallback()
        {
            return Some(chosen);
        }
        let turn = turns % count;
        // The set may shrink meanwhile when a verdict becomes too old; then none is a legal answer.
        let in_turn = || good().skip(turn).chain(good().take(turn));
        let reader = match (self.balance, client) {
            (Balance::LeastConnections, _) if drops == 0 => in_turn().min_by_key(|reader| reader.load()),
            (Balance::Source, Some(client)) if drops == 0 => {
                good().min_by_key(|reader| Reverse(weight(client, &reader.route.backend)))
            }
            _ => in_turn().next(),
        };
        take(&reader?.route).or_else(|| beside(good().collect(), take)).or_else(fallback)
    }

    /// Whether this client is one of those that a canary gets: each so many, or always the same addresses.
    fn is_turn_of(&self, reader: &Reader, turns: usize, client: Option<IpAddr>) -> bool {
        let Some(percent) = reader.percent() else { return false };
        if let (Balance::Source, Some(client)) = (self.balance, client) {
            return weight(client, &reader.route.backend) % 100 < u64::from(percent);
        }
        share(turns + 1, percent) > share(turns, percent)
    }
}

/// How many of so many clients a canary gets.
fn share(turns: usize, percent: u32) -> usize {
    usize::try_from(turns as u128 * u128::from(percent) / 100).unwrap_or(usize::MAX)
}

/// Another reader, since the first takes no more.
#[cold]
fn beside(mut readers: Vec<&Reader>, take: impl Fn(&Arc<Route>) -> Option<TakenRoute>) -> Option<TakenRoute> {
    readers.sort_by_key(|reader| reader.load());
    readers.into_iter().find_map(|reader| take(&reader.route))
}

/// Rendezvous hashing: only clients of a backend that leaves, or of one that joins, move. The same in every process (FNV-1a, and
/// the finalizer of splitmix64, since FNV hardly mixes its last bytes).
fn weight(client: IpAddr, backend: &str) -> u64 {
    let client = match client.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let bytes = client.octets().into_iter().chain(backend.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        data::{
            event_loop::{Elapsed, testing, timeout},
            target::HoldGate,
        },
        failover::{Epoch, Time},
        metrics::{Metrics, PoolLabels, PoolSeries},
        route::{self, Clock, Generation, Offer, Places, Pulse, Reader, ReaderKind, Seam, Snapshot},
    };

    struct World {
        seam: Seam,
        series: PoolSeries,
        clock: Clock,
        pulses: Vec<Arc<Pulse>>,
        places: Vec<Arc<Places>>,
        held: LiveCount,
        _metrics: Arc<Metrics>,
    }

    impl World {
        /// A pool whose first backend is active, and whose others may be read.
        fn new(readers: usize) -> Self {
            let clock = Clock::start();
            let seam = route::seam(clock, Duration::from_mins(1), Snapshot::default());
            let metrics = Metrics::new().unwrap();
            let backends = (0..=readers).map(|n| (format!("db-{n}").into(), "x:1".into())).collect();
            let labels = PoolLabels { name: "orders".into(), listeners: vec![], backends };
            let series = metrics.series(&labels).unwrap();
            let pulses = series.backends.iter().map(|_| Arc::default()).collect();
            let places = series.backends.iter().map(|_| Arc::default()).collect();
            let world = Self { seam, series, clock, pulses, places, held: LiveCount::default(), _metrics: metrics };
            world.pulses.iter().for_each(|pulse| pulse.heard(world.clock.now()));
            world.publish(&(0..=readers).collect::<Vec<_>>());
            let route = Some(world.route(0, RouteId::Active(Epoch(1))));
            world.seam.publisher.offer(Offer { route, why: "".into() });
            world.seam.publisher.verified(clock.now());
            world
        }

        fn route(&self, backend: usize, id: RouteId) -> Arc<Route> {
            let (metrics, places) = (&self.series.backends[backend], Arc::clone(&self.places[backend]));
            let route = Route::new(format!("db-{backend}").into(), metrics, id, [].into(), Arc::default());
            Arc::new(Route { places, ..route })
        }

        fn publish(&self, backends: &[usize]) {
            let reader = |backend: &usize| Reader {
                route: self.route(*backend, RouteId::Reader(Generation(*backend as u64 + 1))),
                kind: if *backend == 0 { ReaderKind::Active } else { ReaderKind::Replica },
                pulse: Arc::clone(&self.pulses[*backend]),
            };
            self.seam.publisher.offer_readers(backends.iter().map(reader).collect());
        }

        /// So many sessions with a backend.
        fn sessions(&self, backend: usize, count: usize) -> Vec<TakenRoute> {
            let route = self.route(backend, RouteId::Active(Epoch(1)));
            (0..count).map(|_| TakenRoute::take(Arc::clone(&route), Instant::now(), &self.held).unwrap()).collect()
        }

        fn choose(
            &self,
            balancer: &ReaderBalancer,
            failed: &[RouteId],
            drops: u32,
            client: Option<IpAddr>,
        ) -> Option<TakenRoute> {
            let (pool, now) = ((&self.seam.routes, &self.held), Instant::now());
            let canary = || balancer.canary(pool, client, now);
            let is_new = failed.is_empty() && drops == 0;
            is_new.then(canary).flatten().or_else(|| balancer.choose(pool, failed, drops, client, now))
        }

        fn withdraw_active(&self) {
            self.seam.publisher.offer(Offer { route: None, why: "db-0: down".into() });
        }

        /// Chooses so often, each on its way until all are.
        fn crowd(&self, balancer: &ReaderBalancer, clients: usize) -> Vec<String> {
            let chosen: Vec<_> = (0..clients).map(|_| self.choose(balancer, &[], 0, None).unwrap()).collect();
            chosen.iter().map(|chosen| chosen.backend.to_string()).collect()
        }

        fn one(&self, balancer: &ReaderBalancer, failed: &[RouteId], drops: u32) -> Option<String> {
            self.choose(balancer, failed, drops, None).map(|chosen| chosen.backend.to_string())
        }
    }

    fn balancer(target: ReadTarget, balance: Balance) -> ReaderBalancer {
        ReaderBalancer::new(target, balance)
    }

    #[test]
    fn a_canary_has_its_share_and_never_more() {
        let world = World::new(2);
        let readers = |percent| {
            let mut readers: Vec<_> = world.seam.routes.readers().iter().cloned().collect();
            readers[2].kind = ReaderKind::Canary(percent);
            world.seam.publisher.offer_readers(readers.into());
        };
        for percent in [1, 5, 33, 100] {
            readers(percent);
            for balance in [Balance::RoundRobin, Balance::LeastConnections] {
                let chosen = counts(&world.crowd(&balancer(ReadTarget::Replica, balance), 200), 3);
                assert_eq!(chosen, [0, 200 - 2 * percent as usize, 2 * percent as usize], "{percent} {balance:?}");
            }
        }
        readers(20);
        let source = balancer(ReadTarget::Replica, Balance::Source);
        let of = |last| world.choose(&source, &[], 0, Some(IpAddr::from([10, 0, 0, last]))).unwrap().backend.to_string();
        let first: Vec<_> = (0..=u8::MAX).map(of).collect();
        assert_eq!(first, (0..=u8::MAX).map(of).collect::<Vec<_>>(), "an address stays");
        assert!((20..80).contains(&counts(&first, 3)[2]), "{:?}", counts(&first, 3));
        // Two of them share it.
        let mut both: Vec<_> = world.seam.routes.readers().iter().cloned().collect();
        both[1].kind = ReaderKind::Canary(20);
        world.seam.publisher.offer_readers(both.into());
        let turns = balancer(ReadTarget::Replica, Balance::RoundRobin);
        let chosen: Vec<_> = (0..100).filter_map(|_| world.one(&turns, &[], 0)).collect();
        assert_eq!(counts(&chosen, 3), [0, 10, 10]);
        // Alone it does not become the one that everybody reads from.
        let only = world.seam.routes.readers()[2].clone();
        world.seam.publisher.offer_readers(Arc::from([only]));
        let turns = balancer(ReadTarget::Replica, Balance::RoundRobin);
        assert_eq!((0..100).filter(|_| world.one(&turns, &[], 0).is_some()).count(), 20);
    }

    /// The clients that are not its own wait for another one, whose place they get.
    #[test]
    fn a_canary_releases_nobody_who_waits() {
        testing::run(async {
            let world = World::new(2);
            let mut readers: Vec<_> = world.seam.routes.readers().iter().cloned().collect();
            readers[2].kind = ReaderKind::Canary(5);
            let (replica, canary) = (readers[1].clone(), readers[2].clone());
            let routes = &world.seam.routes;
            let names =
                |gate: &HoldGate| gate.routes(Instant::now()).iter().map(|route| route.backend.to_string()).collect::<Vec<_>>();
            let hold = |target| HoldGate::Reader(routes.clone(), target);
            world.seam.publisher.offer_readers(Arc::from([canary.clone()]));
            world.withdraw_active();
            for target in [ReadTarget::Replica, ReadTarget::ReplicaOrActive, ReadTarget::Any] {
                assert_eq!((target.gate(routes), names(&hold(target))), (Gate::Shut, vec![]), "{target:?}");
                let cancels = balancer(target, Balance::RoundRobin).routes(routes, Instant::now());
                assert_eq!(cancels.len(), 1, "a query on it can be cancelled");
            }
            let mut door = hold(ReadTarget::Replica);
            assert_eq!(timeout(Duration::from_millis(30), door.opens()).await, Err(Elapsed));
            // One that is full is waited for all the same.
            world.seam.publisher.offer_readers(Arc::from([canary, replica]));
            assert_eq!(names(&door), ["db-1"]);
            assert_eq!(timeout(Duration::from_secs(9), door.opens()).await, Ok(Some(())));
        });
    }

    fn counts(chosen: &[String], backends: usize) -> Vec<usize> {
        (0..backends).map(|n| chosen.iter().filter(|name| **name == format!("db-{n}")).count()).collect()
    }

    #[test]
    fn in_turn_is_exact_and_spares_the_active_one() {
        let world = World::new(3);
        let [turns, any] = [ReadTarget::Replica, ReadTarget::Any].map(|target| balancer(target, Balance::RoundRobin));
        assert_eq!(world.crowd(&turns, 4), ["db-1", "db-2", "db-3", "db-1"]);
        assert_eq!(counts(&world.crowd(&turns, 299), 4), [0, 99, 100, 100]);
        assert_eq!(counts(&world.crowd(&any, 400), 4), [100; 4]);
    }

    #[test]
    fn the_one_with_the_fewest_sessions_is_chosen_and_a_burst_is_spread_also_before_it_has_sessions() {
        let world = World::new(3);
        let balancer = balancer(ReadTarget::Replica, Balance::LeastConnections);
        assert_eq!(counts(&world.crowd(&balancer, 30), 4), [0, 10, 10, 10], "equals take turns");
        let _sessions = [world.sessions(1, 7), world.sessions(2, 2)];
        assert_eq!(world.one(&balancer, &[], 0).as_deref(), Some("db-3"));
        assert_eq!(counts(&world.crowd(&balancer, 12), 4), [0, 0, 5, 7], "those on their way count");
        assert_eq!(counts(&world.crowd(&balancer, 12), 4), [0, 0, 5, 7], "and no longer when they are not");
    }

    #[test]
    fn a_client_address_has_the_same_reader_until_that_leaves_and_others_keep_theirs() {
        let world = World::new(3);
        let balancer = balancer(ReadTarget::Replica, Balance::Source);
        let clients = || (0..=u8::MAX).map(|last| IpAddr::from([10, 0, 0, last]));
        let of = |client, failed: &[RouteId]| world.choose(&balancer, failed, 0, Some(client)).unwrap().backend.to_string();
        let before: Vec<_> = clients().map(|client| of(client, &[])).collect();
        assert!(counts(&before, 4)[1..].iter().all(|count| *count > 50), "{:?}", counts(&before, 4));
        let failed = [RouteId::Reader(Generation(3))];
        let mut sessions = Vec::new();
        for (client, before) in clients().zip(before) {
            sessions.extend(world.sessions(1, 1));
            let mapped = IpAddr::V6(match client {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            });
            assert_eq!((of(client, &[]), of(mapped, &[])), (before.clone(), before.clone()));
            assert!(of(client, &failed) == before || before == "db-2", "{client} moved from {before}");
        }
        assert_eq!(counts(&world.crowd(&balancer, 30), 4), [0, 10, 10, 10], "clients without an address take turns");
        assert_eq!(weight([127, 0, 0, 1].into(), "db-a"), 5_172_132_817_064_480_496, "it is the same in every version");
    }

    #[test]
    fn a_reader_that_failed_makes_way_for_the_next_and_the_last_for_the_fallback() {
        let world = World::new(2);
        let failed = [2, 3].map(|n| RouteId::Reader(Generation(n)));
        for (target, last) in
            [(ReadTarget::Replica, None), (ReadTarget::ReplicaOrActive, Some("db-0")), (ReadTarget::Any, Some("db-0"))]
        {
            let balancer = balancer(target, Balance::LeastConnections);
            assert_eq!(world.one(&balancer, &failed, 0).as_deref(), last, "{target:?}");
            let _sessions = world.sessions(0, 9);
            assert_eq!(world.one(&balancer, &failed[..1], 0).as_deref(), Some("db-2"), "{target:?}");
            assert_eq!(world.one(&balancer, &failed[1..], 0).as_deref(), Some("db-1"), "{target:?}");
        }
    }

    #[test]
    fn one_that_is_full_makes_way_for_one_below_its_limit_and_all_together_for_the_fallback() {
        let client = Some(IpAddr::from([10, 0, 0, 7]));
        for balance in [Balance::LeastConnections, Balance::RoundRobin, Balance::Source] {
            let world = World::new(2);
            let [fallback, replica] = [ReadTarget::ReplicaOrActive, ReadTarget::Replica].map(|target| balancer(target, balance));
            world.places.iter().zip([1, 2, 3]).for_each(|(places, limit)| places.resize(Some(limit)));
            let mut chosen: Vec<_> = (0..5).map(|_| world.choose(&replica, &[], 0, client).unwrap()).collect();
            let names: Vec<_> = chosen.iter().map(|chosen| chosen.backend.to_string()).collect();
            assert_eq!(counts(&names, 3), [0, 2, 3], "{balance:?}");
            assert!(world.choose(&replica, &[], 0, client).is_none(), "{balance:?}");
            chosen.push(world.choose(&fallback, &[], 0, client).unwrap());
            assert_eq!(&*chosen[5].backend, "db-0");
            assert!(world.choose(&fallback, &[], 0, client).is_none(), "{balance:?}");
            chosen.remove(0);
            assert!(world.choose(&fallback, &[], 0, client).is_some_and(|chosen| &*chosen.backend != "db-0"));
        }
    }

    #[test]
    fn one_that_drops_everybody_keeps_nobody_from_the_others() {
        let world = World::new(2);
        // It has no sessions, and never will.
        let _sessions = world.sessions(1, 50);
        let balancer = balancer(ReadTarget::ReplicaOrActive, Balance::LeastConnections);
        assert_eq!(world.one(&balancer, &[], 0).as_deref(), Some("db-2"));
        let second: Vec<_> = (0..2).map(|_| world.one(&balancer, &[], 1).unwrap()).collect();
        assert!(second.contains(&"db-1".to_owned()), "{second:?}");
        assert_eq!(world.one(&balancer, &[], 2).as_deref(), Some("db-0"), "all may have dropped it: the fallback");
        world.withdraw_active();
        assert!(world.one(&balancer, &[], 9).is_some_and(|name| name != "db-0"), "without one, a reader again");
    }

    #[test]
    fn the_gate_is_open_while_there_is_somebody_to_trust() {
        let world = World::new(1);
        let routes = &world.seam.routes;
        let gates = || [ReadTarget::Replica, ReadTarget::ReplicaOrActive, ReadTarget::Any].map(|target| target.gate(routes));
        assert_eq!(gates(), [Gate::Open; 3]);
        world.publish(&[0]);
        assert_eq!(gates(), [Gate::Shut, Gate::Open, Gate::Open]);
        world.withdraw_active();
        world.publish(&[]);
        assert_eq!(gates(), [Gate::Shut; 3]);
        world.seam.publisher.explain_readers("db-0: down, db-1: lag");
        let balancer = balancer(ReadTarget::Replica, Balance::RoundRobin);
        assert_eq!(&*balancer.why(routes), "no replica may be read: db-0: down, db-1: lag");
        world.publish(&[0, 1]);
        world.seam.publisher.max_staleness(Duration::ZERO);
        world.pulses.iter().for_each(|pulse| pulse.heard(Time::ZERO));
        while world.clock.now() <= Time::from_millis(1) {
            std::thread::yield_now();
        }
        assert_eq!(gates(), [Gate::Stale; 3]);
        assert_eq!(world.one(&balancer, &[], 0), None, "an old verdict is no reason to send somebody there");
        let reader = world.seam.routes.readers()[1].clone();
        assert!(!routes.stands(&reader.route, Instant::now()));
        world.seam.publisher.max_staleness(Duration::from_mins(1));
        assert!(routes.stands(&reader.route, Instant::now()));
        world.publish(&[0]);
        assert!(!routes.stands(&reader.route, Instant::now()), "a dial that began before it left");
    }

    #[test]
    fn who_waits_is_woken_by_what_they_wait_for() {
        testing::run(async {
            let world = World::new(1);
            world.withdraw_active();
            world.publish(&[0]);
            let mut door = HoldGate::Reader(world.seam.routes.clone(), ReadTarget::Replica);
            let waiting = door.opens();
            tokio::pin!(waiting);
            assert_eq!(timeout(Duration::from_millis(30), &mut waiting).await, Err(Elapsed));
            world.publish(&[0, 1]);
            assert_eq!(timeout(Duration::from_secs(9), waiting).await, Ok(Some(())));
            world.publish(&[0]);
            let mut ended = HoldGate::Reader(world.seam.routes.clone(), ReadTarget::Replica);
            drop(world.seam.publisher);
            assert_eq!(timeout(Duration::from_secs(9), ended.opens()).await, Ok(None));
        });
    }
}
