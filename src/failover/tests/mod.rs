//! Proofs of the core.
//!
//! | file | what it does |
//! |---|---|
//! | [`model`] | the model: knows the rules I1–I29, and only the stream of events and effects |
//! | [`walk`] | every state two backends can reach, and every event in it; its `forget`: what a state need not keep, proven |
//! | [`stories`] | golden scripts in `tests/stories`, one for each kind of incident |
//! | [`flapping`] | a backend that dies and returns for ever, in virtual time |
//! | [`simulation`] | a seeded world of nodes that die, hang and lie, in virtual time |
//! | [`proofs`] | the choice among several by their proofs, restarts, reloads |
//! | [`configure`] | a change of the configuration, at any moment |
//! | [`book`] | `docs/failover.md` says what the tables here say, in both directions |

mod book;
mod configure;
mod flapping;
mod model;
mod proofs;
mod simulation;
mod stories;
mod walk;

use std::{num::NonZeroU64, time::Duration};

use super::{label::Label, *};

/// The backends' names in scripts and messages.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn name(id: BackendId) -> &'static str {
    NAMES[id.index()]
}

fn report(backend: u16, seq: u64, outcome: Outcome, facts: Facts, fresh: bool) -> Event {
    let evidence = Printable::from(outcome.as_str());
    Event::Probe(BackendId(backend), Report { seq, finding: Finding { outcome, facts, evidence }, fresh })
}

/// As long as it takes in the tests, unless they say otherwise.
const LIMIT: Duration = Duration::from_secs(1);

fn limits(each: Duration) -> Limits {
    Limits { fence: each, gate: each, drain: each, demote: each, promote: each, activate: each }
}

/// Asks for a switchover to a backend that may serve already.
fn switchover(id: BackendId) -> Request {
    Request {
        id: OperationId(1),
        kind: OperationKind::Switchover,
        to: Some(id),
        force: false,
        accept_loss: true,
        max_lag: 0,
        how: How::default(),
        limits: limits(LIMIT),
        afterwards: Afterwards::Stay,
    }
}

/// A promotion without a person, after one second.
fn automatic(fence: Fence) -> AutomaticPromotion {
    AutomaticPromotion { after: LIMIT, max_lag: 0, fence, single: true, limits: limits(LIMIT) }
}

fn proof(backend: u16, proof: Proof, what: &str) -> Event {
    Event::Proof { backend: BackendId(backend), proof, what: what.into() }
}

fn cannot_commit(backend: u16) -> Event {
    Event::CannotCommit { backend: BackendId(backend), evidence: "a full disk".into() }
}

fn step_done(step: Step) -> Event {
    Event::StepDone { id: OperationId(1), step, result: Ok(()) }
}

fn step_failed(step: Step) -> Event {
    Event::StepDone { id: OperationId(1), step, result: Err("broken".into()) }
}

/// An event in a story's words.
fn event_words(event: &Event) -> String {
    match event {
        Event::Probe(id, Report { finding: Finding { outcome, facts: of, .. }, fresh, .. }) => {
            let facts =
                [("tl", of.db_epoch), ("sys", of.system_id), ("lag", of.lag_bytes), ("at", of.position.map(NonZeroU64::get))];
            let mut words = vec![name(*id).to_owned(), outcome.to_string()];
            words.extend(of.role.map(|role| role.to_string()));
            words.extend(of.hears_primary.map(|hears| if hears { "hears" } else { "deaf" }.to_owned()));
            words.extend(of.read_only.then(|| "read_only".to_owned()));
            words.extend(facts.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))));
            words.extend((!fresh).then(|| "standing".to_owned()));
            words.join(" ")
        }
        Event::Passive(id, what) => format!("passive {} {what}", name(*id)),
        Event::Command(Command::SetAdmin { backend, to, force }) => {
            format!("{to} {}{}", name(*backend), if *force { " force" } else { "" })
        }
        Event::Command(Command::Pause { until }) => format!("pause until {:?}", until.since_origin()),
        Event::Command(Command::Resume) => "resume".into(),
        Event::Command(Command::AbortOperation(id)) => format!("abort {}", id.0),
        Event::Operate(request) => request_words(request),
        Event::StepDone { step, result: Ok(()), .. } => format!("done {step}"),
        Event::StepDone { step, result: Err(why), .. } => format!("failed {step} {why}"),
        Event::Proof { backend, proof, what } => format!("proof {} {proof} {what}", name(*backend)).trim_end().to_owned(),
        Event::CannotCommit { backend, evidence } => format!("cannot_commit {} {evidence}", name(*backend)),
        Event::Configure(to) => format!("configure {:?}", to.backends),
        Event::Tick => "tick".into(),
    }
}

fn request_words(request: &Request) -> String {
    let mut words = vec![request.kind.to_string()];
    words.extend(request.to.map(|to| name(to).to_owned()));
    words.extend((request.how.fence != Fence::None).then(|| format!("fence={}", request.how.fence)));
    let flags = [("demote", request.how.demote), ("promoter", request.how.promote)];
    let more = [("force", request.force), ("accept_loss", request.accept_loss)];
    words.extend(flags.into_iter().chain(more).filter(|(_, set)| *set).map(|(word, _)| word.to_owned()));
    words.join(" ")
}

/// An effect in a story's words.
fn effect_words(effect: &Effect) -> String {
    match effect {
        Effect::Revoke { epoch, backend, mode, cause } => format!("revoke {} epoch={epoch} {mode} cause={cause}", name(*backend)),
        Effect::Abort { epoch, backend, cause } => format!("abort {} epoch={epoch} cause={cause}", name(*backend)),
        Effect::Activate { epoch, backend, cause } => format!("activate {} epoch={epoch} cause={cause}", name(*backend)),
        Effect::Suspend { epoch } => format!("suspend epoch={epoch}"),
        Effect::Resume { epoch } => format!("resume epoch={epoch}"),
        Effect::BeginStep { kind, step, from, to, .. } => {
            format!("{kind} {step}: {} -> {}", from.map_or("nobody", name), name(*to))
        }
        Effect::Ungate { .. } => "ungate".into(),
        Effect::EndOperation { kind, ending: Ending { result, why, step, evidence }, .. } => {
            let evidence = if evidence.is_empty() { String::new() } else { format!(" ({evidence})") };
            format!("{kind} {result} in {step}: {why}{evidence}")
        }
        Effect::Read { backend, from, to, sessions } => {
            format!("{} read {from} -> {to}, sessions {sessions}", name(*backend))
        }
        Effect::Pace(id, pace) => format!("pace {} {pace}", name(*id)),
        Effect::ProbeNow(id) => format!("probe {} now", name(*id)),
        Effect::ProveNow(id) => format!("prove {} now", name(*id)),
        Effect::Note(note) => note_words(note),
    }
}

fn note_words(note: &Note) -> String {
    match note {
        Note::Health { backend, from, to, cause, evidence } => {
            format!("{} health {from} -> {to} cause={cause} ({evidence})", name(*backend))
        }
        Note::Role { backend, from, to } => format!("{} role {from} -> {to}", name(*backend)),
        Note::Eligibility { backend, from, to } => format!("{} {from} -> {to}", name(*backend)),
        Note::Proof { backend, from, to, what } => {
            let what = if what.is_empty() { String::new() } else { format!(" ({what})") };
            format!("{} proof {from} -> {to}{what}", name(*backend))
        }
        Note::Verdict { from, to } => format!("verdict {from} -> {to}"),
        Note::Conflict { present, claimants } => {
            let who: Vec<_> = claimants.iter().map(|id| name(*id)).collect();
            format!("conflict {} [{}]", if *present { "begins" } else { "ends" }, who.join(" "))
        }
        Note::CheckAlert { backend, outcome, evidence } => format!("{} alert {outcome} ({evidence})", name(*backend)),
        Note::UnknownBackend(id) => format!("unknown backend {}", id.0),
        Note::OperationRefused { refused: Refused { why, backend }, .. } => {
            format!(
                "refused: {why}{}",
                backend.map(|id| format!(" {}", NAMES.get(id.index()).unwrap_or(&"?"))).unwrap_or_default()
            )
        }
        Note::Trial(_, TrialNews::Begun) => "trial begins".into(),
        Note::Trial(_, TrialNews::Failed(evidence)) => format!("trial failed ({evidence})"),
        Note::Trial(_, TrialNews::Waits(Refused { why, .. })) => format!("trial waits: {why}"),
        Note::Trial(_, TrialNews::Ended(end)) => format!("trial ends: {end}"),
        Note::NobodyTakesOver(backend) => format!("refused: nobody takes over from {}", name(*backend)),
        Note::Pause(Some(until)) => format!("paused until {:?}", until.since_origin()),
        Note::Pause(None) => "pause ends".into(),
        Note::AdminSet { backend, from, to } => format!("{} admin {from} -> {to}", name(*backend)),
    }
}
