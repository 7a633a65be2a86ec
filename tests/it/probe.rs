//! The checks of the control plane.

#[path = "probe/command.rs"]
mod command;
#[path = "probe/fake.rs"]
pub(crate) mod fake;
#[path = "probe/login.rs"]
mod login;
#[path = "probe/prober.rs"]
mod prober;
#[path = "probe/real.rs"]
mod real;
#[path = "probe/refused.rs"]
mod refused;
#[path = "probe/rights.rs"]
mod rights;
#[path = "probe/rotated.rs"]
mod rotated;
#[path = "probe/scripted.rs"]
mod scripted;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mainstay::{
    config::{CheckKind, PostgresCheck, Secret, TlsMode},
    control::probe::{
        self, Deadline, Failure, Finding,
        standing::{Login, Opened},
    },
    net::{addr::BackendAddr, addresses::Addresses},
};

use crate::support::postgres;

/// For what must succeed, however slow the machine is.
const TIMEOUT: Duration = Duration::from_secs(20);

fn local(port: u16) -> BackendAddr {
    format!("127.0.0.1:{port}").parse().unwrap()
}

fn sockets(port: u16) -> Addresses {
    SocketAddr::from(([127, 0, 0, 1], port)).into()
}

fn check(tls: TlsMode) -> PostgresCheck {
    PostgresCheck { tls, ..PostgresCheck::default() }
}

fn role(user: &str, password: Option<&str>) -> PostgresCheck {
    PostgresCheck { user: user.into(), password: password.map(|p| Secret::new(p.into())), ..check(TlsMode::Off) }
}

async fn once(port: u16, check: &PostgresCheck, timeout: Duration) -> (Finding, Duration) {
    let started = Instant::now();
    let finding = probe::once(&local(port), &CheckKind::Postgres(check.clone()), timeout).await.unwrap();
    (finding, started.elapsed())
}

fn login(port: u16, check: &PostgresCheck) -> Box<dyn Login> {
    probe::login(&local(port), &CheckKind::Postgres(check.clone())).unwrap()
}

async fn standing(port: u16, check: &PostgresCheck) -> Opened {
    let opened = login(port, check).open(&sockets(port), Deadline::after(TIMEOUT)).await;
    opened.unwrap_or_else(|failure| match failure {
        Failure::Backend(finding) => panic!("{finding:?}"),
        Failure::Local(evidence) => panic!("{evidence}"),
    })
}
