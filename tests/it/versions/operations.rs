//! Operations of a whole mainstay before a primary and its replica.

use std::thread;

use lab::{
    pairs::{
        self, NAMES, Pair as _,
        mysql::{MySqlPair, MysqldPair},
    },
    servers::mysql::Oracle,
    transactions::{Client as _, mysql::Client},
};
use mainstay::{
    failover::{OperationEnd, OperationResult},
    route::Verb,
};
use serde_json::json;

use crate::{
    operations::{
        active, begun, cut_off, ended, order, result,
        rights::{
            Need::{Comfort, Switchover},
            Right, each_is_named,
        },
        start,
        switchover::{Farewell, moved, ordered},
        to,
    },
    support::{front::end, wait::until},
};

#[test]
fn writers_that_think_are_moved_there_and_back() {
    moved::<MySqlPair>(10_000, 0, Farewell::Untold);
}

#[test]
fn writers_that_never_pause_are_moved_there_and_back() {
    moved::<MySqlPair>(0, 20, Farewell::Untold);
}

#[test]
fn each_right_is_needed_and_named() {
    let of = |take, give, says, need| Right { take, give, says, need };
    each_is_named::<MySqlPair>(&[
        of(
            "REVOKE PROCESS ON *.* FROM mainstay@'%'",
            "GRANT PROCESS ON *.* TO mainstay@'%'",
            "GRANT PROCESS ON *.* TO 'mainstay'@'%'",
            Comfort,
        ),
        of(
            "REVOKE CONNECTION_ADMIN ON *.* FROM mainstay@'%'",
            "GRANT CONNECTION_ADMIN ON *.* TO mainstay@'%'",
            "GRANT CONNECTION_ADMIN ON *.* TO 'mainstay'@'%'",
            Comfort,
        ),
        of(
            "REVOKE SYSTEM_VARIABLES_ADMIN ON *.* FROM mainstay@'%'",
            "GRANT SYSTEM_VARIABLES_ADMIN ON *.* TO mainstay@'%'",
            "GRANT SYSTEM_VARIABLES_ADMIN ON *.* TO 'mainstay'@'%'",
            Switchover,
        ),
        of(
            "REVOKE REPLICATION_SLAVE_ADMIN ON *.* FROM mainstay@'%'",
            "GRANT REPLICATION_SLAVE_ADMIN ON *.* TO mainstay@'%'",
            "GRANT REPLICATION_SLAVE_ADMIN ON *.* TO 'mainstay'@'%'",
            Switchover,
        ),
        of(
            "REVOKE RELOAD ON *.* FROM mainstay@'%'",
            "GRANT RELOAD ON *.* TO mainstay@'%'",
            "GRANT RELOAD ON *.* TO 'mainstay'@'%'",
            Switchover,
        ),
    ]);
}

#[test]
fn a_replica_that_does_not_catch_up_leaves_the_old_primary_taking_writes() {
    let pair = MySqlPair::start();
    let running = start(&pairs::pool(&pair, "127.0.0.1:0", &json!({"switchover": {"timeout": "3s"}})));
    until("db-a is active", || (active(&running).0.as_deref() == Some("db-a")).then_some(()));
    let mut client = Client::login(running.listeners[0][0][0]).unwrap();
    client.say("INSERT INTO d.t (n) VALUES (1)").unwrap();
    until("db-b may take over", || crate::operations::give(&running, to("db-b"), true).ok());
    // Its lag shows only at the next probe.
    pair.servers[1].sql("SET GLOBAL offline_mode = OFF; STOP REPLICA SQL_THREAD");
    pair.servers[0].sql("INSERT INTO d.t (n) VALUES (1)");
    let id = begun(&running, Verb::Switchover { to: Some("db-b".into()), force: true });
    let view = ended(&running, id);
    let over = view.end.as_ref().unwrap();
    assert_eq!((result(&view), over.why), (OperationResult::Failed, OperationEnd::StepFailed), "{}", over.sentence);
    assert!(over.sentence.contains("db-b does not have all of"), "{}", over.sentence);
    let mut client = until("a client is let in", || Client::login(running.listeners[0][0][0]).ok());
    client.say("INSERT INTO d.t (n) VALUES (1)").unwrap();
    assert_eq!((active(&running).0, pair.written(0)), (Some("db-a".into()), 3));
    pair.servers[1].sql("START REPLICA");
    end(running);
}

/// An account with `SYSTEM_USER` may be ended by another such account only.
#[test]
fn a_session_that_the_check_may_not_end_is_left_and_named() {
    let mut pair = MySqlPair::start();
    let more = json!({"switchover": {"drain_timeout": "3s", "timeout": "20s"}});
    let running = start(&pairs::pool(&pair, "127.0.0.1:0", &more));
    until("db-a is active", || (active(&running).0.as_deref() == Some("db-a")).then_some(()));
    let address = running.listeners[0][0][0];
    let (mut great, mut ordinary) = (Client::open(address, "root").unwrap(), Client::login(address).unwrap());
    for client in [&mut great, &mut ordinary] {
        client.say("INSERT INTO d.t (n) VALUES (1)").unwrap();
    }
    let view = ended(&running, ordered(&running, NAMES[1]));
    assert_eq!(result(&view), OperationResult::Done);
    let told: Vec<_> = view.steps.iter().flat_map(|step| step.lines.iter().map(ToString::to_string)).collect();
    let told = told.join("\n");
    assert!(told.contains("1 session ended at a boundary") && told.contains("may not be ended by the check's role"), "{told}");
    pair.rejoined(0, 1);
    assert_eq!(pair.written(1), 2);
    end(running);
}

#[test]
fn an_abort_lets_everybody_go_on_and_a_rollback_goes_back() {
    let mut pair = MySqlPair::start();
    let more = json!({"switchover": {"drain_timeout": "0s", "timeout": "20s"}});
    let running = start(&pairs::pool(&pair, "127.0.0.1:0", &more));
    until("db-a is active", || (active(&running).0.as_deref() == Some("db-a")).then_some(()));
    let address = running.listeners[0][0][0];
    let mut open = Client::login(address).unwrap();
    for statement in ["BEGIN", "INSERT INTO d.t (n) VALUES (1)"] {
        open.say(statement).unwrap();
    }
    let id = ordered(&running, "db-b");
    let waits = thread::spawn(move || Client::login(address).unwrap().say("INSERT INTO d.t (n) VALUES (2)").unwrap());
    until("a new client waits", || (running.series[0].pool.held.get() == 1).then_some(()));
    let drill = order(&running, Verb::Drill).unwrap().lines.join("\n");
    println!("{drill}");
    order(&running, Verb::Abort { id }).unwrap();
    waits.join().unwrap();
    open.say("COMMIT").unwrap();
    let view = ended(&running, id);
    assert_eq!((result(&view), view.end.unwrap().why), (OperationResult::Aborted, OperationEnd::Command));
    assert_eq!((active(&running), pair.written(0)), ((Some("db-a".into()), 1), 2));
    drop(open);

    let view = ended(&running, ordered(&running, NAMES[1]));
    assert_eq!(result(&view), OperationResult::Done);
    pair.rejoined(0, 1);
    Client::login(address).unwrap().say("INSERT INTO d.t (n) VALUES (3)").unwrap();
    let back = until("it may go back", || order(&running, Verb::Rollback { accept_loss: false }).ok());
    let view = ended(&running, back.operation.unwrap());
    assert_eq!((result(&view), active(&running).0), (OperationResult::Done, Some("db-a".into())));
    pair.rejoined(1, 0);
    assert_eq!(pair.written(0), 3);
    let drill = until("all is ready", || {
        let drill = order(&running, Verb::Drill).unwrap().lines.join("\n");
        drill.contains("switchover: possible, to db-b").then_some(drill)
    });
    println!("{drill}");
    assert!(drill.contains("failover: ready"), "{drill}");
    end(running);
}

#[test]
fn the_way_back_counts_transactions() {
    cut_off::the_way_back_counts_transactions::<Oracle>();
}

/// `performance_schema` has the better one, and it is empty where that is off.
#[test]
fn sessions_are_found_in_the_process_list_that_the_server_has() {
    let found = |setting: &str| {
        let pair = MysqldPair::<Oracle>::with(&[setting, "--general-log=ON", "--log-output=TABLE"], &[]);
        let more = json!({"switchover": {"drain_timeout": "60s", "timeout": "90s"}});
        let running = start(&pairs::pool(&pair, "127.0.0.1:0", &more));
        until("db-a is active", || (active(&running).0.as_deref() == Some("db-a")).then_some(()));
        let mut client = Client::login(running.listeners[0][0][0]).unwrap();
        client.say("INSERT INTO d.t (n) VALUES (1)").unwrap();
        let view = ended(&running, ordered(&running, NAMES[1]));
        assert_eq!(result(&view), OperationResult::Done);
        let told: Vec<_> = view.steps.iter().flat_map(|step| step.lines.iter().map(ToString::to_string)).collect();
        assert!(told.join("\n").contains("1 session ended at a boundary"), "{told:?}");
        end(running);
        ["performance_schema", "information_schema"].map(|schema| {
            let question = format!("%SELECT ID, HOST, COMMAND FROM {schema}.processlist%");
            let log = format!(
                "SELECT COUNT(*) > 0 FROM mysql.general_log WHERE user_host LIKE 'mainstay%' AND argument LIKE '{question}'"
            );
            pair.servers[0].sql(&log)
        })
    };
    assert_eq!(found("--performance-schema=ON"), ["1", "0"]);
    assert_eq!(found("--performance-schema=OFF"), ["0", "1"]);
}
