//! pause and resume.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use mainstay::{
    app::{self, Running},
    config::{HoldConfig, ListenerRoute},
    failover::Admin,
    reason::{Direction, RejectReason},
    route::{RefusalCode, Verb},
};

use super::{Server, Session, active, add_reader, at, becomes_active, give, held, order, pause, set, until_held};
use crate::support::{
    config::tcp_pool,
    echo::Backend,
    front::{client, end, is_over},
    wait::{patience, until, within},
};

/// Longer than any pause of a test lasts.
const LONG: Duration = Duration::from_hours(1);

fn rejected(running: &Running) -> u64 {
    running.series[0].listeners.iter().flat_map(|listener| listener.rejected.iter()).map(|(_, count)| count.get()).sum()
}

/// Clients that are held: all of them.
fn crowd(running: &Running, count: u64) -> Vec<Session> {
    let crowd = (0..count).map(|_| Session(client(at(running, 0)))).collect();
    until_held(running, count);
    crowd
}

#[test]
fn fifty_clients_wait_far_longer_than_their_hold_and_are_all_served_after_resume() {
    const WAIT: Duration = Duration::from_secs(3);
    let a = Server::new(b'a');
    let mut config = tcp_pool(&[a.address()]);
    config.pools[0].hold.timeout = Duration::from_millis(500);
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    let mut session = Session::open(at(&running, 0));
    let begun = Instant::now();
    order(&running, pause(LONG)).unwrap();
    let mut clients = crowd(&running, 50);
    while begun.elapsed() < WAIT {
        assert_eq!(session.ask().unwrap(), b'a', "sessions go on");
        assert_eq!((held(&running), rejected(&running)), (50, 0));
        // Time is what this is about.
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(a.clients(), 1);
    let snapshot = running.snapshots[0].get();
    assert!(snapshot.paused && snapshot.suspended && snapshot.paused_until.is_some());
    assert_eq!(running.series[0].pool.paused.get(), 1);
    let done = order(&running, Verb::Resume).unwrap();
    assert_eq!(done.lines, ["the pause is over; new clients go to db-a"]);
    for client in &mut clients {
        assert_eq!(client.ask().unwrap(), b'a');
    }
    assert_eq!(rejected(&running), 0);
    assert_eq!(running.series[0].pool.paused.get(), 0);
    assert_eq!(order(&running, Verb::Resume).unwrap().lines, ["the pool was not paused"]);
    end(running);
}

#[test]
fn a_pause_longer_than_the_hold_ends_by_itself_and_refuses_nobody() {
    const HOLD: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(4);
    let a = Server::new(b'a');
    let mut config = tcp_pool(&[a.address()]);
    config.pools[0].hold.timeout = HOLD;
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    let begun = Instant::now();
    order(&running, pause(MAX)).unwrap();
    let mut clients = crowd(&running, 50);
    within(MAX + patience(), "the pause ends", || (!running.snapshots[0].get().paused).then_some(()));
    assert!(begun.elapsed() >= MAX, "it ended after {:?}", begun.elapsed());
    for client in &mut clients {
        assert_eq!(client.ask().unwrap(), b'a');
    }
    assert_eq!(rejected(&running), 0);
    end(running);
}

#[test]
fn who_finds_nobody_after_a_pause_waits_for_the_usual_time_from_its_end() {
    const HOLD: Duration = Duration::from_millis(700);
    const MAX: Duration = Duration::from_millis(1500);
    let mut a = Server::new(b'a');
    let mut config = tcp_pool(&[a.address()]);
    config.pools[0].hold = HoldConfig { timeout: HOLD, max: 10, max_per_ip: 10 };
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    let begun = Instant::now();
    order(&running, pause(MAX)).unwrap();
    a.backend.stop();
    let waits = client(at(&running, 0));
    until("nobody is active", || active(&running).is_none().then_some(()));
    assert!(is_over(&waits));
    assert!(begun.elapsed() >= MAX + HOLD, "refused after {:?}", begun.elapsed());
    assert_eq!(running.series[0].listeners[0].rejected.get(RejectReason::HoldTimeout).get(), 1);
    end(running);
}

#[test]
fn a_failover_during_the_pause_opens_nothing_and_the_new_one_gets_them_after_resume() {
    let [mut a, b] = [b'a', b'b'].map(Server::new);
    let mut config = tcp_pool(&[a.address(), b.address()]);
    config.pools[0].check.interval = Duration::from_millis(100);
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    order(&running, pause(LONG)).unwrap();
    let mut clients = crowd(&running, 50);
    a.backend.stop();
    becomes_active(&running, "db-b");
    // And by command, there and back.
    for (out, is) in [("db-a", "db-b"), ("db-b", "db-b")] {
        let _ = order(&running, set(out, Admin::Drain));
        assert_eq!(active(&running).as_deref(), Some(is));
    }
    assert!(running.snapshots[0].get().suspended);
    assert_eq!((held(&running), b.clients(), rejected(&running)), (50, 0, 0), "somebody went before the pause was over");
    order(&running, Verb::Resume).unwrap();
    for client in &mut clients {
        assert_eq!(client.ask().unwrap(), b'b');
    }
    assert_eq!((b.clients(), rejected(&running)), (50, 0));
    end(running);
}

#[test]
fn no_activation_offers_its_route_for_an_instant_while_paused() {
    let [a, b] = [b'a', b'b'].map(Server::new);
    let running = app::start(&tcp_pool(&[a.address(), b.address()])).unwrap();
    becomes_active(&running, "db-a");
    until("db-b is up", || (running.snapshots[0].get().failover_ready.to_string() == "ready").then_some(()));
    order(&running, pause(LONG)).unwrap();
    let clients = crowd(&running, 20);
    for _ in 0..200 {
        for (name, other) in [("db-a", "db-b"), ("db-b", "db-a")] {
            order(&running, set(name, Admin::Maint)).unwrap();
            assert_eq!(active(&running).as_deref(), Some(other));
            order(&running, set(name, Admin::Ready)).unwrap();
        }
    }
    assert_eq!((held(&running), a.clients(), b.clients()), (20, 0, 0));
    drop(clients);
    end(running);
}

#[test]
fn clients_of_readers_wait_as_well_and_a_reload_does_not_end_the_pause() {
    let [a, b] = [b'a', b'b'].map(Server::new);
    let mut config = tcp_pool(&[a.address(), b.address()]);
    add_reader(&mut config, ListenerRoute::Any);
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    let mut session = Session::open(at(&running, 1));
    order(&running, pause(LONG)).unwrap();
    let before = a.clients() + b.clients();
    let reader = client(at(&running, 1));
    until_held(&running, 1);
    config.pools[0].connect_timeout = Duration::from_secs(7);
    running.reloader().reload(&config).unwrap();
    // The order after the reload is answered after it.
    let would = give(&running.orders[0], Verb::Resume, true).unwrap();
    assert_eq!(would.lines, ["the pause is over; new clients go to db-a"]);
    assert!(running.snapshots[0].get().paused);
    session.ask().unwrap();
    assert_eq!((held(&running), a.clients() + b.clients()), (1, before));
    order(&running, Verb::Resume).unwrap();
    Session(reader).ask().unwrap();
    end(running);
}

/// An operation takes longer than a client waits by itself.
#[test]
fn clients_wait_through_an_operation_as_through_a_pause() {
    const HOLD: Duration = Duration::from_millis(300);
    let silent = Backend::start(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let b = Server::new(b'b');
    let mut config = tcp_pool(&[silent.address, b.address()]);
    config.pools[0].hold.timeout = HOLD;
    config.pools[0].switchover.drain_timeout = Duration::ZERO;
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    let mut under_way = client(at(&running, 0));
    under_way.write_all(b"?").unwrap();
    until("its request is with db-a", || {
        (running.series[0].backends[0].relay_bytes.get(Direction::Upstream).get() > 0).then_some(())
    });
    until("db-b is up", || (running.snapshots[0].get().failover_ready.to_string() == "ready").then_some(()));
    let begun = Instant::now();
    order(&running, Verb::Switchover { to: Some("db-b".into()), force: false }).unwrap();
    let mut clients = crowd(&running, 5);
    while begun.elapsed() < HOLD * 5 {
        assert_eq!((held(&running), rejected(&running)), (5, 0), "after {:?}", begun.elapsed());
        // Time is what this is about.
        thread::sleep(Duration::from_millis(20));
    }
    drop(under_way);
    for client in &mut clients {
        assert_eq!(client.ask().unwrap(), b'b');
    }
    assert_eq!(rejected(&running), 0);
    // From now on a client waits for the usual time again.
    drop((silent, b));
    until("nobody is active", || active(&running).is_none().then_some(()));
    assert!(is_over(&client(at(&running, 0))));
    end(running);
}

#[test]
fn ten_thousand_orders_at_once_are_answered_or_refused_and_the_last_counts() {
    let a = Server::new(b'a');
    let running = app::start(&tcp_pool(&[a.address()])).unwrap();
    becomes_active(&running, "db-a");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let sender = &running.orders[0];
    let (mut done, mut busy) = (0, 0);
    runtime.block_on(async {
        let orders: Vec<_> = (0..10_000)
            .map(|number| {
                let (sender, verb) = (sender.clone(), if number % 2 == 0 { pause(LONG) } else { Verb::Resume });
                tokio::spawn(async move { sender.give(verb, ("x".into(), "".into()), false, Duration::from_mins(1)).await })
            })
            .collect();
        for order in orders {
            match order.await.unwrap() {
                Ok(_) => done += 1,
                Err(refusal) if refusal.code == RefusalCode::Busy => busy += 1,
                Err(refusal) => panic!("{refusal:?}"),
            }
        }
    });
    assert!(done > 0 && done + busy == 10_000, "{done} done, {busy} refused");
    order(&running, Verb::Resume).unwrap();
    assert_eq!(Session::open(at(&running, 0)).ask().unwrap(), b'a');
    end(running);
}
