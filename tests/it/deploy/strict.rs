//! The validators of these worlds, without a cluster, a registry or an engine: `make deploy-check` installs them and runs these.

mod chart;
mod compose;
mod manifests;
mod schema;
mod tools;
