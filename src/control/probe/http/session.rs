//! A connection to the endpoint: one request at a time, and whether it may be used again.

use std::{error::Error as _, future::Future, io, pin::Pin, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{Builder, Connection, SendRequest},
    header::LOCATION,
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::super::{
    bounded::{Allowance, Garbage},
    finding::Finding,
    socket::{garbled, io_error},
    stream::Stream,
};
use crate::failover::Outcome;

/// A longer head is no answer to a check.
const HEAD_MAX: usize = 16 * 1024;

/// After a complete answer the connection is ready, or closed, at once; a loaded machine may need a moment.
const SETTLE: Duration = Duration::from_millis(20);

type Question = Request<Full<Bytes>>;
type Driver = Pin<Box<Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>>>;

/// A connection that was not closed yet. Everything that happens on it happens inside its own methods: it has no task.
pub(super) struct Session {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    over: bool,
    allowance: Allowance,
}

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Where it redirects to, escaped.
    pub(super) location: Option<String>,
    /// `None` when it was too long to be read.
    pub(super) body: Option<Bytes>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Interrupted {
    pub(super) finding: Finding,
    /// Not even its first line came.
    pub(super) unanswered: bool,
}

impl Session {
    pub(super) async fn start(stream: Box<dyn Stream>, allowance: Allowance) -> Result<Self, Finding> {
        let started = Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await;
        let (sender, driver) = started.map_err(|error| finding(&error))?;
        Ok(Self { sender, driver: Box::pin(driver), over: false, allowance })
    }

    /// Sends the request, and reads the whole answer. A body that is too long is ignored: the status is enough.
    pub(super) async fn ask(&mut self, question: Question) -> Result<Answer, Interrupted> {
        self.allowance.renew();
        let Self { sender, driver, over, .. } = self;
        let response = drive(driver, over, sender.send_request(question)).await;
        let response = response.map_err(|error| Interrupted { finding: finding(&error), unanswered: true })?;
        let status = response.status().as_u16();
        let location = location(&response);
        match drive(driver, over, response.into_body().collect()).await {
            Ok(body) => Ok(Answer { status, location, body: Some(body.to_bytes()) }),
            Err(error) if is_flood(&error) => Ok(Answer { status, location, body: None }),
            Err(error) => Err(Interrupted { finding: finding(&error), unanswered: false }),
        }
    }

    /// After an answer: the server keeps the connection open.
    pub(super) async fn stands(&mut self) -> bool {
        let Self { sender, driver, over, .. } = self;
        let ready = timeout(SETTLE, drive(driver, over, sender.ready())).await;
        matches!(ready, Ok(Ok(()))) && !self.over
    }

    /// Resolves when the connection ends. `None` when the server closed it normally, as any server may when it is idle.
    pub(super) async fn ended(&mut self) -> Option<Finding> {
        let end = self.driver.as_mut().await;
        self.over = true;
        let error = end.err()?;
        let finding = finding(&error);
        (finding.outcome == Outcome::Closed && is_io(&error)).then_some(finding)
    }
}

/// Drives the connection while `what` waits for it.
async fn drive<T>(driver: &mut Driver, over: &mut bool, what: impl Future<Output = T>) -> T {
    tokio::pin!(what);
    loop {
        tokio::select! {
            biased;
            result = &mut what => return result,
            // Why it ended is told to `what`.
            _ = driver.as_mut(), if !*over => *over = true,
        }
    }
}

fn location(response: &Response<Incoming>) -> Option<String> {
    const LONGEST: usize = 200;
    let bytes = response.headers().get(LOCATION)?.as_bytes();
    Some(bytes[..bytes.len().min(LONGEST)].escape_ascii().to_string())
}

fn is_io(error: &hyper::Error) -> bool {
    io_source(error).is_some()
}

fn io_source(error: &hyper::Error) -> Option<&io::Error> {
    error.source()?.downcast_ref()
}

/// It sent more than a check reads.
fn is_flood(error: &hyper::Error) -> bool {
    io_source(error).and_then(io::Error::get_ref).is_some_and(<dyn std::error::Error + Send + Sync>::is::<Garbage>)
}

/// What an error of the connection, or of what came over it, says.
fn finding(error: &hyper::Error) -> Finding {
    if let Some(io) = io_source(error) {
        return io_error(io);
    }
    if error.is_parse_too_large() {
        return Finding::new(Outcome::ProtocolError, "the head of its answer is too long");
    }
    if error.is_parse() {
        return Finding::new(Outcome::ProtocolError, format!("it does not speak HTTP: {error}"));
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return io_error(&io::ErrorKind::UnexpectedEof.into());
    }
    garbled(&io::Error::other(error.to_string()))
}
