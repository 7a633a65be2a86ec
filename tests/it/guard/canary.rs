//! A standby that still proves itself and is read meanwhile: what one client alone sees of it, and what happens while it changes all
//! the time.

use std::net::SocketAddr;

use lab::transactions::postgres::Client;
use serde_json::{Value, json};

use super::{Guarded, READ};
use crate::support::wait::{Watch, within};

const IS_STANDBY: &str = "SELECT pg_is_in_recovery()";

/// With a listener for readers, and its address.
fn with_readers(guard: &Value, more: &Value) -> (Guarded, SocketAddr) {
    let mut readers = json!({"name": "ro", "listen": "127.0.0.1:0", "route": "replica"});
    readers.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let guarded = Guarded::with(guard, |pool| {
        pool.as_object_mut().unwrap().remove("listen");
        pool["listeners"] = json!([{"name": "rw", "listen": "127.0.0.1:0"}, readers]);
    });
    let log = guarded.site.process.log();
    let line = log.iter().find(|line| line["message"] == "listening" && line["listener"] == "ro").unwrap();
    let address = line["addresses"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap();
    (guarded, address)
}

fn lasts(guarded: &Guarded) {
    guarded.comes_to(1, "it has to last", |_, said| said.contains("guard.soak"));
}

/// Whether a new session is with the standby.
fn is_on_standby(readers: SocketAddr) -> bool {
    Client::open(readers, "app").unwrap().query(IS_STANDBY).unwrap() == "t"
}

/// Each fifth of its sessions, in turn. It neither waits nor is it refused.
#[test]
fn one_client_alone_has_its_turns() {
    let (guarded, readers) = with_readers(&json!({"mode": "enforce", "soak": "1h", "canary": "20%"}), &json!({}));
    guarded.change(1, "2.5");
    lasts(&guarded);
    let turns: Vec<bool> = (0..50).map(|_| is_on_standby(readers)).collect();
    let expected: Vec<bool> = (1..=50).map(|turn| turn % 5 == 0).collect();
    assert_eq!(turns, expected);
    assert_eq!(guarded.site.metric("connections_rejected_total"), 0);
}

/// Where one address always goes to one reader, it goes to the canary always or never.
#[test]
fn one_address_alone_stays_where_it_is() {
    let balance = json!({"balance": "source"});
    let (guarded, readers) = with_readers(&json!({"mode": "enforce", "soak": "1h", "canary": "50%"}), &balance);
    guarded.change(1, "2.5");
    lasts(&guarded);
    let first = is_on_standby(readers);
    assert!((0..20).all(|_| is_on_standby(readers) == first));
}

/// What is read now and then is not proven by what was read before. Its sessions go on, and nobody is refused.
#[test]
fn one_that_changes_all_the_time_is_never_proven_and_cuts_nobody() {
    let (guarded, readers) = with_readers(&json!({"mode": "enforce", "soak": "5s", "canary": "100%"}), &json!({}));
    let began = Watch::start();
    guarded.change(1, "2.5");
    lasts(&guarded);
    let mut client = Client::open(readers, "app").unwrap();
    assert_eq!(client.query(IS_STANDBY).unwrap(), "t");
    for value in ["2.6", "2.7", "2.8"] {
        let proofs = guarded.told(1, "proof").len();
        guarded.change(1, value);
        if value != "2.6" {
            // From now on it is read less often by itself.
            guarded.site.run(&["prove", "orders/db-b"]).is_done("");
        }
        // The soak of the one before is over meanwhile.
        within(READ, "that is seen", || {
            Client::open(readers, "app").unwrap().query("SELECT 1").unwrap();
            (guarded.told(1, "proof").len() > proofs).then_some(())
        });
        assert!(!guarded.told(1, "proof").contains(&"proven".to_owned()), "{value}: {:?}", guarded.told(1, "proof"));
        lasts(&guarded);
    }
    assert_eq!(client.query(IS_STANDBY).unwrap(), "t");
    let log = guarded.site.process.log();
    let lines = log.iter().filter(|line| line["message"] == "proof changed" && line["backend"] == "db-b").count();
    let minutes = usize::try_from(began.elapsed().as_secs() / 60 + 1).unwrap();
    assert!(lines <= 2 * 6 * minutes, "{lines} lines in {minutes} minutes");
    // It rests at last.
    guarded.site.run(&["prove", "orders/db-b"]).is_done("its proofs begin");
    guarded.comes_to(1, "it is proven", |state, _| state == "proven");
    assert_eq!(guarded.site.metric("connections_rejected_total"), 0);
    assert_eq!(guarded.site.metric("sessions_revoked_total"), 0);
}
