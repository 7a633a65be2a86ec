//! What the check's role may not do, and servers on which no session can be found: said before and after, and nobody is broken by it.

use std::{thread, time::Duration};

use super::{Client, LONG, Scene, all_ended, drained, draining, runtime, through};
use crate::support::{echo::Backend, postgres::Postgres};

const SHORT: Duration = Duration::from_millis(400);

fn server() -> Postgres {
    let server = Postgres::primary(&["max_connections=50"]);
    server.sql("CREATE TABLE t (n bigint)");
    server.sql("CREATE ROLE mainstay LOGIN");
    server.sql("CREATE ROLE app LOGIN");
    server.sql("GRANT ALL ON t TO app");
    server.hba("host all all all trust");
    server
}

fn app(scene: &Scene) -> Client {
    Client::open(scene.address(), "app").unwrap()
}

/// A transaction of the application that begins before the gate and ends after it was closed.
fn left_alone(scene: &Scene) -> Vec<String> {
    let mut open = app(scene);
    open.query("BEGIN").unwrap();
    let route = scene.gate();
    let drain = draining(scene.drain(&route, SHORT));
    open.query("INSERT INTO t VALUES (1)").unwrap();
    let result = drain.join().unwrap();
    assert_eq!((result.ended, result.broken, result.left), (0, 0, 1), "{result:?}");
    scene.give_up(&route);
    open.query("COMMIT").unwrap();
    result.notes.iter().map(ToString::to_string).collect()
}

fn preflight(scene: &Scene) -> Vec<String> {
    let _session = app(scene);
    let drain = scene.drain(&scene.route(), LONG);
    runtime().block_on(drain.preflight()).iter().map(ToString::to_string).collect()
}

#[test]
fn a_role_needs_two_grants_and_says_which_is_missing() {
    let server = server();
    let scene = Scene::postgres(&server, "mainstay");
    let (sees, ends) = ("GRANT pg_monitor TO mainstay", "GRANT pg_signal_backend TO mainstay");
    let notes = left_alone(&scene);
    assert!(notes.len() == 2 && notes[0].contains(sees) && notes[1].contains(ends), "{notes:?}");
    assert_eq!(preflight(&scene), notes);

    server.sql("GRANT pg_monitor TO mainstay");
    let notes = left_alone(&scene);
    assert!(notes[0].contains(ends), "{notes:?}");
    assert_eq!(preflight(&scene), notes[..1]);

    server.sql("REVOKE pg_monitor FROM mainstay");
    server.sql("GRANT pg_read_all_stats TO mainstay");
    server.sql("GRANT pg_signal_backend TO mainstay");
    assert_eq!(preflight(&scene), Vec::<String>::new());
    let session = app(&scene);
    assert_eq!(scene.emptied(LONG), all_ended(1));
    session.was_ended();
}

#[test]
fn a_superusers_session_is_left_and_keeps_nobody_else() {
    let server = server();
    server.sql("GRANT pg_monitor, pg_signal_backend TO mainstay");
    let scene = Scene::postgres(&server, "mainstay");
    let (mut root, session) = (through(&scene), app(&scene));
    let route = scene.gate();
    let result = drained(scene.drain(&route, SHORT));
    assert_eq!((result.ended, result.broken, result.left), (1, 0, 1), "{result:?}");
    assert!(result.notes[0].contains("may not be ended"), "{:?}", result.notes);
    session.was_ended();
    scene.give_up(&route);
    root.query("SELECT 1").unwrap();
}

/// What a pooler or NAT in between does: the server sees another port.
fn in_between(server: &Postgres) -> Backend {
    let target = ([127, 0, 0, 1], server.port);
    Backend::start(move |client| {
        let server = crate::support::front::client(target.into());
        let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let back = thread::spawn(move || {
            let _ = std::io::copy(&mut from_server, &mut to_client);
            let _ = to_client.shutdown(std::net::Shutdown::Both);
        });
        let (mut client, mut server) = (client, server);
        let _ = std::io::copy(&mut client, &mut server);
        let _ = server.shutdown(std::net::Shutdown::Both);
        back.join().unwrap();
    })
}

#[test]
fn behind_a_pooler_nobody_is_found_and_nobody_is_broken() {
    let server = server();
    let pooler = in_between(&server);
    let scene = Scene::postgres_at(pooler.address, "postgres");
    let notes = left_alone(&scene);
    assert!(notes.len() == 1 && notes[0].contains("a pooler or NAT stands in between"), "{notes:?}");
}
