//! A login, whatever the database.

use tokio::time::timeout_at;

use super::{super::subject::Subject, mysql, postgres, redis, server::Opened};
use crate::{
    config::CheckKind,
    control::{probe::Deadline, resolver},
};

/// Logs in as the check does.
pub(super) async fn open(subject: &Subject, deadline: Deadline) -> Opened {
    let Subject { check, address, addresses } = subject;
    let found;
    let addresses = if addresses.is_empty() {
        found = match timeout_at(deadline.at(), resolver::lookup(address)).await {
            Ok(found) => found.map_err(|why| why.to_string())?,
            Err(_) => return Err(resolver::unresolved(address, deadline.timeout()).evidence.to_string()),
        };
        &found
    } else {
        addresses
    };
    let deadline = deadline.with_header(check.proxy_header);
    match &check.kind {
        CheckKind::Postgres(check) => postgres::open(check, address, addresses, deadline).await,
        CheckKind::Mysql(check) => mysql::open(check, address, addresses, deadline).await,
        CheckKind::Redis(check) => redis::open(check, address, addresses, deadline).await,
        other => Err(format!("the check ({}) cannot ask", other.name())),
    }
}
