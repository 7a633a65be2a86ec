//! Clients that read and clients that write, at the same backends.

use std::io::Write;

use mainstay::{app, failover::ReadEligibility};
use serde_json::{Value, json};

use super::{Counted, ask, at, becomes_active, come, held, parsed, rejects, serve_and_leave, settings, until_held};
use crate::support::{
    config::{LOOPBACK, relay},
    front::end,
    random::Random,
    wait::until,
};

fn listeners(readers: &[Value]) -> Value {
    let mut listeners = vec![json!({"name": "rw", "listen": LOOPBACK.to_string(), "relay": relay()})];
    for (number, reader) in readers.iter().enumerate() {
        let mut listener = json!({"name": format!("ro{number}"), "listen": LOOPBACK.to_string(), "relay": relay()});
        listener.as_object_mut().unwrap().extend(reader.as_object().unwrap().clone());
        listeners.push(listener);
    }
    listeners.into()
}

#[test]
fn readers_and_writers_count_together_and_neither_starves() {
    for workers in [1, 2] {
        let mut random = Random::seeded();
        let backend = Counted::new(b'a');
        let mut file = settings(&[(&backend, Some(3))]);
        file["workers"] = json!(workers);
        file["pools"][0]["listeners"] = listeners(&[json!({"route": "replica"}), json!({"route": "any"})]);
        let running = app::start(&parsed(&file)).unwrap();
        becomes_active(&running, "db-a");
        let first: Vec<_> = (0..3).map(|number| come(at(&running, 0), number)).collect();
        until("they have the places", || (backend.accepted() == 3).then_some(()));
        // 200 writers wait before the first reader comes.
        let mut clients: Vec<_> = (0..200).map(|number| come(at(&running, 0), number)).collect();
        until_held(&running, 200);
        clients.extend((0..40).map(|number| come(at(&running, 1 + number as usize % 2), 1000 + number)));
        until_held(&running, 240);
        drop(first);
        serve_and_leave(clients, &mut random);
        let book = backend.book(|book| (book.most, book.numbers()));
        assert_eq!((book.0, held(&running), rejects(&running)), (3, 0, 0));
        let last_reader = book.1.iter().rposition(|number| *number >= 1000).unwrap();
        assert!(last_reader < 150, "the listeners take turns: the last reader was {last_reader} of 243, {workers} workers");
        end(running);
    }
}

#[test]
fn a_reader_below_its_limit_is_preferred_then_the_fallback_then_they_wait() {
    let [a, b, c] = [b'a', b'b', b'c'].map(Counted::new);
    for balance in ["least_connections", "round_robin", "source"] {
        let mut file = settings(&[(&a, Some(5)), (&b, Some(1)), (&c, Some(2))]);
        let replica = |fallback: &str| json!({"route": "replica", "balance": balance, "fallback": fallback});
        file["pools"][0]["listeners"] = listeners(&[replica("primary"), replica("none")]);
        let running = app::start(&parsed(&file)).unwrap();
        becomes_active(&running, "db-a");
        until("both may be read", || {
            let snapshot = running.snapshots[0].get();
            let read = snapshot.backends.iter().filter(|backend| backend.read_eligibility == ReadEligibility::Reader).count();
            (read == 2).then_some(())
        });
        let mut sessions = Vec::new();
        let mut served = |count: u32, listener: usize| {
            let mut who = Vec::new();
            for number in 0..count {
                let mut client = come(at(&running, listener), number);
                who.push(ask(&mut client).unwrap());
                sessions.push(client);
            }
            who.sort_unstable();
            String::from_utf8(who).unwrap()
        };
        assert_eq!(served(3, 2), "bcc", "{balance}");
        assert_eq!(served(2, 1), "aa", "{balance}: the fallback");
        assert_eq!(served(3, 0), "aaa", "{balance}");
        let mut strict = come(at(&running, 2), 9);
        until_held(&running, 1);
        let mut either = come(at(&running, 1), 9);
        let mut writer = come(at(&running, 0), 9);
        until_held(&running, 3);
        // A writer's place is for the two that may use it, in turn.
        sessions.pop();
        sessions.pop();
        assert_eq!((ask(&mut writer).unwrap(), ask(&mut either).unwrap()), (b'a', b'a'), "{balance}");
        assert_eq!(held(&running), 1);
        sessions.remove(0);
        assert!(b"bc".contains(&ask(&mut strict).unwrap()));
        let most = [&a, &b, &c].map(|backend| backend.book(|book| book.most));
        assert_eq!((most, rejects(&running)), ([5, 1, 2], 0), "{balance}");
        end(running);
    }
}

#[test]
fn sessions_of_a_backend_that_was_removed_count_when_it_is_back() {
    let [a, b] = [b'a', b'b'].map(Counted::new);
    let mut both = settings(&[(&a, None), (&b, Some(2))]);
    both["pools"][0]["listeners"] = listeners(&[json!({"route": "replica", "fallback": "none"})]);
    let running = app::start(&parsed(&both)).unwrap();
    becomes_active(&running, "db-a");
    let mut sessions: Vec<_> = (0..2).map(|number| come(at(&running, 1), number)).collect();
    for client in &mut sessions {
        assert_eq!(ask(client).unwrap(), b'b');
    }
    let mut without = both.clone();
    without["pools"][0]["backends"].as_array_mut().unwrap().pop();
    running.reloader().reload(&parsed(&without)).unwrap();
    until("it is gone", || (running.snapshots[0].get().backends.len() == 1).then_some(()));
    running.reloader().reload(&parsed(&both)).unwrap();
    let mut waits = come(at(&running, 1), 2);
    until("it may be read again", || {
        let snapshot = running.snapshots[0].get();
        (snapshot.backends.get(1)?.read_eligibility == ReadEligibility::Reader).then_some(())
    });
    until_held(&running, 1);
    sessions[0].write_all(b"?").unwrap();
    assert_eq!(ask(&mut sessions[0]).unwrap(), b'b', "its sessions go on");
    assert_eq!((held(&running), b.accepted()), (1, 2));
    drop(sessions);
    assert_eq!(ask(&mut waits).unwrap(), b'b');
    assert_eq!((b.book(|book| book.most), rejects(&running)), (2, 0));
    end(running);
}
