//! `MySQL` and `MariaDB`: the global variables and the plugins, which any account may see.

use super::{ANSWER_BYTES, Answer, Draft, not_secret, plain, sized};
use crate::{
    config::MysqlCheck,
    control::probe::{
        Deadline,
        finding::Refusal,
        mysql::{Login, Refused, Standing, answer::Table},
        standing::Standing as _,
    },
    net::{addr::BackendAddr, addresses::Addresses},
    route::{PrintGroup, PrintItem},
};

const PLUGINS: &str = "SELECT PLUGIN_NAME, PLUGIN_VERSION, PLUGIN_STATUS FROM information_schema.PLUGINS";

/// The parts of `optimizer_switch` are items of their own.
const SWITCH: &str = "optimizer_switch";

/// Variables that a primary and a replica that are configured alike do not share: names, addresses, positions, roles.
const LEFT_OUT: &[&str] = &[
    "admin_address",
    "admin_port",
    // A Galera cluster sets these by its number of nodes.
    "auto_increment_increment",
    "auto_increment_offset",
    "bind_address",
    "build_id",
    // Its events run on the primary.
    "event_scheduler",
    "extra_port",
    "group_replication_bootstrap_group",
    "group_replication_group_seeds",
    "group_replication_local_address",
    "gtid_binlog_pos",
    "gtid_binlog_state",
    "gtid_current_pos",
    "gtid_executed",
    "gtid_owned",
    "gtid_purged",
    "gtid_slave_pos",
    "hostname",
    "innodb_version",
    "log_error",
    "mysqlx_bind_address",
    "mysqlx_port",
    "mysqlx_socket",
    "offline_mode",
    "port",
    "read_only",
    "relay_log",
    "report_host",
    "report_port",
    "report_user",
    "rpl_semi_sync_master_enabled",
    "rpl_semi_sync_replica_enabled",
    "rpl_semi_sync_slave_enabled",
    "rpl_semi_sync_source_enabled",
    "secure_file_priv",
    "server_id",
    "server_uid",
    "server_uuid",
    "socket",
    "super_read_only",
    // Another one in summer.
    "system_time_zone",
    "wsrep_cluster_address",
    "wsrep_desync",
    "wsrep_node_address",
    "wsrep_node_incoming_address",
    "wsrep_node_name",
    "wsrep_provider",
    "wsrep_provider_options",
    "wsrep_reject_queries",
    "wsrep_sst_donor",
    "wsrep_sst_receive_address",
    "wsrep_start_position",
];
/// Names of paths end so.
const PATHS: &[&str] = &[
    "_basename",
    "_ca",
    "_capath",
    "_cert",
    "_crl",
    "_crlpath",
    "_directory",
    "_file",
    "_filename",
    "_index",
    "_path",
    "ssl_key",
    "dir",
];
/// Statements, which may hold secrets: only whether there is one.
const STATEMENTS: &[&str] = &["init_connect", "init_replica", "init_slave"];

pub(super) async fn read(
    check: &MysqlCheck,
    (address, addresses): (&BackendAddr, &Addresses),
    draft: &mut Draft<'_>,
    deadline: Deadline,
) -> Answer {
    let (mut session, _) = Login::new(address, check).session(addresses, deadline).await?;
    let asked = ask(&mut session, draft, deadline).await;
    Box::new(session).close().await;
    asked
}

async fn ask(session: &mut Standing, draft: &mut Draft<'_>, deadline: Deadline) -> Answer {
    // Only MariaDB tells which variables need a restart.
    let question = if session.dialect().is_mariadb {
        format!(
            "SELECT LOWER(VARIABLE_NAME), GLOBAL_VALUE, READ_ONLY FROM information_schema.SYSTEM_VARIABLES \
             WHERE GLOBAL_VALUE IS NOT NULL AND {}",
            not_secret("VARIABLE_NAME", "NOT RLIKE")
        )
    } else {
        format!("SHOW GLOBAL VARIABLES WHERE {}", not_secret("Variable_name", "NOT RLIKE"))
    };
    for row in table(session, &question, deadline).await?.rows {
        if let [Some(name), Some(value), rest @ ..] = &*row {
            let needs_restart = rest.first().is_some_and(|read_only| read_only.as_deref() == Some("YES"));
            variable(draft, name, value, needs_restart);
        }
    }
    for row in table(session, PLUGINS, deadline).await?.rows {
        if let [Some(name), Some(version), Some(status)] = &*row {
            draft.add(PrintGroup::Plugin, name, plain(&format!("{version} {status}")));
        }
    }
    Ok(())
}

async fn table(session: &mut Standing, question: &str, deadline: Deadline) -> Result<Table, Refusal> {
    session.sql(question, ANSWER_BYTES, deadline).await.map_err(|Refused { finding, .. }| finding.into())
}

fn variable(draft: &mut Draft<'_>, name: &str, value: &str, needs_restart: bool) {
    if name.starts_with("version") {
        draft.add(PrintGroup::Version, name, plain(value));
    } else if name == SWITCH {
        for (part, value) in value.split(',').filter_map(|part| part.split_once('=')) {
            draft.add(PrintGroup::Setting, &format!("{SWITCH}.{part}"), plain(value));
        }
    } else if STATEMENTS.contains(&name) {
        draft.add(PrintGroup::Setting, name, plain(if value.is_empty() { "" } else { "(set)" }));
    } else if !LEFT_OUT.contains(&name) && !name.starts_with("feedback_") && !PATHS.iter().any(|end| name.ends_with(end)) {
        draft.add(PrintGroup::Setting, name, PrintItem { needs_restart, ..sized(name, value) });
    }
}
