//! State changes, as a list and as a stream.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use hyper::{Response, StatusCode, header::HeaderMap};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, mpsc::error::SendTimeoutError, watch};

use super::{
    AdminState,
    connection::Connection,
    query::Query,
    response::{self, Body, Stream},
    status::moment,
};
use crate::{lifecycle::Phase, route::StateEvent};

/// Interval of the comments that keep a quiet stream open and detect that the client is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A client that does not read a piece for this long is closed.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Events {
    newest: u64,
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Event {
    id: u64,
    at: String,
    pool: String,
    backend: Option<String>,
    kind: &'static str,
    from: Option<&'static str>,
    to: Option<&'static str>,
    epoch: u64,
    cause: Option<&'static str>,
    evidence: String,
}

/// `GET /api/v1/events`: the kept events, or those after `since`, oldest first.
pub(super) fn answer(state: &AdminState, query: &Query) -> Response<Body> {
    let since = match since(query) {
        Ok(since) => since.unwrap_or(0),
        Err(refusal) => return *refusal,
    };
    let newest = *state.events.watch().borrow();
    let events = state.events.since(known(since, newest)).into_iter().map(|event| shape(state, event)).collect();
    response::json(StatusCode::OK, &Events { newest, events })
}

/// The same as server-sent events, from `since` (or from now) until the client leaves or mainstay stops.
pub(super) fn stream(state: &Arc<AdminState>, connection: &Connection, (query, headers): (&Query, &HeaderMap)) -> Response<Body> {
    let since = match since(query) {
        Ok(since) => since.or_else(|| last_event_id(headers)),
        Err(refusal) => return *refusal,
    };
    let Ok(permit) = Arc::clone(&connection.streams).try_acquire_owned() else {
        let message = "too many streams are open; ask /api/v1/events instead";
        return response::error(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message);
    };
    connection.busy.is_stream.store(true, Ordering::Relaxed);
    let (tx, rx) = mpsc::channel(16);
    let newest = state.events.watch();
    let now = *newest.borrow();
    let from = since.map_or(now, |since| known(since, now));
    tokio::spawn(feed(Arc::clone(state), newest, from, tx, permit));
    response::event_stream(Stream(rx))
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

/// An id from before a restart is unknown: ids start over with the process.
const fn known(since: u64, newest: u64) -> u64 {
    if since > newest { 0 } else { since }
}

async fn feed(
    state: Arc<AdminState>,
    mut newest: watch::Receiver<u64>,
    mut sent: u64,
    tx: mpsc::Sender<Bytes>,
    _permit: OwnedSemaphorePermit,
) {
    let mut phase = state.phase.clone();
    let mut piece = String::from("retry: 1000\n\n");
    loop {
        newest.mark_unchanged();
        for event in state.events.since(sent) {
            sent = event.id;
            piece.push_str(&written(&state, event));
        }
        if !piece.is_empty() && !send(&tx, std::mem::take(&mut piece)).await {
            return;
        }
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(KEEP_ALIVE) => piece.push_str(": still here\n\n"),
            () = tx.closed() => return,
            () = phase.reached(Phase::Stopped) => return,
        }
    }
}

async fn send(tx: &mpsc::Sender<Bytes>, piece: String) -> bool {
    !matches!(tx.send_timeout(piece.into(), PATIENCE).await, Err(SendTimeoutError::Timeout(_) | SendTimeoutError::Closed(_)))
}

/// JSON contains no raw line breaks, so one `data:` line holds it.
fn written(state: &AdminState, event: StateEvent) -> String {
    let (id, kind) = (event.id, event.kind);
    let data = serde_json::to_string(&shape(state, event)).unwrap_or_default();
    format!("id: {id}\nevent: {kind}\ndata: {data}\n\n")
}

fn shape(state: &AdminState, event: StateEvent) -> Event {
    Event {
        id: event.id,
        at: moment(state, event.at),
        pool: event.pool.to_string(),
        backend: event.backend.map(|name| name.to_string()),
        kind: event.kind,
        from: event.from,
        to: event.to,
        epoch: event.epoch.0,
        cause: event.cause,
        evidence: event.evidence.to_string(),
    }
}
