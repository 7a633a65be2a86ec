//! The JSON of incidents. Field names are part of the interface: see [`crate::incidents::Incident`].

use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::{
    AdminState,
    response::{self, Body},
};
use crate::incidents::{Place, Summary};

#[derive(Serialize)]
struct Incidents {
    /// Where they are kept.
    kept: Place,
    incidents: Vec<Summary>,
}

/// All of them, newest first.
pub(super) fn list(state: &AdminState) -> Response<Body> {
    let (incidents, kept) = state.incidents.all();
    let incidents = incidents.into_iter().map(|incident| incident.summary).collect();
    response::json(StatusCode::OK, &Incidents { kept, incidents })
}

/// One of them.
pub(super) fn one(state: &AdminState, number: &str) -> Response<Body> {
    if let Some(incident) = number.parse().ok().and_then(|number| state.incidents.get(number)) {
        return response::json(StatusCode::OK, &incident);
    }
    let known: Vec<u64> = state.incidents.all().0.iter().map(|incident| incident.summary.number).collect();
    let message = "there is no incident of this number; `mainstay incidents` lists the last ones";
    response::error_with(StatusCode::NOT_FOUND, "unknown_incident", message, json!({ "incidents": known }))
}
