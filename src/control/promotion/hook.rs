//! A hook: a command of the user. It runs without a shell, in a process group of its own, without input, without our descriptors, and
//! with a clean environment that has nothing secret. At its deadline the group gets SIGTERM, a moment later SIGKILL.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::spawn_blocking,
    time::{Instant as Moment, timeout, timeout_at},
};

use super::step::{Done, Member, Occasion, left};
use crate::{
    command::{Process, clean_environment},
    config::{Word, exec},
    control::probe::{
        Deadline,
        exec::answer::{Ended, name, without_secrets},
    },
    failover::{Printable, label::Label as _},
};

/// For a look at its file.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// Characters of an output that are told.
const LONGEST_OUTPUT: usize = 400;

crate::labels! {
    /// What a hook is for; also the value of `MAINSTAY_HOOK`.
    pub enum HookKind {
        /// Stops the old primary.
        Demote = "demote",
        /// Makes sure that a dead primary cannot write.
        Fence = "fence",
        /// Makes the old primary a standby.
        Rejoin = "rejoin",
        /// Promotes a node.
        Promote = "promote",
        /// Proves a node that has changed.
        Proof = "proof",
        /// Tells a promoter that a node has changed, or has proven itself.
        OnUnproven = "on_unproven",
    }
}

/// A hook of a pool.
pub(in crate::control) struct Hook<'a> {
    pub(in crate::control) kind: HookKind,
    pub(in crate::control) command: &'a [Word],
    pub(in crate::control) limit: Duration,
    pub(in crate::control) pool: &'a str,
}

impl Hook<'_> {
    /// Why it cannot be run.
    pub(super) async fn fault(&self) -> Option<Printable> {
        let program = self.program().to_owned();
        let fault = timeout(PATIENCE, spawn_blocking(move || exec::fault(&program))).await;
        let fault = fault.map_or(Some("the file system does not answer".into()), Result::unwrap_or_default)?;
        Some(format!("the {} hook {} cannot be run: {fault}", self.kind, self.shown()).into())
    }

    /// Runs it for `member`; `peer` is the other node of the step. Dropping this kills it.
    pub(in crate::control) async fn run(
        self,
        member: &Member,
        peer: Option<&Member>,
        occasion: &Occasion,
        deadline: Deadline,
    ) -> Done {
        let began = Instant::now();
        let limit = self.limit.min(left(deadline));
        if limit.is_zero() {
            return Err(self.failed("was not started: no time was left"));
        }
        let until = Moment::now() + limit;
        let shown = if limit < self.limit { format!("{limit:.1?}") } else { format!("{limit:?}") };
        let (command, runtime) = (self.command(member, peer, occasion), Handle::current());
        let (gone, _) = oneshot::channel();
        // The file may be on a disk that does not answer.
        let starting = spawn_blocking(move || Process::start(command, Stdio::null(), gone, &runtime));
        let mut process = match timeout_at(until, starting).await {
            Ok(Ok(Ok(process))) => process,
            Ok(Ok(Err(error))) => return Err(self.failed(&format!("cannot be started: {error}; look at {}", self.shown()))),
            Ok(Err(error)) => return Err(self.failed(&format!("could not be started: {error}"))),
            Err(_) => return Err(self.failed(&format!("could not be started within {shown}: this machine is too slow"))),
        };
        let Ok(ended) = timeout_at(until, process.ended()).await else {
            process.terminate();
            let _ = timeout(GRACE, process.ended()).await;
            let said = self.said(&process);
            return Err(self.failed(&format!("did not end within {shown} and was killed{said}")));
        };
        let said = self.said(&process);
        match ended {
            Ended::Code(0) => Ok(format!("the {} hook ended well after {:.1?}{said}", self.kind, began.elapsed()).into()),
            Ended::Code(code) => Err(self.failed(&format!("failed with exit code {code}{said}"))),
            Ended::Signal(signal) => Err(self.failed(&format!("was killed by {}{said}", name(signal)))),
            Ended::Unknown => Err(self.failed("ended, and how is not known: mainstay was started with SIGCHLD ignored")),
        }
    }

    fn failed(&self, how: &str) -> Printable {
        format!("the {} hook {how}", self.kind).into()
    }

    fn program(&self) -> &str {
        self.command.first().map_or("", Word::expose)
    }

    /// The program as messages may show it.
    fn shown(&self) -> &str {
        if let Some(Word::Plain(path)) = self.command.first() { path } else { "its program" }
    }

    /// Its output, one line after the other.
    fn said(&self, process: &Process) -> String {
        let (stdout, stderr) = process.said();
        let secrets = || self.command.iter().filter(|word| matches!(word, Word::Secret(_))).map(Word::expose);
        let lines = [stdout, stderr].map(|output| {
            let text = String::from_utf8_lossy(output);
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.map(|line| without_secrets(secrets(), line)).collect::<Vec<_>>()
        });
        let said = lines.concat().join(" | ");
        if said.is_empty() {
            return String::new();
        }
        let cut = if said.chars().count() > LONGEST_OUTPUT { "…" } else { "" };
        format!("; it said: {}{cut}", said.chars().take(LONGEST_OUTPUT).collect::<String>())
    }

    fn command(&self, member: &Member, peer: Option<&Member>, occasion: &Occasion) -> Command {
        let mut command = Command::new(self.program());
        clean_environment(command.args(self.command.iter().skip(1).map(Word::expose)));
        let role = match self.kind {
            HookKind::Promote => "standby",
            HookKind::Proof | HookKind::OnUnproven if peer.is_some_and(|peer| peer.name != member.name) => "standby",
            // As it was before: a node that rejoins was the primary.
            _ => "primary",
        };
        command
            .env("MAINSTAY_HOOK", self.kind.as_str())
            .env("MAINSTAY_POOL", self.pool)
            .env("MAINSTAY_BACKEND", &*member.name)
            .env("MAINSTAY_ADDRESS", member.address.to_string())
            .env("MAINSTAY_ROLE", role)
            .env("MAINSTAY_PEER", peer.map_or("", |peer| &peer.name))
            .env("MAINSTAY_PEER_ADDRESS", peer.map_or_else(String::new, |peer| peer.address.to_string()))
            .env("MAINSTAY_EPOCH", occasion.epoch.to_string())
            .env("MAINSTAY_CAUSE", occasion.cause);
        command
    }
}
