//! kill: all sessions, those with one backend, that of one client.

use std::{io::Write, thread};

use mainstay::{
    app,
    config::{CheckKind, ListenerRoute, PostgresCheck, RelayMode},
    failover::{Admin, Election},
    net::endpoint::Peer,
    reason::CloseReason,
    route::{RefusalCode, Verb},
};

use super::{Server, Session, add_reader, at, becomes_active, code, order, set};
use crate::support::{
    config::tcp_pool,
    front::{client, end},
    postgres::Postgres,
    wait::until,
};

fn kill(backend: Option<&str>, client: Option<&Session>) -> Verb {
    Verb::Kill { backend: backend.map(Into::into), client: client.map(|client| Peer::from(client.0.local_addr().unwrap())) }
}

fn killed(running: &app::Running, backend: usize) -> u64 {
    running.series[0].backends[backend].closed.get(CloseReason::Killed).get()
}

#[test]
fn the_sessions_meant_end_and_no_others_and_their_clients_may_come_again_at_once() {
    for relay in [RelayMode::Copy, RelayMode::Splice] {
        let [a, b] = [b'a', b'b'].map(Server::new);
        let mut config = tcp_pool(&[a.address(), b.address()]);
        add_reader(&mut config, ListenerRoute::Replica);
        config.pools[0].listeners.iter_mut().for_each(|listener| listener.relay = relay);
        let running = app::start(&config).unwrap();
        becomes_active(&running, "db-a");
        until("db-b is read", || running.snapshots[0].get().backends[1].read_eligibility.may_be_read().then_some(()));
        let mut writers: Vec<_> = (0..3).map(|_| Session::open(at(&running, 0))).collect();
        let mut readers: Vec<_> = (0..2).map(|_| Session::open(at(&running, 1))).collect();

        let one = order(&running, kill(None, Some(&writers[1]))).unwrap();
        assert_eq!((one.sessions, &*one.lines[0]), (1, "1 session ends now; new clients are served as before"));
        writers.remove(1).is_over();
        assert_eq!(order(&running, kill(Some("db-a"), Some(&readers[0]))).unwrap().sessions, 0, "it is with the other");
        assert_eq!(order(&running, kill(Some("db-b"), None)).unwrap().sessions, 2);
        readers.iter_mut().for_each(Session::is_over);
        for session in &mut writers {
            assert_eq!(session.ask().unwrap(), b'a', "sessions of others go on");
        }
        assert_eq!(Session::open(at(&running, 1)).ask().unwrap(), b'b');
        // The epoch is as it was: nothing was revoked.
        assert_eq!(running.snapshots[0].get().epoch.0, 1);
        until("the ends are counted", || ((killed(&running, 0), killed(&running, 1)) == (1, 2)).then_some(()));
        until("all readers have left", || (running.series[0].backends[1].connections_active.get() == 0).then_some(()));
        assert_eq!(order(&running, kill(None, None)).unwrap().sessions, 2);
        writers.iter_mut().for_each(Session::is_over);
        assert_eq!(Session::open(at(&running, 0)).ask().unwrap(), b'a');
        assert_eq!(code(order(&running, kill(Some("db-x"), None))), RefusalCode::UnknownBackend);
        end(running);
    }
}

#[test]
fn a_session_that_moves_bytes_or_is_blocked_ends_as_well() {
    for relay in [RelayMode::Copy, RelayMode::Splice] {
        let a = Server::new(b'a');
        let mut config = tcp_pool(&[a.address()]);
        config.pools[0].listeners[0].relay = relay;
        let running = app::start(&config).unwrap();
        becomes_active(&running, "db-a");
        // It sends and reads nothing of the answers, until nobody takes anything any more.
        let mut busy = client(at(&running, 0));
        let target = Session(busy.try_clone().unwrap());
        let writer = thread::spawn(move || while busy.write_all(&vec![0; 64 << 10]).is_ok() {});
        until("bytes move", || {
            let bytes = &running.series[0].backends[0].relay_bytes;
            (bytes.get(mainstay::reason::Direction::Upstream).get() > 1 << 20).then_some(())
        });
        let mut idle = Session::open(at(&running, 0));
        assert_eq!(order(&running, kill(None, Some(&target))).unwrap().sessions, 1);
        writer.join().unwrap();
        assert_eq!(idle.ask().unwrap(), b'a');
        until("it is counted", || (killed(&running, 0) == 1).then_some(()));
        end(running);
    }
}

#[test]
fn a_route_that_is_drained_and_one_under_which_somebody_was_killed_is_revoked_as_ever() {
    let [a, b] = [b'a', b'b'].map(Server::new);
    let running = app::start(&tcp_pool(&[a.address(), b.address()])).unwrap();
    becomes_active(&running, "db-a");
    until("db-b is up", || (running.snapshots[0].get().failover_ready.to_string() == "ready").then_some(()));
    let [mut first, mut second] = [0, 1].map(|_| Session::open(at(&running, 0)));
    assert_eq!(order(&running, kill(None, Some(&first))).unwrap().sessions, 1);
    first.is_over();
    assert_eq!(second.ask().unwrap(), b'a');
    assert_eq!(order(&running, set("db-a", Admin::Maint)).unwrap().sessions, 1);
    second.is_over();
    let closed = &running.series[0].backends[0].closed;
    until("both are counted", || {
        let count = |reason| closed.get(reason).get();
        ((count(CloseReason::Killed), count(CloseReason::Revoked)) == (1, 1)).then_some(())
    });
    end(running);
}

#[test]
fn a_client_that_has_not_begun_to_log_in_is_ended_too() {
    let server = Postgres::primary(&["authentication_timeout=10min"]);
    let mut config = tcp_pool(&[([127, 0, 0, 1], server.port).into()]);
    let pool = &mut config.pools[0];
    pool.check.kind = CheckKind::Postgres(PostgresCheck { user: "postgres".into(), ..PostgresCheck::default() });
    pool.policy.election = Election::ByRole;
    pool.listeners[0].client_login_timeout = None;
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    let mut session = Session(client(at(&running, 0)));
    until("it has a session", || (running.series[0].backends[0].connections_active.get() == 1).then_some(()));
    assert_eq!(order(&running, kill(None, None)).unwrap().sessions, 1);
    session.is_over();
    until("it is counted", || (killed(&running, 0) == 1).then_some(()));
    end(running);
}
