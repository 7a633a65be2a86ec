//! Routing: which request gets which answer.

use std::sync::Arc;

use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::HeaderMap,
};
use serde_json::json;

use super::{
    AdminPool, AdminState, HealthProblems,
    authority::Denial,
    connection::Connection,
    diff, events, gauges, health, history,
    host::{self, Reach},
    incidents, operations, orders, page,
    query::{Query, decoded},
    response::{self, Body},
    sessions, status,
};

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
    /// It orders something, by this method.
    Order(&'static str, orders::Reader),
}

/// A request to a readable endpoint.
struct Call<'a> {
    state: &'a Arc<AdminState>,
    connection: &'a Connection,
    headers: &'a HeaderMap,
    query: Query,
    /// The names in its path.
    names: Vec<String>,
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

const fn order(method: &'static str, path: &'static str, reader: orders::Reader, meaning: &'static str) -> ApiEndpoint {
    ApiEndpoint { path, query: &[], any_name: Reach::File, answer: Handler::Order(method, reader), meaning }
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
        |call| response::json(StatusCode::OK, &status::status(call.state, &call.connection.caller)),
        "Every pool with its backends, its listeners and its last failover.",
    ),
    get(
        "/api/v1/pools/{pool}",
        &[],
        Reach::File,
        |call| with_pool(call.state, call.name(), |pool| response::json(StatusCode::OK, &status::pool(call.state, pool))),
        "The same for one pool.",
    ),
    get(
        "/api/v1/pools/{pool}/connections?limit=N",
        &["limit"],
        Reach::File,
        |call| with_pool(call.state, call.name(), |_| sessions::answer(call.state, Some(call.name()), &call.query)),
        "The sessions of one pool, oldest first, at most 1000, or `N` up to 10000.",
    ),
    get(
        "/api/v1/connections?limit=N",
        &["limit"],
        Reach::File,
        |call| sessions::answer(call.state, None, &call.query),
        "The same of all pools together.",
    ),
    get(
        "/api/v1/pools/{pool}/diff?a=BACKEND&b=BACKEND",
        &["a", "b"],
        Reach::File,
        |call| with_pool(call.state, call.name(), |pool| diff::answer(call.state, pool, &call.query)),
        "What differs between the active backend and each other one, or between two: see [updates.md](updates.md).",
    ),
    get(
        "/api/v1/events?since=ID",
        &["since"],
        Reach::File,
        |call| events::answer(call.state, &call.query),
        "The last 1000 changes of state, or those after the event `ID`.",
    ),
    get(
        "/api/v1/events/stream",
        &["since"],
        Reach::File,
        |call| events::stream(call.state, call.connection, (&call.query, call.headers)),
        "The same as server-sent events, as they happen.",
    ),
    get(
        "/api/v1/history?pool=POOL&last=STEPS",
        &["pool", "last"],
        Reach::File,
        |call| history::answer(call.state, &call.query),
        "The last hour in steps of ten seconds, for plots: of every pool or of the named one, or only the last steps.",
    ),
    get(
        "/api/v1/operations?pool=POOL",
        &["pool"],
        Reach::File,
        |call| operations::list(call.state, call.query.get("pool")),
        "The operations that run and the last ones, step by step, oldest first, at most 100; of every pool or of the named one.",
    ),
    get("/api/v1/operations/{id}", &[], Reach::File, |call| operations::one(call.state, call.name()), "One operation."),
    get(
        "/api/v1/incidents",
        &[],
        Reach::File,
        |call| incidents::list(call.state),
        "The last 100 incidents, newest first: what happened, and what clients felt; see [incidents.md](incidents.md).",
    ),
    get(
        "/api/v1/incidents/{number}",
        &[],
        Reach::File,
        |call| incidents::one(call.state, call.name()),
        "One incident, with its timeline.",
    ),
    get(
        "/api/v1/config",
        &[],
        Reach::File,
        |call| response::json(StatusCode::OK, &call.state.view().config_json),
        "The configuration in use, without secrets.",
    ),
    order(
        "PUT",
        "/api/v1/pools/{pool}/backends/{backend}/state",
        orders::state,
        "`state`: `ready`, `drain` (no new sessions) or `maint` (its sessions are closed, too). `force`: although nobody takes over.",
    ),
    order(
        "POST",
        "/api/v1/pools/{pool}/pause",
        orders::pause,
        "Holds new clients for `max` at most: 1ms to 1h, by default 30s. Sessions stop between two transactions, where the check can tell.",
    ),
    order("POST", "/api/v1/pools/{pool}/resume", orders::resume, "Ends a pause."),
    order(
        "POST",
        "/api/v1/pools/{pool}/kill",
        orders::kill,
        "Ends sessions: all, or only those with `backend`, or only that of `client` (an address, or `unix`).",
    ),
    order(
        "POST",
        "/api/v1/pools/{pool}/switchover",
        orders::switchover,
        "Moves the clients to another backend, `to` or the best one, at the ends of their transactions. `force`: also to a standby \
         that is far behind, and although something is missing. `trial`: a trial of this length follows, 1s to 24h.",
    ),
    order(
        "POST",
        "/api/v1/pools/{pool}/rollback",
        orders::rollback,
        "Moves the clients back to the backend that was active before. `accept_loss`: when no backend is active, although it lacks what \
         the last one had, or nobody knows.",
    ),
    order(
        "POST",
        "/api/v1/pools/{pool}/abort",
        orders::abort_present,
        "Aborts the operation that runs, before its point of no return; if none runs, ends the trial.",
    ),
    order(
        "POST",
        "/api/v1/pools/{pool}/promote",
        orders::promote,
        "Makes a standby the primary while no backend is active: `to`, or the best one. `accept_loss`: although it lacks what the old \
         primary had, or nobody knows. `force`: although another one says that it is a primary, or something is missing.",
    ),
    order(
        "POST",
        "/api/v1/pools/{pool}/drill",
        orders::drill,
        "Changes nothing: says what a failover, a switchover, a promotion and a rollback would do now. `switch`: makes a switchover \
         there and back.",
    ),
    order(
        "POST",
        "/api/v1/pools/{pool}/prove",
        orders::prove,
        "Runs the proofs of `backend`, or of every backend that has not proven itself.",
    ),
    order("POST", "/api/v1/pools/{pool}/backends/{backend}/prove", orders::prove_one, "Runs the proofs of one backend."),
    order(
        "POST",
        "/api/v1/pools/{pool}/backends/{backend}/approve",
        orders::approve,
        "Takes a backend for good as it is now, whatever its proofs say. It needs a `reason`.",
    ),
    order(
        "POST",
        "/api/v1/pools/{pool}/backends/{backend}/reject",
        orders::reject,
        "Takes a backend for bad as it is now. It needs a `reason`.",
    ),
    order("DELETE", "/api/v1/operations/{id}", orders::abort, "Aborts an operation before its point of no return."),
    order("POST", "/api/v1/reload", orders::reload, "As SIGHUP: reads the configuration again; see [reload.md](reload.md)."),
    order("POST", "/api/v1/upgrade", orders::upgrade, "A newer process takes over; see [upgrade.md](upgrade.md)."),
    order("POST", "/api/v1/shutdown", orders::shutdown, "As SIGTERM. `force`: sessions are cut at once, as by a second SIGTERM."),
];

/// Every readable endpoint: path and meaning.
pub(super) fn endpoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    let can_be_read = |endpoint: &&ApiEndpoint| matches!(endpoint.answer, Handler::Read(_));
    ENDPOINTS.iter().filter(can_be_read).map(|endpoint| (endpoint.path, endpoint.meaning))
}

/// Every order: method, path and meaning.
fn order_endpoints() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    ENDPOINTS.iter().filter_map(|endpoint| match endpoint.answer {
        Handler::Order(method, _) => Some((method, endpoint.path, endpoint.meaning)),
        Handler::Read(_) => None,
    })
}

/// An answer, or the order that has to be carried out for it.
pub(super) enum Answer {
    /// It is ready.
    Now(Response<Body>),
    /// It will be.
    Order(Box<Pending>),
}

/// An order to be carried out.
pub(super) struct Pending {
    state: Arc<AdminState>,
    connection: Connection,
    reader: orders::Reader,
    names: Vec<String>,
    request: Request<Incoming>,
}

impl Answer {
    pub(super) async fn whole(self) -> Response<Body> {
        match self {
            Self::Now(response) => response,
            Self::Order(order) => {
                let Pending { state, connection, reader, names, request } = *order;
                orders::take(&state, &connection, (reader, names), request).await
            }
        }
    }
}

/// The answer to everything from somebody who may not even read.
pub(super) fn stranger() -> Answer {
    Answer::Now(orders::denied(Denial::NotAnOperator))
}

pub(super) fn respond(state: &Arc<AdminState>, connection: &Connection, request: Request<Incoming>) -> Answer {
    let (endpoint, query, names) = match find(state, connection, &request) {
        Ok(found) => found,
        Err(refusal) => return Answer::Now(*refusal),
    };
    match endpoint.answer {
        Handler::Read(answer) => Answer::Now(answer(&Call { state, connection, headers: request.headers(), query, names })),
        Handler::Order(_, reader) => {
            let (state, connection) = (Arc::clone(state), connection.clone());
            Answer::Order(Box::new(Pending { state, connection, reader, names, request }))
        }
    }
}

type Found = (&'static ApiEndpoint, Query, Vec<String>);

/// The endpoint of a request, with its query and the names in its path.
fn find(state: &AdminState, connection: &Connection, request: &Request<Incoming>) -> Result<Found, Box<Response<Body>>> {
    if request.body().size_hint().lower() > orders::MAX_BODY_BYTES as u64 {
        return Err(Box::new(orders::denied(Denial::BodyTooLarge)));
    }
    let path = request.uri().path();
    let here = || ENDPOINTS.iter().filter_map(|endpoint| Some((endpoint, endpoint.named_by(path)?)));
    let Some((first, _)) = here().next() else {
        let message = "there is nothing at this path; these exist";
        let paths = endpoints().map(|(path, _)| path).chain(order_endpoints().map(|(_, path, _)| path));
        let paths = json!({ "paths": paths.collect::<Vec<_>>() });
        return Err(Box::new(response::error_with(StatusCode::NOT_FOUND, "not_found", message, paths)));
    };
    if connection.reach > first.any_name
        && let Some(foreign) = host::foreign(request.uri(), request.headers(), &state.authority.hosts)
    {
        return Err(Box::new(response::error(StatusCode::FORBIDDEN, "foreign_host", &host::refusal(&foreign))));
    }
    let Some((endpoint, names)) = here().find(|(endpoint, _)| endpoint.methods().contains(&request.method().as_str())) else {
        let allowed: Vec<&str> = here().flat_map(|(endpoint, _)| endpoint.methods().iter().copied()).collect();
        return Err(Box::new(response::wrong_method(&allowed.join(", "))));
    };
    Ok((endpoint, Query::read(request.uri(), endpoint.query)?, names))
}

impl Call<'_> {
    /// The first name in its path.
    fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

impl ApiEndpoint {
    const fn methods(&self) -> &[&'static str] {
        match &self.answer {
            Handler::Read(_) => &["GET", "HEAD"],
            Handler::Order(method, _) => std::slice::from_ref(method),
        }
    }

    /// If `path` matches: the names in it.
    fn named_by(&self, path: &str) -> Option<Vec<String>> {
        let pattern = self.path.split('?').next()?;
        if pattern.split('/').count() != path.split('/').count() {
            return None;
        }
        let mut names = Vec::new();
        for (wanted, found) in pattern.split('/').zip(path.split('/')) {
            if wanted.starts_with('{') {
                names.push(decoded(found)?);
            } else if wanted != found {
                return None;
            }
        }
        Some(names)
    }
}

fn metrics(call: &Call<'_>) -> Response<Body> {
    gauges::refresh(call.state);
    response::pieces(StatusCode::OK, response::PROMETHEUS, call.state.metrics.exposition())
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
    view.pool(name).map_or_else(|| response::unknown("pool", view.names()), answer)
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

    #[test]
    fn the_page_has_every_order_as_the_table_has_it() {
        let page = include_str!("../../docs/admin.md");
        let row = |(method, path, meaning)| format!("| `{method} {path}` | {meaning} |");
        let wanted: Vec<String> = order_endpoints().map(row).collect();
        let is_order = |line: &&str| ["| `PUT ", "| `POST ", "| `DELETE "].iter().any(|method| line.starts_with(method));
        let found: Vec<&str> = page.lines().filter(is_order).collect();
        assert_eq!(found, wanted, "docs/admin.md must hold:\n\n{}", wanted.join("\n"));
    }
}
