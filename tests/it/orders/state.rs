//! drain, maint and ready.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use mainstay::{
    app,
    config::{CheckKind, ListenerRoute, PostgresCheck},
    failover::{Admin, Election},
    route::RefusalCode,
};

use super::{Server, Session, active, add_reader, at, becomes_active, by_force, code, give, held, order, set, told, until_held};
use crate::support::{
    config::tcp_pool,
    front::{client, end},
    postgres::Postgres,
    wait::until,
};

#[test]
fn the_active_backend_is_drained_to_the_next_and_stays_out_until_it_is_ready() {
    let [a, b] = [b'a', b'b'].map(Server::new);
    let running = app::start(&tcp_pool(&[a.address(), b.address()])).unwrap();
    becomes_active(&running, "db-a");
    until("db-b is up", || running.snapshots[0].get().backends[1].reason.eq(&mainstay::failover::Reason::Eligible).then_some(()));
    let mut session = Session::open(at(&running, 0));

    let would = give(&running.orders[0], set("db-a", Admin::Drain), true).unwrap();
    assert_eq!((active(&running).as_deref(), session.ask().unwrap()), (Some("db-a"), b'a'), "a dry run does nothing");
    let done = order(&running, set("db-a", Admin::Drain)).unwrap();
    assert_eq!(done, would);
    assert_eq!(done.sessions, 1);
    let lines = ["db-a: ready -> drain", "db-b becomes active, epoch 2", "1 session ends now"];
    assert_eq!(done.lines[..3], lines, "{done:?}");
    assert!(done.lines[3].contains("state_dir"), "{done:?}");
    // What was answered can be seen.
    assert_eq!(active(&running).as_deref(), Some("db-b"));
    session.is_over();
    assert_eq!(Session::open(at(&running, 0)).ask().unwrap(), b'b');

    order(&running, set("db-a", Admin::Ready)).unwrap();
    assert_eq!(active(&running).as_deref(), Some("db-b"), "there is no failback");
    order(&running, set("db-b", Admin::Maint)).unwrap();
    assert_eq!(active(&running).as_deref(), Some("db-a"));

    let told = told(&running);
    let results: Vec<_> = told.iter().map(|event| (event.to.unwrap(), event.backend.as_deref().unwrap())).collect();
    assert_eq!(results, [("dry_run", "db-a"), ("done", "db-a"), ("done", "db-a"), ("done", "db-b")]);
    let evidence = &*told[1].evidence;
    for part in ["drain db-a", "uid 7 (ann)", "a new disk", "db-b becomes active"] {
        assert!(evidence.contains(part), "{evidence}");
    }
    end(running);
}

#[test]
fn the_last_one_goes_only_by_force_and_its_clients_wait() {
    let a = Server::new(b'a');
    let running = app::start(&tcp_pool(&[a.address()])).unwrap();
    becomes_active(&running, "db-a");
    let mut session = Session::open(at(&running, 0));
    for to in [Admin::Drain, Admin::Maint] {
        let refusal = order(&running, set("db-a", to)).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::NobodyTakesOver);
        assert!(refusal.message.contains("--force") && refusal.message.contains("the pool has no other"), "{refusal:?}");
    }
    assert_eq!(told(&running).iter().map(|event| event.to.unwrap()).collect::<Vec<_>>(), ["nobody_takes_over"; 2]);
    assert_eq!((active(&running).as_deref(), session.ask().unwrap()), (Some("db-a"), b'a'));
    assert_eq!(code(order(&running, set("db-x", Admin::Ready))), RefusalCode::UnknownBackend);

    let done = order(&running, by_force("db-a", Admin::Drain)).unwrap();
    assert_eq!(done.sessions, 0, "{done:?}");
    assert!(done.lines.contains(&"no backend takes over: new clients wait".to_owned()), "{done:?}");
    assert_eq!(session.ask().unwrap(), b'a', "its session goes on");
    let waits = client(at(&running, 0));
    until_held(&running, 1);
    let done = order(&running, by_force("db-a", Admin::Maint)).unwrap();
    session.is_over();
    assert_eq!((held(&running), done.sessions), (1, 1), "{done:?}");
    order(&running, set("db-a", Admin::Ready)).unwrap();
    assert_eq!(Session(waits).ask().unwrap(), b'a');
    end(running);
}

#[test]
fn a_standby_goes_and_comes_without_a_word_from_the_primary_and_a_primary_without_a_successor_stays() {
    let primary = Postgres::primary(&[]);
    let standby = primary.standby(&[]);
    let address = |server: &Postgres| ([127, 0, 0, 1], server.port).into();
    let mut config = tcp_pool(&[address(&primary), address(&standby)]);
    let pool = &mut config.pools[0];
    pool.check.kind = CheckKind::Postgres(PostgresCheck { user: "postgres".into(), ..PostgresCheck::default() });
    pool.policy.election = Election::ByRole;
    add_reader(&mut config, ListenerRoute::Replica);
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    until("the standby is read", || running.snapshots[0].get().backends[1].read_eligibility.may_be_read().then_some(()));
    let mut writes = crate::replicas::Sql::open(at(&running, 0));
    let mut reads = crate::replicas::Sql::open(at(&running, 1));
    assert_eq!(writes.ask("SELECT pg_is_in_recovery()").unwrap(), "f");
    assert_eq!(reads.ask("SELECT pg_is_in_recovery()").unwrap(), "t");

    let refusal = order(&running, set("db-a", Admin::Maint)).unwrap_err();
    assert!(refusal.message.contains("db-b: standby"), "{refusal:?}");

    let done = order(&running, set("db-b", Admin::Drain)).unwrap();
    assert_eq!(done.sessions, 0, "{done:?}");
    assert_eq!(reads.ask("SELECT 1").unwrap(), "1", "the session of a drained standby goes on");
    let done = order(&running, set("db-b", Admin::Maint)).unwrap();
    assert_eq!(done.sessions, 1, "{done:?}");
    assert!(reads.ask("SELECT 1").is_err());
    order(&running, set("db-b", Admin::Ready)).unwrap();
    assert_eq!(crate::replicas::Sql::once(at(&running, 1)), "t");

    order(&running, by_force("db-a", Admin::Drain)).unwrap();
    assert_eq!(writes.ask("SELECT 1").unwrap(), "1", "the session of a drained primary goes on until another is active");
    standby.promote();
    becomes_active(&running, "db-b");
    assert!(writes.ask("SELECT 1").is_err());
    assert_eq!(crate::replicas::Sql::once(at(&running, 0)), "f");
    end(running);
}

#[test]
fn orders_and_reloads_at_the_same_time_lose_nothing() {
    let [a, b] = [b'a', b'b'].map(Server::new);
    let first = tcp_pool(&[a.address(), b.address()]);
    let mut second = first.clone();
    second.pools[0].backends.reverse();
    let running = app::start(&first).unwrap();
    becomes_active(&running, "db-a");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for config in [&second, &first] {
                    running.reloader().reload(config).unwrap();
                }
            }
        });
        for _ in 0..100 {
            for to in [Admin::Maint, Admin::Drain, Admin::Ready] {
                order(&running, by_force("db-b", to)).unwrap();
                let snapshot = running.snapshots[0].get();
                let named = snapshot.backends.iter().find(|backend| &*backend.name == "db-b").unwrap();
                assert_eq!(named.admin, to, "the order went to another backend");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    end(running);
}

#[test]
fn a_pool_that_is_configured_no_more_takes_no_orders() {
    let [a, b] = [b'a', b'b'].map(Server::new);
    let config = tcp_pool(&[a.address()]);
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    let mut session = Session::open(at(&running, 0));
    let mut other = tcp_pool(&[b.address()]);
    other.pools[0].name = "users".into();
    (other.admin, other.shutdown) = (config.admin.clone(), config.shutdown);
    running.reloader().reload(&other).unwrap();
    // Its session keeps the supervisor; then nobody is there.
    assert_eq!(code(order(&running, by_force("db-a", Admin::Maint))), RefusalCode::Gone);
    assert_eq!(session.ask().unwrap(), b'a');
    drop(session);
    until("its supervisor has ended", || {
        let refusal = order(&running, set("db-a", Admin::Ready)).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Gone);
        refusal.message.contains("has ended").then_some(())
    });
    end(running);
}
