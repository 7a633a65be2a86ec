//! Paths: which request gets which answer.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hyper::{
    Method, Response, StatusCode, Uri,
    body::Body as _,
    header::{self, HeaderMap},
};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{
    AdminPool, AdminState, events, gauges, health, page,
    response::{self, Body},
    status,
};

/// Everything that can be read, for the answer to a wrong path.
const PATHS: [&str; 11] = [
    "/",
    "/metrics",
    "/livez",
    "/readyz",
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
    /// The listener is bound to a loopback address, so that a browser on this machine can reach it.
    pub(super) is_loopback: bool,
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
    let is_probe = matches!(endpoint, Endpoint::Live | Endpoint::Ready | Endpoint::Startup | Endpoint::Metrics);
    if connection.is_loopback && !is_probe && is_foreign_host(request.uri(), request.headers()) {
        let message = "the Host header names another host; use an IP address or localhost";
        return response::error(StatusCode::FORBIDDEN, "foreign_host", message);
    }
    match endpoint {
        Endpoint::Change(method) if request.method().as_str() == method => {
            let message = "this endpoint is read-only: this version of mainstay takes no changing calls over HTTP";
            response::error(StatusCode::FORBIDDEN, "read_only", message)
        }
        Endpoint::Change(method) => response::wrong_method(method),
        _ if !matches!(*request.method(), Method::GET | Method::HEAD) => response::wrong_method("GET, HEAD"),
        endpoint => read(state, connection, &endpoint, request),
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

fn read<B>(state: &Arc<AdminState>, connection: &Connection, endpoint: &Endpoint, request: &hyper::Request<B>) -> Response<Body> {
    match endpoint {
        Endpoint::Page => page::page(),
        Endpoint::Metrics => {
            gauges::refresh(state);
            response::whole(StatusCode::OK, response::PROMETHEUS, state.metrics.render())
        }
        Endpoint::Live => verdict(&health::not_live(state)),
        Endpoint::Ready => verdict(&health::not_ready(state)),
        Endpoint::Startup => verdict(&health::not_started(state)),
        Endpoint::Status => response::json(StatusCode::OK, &status::status(state)),
        Endpoint::Pool(name) => with_pool(state, name, |pool| response::json(StatusCode::OK, &status::pool(state, pool))),
        Endpoint::Sessions(name) => with_pool(state, name, |pool| response::json(StatusCode::OK, &status::sessions(state, pool))),
        Endpoint::Events => match since(request.uri()) {
            Ok(since) => response::json(StatusCode::OK, &events::list(state, since.unwrap_or(0))),
            Err(refusal) => *refusal,
        },
        Endpoint::EventStream => stream(state, connection, request),
        Endpoint::Config => response::json(StatusCode::OK, &state.view().config_json),
        Endpoint::Change(method) => response::wrong_method(method),
    }
}

fn verdict(reasons: &[String]) -> Response<Body> {
    let (code, word) = if reasons.is_empty() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "unavailable") };
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

fn stream<B>(state: &Arc<AdminState>, connection: &Connection, request: &hyper::Request<B>) -> Response<Body> {
    let since = match since(request.uri()) {
        Ok(since) => since.or_else(|| last_event_id(request.headers())),
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
fn since(uri: &Uri) -> Result<Option<u64>, Box<Response<Body>>> {
    let query = uri.query().unwrap_or_default();
    let Some(value) = query.split('&').find_map(|pair| pair.strip_prefix("since=")) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| {
        Box::new(response::error(StatusCode::BAD_REQUEST, "bad_since", "since must be the id of an event, a whole number"))
    })
}

/// What a browser sends when it opens a broken stream again.
fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

/// A page of another site can reach a loopback listener through the browser of somebody on this machine, by a name that
/// it lets point to 127.0.0.1 (DNS rebinding). Its requests carry that name.
fn is_foreign_host(uri: &Uri, headers: &HeaderMap) -> bool {
    let named = uri.authority().map(|authority| authority.as_str().to_owned());
    let sent = headers.get_all(header::HOST).iter().map(|value| value.to_str().map(str::to_owned).unwrap_or_default());
    named.into_iter().chain(sent).any(|host| !is_own(&host))
}

/// Whether a Host header names this machine and not a site on the web.
pub(crate) fn is_own(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Percent-decoding of one path segment; `None` when it is no UTF-8.
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
    fn own_hosts_are_numbers_and_localhost() {
        for host in ["127.0.0.1:8432", "localhost", "LOCALHOST:1", "[::1]:8432", "10.1.2.3", "[::1]"] {
            assert!(is_own(host), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[evil]:1", ":80"] {
            assert!(!is_own(host), "{host}");
        }
    }

    #[test]
    fn segments_are_decoded_once() {
        assert_eq!(decoded("a%20b%2Fc%2525").as_deref(), Some("a b/c%25"));
        assert_eq!(decoded("100%").as_deref(), Some("100%"));
        assert_eq!(decoded("%zz%1").as_deref(), Some("%zz%1"));
        assert_eq!(decoded("%ff"), None);
        assert_eq!(decoded("%+1%€").as_deref(), Some("%+1%€"));
    }
}
