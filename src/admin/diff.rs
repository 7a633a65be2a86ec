//! What differs between the backends of a pool. Field names are part of the interface.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hyper::{Response, StatusCode};
use serde::Serialize;

use super::{
    AdminPool, AdminState,
    query::Query,
    response::{self, Body},
    status::{millis, moment},
};
use crate::{
    failover::label::Label,
    route::{Difference, GuardView, Print, Snapshot},
};

/// Most differences of a comparison in one answer: more are two servers that have nothing to do with each other.
const DIFFERENCES: usize = 500;

/// `GET /api/v1/pools/{p}/diff`.
#[derive(Serialize)]
struct Diff {
    pool: String,
    active: Option<String>,
    backends: Vec<Backend>,
    comparisons: Vec<Comparison>,
}

#[derive(Serialize)]
struct Backend {
    name: String,
    print: Option<String>,
    read_at: Option<String>,
    age_seconds: Option<u64>,
    unread: Option<String>,
    unseen: Vec<String>,
    proof: &'static str,
    proven: Option<String>,
    since: Option<String>,
    changed: Vec<String>,
    proofs: Vec<ProofResult>,
}

#[derive(Serialize)]
struct ProofResult {
    name: String,
    result: &'static str,
    evidence: String,
    at: String,
    took_ms: f64,
}

#[derive(Serialize)]
struct Comparison {
    a: String,
    b: String,
    compared: BTreeMap<&'static str, usize>,
    differences: Vec<DifferenceItem>,
    omitted: usize,
}

#[derive(Serialize)]
struct DifferenceItem {
    group: &'static str,
    name: String,
    a: Option<String>,
    b: Option<String>,
    needs_restart: bool,
}

/// A backend with what is known of it.
struct Node {
    name: Arc<str>,
    guard: Option<GuardView>,
}

impl Node {
    fn print(&self) -> Option<&Print> {
        self.guard.as_ref()?.print.as_deref()
    }
}

/// Each backend against the active one, or `a` against `b`.
pub(super) fn answer(state: &AdminState, pool: &AdminPool, query: &Query) -> Response<Body> {
    let snapshot = pool.snapshot.get();
    let nodes = match (query.get("a"), query.get("b")) {
        (None, None) => in_order(&snapshot),
        (Some(a), Some(b)) if a == b => return bad("a and b are the same backend"),
        (Some(a), Some(b)) => {
            let named = |name: &str| snapshot.backends.iter().find(|backend| *backend.name == *name);
            let (Some(a), Some(b)) = (named(a), named(b)) else {
                return response::unknown("backend", snapshot.backends.iter().map(|backend| backend.name.to_string()).collect());
            };
            vec![Arc::clone(&a.name), Arc::clone(&b.name)]
        }
        _ => return bad("give two backends, a and b, or none"),
    };
    let node = |name: Arc<str>| Node { guard: state.guards.get(&snapshot.pool, &name), name };
    let nodes: Vec<Node> = nodes.into_iter().map(node).collect();
    let comparisons = nodes.split_first().map_or_else(Vec::new, |(first, rest)| {
        rest.iter().filter_map(|other| Some(compare((first, first.print()?), (other, other.print()?)))).collect()
    });
    let diff = Diff {
        pool: snapshot.pool.to_string(),
        active: active(&snapshot).map(ToString::to_string),
        backends: nodes.iter().map(|node| backend(state, node)).collect(),
        comparisons,
    };
    response::json(StatusCode::OK, &diff)
}

fn bad(message: &str) -> Response<Body> {
    response::error(StatusCode::BAD_REQUEST, "bad_query", message)
}

fn active(snapshot: &Snapshot) -> Option<&Arc<str>> {
    snapshot.active.and_then(|id| snapshot.backends.get(usize::from(id.0))).map(|backend| &backend.name)
}

/// The active one first: the others are compared with it. Without an active one, the first of the list is in its place.
fn in_order(snapshot: &Snapshot) -> Vec<Arc<str>> {
    let names = snapshot.backends.iter().map(|backend| &backend.name);
    let others = names.filter(|name| Some(*name) != active(snapshot));
    active(snapshot).into_iter().chain(others).cloned().collect()
}

fn compare((a, first): (&Node, &Print), (b, second): (&Node, &Print)) -> Comparison {
    let mut compared = BTreeMap::new();
    for group in Label::ALL {
        let names = [first, second].into_iter().filter_map(|print| print.items.get(group));
        let count = names.flat_map(BTreeMap::keys).collect::<BTreeSet<_>>().len();
        if count > 0 {
            compared.insert(group.as_str(), count);
        }
    }
    let differences = first.differences(second, &[]);
    let item = |Difference { group, name, first, second, needs_restart }: &Difference| DifferenceItem {
        group: group.as_str(),
        name: name.to_string(),
        a: first.as_ref().map(ToString::to_string),
        b: second.as_ref().map(ToString::to_string),
        needs_restart: *needs_restart,
    };
    Comparison {
        a: a.name.to_string(),
        b: b.name.to_string(),
        compared,
        differences: differences.iter().take(DIFFERENCES).map(item).collect(),
        omitted: differences.len().saturating_sub(DIFFERENCES),
    }
}

fn backend(state: &AdminState, Node { name, guard }: &Node) -> Backend {
    let guard = guard.clone().unwrap_or_else(|| GuardView { unread: Some("it was not read yet".into()), ..GuardView::default() });
    let proofs = guard.results.iter().map(|proof| ProofResult {
        name: proof.name.to_string(),
        result: proof.result,
        evidence: proof.evidence.to_string(),
        at: moment(state, proof.at),
        took_ms: millis(proof.took),
    });
    Backend {
        name: name.to_string(),
        print: guard.digest.map(|digest| digest.to_string()),
        read_at: guard.read_at.map(|at| moment(state, at)),
        age_seconds: guard.read_at.map(|at| state.clock.now().since(at).as_secs()),
        unread: guard.unread.map(|why| why.to_string()),
        unseen: guard.print.iter().flat_map(|print| print.unseen.values().cloned()).collect(),
        proof: guard.proof.as_str(),
        proven: guard.proven.map(|digest| digest.to_string()),
        since: guard.print.is_some().then(|| moment(state, guard.since)),
        changed: guard.changed.iter().map(ToString::to_string).collect(),
        proofs: proofs.collect(),
    }
}
