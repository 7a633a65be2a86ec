//! The HTTP check, alone and beside another: against scripted servers, and in front of a real Patroni cluster.

#[path = "http/answers.rs"]
mod answers;
#[path = "http/beside.rs"]
mod beside;
#[path = "http/cluster.rs"]
mod cluster;
#[path = "http/settings.rs"]
mod settings;
#[path = "http/tls.rs"]
mod tls;

use std::time::Duration;

use mainstay::{
    config::{CheckKind, HttpCheck},
    control::probe::{self, Finding},
    net::addr::BackendAddr,
};

use crate::support::wait::patience;

/// For those who have no answer.
const DEADLINE: Duration = Duration::from_millis(400);

fn local(port: u16) -> BackendAddr {
    format!("127.0.0.1:{port}").parse().unwrap()
}

async fn once(address: &BackendAddr, check: &HttpCheck) -> Finding {
    once_within(patience(), address, check).await
}

async fn once_within(deadline: Duration, address: &BackendAddr, check: &HttpCheck) -> Finding {
    probe::once(address, &CheckKind::Http(check.clone()), deadline).await.unwrap()
}

/// As Patroni 3 answers, word for word: HTTP/1.0, no length, and the connection is closed.
fn patroni(status: u16, state: &str, role: &str) -> String {
    format!(
        "HTTP/1.0 {status} x\r\nServer: BaseHTTP/0.6 Python/3.11.2\r\nDate: Wed, 25 Nov 2026 02:48:14 GMT\r\n\
         Content-Type: application/json\r\n\r\n{{\"state\": \"{state}\", \"postmaster_start_time\": \"2026-11-25 01:02:03+00:00\", \
         \"role\": \"{role}\", \"server_version\": 150018, \"xlog\": {{\"received_location\": 300, \"replayed_location\": 100}}, \
         \"timeline\": 7, \"dcs_last_seen\": 1795568523, \"database_system_identifier\": \"7440000000000000001\", \
         \"patroni\": {{\"version\": \"3.0.2\", \"scope\": \"orders\"}}}}"
    )
}
