//! Commands of the user: what they are told, how they end, what is left of them.

use std::{fs, path::Path, time::Duration};

use mainstay::control::{probe::Deadline, promotion::Promoter};
use serde_json::{Value, json};

use super::{FAILED, OCCASION, ample, done, lacks, local, promoter, refused};
use crate::{
    exec::is_alive,
    support::{
        scratch::Scratch,
        wait::{Watch, patience, until_async},
    },
};

fn fence(program: &Path, more: &Value) -> Promoter {
    let mut fence = json!({"exec": [program, "--off"], "timeout": "1d"});
    fence.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    promoter(&json!("postgres"), &json!({"how": "sql", "fence": fence, "rejoin": fence}))
}

async fn run(promoter: &Promoter, deadline: Deadline) -> super::Done {
    promoter.fence(&local("db-a", 5432), &local("db-b", 5433), &FAILED, deadline).await
}

#[tokio::test]
async fn it_is_told_whom_it_is_for_and_nothing_that_is_secret() {
    let scratch = Scratch::new();
    let script = scratch.script("env | LC_ALL=C sort > $DIR/env; echo \"$@\"; cat; echo two >&2");
    let promoter = fence(&script, &json!({}));
    let words = done(run(&promoter, ample()).await);
    assert!(words.starts_with("the fence hook ended well after ") && words.ends_with("; it said: --off | two"), "{words}");
    let env = fs::read_to_string(scratch.path("env")).unwrap();
    let own = env.lines().filter(|line| line.starts_with("MAINSTAY_")).collect::<Vec<_>>();
    assert_eq!(
        own,
        [
            "MAINSTAY_ADDRESS=127.0.0.1:5432",
            "MAINSTAY_BACKEND=db-a",
            "MAINSTAY_CAUSE=down",
            "MAINSTAY_EPOCH=8",
            "MAINSTAY_HOOK=fence",
            "MAINSTAY_PEER=db-b",
            "MAINSTAY_PEER_ADDRESS=127.0.0.1:5433",
            "MAINSTAY_POOL=orders",
            "MAINSTAY_ROLE=primary",
        ]
    );
    // A shell sets the rest itself. Cargo alone gives this test dozens.
    let allowed = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "PWD", "OLDPWD", "SHLVL", "_"];
    let strange = env.lines().filter(|line| {
        let name = line.split('=').next().unwrap();
        !name.starts_with("MAINSTAY_") && !allowed.contains(&name)
    });
    assert_eq!(strange.collect::<Vec<_>>(), [""; 0]);
    let again = promoter.rejoin(&local("db-a", 5432), &local("db-b", 5433), &OCCASION, ample()).await.unwrap();
    assert!(done(again).starts_with("the rejoin hook ended well"));
}

#[tokio::test]
async fn one_that_fails_or_cannot_be_started_says_so_without_its_secrets() {
    let scratch = Scratch::new();
    let script = scratch.script("printf 'no route\\033[2J to host\\n\\n' >&2; exit 3");
    let why = refused(run(&fence(&script, &json!({})), ample()).await, "failed with exit code 3");
    assert_eq!(why, "the fence hook failed with exit code 3; it said: no route[2J to host");
    refused(run(&fence(&scratch.script("kill -9 $$"), &json!({})), ample()).await, "was killed by SIGKILL");
    let script = scratch.script("echo \"the token is $1\"; exit 1");
    let promoter = fence(&script, &json!({"exec": [script, "${TOKEN}"]}));
    refused(run(&promoter, ample()).await, "it said: the token is ***");
    let none = scratch.path("none");
    let promoter = fence(&none, &json!({}));
    refused(run(&promoter, ample()).await, "cannot be started");
    let missing = promoter.preflight(None, &local("db-b", 1), Deadline::after(Duration::from_secs(1))).await;
    lacks(&missing, super::Severity::Forbids, &format!("the fence hook {} cannot be run", none.display()));
    let nobody = super::promoter(&json!("postgres"), &json!({"how": "none"}));
    refused(run(&nobody, ample()).await, "there is no `promotion.fence`");
    assert!(nobody.rejoin(&local("db-a", 1), &local("db-b", 2), &OCCASION, ample()).await.is_none());
}

/// Hangs, with a child that hangs, holds the output open and which no signal but one ends.
const HANGS: &str = "trap 'echo asked >> $DIR/asked' TERM
    sh -c 'trap \"\" TERM INT HUP; echo $$ > '$DIR'/child; while :; do sleep 60; done' &
    echo $$ > $DIR/leader
    echo hanging
    while :; do sleep 60 & wait $!; done";

#[tokio::test]
async fn one_that_hangs_is_asked_to_end_and_then_killed_with_its_children() {
    let scratch = Scratch::new();
    let promoter = fence(&scratch.script(HANGS), &json!({"timeout": "3s"}));
    let start = Watch::start();
    let why = refused(run(&promoter, ample()).await, "did not end within 3s and was killed");
    let took = start.unhindered();
    // The shell may add that its child was terminated.
    assert!(why.contains("; it said: hanging") && took < Duration::from_secs(10), "{took:?}: {why}");
    assert_eq!(scratch.written("asked").as_deref(), Some("asked\n"));
    let (leader, child) = (scratch.written("leader").unwrap(), scratch.written("child").unwrap());
    until_async("both are gone", async || (!is_alive(&leader) && !is_alive(&child)).then_some(())).await;
}

#[tokio::test]
async fn one_that_ends_when_it_is_asked_is_not_waited_for() {
    let scratch = Scratch::new();
    let script = scratch.script("trap 'echo cleaned up; exit 0' TERM\nsleep 60 & echo $! > $DIR/child\nwait $!");
    let why = refused(run(&fence(&script, &json!({"timeout": "3s"})), ample()).await, "did not end within 3s");
    // The shell may add that its child was terminated.
    assert!(why.contains("; it said: cleaned up"), "{why}");
}

#[tokio::test]
async fn the_deadline_of_the_step_ends_it_and_so_does_a_step_that_is_given_up() {
    let scratch = Scratch::new();
    let promoter = fence(&scratch.script(HANGS), &json!({}));
    refused(run(&promoter, Deadline::after(Duration::from_secs(2))).await, "did not end within");
    fs::remove_file(scratch.path("child")).unwrap_or_default();
    tokio::select! {
        _ = run(&promoter, ample()) => panic!("it ended"),
        () = until_async("both run", async || scratch.written("child").map(drop)) => {}
    }
    let (leader, child) = (scratch.written("leader").unwrap(), scratch.written("child").unwrap());
    until_async("both are gone", async || (!is_alive(&leader) && !is_alive(&child)).then_some(())).await;
}

#[tokio::test]
async fn children_that_hold_the_output_open_hold_nobody_up() {
    let scratch = Scratch::new();
    let script = scratch.script("echo begun; sleep 600 & echo $! > $DIR/child");
    let start = Watch::start();
    done(run(&fence(&script, &json!({})), ample()).await);
    assert!(start.unhindered() < patience(), "it waited for the child");
    let child = scratch.written("child").unwrap();
    until_async("the child is gone", async || (!is_alive(&child)).then_some(())).await;
}

#[tokio::test]
async fn a_flood_of_output_is_cut_and_blocks_nobody() {
    let scratch = Scratch::new();
    let script = scratch.script("yes out | head -c 3000000; yes err | head -c 3000000 >&2; exit 1");
    let why = refused(run(&fence(&script, &json!({})), ample()).await, "failed with exit code 1; it said: out | out");
    assert!(why.chars().count() < 500 && why.ends_with('…'), "{why}");
}

#[tokio::test]
async fn a_command_promotes_and_the_check_has_the_last_word() {
    let scratch = Scratch::new();
    let (script, listener) = (scratch.script("echo $MAINSTAY_HOOK $MAINSTAY_BACKEND $MAINSTAY_PEER $MAINSTAY_ROLE"), listener());
    let check = json!({"tcp": {}, "timeout": "200ms"});
    let promoter = promoter(&check, &json!({"how": {"exec": [script]}}));
    let (from, to) = (local("db-a", 5432), super::member("db-b", listener.local_addr().unwrap()));
    assert!(done(promoter.promote(Some(&from), &to, &OCCASION, ample()).await).ends_with("it said: promote db-b db-a standby"));
    done(promoter.demote(&from, &to, &OCCASION, ample()).await);
    drop(listener);
    let late = Deadline::after(Duration::from_secs(1));
    refused(promoter.promote(None, &to, &FAILED, late).await, "ended well, but db-b is not the primary");
}

fn listener() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}
