//! Routing: which request gets which answer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use hyper::{Method, Response, StatusCode, body::Body as _, header::HeaderMap};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{
    AdminPool, AdminState, HealthProblems, events, gauges, health,
    host::{self, Reach},
    page,
    query::{Query, decoded},
    response::{self, Body},
    status,
};

/// No request needs a body; a larger one is refused, and nothing of it is read.
const MAX_BODY_BYTES: u64 = 64 * 1024;

/// The connection of a request.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// Whose browsers can reach the listener.
    pub(super) reach: Reach,
    /// Set when the connection turns into a stream of events.
    pub(super) is_stream: Arc<AtomicBool>,
    /// Streams that may still be opened on this listener.
    pub(super) streams: Arc<Semaphore>,
}

struct ApiEndpoint {
    /// Its path, where `{…}` stands for a name, and its query, as the answer to a wrong path lists it.
    path: &'static str,
    /// Keys of its query.
    query: &'static [&'static str],
    /// The listeners that are reached from no further than this may be asked by any name; see [`host`].
    any_name: Reach,
    answer: Handler,
    /// Its purpose, in a sentence.
    meaning: &'static str,
}

enum Handler {
    /// To GET and HEAD.
    Read(fn(&Call<'_>) -> Response<Body>),
    /// It changes something, by this method; this version does not support it.
    Change(&'static str),
}

/// A request to a readable endpoint.
struct Call<'a> {
    state: &'a Arc<AdminState>,
    connection: &'a Connection,
    headers: &'a HeaderMap,
    query: Query,
    /// The first name in its path, or nothing.
    pool: String,
}

const fn get(
    path: &'static str,
    query: &'static [&'static str],
    any_name: Reach,
    answer: fn(&Call<'_>) -> Response<Body>,
    meaning: &'static str,
) -> ApiEndpoint {
    ApiEndpoint { path, query, any_name, answer: Handler::Read(answer), meaning }
}

const fn change(path: &'static str, method: &'static str) -> ApiEndpoint {
    ApiEndpoint { path, query: &[], any_name: Reach::File, answer: Handler::Change(method), meaning: "" }
}

const ENDPOINTS: &[ApiEndpoint] = &[
    get("/", &[], Reach::File, |_| page::page(), "The status page, for a browser."),
    get("/metrics", &[], Reach::Machine, metrics, "All metrics, for Prometheus; see [metrics.md](metrics.md)."),
    get("/livez", &[], Reach::Others, live, "200 while the process works; 503 when it needs a restart."),
    get(
        "/readyz?pool=POOL",
        &["pool"],
        Reach::Others,
        ready,
        "200 when every pool (or the named one) can serve clients, else 503 with the reasons.",
    ),
    get(
        "/startupz",
        &[],
        Reach::Others,
        |call| whether(&health::not_started(call.state)),
        "200 after the first election of every pool, 503 before.",
    ),
    get(
        "/api/v1/status",
        &[],
        Reach::File,
        |call| response::json(StatusCode::OK, &status::status(call.state)),
        "Every pool with its backends, its listeners and its last failover.",
    ),
    get(
        "/api/v1/pools/{pool}",
        &[],
        Reach::File,
        |call| with_pool(call.state, &call.pool, |pool| response::json(StatusCode::OK, &status::pool(call.state, pool))),
        "The same for one pool.",
    ),
    get(
        "/api/v1/pools/{pool}/connections",
        &[],
        Reach::File,
        |call| with_pool(call.state, &call.pool, |pool| response::json(StatusCode::OK, &status::sessions(call.state, pool))),
        "The sessions of one pool, oldest first, at most 1000.",
    ),
    get(
        "/api/v1/events?since=ID",
        &["since"],
        Reach::File,
        events,
        "The last 1000 changes of state, or those after the event `ID`.",
    ),
    get("/api/v1/events/stream", &["since"], Reach::File, stream, "The same as server-sent events, as they happen."),
    get(
        "/api/v1/config",
        &[],
        Reach::File,
        |call| response::json(StatusCode::OK, &call.state.view().config_json),
        "The configuration in use, without secrets.",
    ),
    change("/api/v1/pools/{pool}/backends/{backend}/state", "PUT"),
    change("/api/v1/pools/{pool}/switchover", "POST"),
    change("/api/v1/pools/{pool}/pause", "POST"),
    change("/api/v1/pools/{pool}/resume", "POST"),
    change("/api/v1/reload", "POST"),
    change("/api/v1/shutdown", "POST"),
];

/// Every readable endpoint: path and meaning.
pub(super) fn endpoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    let can_be_read = |endpoint: &&ApiEndpoint| matches!(endpoint.answer, Handler::Read(_));
    ENDPOINTS.iter().filter(can_be_read).map(|endpoint| (endpoint.path, endpoint.meaning))
}

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
    let Some((endpoint, pool)) = ENDPOINTS.iter().find_map(|endpoint| Some((endpoint, endpoint.named_by(request.uri().path())?)))
    else {
        let message = "there is nothing at this path; these exist";
        let paths = json!({ "paths": endpoints().map(|(path, _)| path).collect::<Vec<_>>() });
        return response::error_with(StatusCode::NOT_FOUND, "not_found", message, paths);
    };
    let headers = request.headers();
    if connection.reach > endpoint.any_name
        && let Some(foreign) = host::foreign(request.uri(), headers, &state.hosts)
    {
        return response::error(StatusCode::FORBIDDEN, "foreign_host", &host::refusal(&foreign));
    }
    match endpoint.answer {
        Handler::Change(method) if request.method().as_str() == method => {
            let message = "this endpoint is read-only: this version of mainstay takes no changing calls over HTTP";
            response::error(StatusCode::FORBIDDEN, "read_only", message)
        }
        Handler::Change(method) => response::wrong_method(method),
        Handler::Read(_) if !matches!(*request.method(), Method::GET | Method::HEAD) => response::wrong_method("GET, HEAD"),
        Handler::Read(answer) => match Query::read(request.uri(), endpoint.query) {
            Ok(query) => answer(&Call { state, connection, headers, query, pool }),
            Err(refusal) => *refusal,
        },
    }
}

impl ApiEndpoint {
    /// If `path` matches: the first name in it, or an empty one.
    fn named_by(&self, path: &str) -> Option<String> {
        let pattern = self.path.split('?').next()?;
        if pattern.split('/').count() != path.split('/').count() {
            return None;
        }
        let mut names = Vec::new();
        for (wanted, found) in pattern.split('/').zip(path.split('/')) {
            if wanted.starts_with('{') {
                names.push(found);
            } else if wanted != found {
                return None;
            }
        }
        match (&self.answer, names.first()) {
            (Handler::Read(_), Some(name)) => decoded(name),
            _ => Some(String::new()),
        }
    }
}

fn metrics(call: &Call<'_>) -> Response<Body> {
    gauges::refresh(call.state);
    response::whole(StatusCode::OK, response::PROMETHEUS, call.state.metrics.render())
}

fn live(call: &Call<'_>) -> Response<Body> {
    let HealthProblems { fatal, others } = health::ailments(call.state);
    verdict(fatal.is_empty(), &[fatal, others].concat())
}

fn ready(call: &Call<'_>) -> Response<Body> {
    match call.query.get("pool") {
        Some(name) => with_pool(call.state, name, |pool| whether(&health::not_ready_for(call.state, pool))),
        None => whether(&health::not_ready(call.state)),
    }
}

fn events(call: &Call<'_>) -> Response<Body> {
    match since(&call.query) {
        Ok(since) => response::json(StatusCode::OK, &events::list(call.state, since.unwrap_or(0))),
        Err(refusal) => *refusal,
    }
}

/// 200, or 503 with these reasons.
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

fn stream(call: &Call<'_>) -> Response<Body> {
    let since = match since(&call.query) {
        Ok(since) => since.or_else(|| last_event_id(call.headers)),
        Err(refusal) => return *refusal,
    };
    let Ok(permit) = Arc::clone(&call.connection.streams).try_acquire_owned() else {
        let message = "too many streams are open; ask /api/v1/events instead";
        return response::error(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message);
    };
    call.connection.is_stream.store(true, Ordering::Relaxed);
    events::stream(call.state, since, permit)
}

fn since(query: &Query) -> Result<Option<u64>, Box<Response<Body>>> {
    let Some(value) = query.get("since") else { return Ok(None) };
    value.parse().map(Some).map_err(|_| {
        Box::new(response::error(StatusCode::BAD_REQUEST, "bad_since", "since must be the id of an event, a whole number"))
    })
}

/// Sent by a browser that opens a broken stream again.
fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_endpoint_as_the_table_has_it() {
        let page = include_str!("../../docs/admin.md");
        let wanted: Vec<String> = endpoints().map(|(path, meaning)| format!("| `{path}` | {meaning} |")).collect();
        let found: Vec<&str> = page.lines().filter(|line| line.starts_with("| `/")).collect();
        assert_eq!(found, wanted, "docs/admin.md must hold:\n\n{}", wanted.join("\n"));
    }
}
