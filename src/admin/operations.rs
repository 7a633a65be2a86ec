//! The JSON of operations, step by step. Field names are part of the interface.

use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::{
    AdminState,
    response::{self, Body},
    status::{millis, moment},
};
use crate::{
    failover::label::Label,
    route::{EndView, OperationView, StepView, TrialView},
};

#[derive(Serialize)]
struct Operations {
    operations: Vec<Operation>,
}

#[derive(Serialize)]
struct Operation {
    id: u64,
    pool: String,
    kind: &'static str,
    from: Option<String>,
    to: String,
    by: String,
    reason: String,
    at: String,
    took_ms: f64,
    can_abort: bool,
    steps: Vec<Step>,
    end: Option<End>,
    trial: Option<Trial>,
}

#[derive(Serialize)]
struct Trial {
    returns: bool,
    until: String,
    end: Option<&'static str>,
    sentence: String,
    operation: Option<u64>,
}

#[derive(Serialize)]
struct Step {
    #[serde(rename = "step")]
    name: &'static str,
    since: Option<String>,
    took_ms: Option<f64>,
    lines: Vec<String>,
}

#[derive(Serialize)]
struct End {
    at: String,
    result: &'static str,
    why: &'static str,
    sentence: String,
}

/// The operations of a pool, or of all.
pub(super) fn list(state: &AdminState, pool: Option<&str>) -> Response<Body> {
    let found = state.operations.all(pool);
    let view = state.view();
    // A pool that is not configured any more may still be asked for.
    if found.is_empty() && pool.is_some_and(|pool| view.pool(pool).is_none()) {
        return response::unknown("pool", view.names());
    }
    let operations = found.iter().map(|operation| shape(state, operation)).collect();
    response::json(StatusCode::OK, &Operations { operations })
}

/// One operation.
pub(super) fn one(state: &AdminState, id: &str) -> Response<Body> {
    match find(state, id) {
        Ok(found) => response::json(StatusCode::OK, &shape(state, &found)),
        Err(unknown) => *unknown,
    }
}

/// The operation with this number, or the answer that there is none.
pub(super) fn find(state: &AdminState, id: &str) -> Result<OperationView, Box<Response<Body>>> {
    id.parse().ok().and_then(|id| state.operations.get(id)).ok_or_else(|| {
        let known: Vec<u64> = state.operations.all(None).iter().map(|operation| operation.id).collect();
        let message = "there is no operation of this number; the last ones are listed, and a restart forgets all";
        Box::new(response::error_with(StatusCode::NOT_FOUND, "unknown_operation", message, json!({ "operations": known })))
    })
}

fn shape(state: &AdminState, view: &OperationView) -> Operation {
    let until = view.end.as_ref().map_or_else(|| state.clock.now(), |end| end.at);
    let step = |StepView { step, since, took, lines }: &StepView| Step {
        name: step.as_str(),
        since: since.map(|since| moment(state, since)),
        took_ms: took.map(millis),
        lines: lines.iter().map(ToString::to_string).collect(),
    };
    let end = |EndView { at, result, why, sentence }: &EndView| End {
        at: moment(state, *at),
        result: result.as_str(),
        why: why.as_str(),
        sentence: sentence.to_string(),
    };
    let trial = |TrialView { returns, until, end, sentence, back }: &TrialView| Trial {
        returns: *returns,
        until: moment(state, *until),
        end: end.map(Label::as_str),
        sentence: sentence.to_string(),
        operation: *back,
    };
    Operation {
        id: view.id,
        pool: view.pool.to_string(),
        kind: view.kind.as_str(),
        from: view.from.as_ref().map(ToString::to_string),
        to: view.to.to_string(),
        by: view.by.to_string(),
        reason: view.reason.to_string(),
        at: moment(state, view.at),
        took_ms: millis(until.since(view.at)),
        can_abort: view.can_abort,
        steps: view.steps.iter().map(step).collect(),
        end: view.end.as_ref().map(end),
        trial: view.trial.as_ref().map(trial),
    }
}
