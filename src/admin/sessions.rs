//! The JSON of sessions, made piece by piece: ten thousand are 2 MB.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
};

use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::{
    AdminState,
    query::Query,
    response::{self, Body},
    status::moment,
};
use crate::route::Session;

/// Sessions in one answer, when not asked for more, and at most.
const USUAL: usize = 1000;
const MOST: usize = 10_000;
/// Sessions in one piece of it; making one takes a millisecond or two.
const IN_PIECE: usize = 1000;

#[derive(Serialize)]
struct Connection<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'a str>,
    worker: usize,
    id: u64,
    client: String,
    listener: &'a str,
    backend: &'a str,
    epoch: u64,
    since: String,
    upstream_bytes: u64,
    downstream_bytes: u64,
}

/// `GET /api/v1/pools/{pool}/connections` and `GET /api/v1/connections`: the live sessions of a pool, or of all, oldest first.
pub(super) fn answer(state: &Arc<AdminState>, pool: Option<&str>, query: &Query) -> Response<Body> {
    let limit = match query.get("limit").map(str::parse::<usize>) {
        None => USUAL,
        Some(Ok(limit)) if (1..=MOST).contains(&limit) => limit,
        Some(_) => {
            let message = format!("`limit` is a number of sessions, from 1 to {MOST}");
            return response::error_with(StatusCode::BAD_REQUEST, "bad_query", &message, json!({}));
        }
    };
    let (mut total, mut all) = (0, Vec::new());
    for (worker, table) in state.sessions.iter().enumerate() {
        let (count, oldest) = table.oldest_of(pool, limit);
        total += count;
        all.extend(oldest.into_iter().map(|(id, session)| (worker, id, session)));
    }
    all.sort_unstable_by_key(|(worker, id, session)| (session.since, *worker, *id));
    all.truncate(limit);
    let now = moment(state, state.clock.now());
    let mut head = json!({"now": now, "limit": limit, "total": total, "truncated": total > all.len()});
    if let Some(pool) = pool {
        head["pool"] = pool.into();
    }
    let head = head.to_string().trim_end_matches('}').to_owned() + ",\"connections\":[";
    let pieces =
        Pieces { state: Arc::clone(state), names_pools: pool.is_none(), all: all.into_iter(), head: Some(head), separator: "" };
    response::pieces(StatusCode::OK, response::JSON, pieces)
}

type Listed = (usize, u64, Arc<Session>);

struct Pieces {
    state: Arc<AdminState>,
    names_pools: bool,
    all: std::vec::IntoIter<Listed>,
    /// `None` after the last piece.
    head: Option<String>,
    separator: &'static str,
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut piece = self.head.take()?;
        for (worker, id, session) in self.all.by_ref().take(IN_PIECE) {
            let text =
                serde_json::to_string(&connection(&self.state, self.names_pools, (worker, id, &session))).unwrap_or_default();
            let _ = write!(piece, "{}{text}", self.separator);
            self.separator = ",";
        }
        if self.all.len() == 0 {
            piece.push_str("]}\n");
        } else {
            self.head = Some(String::new());
        }
        Some(piece)
    }
}

fn connection<'a>(state: &AdminState, names_pools: bool, (worker, id, session): (usize, u64, &'a Session)) -> Connection<'a> {
    Connection {
        pool: names_pools.then_some(&session.frontend.pool),
        worker,
        id,
        client: session.client.to_string(),
        listener: &session.frontend.listener,
        backend: &session.route.backend,
        epoch: session.route.id.epoch().unwrap_or_default().0,
        since: moment(state, session.since),
        upstream_bytes: session.upstream_bytes.load(Ordering::Relaxed),
        downstream_bytes: session.downstream_bytes.load(Ordering::Relaxed),
    }
}
