//! Redis: `FAILOVER` and `REPLICAOF NO ONE`.

use std::{net::TcpStream, time::Duration};

use mainstay::control::{probe::Deadline, promotion::Severity};
use serde_json::json;

use super::{FAILED, OCCASION, Writers, ample, done, lacks, member, none_lost, promoter, refused, wait};
use crate::support::{
    redis::{Redis, ask},
    wait::{patience, until, until_async},
};

fn connect(server: &Redis) -> TcpStream {
    TcpStream::connect_timeout(&server.address(), patience()).unwrap()
}

fn write(stream: &mut TcpStream, number: u64) -> bool {
    let number = number.to_string();
    ask(stream, &["SADD", "written", &number]).is_ok_and(|answer| answer == ":1")
}

#[test]
fn a_switchover_under_load_loses_nothing() {
    let source = Redis::primary(&[]);
    let replica = source.replica(&[]);
    let (from, to) = (member("redis-a", source.address()), member("redis-b", replica.address()));
    let promoter = promoter(&json!("redis"), &json!({"how": "sql"}));
    assert_eq!(wait(promoter.preflight(Some(&from), &to, ample())), []);
    let acknowledged = Writers::during(
        || connect(&source),
        write,
        || {
            done(wait(promoter.demote(&from, &to, &OCCASION, ample())));
            let words = done(wait(promoter.promote(Some(&from), &to, &OCCASION, ample())));
            assert!(words.starts_with("FAILOVER made redis-b the primary and redis-a its replica"), "{words}");
        },
    );
    none_lost(&acknowledged, &replica.ask_list(&["SMEMBERS", "written"]).join(" "));
    assert_eq!(replica.ask(&["SET", "a", "1"]), "+OK");
    until("the old one follows", || source.try_ask(&["GET", "a"]).ok().filter(|value| value == "1"));
    assert_eq!(source.ask(&["SET", "a", "2"]).split(' ').next(), Some("-READONLY"));
    // And back, without a wait between, and without holding writes before: then it waits for an acknowledgement.
    done(wait(promoter.promote(Some(&to), &from, &OCCASION, ample())));
    assert_eq!(source.ask(&["SET", "a", "2"]), "+OK");
}

#[test]
fn a_failover_that_cannot_end_is_given_up_and_writes_go_on() {
    let source = Redis::primary(&[]);
    let replica = source.replica(&[]);
    let (from, to) = (member("redis-a", source.address()), member("redis-b", replica.address()));
    let promoter = promoter(&json!("redis"), &json!({"how": "sql"}));
    // It follows and says nothing, so it does not acknowledge what is written now.
    replica.signal("-STOP");
    assert_eq!(source.ask(&["SET", "a", "1"]), "+OK");
    let why =
        refused(wait(promoter.promote(Some(&from), &to, &OCCASION, Deadline::after(Duration::from_secs(1)))), "gave FAILOVER up");
    assert!(why.contains("redis-b did not catch up"), "{why}");
    assert_eq!(source.ask(&["SET", "a", "2"]), "+OK");
    assert!(done(wait(promoter.undo_demote(&from, ample()))).contains("no FAILOVER is under way"));

    // A step that is given up in the middle leaves one that waits, and writes wait with it, until it is taken back.
    wait(async {
        let state = || source.ask(&["INFO", "replication"]).contains("master_failover_state:waiting-for-sync");
        tokio::select! {
            ended = promoter.promote(Some(&from), &to, &OCCASION, Deadline::after(10 * patience())) => panic!("{ended:?}"),
            () = until_async("it waits", async || state().then_some(())) => {}
        }
    });
    lacks(&wait(promoter.preflight(Some(&from), &from, ample())), Severity::Forbids, "redis-a makes a FAILOVER already");
    assert!(done(wait(promoter.undo_demote(&from, ample()))).starts_with("FAILOVER was aborted"));
    assert_eq!(source.ask(&["SET", "a", "3"]), "+OK");
    replica.signal("-CONT");
}

#[test]
fn writes_are_held_until_a_demotion_is_taken_back() {
    let source = Redis::primary(&[]);
    let replica = source.replica(&[]);
    let (from, to) = (member("redis-a", source.address()), member("redis-b", replica.address()));
    let promoter = promoter(&json!("redis"), &json!({"how": "sql"}));
    // It follows nobody who is there, and lacks what is written now.
    assert_eq!(replica.ask(&["REPLICAOF", "127.0.0.1", "1"]), "+OK");
    assert_eq!(source.ask(&["SET", "a", "1"]), "+OK");
    let short = Deadline::after(Duration::from_secs(1));
    refused(wait(promoter.demote(&from, &to, &OCCASION, short)), "redis-b does not catch up with redis-a");
    done(wait(promoter.undo_demote(&from, ample())));
    // One that is given up holds them for as long as it would have had, unless that is taken back.
    let mut writer = connect(&source);
    std::thread::scope(|scope| {
        let written = wait(async {
            let long = Deadline::after(10 * patience());
            let held = || source.ask(&["INFO", "clients"]).contains("blocked_clients:1");
            let holding = async {
                // Before that the write would go through.
                until_async("writes are held", async || {
                    source.ask(&["INFO", "commandstats"]).contains("cmdstat_client|pause:calls=2").then_some(())
                })
                .await;
                let written = scope.spawn(|| ask(&mut writer, &["SET", "a", "2"]));
                until_async("the write is held", async || held().then_some(())).await;
                written
            };
            tokio::select! {
                ended = promoter.demote(&from, &to, &OCCASION, long) => panic!("{ended:?}"),
                written = holding => written,
            }
        });
        done(wait(promoter.undo_demote(&from, ample())));
        assert_eq!(written.join().unwrap().unwrap(), "+OK");
    });
}

#[test]
fn a_replica_is_promoted_after_the_death_of_its_primary() {
    let mut source = Redis::primary(&[]);
    let replica = source.replica(&[]);
    let to = member("redis-b", replica.address());
    let promoter = promoter(&json!("redis"), &json!({"how": "sql"}));
    source.kill();
    assert_eq!(wait(promoter.preflight(None, &to, ample())), []);
    assert_eq!(done(wait(promoter.promote(None, &to, &FAILED, ample()))), "REPLICAOF NO ONE made redis-b the primary");
    assert_eq!(replica.ask(&["SET", "a", "1"]), "+OK");
    assert_eq!(done(wait(promoter.promote(None, &to, &FAILED, ample()))), "redis-b is the primary already");
}

#[test]
fn the_rights_that_are_named_are_the_ones_that_are_needed() {
    let acl = ["user probe on >secret ~* &* -@all +ping +info +auth"];
    let source = Redis::primary(&acl);
    let replica = source.replica(&acl);
    let (from, to) = (member("redis-a", source.address()), member("redis-b", replica.address()));
    let file = crate::support::scratch::Scratch::new();
    let password = file.file("password", "secret", 0o600);
    let promoter = promoter(&json!({"redis": {"user": "probe", "password_file": password}}), &json!({"how": "sql"}));
    let [failover, replicaof] = ["ACL SETUSER probe +failover", "ACL SETUSER probe +replicaof"];
    let pause = "ACL SETUSER probe +client|pause +client|unpause";
    lacks(&wait(promoter.preflight(Some(&from), &to, ample())), Severity::Costs, pause);
    assert!(done(wait(promoter.demote(&from, &to, &OCCASION, ample()))).contains("go on until FAILOVER"));
    lacks(&wait(promoter.preflight(Some(&from), &to, ample())), Severity::Forbids, failover);
    lacks(&wait(promoter.preflight(None, &to, ample())), Severity::Forbids, replicaof);
    refused(wait(promoter.promote(Some(&from), &to, &OCCASION, ample())), failover);
    refused(wait(promoter.promote(None, &to, &FAILED, ample())), replicaof);
    assert!(replica.ask(&["INFO", "replication"]).contains("role:slave"));
    for server in [&source, &replica] {
        for statement in [failover, replicaof, pause] {
            assert_eq!(server.ask(&statement.split(' ').collect::<Vec<_>>()), "+OK");
        }
    }
    assert_eq!(wait(promoter.preflight(Some(&from), &to, ample())), []);
    assert_eq!(wait(promoter.preflight(None, &to, ample())), []);
    done(wait(promoter.promote(Some(&from), &to, &OCCASION, ample())));
    done(wait(promoter.promote(None, &from, &FAILED, ample())));
}

#[test]
fn a_server_that_is_no_replica_of_the_primary_is_not_promoted() {
    let (source, other) = (Redis::primary(&[]), Redis::primary(&[]));
    let (from, to) = (member("redis-a", source.address()), member("redis-b", other.address()));
    let promoter = promoter(&json!("redis"), &json!({"how": "sql"}));
    let missing = wait(promoter.preflight(Some(&from), &to, ample()));
    lacks(&missing, Severity::Forbids, "redis-b is no replica");
    lacks(&missing, Severity::Loses, "as its replica; it knows none");
    refused(wait(promoter.promote(Some(&from), &to, &OCCASION, ample())), "it knows none");
    assert_eq!(source.ask(&["SET", "a", "1"]), "+OK");
}
