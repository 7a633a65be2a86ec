//! How an answer is written.

use std::{
    convert::Infallible,
    iter,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Response, StatusCode,
    body::{Body as HttpBody, Frame},
    header::{self, HeaderValue},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::yield_now};

/// A complete body, or a stream.
pub(super) type Body = Either<Full<Bytes>, Stream>;

/// What a task sends, piece by piece, until its sender is dropped. The closed channel tells the task that the client is gone.
#[derive(Debug)]
pub(super) struct Stream(pub(super) mpsc::Receiver<Bytes>);

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Prometheus text format 0.0.4.
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";

/// A whole answer of this type.
pub(super) fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    with_type(status, content_type, Either::Left(Full::new(body.into())))
}

/// An answer that is made piece by piece, as the client takes it: the whole is never in memory, and other clients have their turn after
/// each piece. If there is one piece, its length is told.
pub(super) fn pieces(
    status: StatusCode,
    content_type: &'static str,
    pieces: impl Iterator<Item = String> + Send + 'static,
) -> Response<Body> {
    let mut pieces = pieces.map(Bytes::from).peekable();
    let first = pieces.next().unwrap_or_default();
    if pieces.peek().is_none() {
        return whole(status, content_type, first);
    }
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for piece in iter::once(first).chain(pieces) {
            if sender.send(piece).await.is_err() {
                break;
            }
            yield_now().await;
        }
    });
    with_type(status, content_type, Either::Right(Stream(receiver)))
}

/// A JSON answer, ending in a newline for people who use curl.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_string(value) {
        Ok(text) => whole(status, JSON, text + "\n"),
        Err(error) => {
            tracing::error!(%error, "an answer of the admin endpoint could not be written");
            whole(StatusCode::INTERNAL_SERVER_ERROR, JSON, "{\"error\":{\"code\":\"internal\",\"message\":\"see the log\"}}\n")
        }
    }
}

pub(super) fn event_stream(stream: Stream) -> Response<Body> {
    with_type(StatusCode::OK, EVENT_STREAM, Either::Right(stream))
}

/// An error, always in the same form: a code for programs, a sentence for people.
pub(super) fn error(status: StatusCode, code: &'static str, message: &str) -> Response<Body> {
    error_with(status, code, message, json!({}))
}

/// The same, with more fields.
pub(super) fn error_with(status: StatusCode, code: &'static str, message: &str, more: Value) -> Response<Body> {
    let mut error = json!({"code": code, "message": message});
    if let (Value::Object(error), Value::Object(more)) = (&mut error, more) {
        error.extend(more);
    }
    json(status, &json!({ "error": error }))
}

/// 404, and the names that exist.
pub(super) fn unknown(what: &str, names: Vec<String>) -> Response<Body> {
    let code = if what == "pool" { "unknown_pool" } else { "unknown_backend" };
    let more = Value::Object([(format!("{what}s"), names.into())].into_iter().collect());
    error_with(StatusCode::NOT_FOUND, code, &format!("there is no {what} of this name"), more)
}

/// 405, and the allowed methods.
pub(super) fn wrong_method(allow: &str) -> Response<Body> {
    let message = format!("this path takes {allow}");
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message);
    response.headers_mut().extend(HeaderValue::from_str(allow).map(|allow| (header::ALLOW, allow)));
    response
}

fn with_type(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
