//! What is left of a run: nothing.

use std::{
    fs,
    time::{Duration, Instant},
};

use mainstay::{
    config::{CheckConfig, CheckKind},
    control::{
        probe::{self, Deadline},
        prober::{self, ProberEvent, ProberKey, ProberSettings},
    },
    failover::{Outcome, Pace, Report},
    route::{Clock, DemandWatch},
};
use rustix::process::{Resource, Rlimit, WaitId, WaitIdOptions, getpid, getrlimit, set_child_subreaper, setrlimit, waitid};
use tokio::{sync::mpsc, time::timeout};

use super::{Scratch, command, descriptors, exec, is_alive, zombies};
use crate::support::wait::{Watch, patience, until_async};

/// Waits without blocking the runtime, on which what is left is buried.
async fn until(what: &str, condition: impl Fn() -> bool) {
    until_async(what, async || condition().then_some(())).await;
}

/// Hangs, with a child that hangs, which no signal but one ends; both write their numbers down.
const HANGS: &str = "trap '' TERM INT HUP
    sh -c 'trap \"\" TERM INT HUP; echo $$ > '$DIR'/child; while :; do sleep 60; done' &
    echo $$ > $DIR/leader
    echo hanging
    while :; do sleep 60; done";

#[tokio::test]
async fn a_command_that_hangs_is_killed_at_the_deadline_with_its_children() {
    let scratch = Scratch::new();
    let mut exec = exec(&command(&scratch.script(HANGS), &[]));
    let start = Watch::start();
    let finding = exec.probe(Deadline::after(Duration::from_secs(1))).await.unwrap();
    let took = start.unhindered();
    assert_eq!(finding.outcome, Outcome::Timeout, "{}", finding.evidence);
    assert_eq!(&*finding.evidence, "the command did not end within 1s and was killed; it had said: hanging");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let (leader, child) = (scratch.written("leader").unwrap(), scratch.written("child").unwrap());
    until("both are gone", || !is_alive(&leader) && !is_alive(&child)).await;
    until("both are reaped", || zombies().is_empty()).await;
}

#[tokio::test]
async fn what_a_command_leaves_running_ends_with_it() {
    let scratch = Scratch::new();
    let script = scratch.script("sleep 60 > /dev/null 2>&1 & echo $! > $DIR/child");
    let finding = exec(&command(&script, &[])).probe(Deadline::after(patience())).await.unwrap();
    assert_eq!(finding.outcome, Outcome::Ok, "{}", finding.evidence);
    let child = scratch.written("child").unwrap();
    until("it is gone", || !is_alive(&child)).await;
}

#[tokio::test]
async fn a_probe_that_nobody_waits_for_leaves_nothing() {
    let scratch = Scratch::new();
    let mut exec = exec(&command(&scratch.script(HANGS), &[]));
    let written = until("both run", || scratch.written("leader").is_some() && scratch.written("child").is_some());
    tokio::select! {
        _ = exec.probe(Deadline::after(patience())) => panic!("it ended"),
        () = written => {}
    }
    let (leader, child) = (scratch.written("leader").unwrap(), scratch.written("child").unwrap());
    until("both are gone", || !is_alive(&leader) && !is_alive(&child)).await;
    until("both are reaped", || zombies().is_empty()).await;
}

#[tokio::test]
async fn a_hundred_probes_leave_no_zombie_and_no_descriptor() {
    let scratch = Scratch::new();
    let mut exec = exec(&command(&scratch.script("echo well"), &[]));
    let probe = async |exec: &mut probe::exec::Exec| exec.probe(Deadline::after(patience())).await.unwrap();
    assert_eq!(probe(&mut exec).await.outcome, Outcome::Ok);
    until("the first is reaped", || zombies().is_empty()).await;
    let before = descriptors();
    for _ in 0..100 {
        assert_eq!(probe(&mut exec).await.outcome, Outcome::Ok);
    }
    until("all are reaped", || zombies().is_empty()).await;
    assert_eq!(descriptors(), before);
    // Nor do those that could not even be started.
    let mut none = super::exec(&command(&scratch.path("none"), &[]));
    for _ in 0..20 {
        assert_eq!(probe(&mut none).await.outcome, Outcome::Misconfigured);
    }
    assert_eq!((descriptors(), zombies()), (before, Vec::new()));
}

/// As the first process of a container does: what lost its parent becomes a child of this one.
#[tokio::test]
async fn orphans_that_fall_to_this_process_are_reaped() {
    set_child_subreaper(Some(getpid())).unwrap();
    let scratch = Scratch::new();
    let script = scratch.script("(sleep 60 & sleep 60 & sleep 60) > /dev/null 2>&1 &\nexit 0");
    let mut exec = exec(&command(&script, &[]));
    for _ in 0..5 {
        assert_eq!(exec.probe(Deadline::after(patience())).await.unwrap().outcome, Outcome::Ok);
    }
    // Looks, and reaps nobody itself.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    until("no child is left", || waitid(WaitId::All, look).is_err()).await;
}

/// A shortage of our own says nothing about the backend.
#[tokio::test]
async fn without_a_descriptor_there_is_no_verdict() {
    let scratch = Scratch::new();
    let mut exec = exec(&command(&scratch.script("exit 1"), &[]));
    let old = getrlimit(Resource::Nofile);
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fd.ok()?.file_name().to_str()?.parse::<u64>().ok()).max();
    let low = Rlimit { current: open.map(|open| open + 20), maximum: old.maximum };
    let mut refused = 0;
    for spare in 0..8 {
        setrlimit(Resource::Nofile, low).unwrap();
        let mut full: Vec<fs::File> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
        full.truncate(full.len() - spare);
        let result = exec.probe(Deadline::after(patience())).await;
        setrlimit(Resource::Nofile, old).unwrap();
        drop(full);
        match result {
            Err(evidence) => {
                assert!(evidence.contains("this machine could not start"), "{evidence}");
                refused += 1;
            }
            Ok(finding) => assert_eq!(finding.outcome, Outcome::ProtocolError, "with {spare} descriptors"),
        }
    }
    assert!((4..8).contains(&refused), "{refused} of 8 were refused");
    until("all are reaped", || zombies().is_empty()).await;
}

fn prober(scratch: &Scratch, body: &str, timeout: Duration) -> ProberSettings {
    let check = CheckConfig {
        second: None,
        proxy_header: None,
        kind: CheckKind::Exec(command(&scratch.script(body), &[])),
        interval: Duration::from_millis(50),
        fast_interval: Duration::from_millis(50),
        timeout,
        fresh_login: Duration::from_secs(5),
    };
    ProberSettings {
        key: ProberKey(0),
        last_seq: 0,
        address: "127.0.0.1:1".parse().unwrap(),
        resolved: [].into(),
        check,
        demand: DemandWatch::default(),
    }
}

/// At any pace, and however long a run takes.
#[tokio::test]
async fn runs_never_overlap_and_never_follow_each_other_faster_than_ten_a_second() {
    let scratch = Scratch::new();
    // Whoever finds another one running says so.
    let body = "mkdir $DIR/running || { echo overlap; exit 0; }; sleep 0.02; rmdir $DIR/running; echo alone";
    let (sender, mut events) = mpsc::channel(64);
    let handle = prober::spawn(prober(&scratch, body, Duration::from_secs(5)), sender, Clock::start());
    handle.pace(Pace::Urgent);
    let start = Instant::now();
    let mut heard = 0;
    while heard < 11 {
        handle.probe_now();
        let (_, event) = timeout(patience(), events.recv()).await.unwrap().unwrap();
        if let ProberEvent::Report { report: Report { finding, .. }, .. } = event {
            assert_eq!(&*finding.evidence, "alone");
            heard += 1;
        }
    }
    assert!(start.elapsed() >= Duration::from_secs(1), "eleven runs within {:?}", start.elapsed());
}

#[tokio::test]
async fn a_prober_without_a_handle_ends_its_run_at_once() {
    let scratch = Scratch::new();
    let (sender, events) = mpsc::channel(64);
    let handle = prober::spawn(prober(&scratch, HANGS, patience() * 3), sender, Clock::start());
    until("both run", || scratch.written("leader").is_some() && scratch.written("child").is_some()).await;
    let (leader, child) = (scratch.written("leader").unwrap(), scratch.written("child").unwrap());
    let dropped = Watch::start();
    drop(handle);
    until("both are gone", || !is_alive(&leader) && !is_alive(&child)).await;
    assert!(dropped.unhindered() < patience(), "{:?}", dropped.elapsed());
    drop(events);
}
