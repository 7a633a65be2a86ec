//! Pools without roles: only the clients move.

use std::{io::Read, net::SocketAddr};

use mainstay::failover::OperationResult;
use serde_json::json;

use super::{active, begun, ended, result, start, to};
use crate::support::{
    echo::{Backend, who},
    front::{client, end},
    wait::until,
};

#[test]
fn the_clients_of_a_pool_without_roles_move_at_the_end_of_a_request() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let backends = [Backend::speaker(b'a', any), Backend::speaker(b'b', any)];
    let running = start(&json!({
        "name": "orders", "listen": "127.0.0.1:0", "check": "tcp",
        "backends": [
            {"name": "db-a", "address": backends[0].address.to_string()},
            {"name": "db-b", "address": backends[1].address.to_string()},
        ],
    }));
    until("both are up", || {
        let snapshot = running.snapshots[0].get();
        (snapshot.active?.index() == 0 && snapshot.backends.get(1)?.reason == mainstay::failover::Reason::Eligible).then_some(())
    });
    let hello = |wanted: u8| {
        let session = client(running.listeners[0][0][0]);
        assert_eq!(who(&session).unwrap(), wanted);
        session
    };
    let mut session = hello(b'a');
    let view = ended(&running, begun(&running, to("db-b")));
    assert_eq!(result(&view), OperationResult::Done);
    until("it is shown", || (active(&running) == (Some("db-b".into()), 2)).then_some(()));
    assert!(!matches!(session.read(&mut [0; 1]), Ok(1..)), "the session must be over");
    hello(b'b');
    // And back.
    let view = ended(&running, begun(&running, to("db-a")));
    assert_eq!(result(&view), OperationResult::Done);
    hello(b'a');
    end(running);
}
