//! mainstay against servers of other releases: the `MySQL` that Debian's unstable suite has today, and updates of Redis and `MariaDB` to its
//! next release. `make versions` unpacks and runs these; nothing here depends on the number of the version.

mod check;
mod group;
mod guard;
mod logins;
mod operations;
mod orders;
mod promotion;
mod steps;
mod updates;

use std::time::Duration;

use mainstay::{
    config::{CheckKind, MysqlCheck, Secret},
    control::probe::{self, Finding},
    net::addr::BackendAddr,
};

use crate::support::mysql::MySql;

/// For what must succeed, however slow the machine is.
const TIMEOUT: Duration = Duration::from_secs(20);

fn local(port: u16) -> BackendAddr {
    format!("127.0.0.1:{port}").parse().unwrap()
}

fn user(name: &str, password: Option<&str>) -> MysqlCheck {
    let password = password.map(|password| Secret::new(password.into()));
    MysqlCheck { user: name.into(), password, ..MysqlCheck::default() }
}

async fn asked(server: &MySql, check: &MysqlCheck) -> Finding {
    probe::once(&local(server.port), &CheckKind::Mysql(check.clone()), TIMEOUT).await.unwrap()
}

/// What the check sees with the rights of an administrator.
async fn seen(server: &MySql) -> Finding {
    asked(server, &user("root", None)).await
}
