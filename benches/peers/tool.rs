//! Servers and load, the harness's side: this program again, as processes of their own on the load's core.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use lab::{failure::Failure, stop::Stop};

use crate::{
    load::{Job, Outcome},
    process::Guarded,
    serve::Kind,
};

/// Longest wait for a line of a tool.
const LINE_TIMEOUT: Duration = Duration::from_mins(2);
/// Between two looks at Ctrl-C.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A process of this program that tells lines. It ends when its input is closed, so also when the harness is killed.
#[derive(Debug)]
struct Tool {
    input: ChildStdin,
    lines: Receiver<String>,
    _child: Guarded,
}

impl Tool {
    fn start(role: &str, arguments: &[String]) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Guarded::spawn(role, &mut command)?;
        let pipes = (child.child().stdin.take(), child.child().stdout.take());
        let (Some(input), Some(output)) = pipes else {
            return Err(Failure::Said(format!("{role} has no standard input or output")));
        };
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { input, lines, _child: child })
    }

    fn line(&self, stop: &Stop) -> Result<String, Failure> {
        let deadline = Instant::now() + LINE_TIMEOUT;
        loop {
            match self.lines.recv_timeout(LOOK_EVERY) {
                Ok(line) => match line.strip_prefix("error: ") {
                    Some(why) => return Err(Failure::Said(format!("the load tool: {why}"))),
                    None => return Ok(line),
                },
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => stop.pause(Duration::ZERO)?,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::Said(format!("the load tool: silent for {LINE_TIMEOUT:?}")));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Said("the load tool ended before its time".into())),
            }
        }
    }
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    _tool: Tool,
}

impl Server {
    pub(crate) fn start(stop: &Stop, kind: Kind) -> Result<Self, Failure> {
        let tool = Tool::start("serve", &[kind.name().to_owned()])?;
        let line = tool.line(stop)?;
        let address = line.parse().map_err(|_| Failure::Said(format!("the server told no address but \"{line}\"")))?;
        Ok(Self { address, _tool: tool })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A load whose connections are open. Dropping it closes them.
#[derive(Debug)]
pub(crate) struct Load(Tool);

impl Load {
    /// Returns when everything is ready for the measured part.
    pub(crate) fn prepare(stop: &Stop, job: &Job) -> Result<Self, Failure> {
        let tool = Tool::start("load", &job.arguments())?;
        match tool.line(stop)?.as_str() {
            "ready" => Ok(Self(tool)),
            other => Err(Failure::Said(format!("the load tool said \"{other}\" where it should say ready"))),
        }
    }

    /// Begins the measured part.
    pub(crate) fn go(&mut self) -> Result<(), Failure> {
        Ok(self.0.input.write_all(b"go\n")?)
    }

    /// Waits for its end. The connections stay open.
    pub(crate) fn outcome(&self, stop: &Stop) -> Result<Outcome, Failure> {
        Ok(serde_json::from_str(&self.0.line(stop)?)?)
    }
}
