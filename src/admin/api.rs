//! Paths: which request gets which answer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use hyper::{Method, Response, StatusCode, body::Body as _, header::HeaderMap};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{
    AdminPool, AdminState, Ailments, events, gauges, health,
    host::{self, Reach},
    page,
    query::Query,
    response::{self, Body},
    status,
};

/// Everything that can be read, for the answer to a wrong path.
const PATHS: [&str; 11] = [
    "/",
    "/metrics",
    "/livez",
    "/readyz?pool=POOL",
    "/startupz",
    "/api/v1/status",
    "/api/v1/pools/{pool}",
    "/api/v1/pools/{pool}/connections",
    "/api/v1/events?since=ID",
    "/api/v1/events/stream",
    "/api/v1/config",
];

/// No request needs a body; what is larger than this is refused, and nothing of it is ever read.
const MAX_BODY_BYTES: u64 = 64 * 1024;

/// Where a request came in.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// Whose browsers can reach the listener.
    pub(super) reach: Reach,
    /// Set when the connection turns into a stream of events.
    pub(super) is_stream: Arc<AtomicBool>,
    /// Streams that may still be opened on this listener.
    pub(super) streams: Arc<Semaphore>,
}

enum Endpoint {
    Page,
    Metrics,
    Live,
    Ready,
    Startup,
    Status,
    Pool(String),
    Sessions(String),
    Events,
    EventStream,
    Config,
    /// A call that changes something, and its method.
    Change(&'static str),
}

/// Answers a request.
pub(super) fn respond(
    state: &Arc<AdminState>,
    connection: &Connection,
    request: &hyper::Request<hyper::body::Incoming>,
) -> Response<Body> {
    if request.body().size_hint().lower() > MAX_BODY_BYTES {
        return response::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "no request here needs a body of more than 64 KiB",
        );
    }
    let Some(endpoint) = endpoint(request.uri().path()) else {
        let message = "there is nothing at this path; these exist";
        return response::error_with(StatusCode::NOT_FOUND, "not_found", message, json!({ "paths": PATHS }));
    };
    let is_open = match endpoint {
        Endpoint::Live | Endpoint::Ready | Endpoint::Startup => true,
        Endpoint::Metrics => connection.reach == Reach::Machine,
        _ => connection.reach == Reach::File,
    };
    if !is_open && let Some(foreign) = host::foreign(request.uri(), request.headers(), &state.hosts) {
        return response::error(StatusCode::FORBIDDEN, "foreign_host", &host::refusal(&foreign));
    }
    match endpoint {
        Endpoint::Change(method) if request.method().as_str() == method => {
            let message = "this endpoint is read-only: this version of mainstay takes no changing calls over HTTP";
            response::error(StatusCode::FORBIDDEN, "read_only", message)
        }
        Endpoint::Change(method) => response::wrong_method(method),
        _ if !matches!(*request.method(), Method::GET | Method::HEAD) => response::wrong_method("GET, HEAD"),
        endpoint => match Query::read(request.uri(), endpoint.query_keys()) {
            Ok(query) => read(state, connection, &endpoint, &query, request.headers()),
            Err(refusal) => *refusal,
        },
    }
}

impl Endpoint {
    /// What may stand behind the `?`.
    const fn query_keys(&self) -> &'static [&'static str] {
        match self {
            Self::Ready => &["pool"],
            Self::Events | Self::EventStream => &["since"],
            _ => &[],
        }
    }
}

fn endpoint(path: &str) -> Option<Endpoint> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    Some(match segments.as_slice() {
        [""] => Endpoint::Page,
        ["metrics"] => Endpoint::Metrics,
        ["livez"] => Endpoint::Live,
        ["readyz"] => Endpoint::Ready,
        ["startupz"] => Endpoint::Startup,
        ["api", "v1", rest @ ..] => match rest {
            ["status"] => Endpoint::Status,
            ["events"] => Endpoint::Events,
            ["events", "stream"] => Endpoint::EventStream,
            ["config"] => Endpoint::Config,
            ["pools", pool] => Endpoint::Pool(decoded(pool)?),
            ["pools", pool, "connections"] => Endpoint::Sessions(decoded(pool)?),
            ["pools", _, "backends", _, "state"] => Endpoint::Change("PUT"),
            ["pools", _, "switchover" | "pause" | "resume"] | ["reload" | "shutdown"] => Endpoint::Change("POST"),
            _ => return None,
        },
        _ => return None,
    })
}

fn read(
    state: &Arc<AdminState>,
    connection: &Connection,
    endpoint: &Endpoint,
    query: &Query,
    headers: &HeaderMap,
) -> Response<Body> {
    match endpoint {
        Endpoint::Page => page::page(),
        Endpoint::Metrics => {
            gauges::refresh(state);
            response::whole(StatusCode::OK, response::PROMETHEUS, state.metrics.render())
        }
        Endpoint::Live => {
            let Ailments { fatal, others } = health::ailments(state);
            verdict(fatal.is_empty(), &[fatal, others].concat())
        }
        Endpoint::Ready => match query.get("pool") {
            Some(name) => with_pool(state, name, |pool| whether(&health::not_ready_for(state, pool))),
            None => whether(&health::not_ready(state)),
        },
        Endpoint::Startup => whether(&health::not_started(state)),
        Endpoint::Status => response::json(StatusCode::OK, &status::status(state)),
        Endpoint::Pool(name) => with_pool(state, name, |pool| response::json(StatusCode::OK, &status::pool(state, pool))),
        Endpoint::Sessions(name) => with_pool(state, name, |pool| response::json(StatusCode::OK, &status::sessions(state, pool))),
        Endpoint::Events => match since(query) {
            Ok(since) => response::json(StatusCode::OK, &events::list(state, since.unwrap_or(0))),
            Err(refusal) => *refusal,
        },
        Endpoint::EventStream => stream(state, connection, query, headers),
        Endpoint::Config => response::json(StatusCode::OK, &state.view().config_json),
        Endpoint::Change(method) => response::wrong_method(method),
    }
}

/// Yes, or no for these reasons.
fn whether(reasons: &[String]) -> Response<Body> {
    verdict(reasons.is_empty(), reasons)
}

fn verdict(is_well: bool, reasons: &[String]) -> Response<Body> {
    let (code, word) = if is_well { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "unavailable") };
    response::json(code, &json!({ "status": word, "reasons": reasons }))
}

fn with_pool(state: &AdminState, name: &str, answer: impl Fn(&AdminPool) -> Response<Body>) -> Response<Body> {
    let view = state.view();
    let names: Vec<_> = view.pools.iter().map(|pool| pool.snapshot.get().pool.to_string()).collect();
    match names.iter().position(|candidate| candidate == name) {
        Some(index) => answer(&view.pools[index]),
        None => response::error_with(
            StatusCode::NOT_FOUND,
            "unknown_pool",
            "there is no pool of this name",
            json!({ "pools": names }),
        ),
    }
}

fn stream(state: &Arc<AdminState>, connection: &Connection, query: &Query, headers: &HeaderMap) -> Response<Body> {
    let since = match since(query) {
        Ok(since) => since.or_else(|| last_event_id(headers)),
        Err(refusal) => return *refusal,
    };
    let Ok(permit) = Arc::clone(&connection.streams).try_acquire_owned() else {
        let message = "too many streams are open; ask /api/v1/events instead";
        return response::error(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message);
    };
    connection.is_stream.store(true, Ordering::Relaxed);
    events::stream(state, since, permit)
}

/// The `since` of the query.
fn since(query: &Query) -> Result<Option<u64>, Box<Response<Body>>> {
    let Some(value) = query.get("since") else { return Ok(None) };
    value.parse().map(Some).map_err(|_| {
        Box::new(response::error(StatusCode::BAD_REQUEST, "bad_since", "since must be the id of an event, a whole number"))
    })
}

/// What a browser sends when it opens a broken stream again.
fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

/// Percent-decoding of one path segment or value of a query; `None` when it is no UTF-8.
pub(crate) fn decoded(segment: &str) -> Option<String> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, tail @ ..] if *first == b'%' => hex(*high).zip(hex(*low)).map(|(high, low)| (high << 4 | low, tail)),
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_once() {
        assert_eq!(decoded("a%20b%2Fc%2525").as_deref(), Some("a b/c%25"));
        assert_eq!(decoded("100%").as_deref(), Some("100%"));
        assert_eq!(decoded("%zz%1").as_deref(), Some("%zz%1"));
        assert_eq!(decoded("%ff"), None);
        assert_eq!(decoded("%+1%€").as_deref(), Some("%+1%€"));
    }
}
