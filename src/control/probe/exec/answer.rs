//! The meaning of an exit code and an output. Total: every output has a finding.
//!
//! | exit code | outcome |
//! |---|---|
//! | 0 | `ok`; with `roles: true` only when the first line says which role |
//! | 75 (`EX_TEMPFAIL` of sysexits.h) | `starting` |
//! | 77 (`EX_NOPERM`), 78 (`EX_CONFIG`), 126 and 127 (a shell found no program, or could not run it) | `misconfigured` |
//! | any other | `protocol_error`: it failed |
//! | a signal | `closed`: it ended in the middle |

use std::{io, time::Duration};

use rustix::{io::Errno, process::Signal};

use super::super::finding::Finding;
pub use crate::command::Ended;
use crate::{
    config::ExecCheck,
    failover::{Facts, Outcome, Printable, Role},
};

/// Characters of a line that are passed on.
const LONGEST_LINE: usize = 200;
/// Characters of a version that are passed on.
const LONGEST_VERSION: usize = 40;
/// Shorter secrets are not searched for: they would hide half of every text.
const SHORTEST_SECRET: usize = 4;

/// `EX_TEMPFAIL`.
const TEMPFAIL: i32 = 75;
/// `EX_NOPERM`, `EX_CONFIG`, and the codes of a shell for a program that it cannot run or find.
const MISCONFIGURED: [i32; 4] = [77, 78, 126, 127];

/// The finding for a run that ended by itself.
///
/// # Errors
/// When its exit status is unknown.
pub fn judge(check: &ExecCheck, ended: Ended, stdout: &[u8], stderr: &[u8]) -> Result<Finding, Printable> {
    let said = said(check, stdout, stderr);
    let with = |what: String| if said.is_empty() { what } else { format!("{what}: {said}") };
    match ended {
        Ended::Code(0) if check.roles => Ok(role(&line(check, stdout))),
        Ended::Code(0) if said.is_empty() => Ok(Finding::new(Outcome::Ok, "exit code 0")),
        Ended::Code(0) => Ok(Finding::new(Outcome::Ok, said)),
        Ended::Code(code) => Ok(Finding::new(outcome_of(code), with(format!("exit code {code}")))),
        Ended::Signal(signal) => Ok(Finding::new(Outcome::Closed, with(format!("the command was killed by {}", name(signal))))),
        Ended::Unknown => Err("how the command ended is not known: this process was started with SIGCHLD ignored".into()),
    }
}

/// The finding for a run that was killed.
pub(super) fn late(check: &ExecCheck, timeout: Duration, stdout: &[u8], stderr: &[u8]) -> Finding {
    let said = said(check, stdout, stderr);
    let last = if said.is_empty() { String::new() } else { format!("; it had said: {said}") };
    Finding::new(Outcome::Timeout, format!("the command did not end within {timeout:?} and was killed{last}"))
}

/// The finding for a command that could not be started.
///
/// # Errors
/// When that says nothing about the check: this machine lacked something.
pub(super) fn not_started(check: &ExecCheck, error: &io::Error) -> Result<Finding, Printable> {
    let program = check.program();
    // execve(2): errors of the file, not shortages of the machine.
    let lasting = [
        Errno::NOENT,
        Errno::ACCESS,
        Errno::PERM,
        Errno::NOEXEC,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::LOOP,
        Errno::NAMETOOLONG,
        Errno::TOOBIG,
        Errno::INVAL,
        Errno::LIBBAD,
    ];
    if Errno::from_io_error(error).is_some_and(|errno| lasting.contains(&errno)) {
        let advice = match Errno::from_io_error(error) {
            Some(Errno::NOENT) => " (the file, or the program that its first line names)",
            Some(Errno::NOEXEC) => " (does it begin with #!/bin/sh or the like?)",
            _ => "",
        };
        return Ok(Finding::new(Outcome::Misconfigured, format!("{program} cannot be started: {error}{advice}")));
    }
    Err(format!("this machine could not start {program}: {error}").into())
}

fn outcome_of(code: i32) -> Outcome {
    match code {
        TEMPFAIL => Outcome::Starting,
        code if MISCONFIGURED.contains(&code) => Outcome::Misconfigured,
        _ => Outcome::ProtocolError,
    }
}

/// `primary` or `standby`, then `key=value` words; words without `=` are ignored.
fn role(line: &str) -> Finding {
    let wrong = |what: String| Finding::new(Outcome::Misconfigured, what);
    let mut words = line.split_whitespace();
    let role = match words.next() {
        Some("primary") => Role::Primary,
        Some("standby") => Role::Standby,
        Some(_) => {
            return wrong(format!("the first word of the command's output must be primary or standby, not in: {line}"));
        }
        None => return wrong("the command wrote nothing; with `roles: true` its first word must be primary or standby".into()),
    };
    let mut facts = Facts { role: Some(role), ..Facts::default() };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let number =
            || value.parse::<u64>().map_err(|_| wrong(format!("the command says {key}={value}, which is not a whole number")));
        match key {
            "lag" => match number() {
                Ok(bytes) => facts.lag_bytes = Some(bytes),
                Err(finding) => return finding,
            },
            "epoch" => match number() {
                Ok(epoch) => facts.db_epoch = Some(epoch),
                Err(finding) => return finding,
            },
            "version" => facts.version = Some(value.chars().take(LONGEST_VERSION).collect::<String>().into()),
            _ => return wrong(format!("the command says {key}={value}; known are lag, epoch and version")),
        }
    }
    Finding { outcome: Outcome::Ok, facts, evidence: line.into() }
}

/// The evidence: a line of the standard output, or of the standard error when that is empty.
fn said(check: &ExecCheck, stdout: &[u8], stderr: &[u8]) -> String {
    let line_of_output = line(check, stdout);
    if line_of_output.is_empty() { line(check, stderr) } else { line_of_output }
}

/// The first line that is not blank: printable, of bounded length, without the secrets that the command was given.
fn line(check: &ExecCheck, output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let Some(line) = text.lines().map(str::trim).find(|line| !line.is_empty()) else { return String::new() };
    without_secrets(check.secrets(), line).chars().take(LONGEST_LINE).collect()
}

/// A line that may be shown.
pub(in crate::control) fn without_secrets<'a>(secrets: impl Iterator<Item = &'a str>, line: &str) -> String {
    let printable =
        |text: &str| -> String { text.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect() };
    // As it will be shown: characters between the letters of a secret are removed by then.
    let hide = |line: String, secret: &str| match printable(secret) {
        secret if secret.len() < SHORTEST_SECRET => line,
        secret => line.replace(&secret, "***"),
    };
    secrets.fold(printable(line), hide)
}

pub(in crate::control) fn name(signal: i32) -> String {
    let known = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL (the kernel does that when memory is short)"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::SYS, "SIGSYS"),
    ];
    let found = known.into_iter().find(|(known, _)| known.as_raw() == signal);
    found.map_or_else(|| format!("signal {signal}"), |(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, exec::Word};

    fn check(roles: bool) -> ExecCheck {
        let command = vec![Word::Plain("/bin/check".into()), Word::Secret(Secret::new("argument-secret".into()))];
        ExecCheck { env: vec![("PGPASSWORD".into(), Secret::new("hunter22".into()))], roles, ..ExecCheck::new(command) }
    }

    fn ended(code: i32, stdout: &str, stderr: &str) -> Finding {
        judge(&check(false), Ended::Code(code), stdout.as_bytes(), stderr.as_bytes()).unwrap()
    }

    #[test]
    fn every_exit_code_has_its_outcome() {
        for (code, outcome) in [
            (0, Outcome::Ok),
            (1, Outcome::ProtocolError),
            (2, Outcome::ProtocolError),
            (75, Outcome::Starting),
            (77, Outcome::Misconfigured),
            (78, Outcome::Misconfigured),
            (126, Outcome::Misconfigured),
            (127, Outcome::Misconfigured),
            (255, Outcome::ProtocolError),
        ] {
            assert_eq!(ended(code, "", "").outcome, outcome, "{code}");
        }
        let killed = judge(&check(false), Ended::Signal(11), b"", b"").unwrap();
        assert_eq!((killed.outcome, &*killed.evidence), (Outcome::Closed, "the command was killed by SIGSEGV"));
        assert!(judge(&check(false), Ended::Unknown, b"", b"").is_err());
    }

    #[test]
    fn the_evidence_is_one_printable_line_without_secrets() {
        assert_eq!(&*ended(0, "\n  all\twell \nmore", "noise").evidence, "all well");
        assert_eq!(&*ended(1, "", "no\u{1b}[2J way\nmore").evidence, "exit code 1: no[2J way");
        assert_eq!(&*ended(0, " \n", "").evidence, "exit code 0");
        let told = ended(1, "password=hunter22 failed for argument-secret", "").evidence;
        assert_eq!(&*told, "exit code 1: password=*** failed for ***");
        assert_eq!(&*ended(1, "hunt\u{1b}er\u{0}22", "").evidence, "exit code 1: ***");
        assert!(ended(1, &"x".repeat(5000), "").evidence.len() < 300);
        assert_eq!(&*judge(&check(false), Ended::Code(0), b"\xff\xfe", b"").unwrap().evidence, "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_role_is_the_first_word_and_facts_may_follow() {
        let found = role("primary lag=0 epoch=7 version=8.0.4-ent since yesterday");
        assert_eq!((found.outcome, found.facts.role), (Outcome::Ok, Some(Role::Primary)));
        assert_eq!(
            (found.facts.lag_bytes, found.facts.db_epoch, found.facts.version.as_deref()),
            (Some(0), Some(7), Some("8.0.4-ent"))
        );
        assert_eq!(role("standby").facts.role, Some(Role::Standby));
        for bad in ["", "master", "Primary", "primary,", "standby lag=12MB", "standby lag=-1", "primary epoch=", "primary lagg=1"]
        {
            let finding = role(bad);
            assert_eq!((finding.outcome, finding.facts), (Outcome::Misconfigured, Facts::default()), "{bad}");
        }
    }

    #[test]
    fn with_roles_only_the_standard_output_counts_and_only_after_exit_code_0() {
        let judge = |code, stdout: &[u8], stderr: &[u8]| judge(&check(true), Ended::Code(code), stdout, stderr).unwrap();
        assert_eq!(judge(0, b"standby\n", b"").facts.role, Some(Role::Standby));
        assert_eq!(judge(0, b"", b"primary").outcome, Outcome::Misconfigured);
        assert_eq!(judge(1, b"primary", b"").facts.role, None);
    }

    #[test]
    fn what_this_machine_lacks_is_no_evidence() {
        let raw = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::IO, Errno::TXTBSY] {
            assert!(not_started(&check(false), &raw(errno)).is_err(), "{errno:?}");
        }
        assert!(not_started(&check(false), &io::Error::other("no pidfd")).is_err());
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOEXEC] {
            let finding = not_started(&check(false), &raw(errno)).unwrap();
            assert_eq!(finding.outcome, Outcome::Misconfigured);
            assert!(finding.evidence.starts_with("/bin/check cannot be started: "), "{}", finding.evidence);
        }
    }
}
