//! A `PostgreSQL` for pgbench: lab's primary without its standby, on the load's core like every server.

use std::{net::SocketAddr, process::Command, time::Duration};

use lab::{
    cluster::{Cluster, Options, programs::Binaries},
    failure::Failure,
};

use crate::{process, proxy::Place};

/// Longest wait for pgbench to fill its tables.
const FILL_TIMEOUT: Duration = Duration::from_mins(2);
/// pgbench's measure of how much data there is.
const SCALE: &str = "5";

/// A running server with pgbench's tables. Dropping it ends it and removes its data.
#[derive(Debug)]
pub(crate) struct Database(Cluster);

impl Database {
    /// Makes it; takes some seconds.
    pub(crate) fn start(place: Place<'_>) -> Result<Self, Failure> {
        let cluster = Cluster::create(&Options::default())?;
        cluster.node(0).set_synchronous_standby_names("")?;
        cluster.node(1).stop_fast()?;
        let database = Self(cluster);
        let mut fill = pgbench(database.address())?;
        fill.args(["--initialize", "--quiet", "--scale", SCALE]);
        process::output(place.stop, "pgbench --initialize", &mut fill, &place.folder.join("pgbench.log"), FILL_TIMEOUT)?;
        Ok(database)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.node(0).address()
    }
}

/// pgbench on a server or on a proxy in front of it.
fn pgbench(target: SocketAddr) -> Result<Command, Failure> {
    let mut command = Binaries::find()?.command("pgbench");
    command.args(["--host", &target.ip().to_string(), "--port", &target.port().to_string(), "--username", "postgres"]);
    // The same for all, whatever this machine's user has set.
    command.env("PGSSLMODE", "disable").env("PGGSSENCMODE", "disable").env("PGDATABASE", "postgres").env("LC_ALL", "C");
    Ok(command)
}

/// What a run of pgbench tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selects {
    pub(crate) transactions: f64,
    /// Mean latency in microseconds.
    pub(crate) latency: f64,
}

/// `pgbench -S`: clients that each select one row after the other.
pub(crate) fn selects(place: Place<'_>, target: SocketAddr, clients: u32, seconds: u64) -> Result<Selects, Failure> {
    let mut command = pgbench(target)?;
    command.args(["--select-only", "--no-vacuum", "--protocol=simple"]);
    command.args(["--client", &clients.to_string(), "--time", &seconds.to_string()]);
    let limit = Duration::from_secs(seconds + 30);
    let text = process::output(place.stop, "pgbench", &mut command, &place.folder.join("pgbench.log"), limit)?;
    let number = |label: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(label));
        let value = rest.and_then(|rest| rest.trim_start_matches([' ', ':', '=']).split_whitespace().next()?.parse::<f64>().ok());
        value.ok_or_else(|| Failure::Said(format!("pgbench does not tell \"{label}\" but: {text}")))
    };
    Ok(Selects {
        transactions: number("number of transactions actually processed")?,
        latency: 1000.0 * number("latency average")?,
    })
}
