//! A real mainstay before a real `PostgreSQL` primary, and its standby.

use std::thread;

use lab::session::{Endpoint, query_once};
use serde_json::json;

use crate::support::{
    postgres::Postgres,
    process::settings,
    scratch::Scratch,
    site::Site,
    wait::{patience, until},
};

/// A primary and its standby, if it has one, and mainstay before them.
pub(super) struct Shop {
    pub site: Site,
    pub primary: Postgres,
    pub standby: Option<Postgres>,
    _scratch: Scratch,
}

fn local(server: &Postgres) -> std::net::SocketAddr {
    ([127, 0, 0, 1], server.port).into()
}

impl Shop {
    pub(super) fn open(standby: bool) -> Self {
        let scratch = Scratch::new();
        let primary = Postgres::primary(&[]);
        let standby = standby.then(|| {
            primary.hba("host replication all 127.0.0.1/32 trust");
            let standby = primary.standby(&[]);
            until("the standby streams", || {
                (primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1").then_some(())
            });
            standby
        });
        let addresses: Vec<_> = std::iter::once(&primary).chain(&standby).map(local).collect();
        let mut settings = settings(&addresses);
        settings["pools"][0]["check"] = json!({"postgres": {"user": "postgres", "tls": "off"}, "timeout": "2s"});
        // A planned change stops the old primary and promotes the standby.
        let stop = format!(
            "kill -INT {}\nwhile [ -e {} ]; do sleep 0.01; done",
            primary.pid(),
            primary.data().join("postmaster.pid").display()
        );
        settings["pools"][0]["promotion"] = match standby {
            Some(_) => json!({"how": "sql", "demote": {"exec": [scratch.script(&stop)], "timeout": "20s"}}),
            None => json!({"how": "none"}),
        };
        let site = Site::start(&mut settings, &scratch.path("admin.sock"));
        Self { site, primary, standby, _scratch: scratch }
    }

    /// A client that comes through mainstay.
    pub(super) fn serves_a_client(&self) {
        query_once(&self.front(), "SELECT 1", patience()).unwrap();
    }

    fn front(&self) -> Endpoint {
        Endpoint::Tcp(self.site.process.address)
    }

    /// The primary is killed and the standby promoted, while a client waits.
    pub(super) fn fails_over(&self) {
        self.primary.signal_all("-KILL");
        until("db-a serves nobody", || self.site.active().is_none().then_some(()));
        let front = self.front();
        let waits = thread::spawn(move || query_once(&front, "SELECT 1", patience()).map(drop));
        until("a client waits", || (self.site.process.metric("mainstay_connections_held", &[]) == 1).then_some(()));
        self.standby.as_ref().unwrap().promote();
        self.site.serves("db-b");
        waits.join().unwrap().unwrap();
    }
}
