//! The last hour of every pool, for plots: one value for each step of ten seconds, in memory of a fixed size.
//!
//! | file | what it holds |
//! |---|---|
//! | [`node_state`] | the state of a backend in one letter |
//! | [`ring`] | what is kept of one pool |

mod node_state;
mod ring;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, UNIX_EPOCH},
};

use hyper::{Response, StatusCode};
use ring::{PoolRing, STEPS};
use serde_json::json;

use super::{
    AdminState, View,
    query::Query,
    response::{self, Body},
    status::moment,
};
use crate::{failover::Time, lifecycle::Phase};

/// Length of a step. Steps begin at whole multiples of it on the wall clock.
const STEP: Duration = Duration::from_secs(10);
/// A piece of an answer has as many pools as it takes to be at least this long.
const PIECE_BYTES: usize = 32 << 10;

/// The last hour.
#[derive(Debug, Default)]
pub struct History(Mutex<Rings>);

#[derive(Debug, Default)]
struct Rings {
    /// Number of the step that runs: multiples of [`STEP`] since 1970.
    step: u64,
    /// The last event that was heard.
    heard: u64,
    /// What was configured when it was last looked at.
    view: Weak<View>,
    /// One for each of its pools, in their order.
    pools: Vec<PoolRing>,
    index: HashMap<Arc<str>, usize>,
}

/// Keeps the history until mainstay stops.
pub(super) async fn keep(state: Arc<AdminState>) {
    let (mut view, mut events, mut phase) = (state.view.clone(), state.events.watch(), state.phase.clone());
    loop {
        events.mark_unchanged();
        view.mark_unchanged();
        state.history.catch_up(&state, state.clock.now());
        tokio::select! {
            changed = events.changed() => if changed.is_err() { return },
            changed = view.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(until_next(since_1970(&state, state.clock.now()))) => {}
            () = phase.reached(Phase::Stopped) => return,
        }
    }
}

/// `GET /api/v1/history`: all pools, or the one named.
pub(super) fn answer(state: &Arc<AdminState>, query: &Query) -> Response<Body> {
    let count = match query.get("last").map(str::parse::<usize>) {
        None => STEPS,
        Some(Ok(count)) if (1..=STEPS).contains(&count) => count,
        Some(_) => {
            let message = format!("`last` is a number of steps, from 1 to {STEPS}");
            return response::error_with(StatusCode::BAD_REQUEST, "bad_query", &message, json!({}));
        }
    };
    let view = state.view();
    let mut names: Vec<Arc<str>> = view.pools.iter().map(|pool| Arc::clone(&pool.snapshot.get().pool)).collect();
    if let Some(wanted) = query.get("pool") {
        names.retain(|name| **name == *wanted);
        if names.is_empty() {
            return response::unknown("pool", view.names());
        }
    }
    let now = state.clock.now();
    let last = state.history.catch_up(state, now);
    let (now, step) = (moment(state, now), STEP.as_secs());
    let head = format!("{{\"now\":\"{now}\",\"step_seconds\":{step},\"pools\":[");
    let pieces = Pieces { state: Arc::clone(state), last, count, names: names.into_iter(), head, separator: "", is_over: false };
    response::pieces(StatusCode::OK, response::JSON, pieces)
}

impl History {
    /// Takes in what has happened up to `now`; the number of the step that runs.
    fn catch_up(&self, state: &AdminState, now: Time) -> u64 {
        let view = state.view();
        let mut rings = self.lock();
        rings.configure(&view, now);
        for event in state.events.since(rings.heard) {
            rings.heard = event.id;
            if let Some(index) = rings.index.get(&event.pool).copied() {
                rings.pools[index].hear(&event);
                rings.pools[index].observe(&view.pools[index]);
            }
        }
        let step = since_1970(state, now).as_secs() / STEP.as_secs();
        rings.advance(&view, now, step);
        step
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rings {
    /// Pools come and go.
    fn configure(&mut self, view: &Arc<View>, now: Time) {
        if Weak::as_ptr(&self.view) == Arc::as_ptr(view) {
            return;
        }
        self.view = Arc::downgrade(view);
        let mut before: Vec<_> = std::mem::take(&mut self.pools).into_iter().map(Some).collect();
        let known = std::mem::take(&mut self.index);
        for pool in &view.pools {
            let name = Arc::clone(&pool.snapshot.get().pool);
            let kept = known.get(&name).and_then(|index| before[*index].take());
            self.index.insert(name, self.pools.len());
            self.pools.push(if let Some(mut ring) = kept {
                ring.configure(pool);
                ring
            } else {
                PoolRing::new(pool, now)
            });
        }
    }

    fn advance(&mut self, view: &View, now: Time, step: u64) {
        let begun = self.step;
        self.step = begun.max(step);
        if begun == 0 || step <= begun {
            return;
        }
        for (ring, pool) in self.pools.iter_mut().zip(&view.pools) {
            ring.next_step(pool, now, step - begun - 1);
        }
    }
}

/// The answer, made as it is taken: for a thousand pools it is 15 MB, which is never in memory as a whole.
struct Pieces {
    state: Arc<AdminState>,
    /// The number of the last step that is shown.
    last: u64,
    count: usize,
    names: std::vec::IntoIter<Arc<str>>,
    head: String,
    separator: &'static str,
    is_over: bool,
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        let mut piece = std::mem::take(&mut self.head);
        while piece.len() < PIECE_BYTES {
            let Some(name) = self.names.next() else {
                self.is_over = true;
                piece.push_str("]}\n");
                break;
            };
            self.write(&mut piece, &name);
        }
        Some(piece)
    }
}

impl Pieces {
    /// A pool that is gone meanwhile is left out.
    fn write(&mut self, piece: &mut String, name: &str) {
        let (view, now) = (self.state.view(), self.state.clock.now());
        let mut rings = self.state.history.lock();
        rings.configure(&view, now);
        if let Some(index) = rings.index.get(name).copied() {
            piece.push_str(self.separator);
            self.separator = ",";
            let ago = usize::try_from(rings.step.saturating_sub(self.last)).unwrap_or(usize::MAX);
            rings.pools[index].observe(&view.pools[index]);
            rings.pools[index].write(piece, &view.pools[index], now, (ago, self.count));
        }
    }
}

fn since_1970(state: &AdminState, at: Time) -> Duration {
    state.clock.wall(at).duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// To the beginning of the next step.
fn until_next(since_1970: Duration) -> Duration {
    let begun = Duration::new(since_1970.as_secs() % STEP.as_secs(), since_1970.subsec_nanos());
    STEP.saturating_sub(begun)
}
