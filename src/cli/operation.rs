//! Waits for the end of an operation, and of the one that leads back if that is a part of it: prints the steps as they come, and
//! aborts on Ctrl-C.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use hyper::Method;
use serde::Deserialize;
use tokio::{
    pin, select,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use super::{
    client::{self, AdminAddr, Answer, Ask, Unreachable, plain_json},
    exit,
};
use crate::{config::Secret, failover::escaped};

/// Between two looks at the operation.
const PERIOD: Duration = Duration::from_millis(50);
/// A connection without an answer for this long is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a command prints.
pub(super) struct Output<'a> {
    /// What was done.
    pub(super) out: &'a mut dyn Write,
    /// What was not, and what is worth knowing meanwhile.
    pub(super) err: &'a mut dyn Write,
}

/// What is printed of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// Each step in words.
    Steps,
    /// The whole operation at its end.
    Json,
}

#[derive(Deserialize)]
struct Begun {
    operation: Option<u64>,
}

#[derive(Deserialize)]
struct Operation {
    pool: String,
    from: Option<String>,
    to: String,
    at: String,
    took_ms: f64,
    can_abort: bool,
    steps: Vec<Step>,
    end: Option<End>,
    trial: Option<Trial>,
}

#[derive(Deserialize)]
struct Trial {
    returns: bool,
    end: Option<String>,
    sentence: String,
    operation: Option<u64>,
}

#[derive(Deserialize)]
struct Step {
    #[serde(rename = "step")]
    name: String,
    since: Option<String>,
    took_ms: Option<f64>,
    lines: Vec<String>,
}

#[derive(Deserialize)]
struct End {
    result: String,
    sentence: String,
}

#[derive(Deserialize)]
struct Refused {
    error: Refusal,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

/// Gives an order, and waits for the end of the operation that it begins. `tell` prints the answer to the order and returns the
/// exit code that belongs to it.
///
/// # Errors
/// When there is no answer to the order.
pub(super) fn run(
    address: &AdminAddr,
    (path, ask, timeout): (&str, &Ask<'_>, Duration),
    show: Show,
    output: &mut Output<'_>,
    tell: &dyn Fn(&Answer, &mut Output<'_>) -> u8,
) -> Result<u8, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let interrupts = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        let (token, seen) = (ask.token, Seen::default());
        let (is_aborting, lost, next, ways) = (false, None, None, Vec::new());
        let mut waiting = Waiting { address, token, show, output, interrupts, is_aborting, lost, seen, next, ways };
        let answer = waiting.order(client::call(address, path, ask, timeout)).await?;
        let begun = serde_json::from_slice(&answer.body).ok().and_then(|Begun { operation }| operation);
        let Some(id) = begun.filter(|_| answer.status == 200) else { return Ok(tell(&answer, waiting.output)) };
        if show == Show::Steps {
            tell(&answer, waiting.output);
        }
        Ok(waiting.follow(id).await)
    })
}

/// A command that waits.
struct Waiting<'a, 'b> {
    address: &'a AdminAddr,
    token: Option<&'a Secret>,
    show: Show,
    output: &'a mut Output<'b>,
    interrupts: Signal,
    /// Ctrl-C was pressed; the next one leaves.
    is_aborting: bool,
    /// There has been no answer since.
    lost: Option<Instant>,
    seen: Seen,
    /// The operation that leads back.
    next: Option<u64>,
    /// What is over of a way there and back: from where to where, and how long clients waited at most.
    ways: Vec<String>,
}

/// The operation as it was last seen.
#[derive(Default)]
struct Seen {
    /// Its pool and its beginning. The numbers start again with the process.
    identity: Option<(String, String)>,
    cannot_abort: bool,
    /// What was last said of the way back.
    said: String,
    /// Steps whose beginning was printed.
    begun: usize,
    /// Steps whose end was printed.
    over: usize,
}

impl Waiting<'_, '_> {
    /// Waits for the answer to the order. The servers are looked at meanwhile.
    async fn order(&mut self, call: impl Future<Output = Result<Answer, Unreachable>>) -> Result<Answer, String> {
        pin!(call);
        loop {
            select! {
                answer = &mut call => return answer.map_err(|error| error.to_string()),
                _ = self.interrupts.recv() => {
                    if self.is_aborting {
                        return Err("left without an answer; the order may still be carried out: `mainstay status` shows it".to_owned());
                    }
                    self.is_aborting = true;
                    self.say("it is aborted as soon as it has begun; Ctrl-C once more leaves");
                }
            }
        }
    }

    /// Returns the exit code.
    async fn follow(&mut self, mut id: u64) -> u8 {
        let mut path = format!("/api/v1/operations/{id}");
        let mut code = if self.is_aborting { self.abort(id, &path).await } else { None };
        while code.is_none() {
            if let Some(next) = self.next.take() {
                (id, path, self.seen) = (next, format!("/api/v1/operations/{next}"), Seen::default());
            }
            let (address, ask) = (self.address, Ask::default());
            let look = async {
                sleep(PERIOD).await;
                client::call(address, &path, &ask, client::TIMEOUT).await
            };
            code = select! {
                _ = self.interrupts.recv() => self.interrupted(id, &path).await,
                answer = look => self.look(id, answer),
            };
        }
        code.unwrap_or(exit::FAILED)
    }

    async fn interrupted(&mut self, id: u64, path: &str) -> Option<u8> {
        if self.is_aborting {
            return Some(self.leave(id));
        }
        self.is_aborting = true;
        if self.seen.cannot_abort {
            self.say("it has passed its point of no return and cannot be aborted any more; waiting for its end. Ctrl-C once more leaves");
            return None;
        }
        self.abort(id, path).await
    }

    async fn abort(&mut self, id: u64, path: &str) -> Option<u8> {
        self.say("aborting …");
        let body = Some(r#"{"reason": "Ctrl-C"}"#.to_owned());
        let (address, ask) = (self.address, Ask { method: Method::DELETE, body, token: self.token });
        let answer = select! {
            _ = self.interrupts.recv() => return Some(self.leave(id)),
            answer = client::call(address, path, &ask, client::TIMEOUT) => answer,
        };
        let why = match answer {
            Ok(answer) if answer.status == 200 => return None,
            Ok(answer) => match serde_json::from_slice(&answer.body) {
                Ok(Refused { error: Refusal { code, message } }) => match code.as_str() {
                    "point_of_no_return" => {
                        self.say(&format!("it cannot be aborted any more: {message}. Ctrl-C once more leaves"));
                        return None;
                    }
                    // It has just ended; the next look shows how.
                    "unknown_operation" => return None,
                    _ => message,
                },
                Err(_) => format!("HTTP status {}", answer.status),
            },
            Err(error) => error.to_string(),
        };
        self.is_aborting = false;
        self.say(&format!("not aborted: {why}. Ctrl-C tries again"));
        None
    }

    fn leave(&mut self, id: u64) -> u8 {
        self.say(&format!("left; operation {id} goes on without this command: `mainstay status` shows it"));
        exit::FAILED
    }

    /// Shows what has changed; returns the exit code when it is over.
    fn look(&mut self, id: u64, answer: Result<Answer, Unreachable>) -> Option<u8> {
        let why = match answer {
            Ok(answer) if answer.status == 404 => return Some(self.restarted(id)),
            Ok(answer) => match serde_json::from_slice::<Operation>(&answer.body) {
                Ok(operation) => {
                    self.lost = None;
                    return self.show(id, &operation, &answer);
                }
                Err(_) => format!("HTTP status {}, and no operation", answer.status),
            },
            Err(error) => error.to_string(),
        };
        let Some(lost) = self.lost else {
            self.lost = Some(Instant::now());
            self.say(&format!("there is no answer; asking again for {PATIENCE:?}: {why}"));
            return None;
        };
        if lost.elapsed() < PATIENCE {
            return None;
        }
        self.say(&format!(
            "the connection is lost, and how operation {id} ends is not known: {why} `mainstay status` and its log tell; a mainstay \
             that stops in an operation leaves no client gated"
        ));
        Some(exit::FAILED)
    }

    fn restarted(&mut self, id: u64) -> u8 {
        self.say(&format!(
            "mainstay does not know operation {id} any more: it was restarted, and how the operation ended is not known. Look at \
             `mainstay status`: exactly one backend must be the primary"
        ));
        exit::FAILED
    }

    fn show(&mut self, id: u64, operation: &Operation, answer: &Answer) -> Option<u8> {
        let identity = (operation.pool.clone(), operation.at.clone());
        if *self.seen.identity.get_or_insert_with(|| identity.clone()) != identity {
            return Some(self.restarted(id));
        }
        let goes_on = operation.trial.as_ref().is_some_and(|trial| trial.returns && trial.end.is_none());
        self.seen.cannot_abort = !operation.can_abort && !goes_on;
        if self.show == Show::Steps {
            self.steps(&operation.steps);
        }
        let End { result, sentence } = operation.end.as_ref()?;
        if let Some(trial) = operation.trial.as_ref().filter(|trial| trial.returns) {
            return self.turn(operation, trial, answer);
        }
        let code = if result == "done" { exit::DONE } else { exit::FAILED };
        self.print_end(answer, sentence, code);
        if self.show == Show::Steps && code == exit::DONE && !self.ways.is_empty() {
            self.ways.push(way(operation));
            let _ = writeln!(self.output.out, "clients waited at most: {}", self.ways.join(", "));
        }
        Some(code)
    }

    fn print_end(&mut self, answer: &Answer, sentence: &str, code: u8) {
        let _ = match self.show {
            Show::Json => write!(self.output.out, "{}", plain_json(&String::from_utf8_lossy(&answer.body))),
            Show::Steps if code == exit::DONE => writeln!(self.output.out, "{}", escaped(sentence)),
            Show::Steps => writeln!(self.output.err, "{}", escaped(sentence)),
        };
    }

    /// It is there, and is to go back.
    fn turn(&mut self, operation: &Operation, trial: &Trial, answer: &Answer) -> Option<u8> {
        if trial.operation.is_none() && trial.end.as_ref().is_some_and(|end| end != "went_back") {
            self.print_end(answer, &format!("NOT back: {}", trial.sentence), exit::FAILED);
            return Some(exit::FAILED);
        }
        if self.show == Show::Steps && !trial.sentence.is_empty() && self.seen.said != trial.sentence {
            let _ = writeln!(self.output.out, "{}", escaped(&trial.sentence));
            self.seen.said.clone_from(&trial.sentence);
        }
        let next = trial.operation?;
        if self.show == Show::Json {
            self.print_end(answer, "", exit::DONE);
        }
        self.ways.push(way(operation));
        self.next = Some(next);
        None
    }

    /// Steps begin and end in their order.
    fn steps(&mut self, steps: &[Step]) {
        for (index, Step { name, since, took_ms, lines }) in steps.iter().enumerate() {
            let step = escaped(name);
            if index >= self.seen.begun && since.is_some() {
                self.seen.begun = index + 1;
                let _ = writeln!(self.output.out, "{step}: begins");
            }
            if let Some(took) = took_ms.filter(|_| index >= self.seen.over) {
                self.seen.over = index + 1;
                let _ = writeln!(self.output.out, "{step}: over after {}", span(took));
                for line in lines {
                    let _ = writeln!(self.output.out, "  {}", escaped(line));
                }
            }
        }
        let _ = self.output.out.flush();
    }

    fn say(&mut self, text: &str) {
        let _ = writeln!(self.output.err, "{}", escaped(text));
    }
}

fn way(Operation { from, to, took_ms, .. }: &Operation) -> String {
    format!("{} from {} to {}", span(*took_ms), escaped(from.as_deref().unwrap_or("nobody")), escaped(to))
}

fn span(millis: f64) -> String {
    if millis < 1000.0 { format!("{millis} ms") } else { format!("{:.1} s", millis / 1000.0) }
}
