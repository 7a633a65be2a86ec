//! The check `exec`: a command of the user, for databases without a check of their own.
//!
//! The command is started for each probe, without a shell, with a clean environment and none of our descriptors. Its exit code is
//! the answer; the first line of its output is the evidence. It ends with the probe, and so do its children: they are a process
//! group, which is killed.
//!
//! | file | what it holds |
//! |---|---|
//! | [`answer`] | the meaning of an exit code and an output |

pub mod answer;

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::{
    deadline::Deadline,
    finding::Finding,
    kind::{Check, Kind},
    single::Single,
};
use crate::{
    command::{PLAIN_PATH, Process},
    config::{ExecCheck, exec::Word},
    failover::Printable,
    net::{addr::BackendAddr, addresses::Addresses},
};

/// Least time between two starts, whatever the pace: a process costs a thousand times as much as a query over a session, and while
/// a database fails, this machine should not start fifty a second.
pub const MIN_SPACING: Duration = Duration::from_millis(100);

/// Both outputs and the process; while it is started, also the other ends of the pipes, an input, and two of the standard library.
pub(crate) const DESCRIPTORS: usize = 8;

impl Kind for ExecCheck {
    fn of(&self, address: &BackendAddr) -> Check {
        Check::Single(Box::new(Exec::new(address, self)))
    }

    fn descriptors(&self) -> usize {
        DESCRIPTORS
    }
}

#[async_trait]
impl Single for Exec {
    async fn probe(&mut self, _: &Addresses, deadline: Deadline) -> Result<Finding, Printable> {
        self.probe(deadline).await
    }

    fn earliest(&self) -> Option<Instant> {
        self.begun.map(|begun| begun + MIN_SPACING)
    }

    fn ends_at_once(&self) -> bool {
        true
    }
}

/// The check of one backend.
#[derive(Debug)]
pub struct Exec {
    address: BackendAddr,
    check: Arc<ExecCheck>,
    /// Ends when nothing is left of the last run.
    last: Option<oneshot::Receiver<()>>,
    begun: Option<Instant>,
}

impl Exec {
    /// A check of `address`, as `check` says.
    pub fn new(address: &BackendAddr, check: &ExecCheck) -> Self {
        Self { address: address.clone(), check: Arc::new(check.clone()), last: None, begun: None }
    }

    /// Runs the command once, before `deadline`. Dropping this ends the run.
    ///
    /// # Errors
    /// When this machine could not run it; the text says why.
    pub async fn probe(&mut self, deadline: Deadline) -> Result<Finding, Printable> {
        self.begun = Some(Instant::now());
        // Two runs at a time would become more each time they hang, and could contradict each other.
        if let Some(last) = &mut self.last
            && timeout_at(deadline.at(), last).await.is_err()
        {
            return Err("the run before this one was ended and is not gone yet: it waits for something in the kernel".into());
        }
        let (gone, last) = oneshot::channel();
        self.last = Some(last);
        let (command, runtime) = (self.command(), Handle::current());
        // The file may be on a disk that does not answer: that must not block the control thread.
        let starting = spawn_blocking(move || Process::start(command, Stdio::null(), gone, &runtime));
        let mut process = match timeout_at(deadline.at(), starting).await {
            Ok(Ok(Ok(process))) => process,
            Ok(Ok(Err(error))) => return answer::not_started(&self.check, &error),
            Ok(Err(error)) => return Err(format!("the command could not be started: {error}").into()),
            Err(_) => return Err(format!("this machine did not start the command within {:?}", deadline.timeout()).into()),
        };
        let ended = timeout_at(deadline.at(), process.ended()).await;
        let (stdout, stderr) = process.said();
        match ended {
            Ok(ended) => answer::judge(&self.check, ended, stdout, stderr),
            Err(_) => Ok(answer::late(&self.check, deadline.timeout(), stdout, stderr)),
        }
    }

    fn command(&self) -> Command {
        let mut words = self.check.command.iter().map(Word::expose);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PLAIN_PATH.into()));
        if let Some(language) = std::env::var_os("LANG") {
            command.env("LANG", language);
        }
        command.envs(self.check.env.iter().map(|(name, value)| (name, value.expose())));
        match self.address.unix() {
            Some(path) => command.env("MAINSTAY_BACKEND_HOST", &**path),
            None => command.env("MAINSTAY_BACKEND_HOST", self.address.host()),
        };
        command.env("MAINSTAY_BACKEND_PORT", self.address.port().map_or_else(String::new, |port| port.to_string()));
        command.env("MAINSTAY_BACKEND_ADDRESS", self.address.to_string());
        command
    }
}
