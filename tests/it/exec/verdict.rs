//! What a run says.

use std::time::Duration;

use mainstay::{
    config::{CheckKind, ExecCheck, Secret},
    control::probe::{self, Deadline, Finding},
    failover::{Outcome, Role},
};

use super::{Scratch, command, exec, roles};
use crate::support::wait::Watch;

const TIMEOUT: Duration = Duration::from_secs(20);

async fn run(check: &ExecCheck) -> Finding {
    exec(check).probe(Deadline::after(TIMEOUT)).await.unwrap()
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    for (body, outcome, evidence) in [
        ("echo all well; echo more", Outcome::Ok, "all well"),
        ("exit 0", Outcome::Ok, "exit code 0"),
        ("echo on stderr >&2", Outcome::Ok, "on stderr"),
        ("echo no answer >&2; exit 1", Outcome::ProtocolError, "exit code 1: no answer"),
        ("exit 75", Outcome::Starting, "exit code 75"),
        ("exit 77", Outcome::Misconfigured, "exit code 77"),
        ("exit 78", Outcome::Misconfigured, "exit code 78"),
        ("exec no-such-program-of-ours", Outcome::Misconfigured, "exit code 127"),
        ("kill -SEGV $$", Outcome::Closed, "the command was killed by SIGSEGV"),
        ("echo last words; kill -KILL $$", Outcome::Closed, "the command was killed by SIGKILL"),
    ] {
        let scratch = Scratch::new();
        let finding = run(&command(&scratch.script(body), &[])).await;
        assert_eq!(finding.outcome, outcome, "{body}: {}", finding.evidence);
        assert!(finding.evidence.starts_with(evidence), "{body}: {}", finding.evidence);
        assert_eq!(finding.facts.role, None);
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_misconfigured() {
    let scratch = Scratch::new();
    for (path, why) in [
        (scratch.path("none"), "No such file"),
        (scratch.file("plain", "#!/bin/sh\n", 0o644), "Permission denied"),
        (scratch.file("interpreter", "#!/no/such/interpreter\n", 0o755), "first line"),
        (scratch.file("garbage", "\u{1}\u{2}\n", 0o755), "#!/bin/sh"),
        (scratch.directory().to_owned(), "Permission denied"),
    ] {
        let finding = run(&command(&path, &[])).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{}: {}", path.display(), finding.evidence);
        assert!(finding.evidence.contains(why) && finding.evidence.contains("cannot be started"), "{}", finding.evidence);
    }
}

#[tokio::test]
async fn a_role_and_its_facts_are_read() {
    let scratch = Scratch::new();
    let found =
        run(&roles(&scratch.script("echo standby lag=4096 epoch=12 version=8.0.4; echo primary; echo primary >&2"))).await;
    assert_eq!((found.outcome, found.facts.role), (Outcome::Ok, Some(Role::Standby)), "{}", found.evidence);
    assert_eq!(
        (found.facts.lag_bytes, found.facts.db_epoch, found.facts.version.as_deref()),
        (Some(4096), Some(12), Some("8.0.4"))
    );
    for wrong in ["echo master", "true", "echo primary >&2", "echo primary lag=much"] {
        let finding = run(&roles(&scratch.script(wrong))).await;
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Misconfigured, None), "{wrong}: {}", finding.evidence);
    }
}

/// Arguments as they are, an environment of its own, an empty input.
#[tokio::test]
async fn a_command_gets_its_arguments_a_clean_environment_and_a_group_of_its_own() {
    let scratch = Scratch::new();
    let program = scratch.script(
        "printf '%s|' \"$@\" > $DIR/arguments; echo >> $DIR/arguments
         env | sort > $DIR/environment
         cat > $DIR/input
         cut -d ' ' -f 5 /proc/$$/stat > $DIR/group; echo $$ > $DIR/leader",
    );
    let arguments = ["two words", "$HOME", "`id`", "", "*", ";exit 1"];
    let env = vec![("TOKEN".to_owned(), Secret::new("s3cr3t".to_owned())), ("LANG".to_owned(), Secret::new("C".to_owned()))];
    let finding = run(&ExecCheck { env, ..command(&program, &arguments) }).await;
    assert_eq!(finding.outcome, Outcome::Ok, "{}", finding.evidence);
    assert_eq!(scratch.written("arguments").unwrap(), "two words|$HOME|`id`||*|;exit 1|\n");
    let environment = scratch.written("environment").unwrap();
    let names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // The shell adds PWD, and SHLVL and _ where it is a bash.
    let ours: Vec<&str> = names.into_iter().filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name)).collect();
    assert_eq!(ours, ["LANG", "MAINSTAY_BACKEND_ADDRESS", "MAINSTAY_BACKEND_HOST", "MAINSTAY_BACKEND_PORT", "PATH", "TOKEN"]);
    for line in [
        "LANG=C",
        "MAINSTAY_BACKEND_ADDRESS=db-a.example:5432",
        "MAINSTAY_BACKEND_HOST=db-a.example",
        "MAINSTAY_BACKEND_PORT=5432",
        "TOKEN=s3cr3t",
    ] {
        assert!(environment.lines().any(|other| other == line), "{line} in {environment}");
    }
    assert_eq!(scratch.path("input").metadata().unwrap().len(), 0, "the input is empty");
    assert_eq!(scratch.written("group").unwrap().trim(), scratch.written("leader").unwrap().trim(), "a group of its own");
}

#[tokio::test]
async fn a_secret_that_a_command_repeats_is_not_told() {
    let scratch = Scratch::new();
    let env = vec![("TOKEN".to_owned(), Secret::new("hunter2-hunter2".to_owned()))];
    let check = ExecCheck { env, ..command(&scratch.script("echo login with $TOKEN failed; exit 1"), &[]) };
    let finding = run(&check).await;
    assert_eq!(&*finding.evidence, "exit code 1: login with *** failed");
}

#[tokio::test]
async fn much_output_is_read_and_thrown_away() {
    let scratch = Scratch::new();
    let finding =
        run(&command(&scratch.script("echo first; head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"), &[])).await;
    assert_eq!((finding.outcome, &*finding.evidence), (Outcome::Ok, "first"));
    // One that never stops is ended at the deadline, and takes little of this thread until then.
    let endless = command(&scratch.script("exec yes"), &[]);
    let before = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let finding = exec(&endless).probe(Deadline::after(Duration::from_millis(500))).await.unwrap();
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime) - before;
    assert_eq!(finding.outcome, Outcome::Timeout, "{}", finding.evidence);
    assert!(finding.evidence.ends_with("it had said: y"), "{}", finding.evidence);
    assert!(Duration::try_from(spent).unwrap() < Duration::from_millis(150), "{spent:?} of processor time in half a second");
}

#[tokio::test]
async fn whoever_keeps_the_output_open_does_not_delay_the_verdict() {
    let scratch = Scratch::new();
    let start = Watch::start();
    let finding = run(&roles(&scratch.script("sleep 60 &\necho primary"))).await;
    assert_eq!(finding.facts.role, Some(Role::Primary), "{}", finding.evidence);
    assert!(start.unhindered() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn one_probe_as_a_command_makes_it() {
    let scratch = Scratch::new();
    let check = roles(&scratch.script("echo primary $MAINSTAY_BACKEND_ADDRESS"));
    let address = "127.0.0.1:4444".parse().unwrap();
    let finding = probe::once(&address, &CheckKind::Exec(check), TIMEOUT).await.unwrap();
    assert_eq!((&*finding.evidence, finding.facts.role), ("primary 127.0.0.1:4444", Some(Role::Primary)));
}
