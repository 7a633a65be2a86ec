//! `PostgreSQL`: one question, which any role may ask; a role without `pg_read_all_settings` is not shown all settings.

use std::collections::HashSet;

use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::{ANSWER_BYTES, Answer, Draft, not_secret, plain};
use crate::{
    config::PostgresCheck,
    control::probe::{
        Deadline,
        postgres::{Login, Standing},
        standing::Standing as _,
    },
    failover::{Printable, label::Label as _},
    net::{addr::BackendAddr, addresses::Addresses},
    route::{PrintGroup, PrintItem},
};

/// Whether databases record the version of their collation, whether the role may see all settings, and its name.
const RIGHTS: &str = "SELECT pg_catalog.current_setting('server_version_num')::int >= 150000,
  pg_catalog.current_setting('is_superuser') = 'on'
    OR coalesce(pg_catalog.pg_has_role(pg_catalog.to_regrole('pg_read_all_settings'), 'USAGE'), false),
  pg_catalog.quote_ident(current_user)";

/// Settings that a primary and a standby that are configured alike do not share, or that belong to the session.
const LEFT_OUT: &[&str] = &[
    "application_name",
    "archive_cleanup_command",
    "bonjour_name",
    "client_encoding",
    "cluster_name",
    "data_directory_mode",
    "event_source",
    "extension_destdir",
    "huge_pages_status",
    "in_hot_standby",
    "krb_server_keyfile",
    "listen_addresses",
    "num_os_semaphores",
    "port",
    "primary_slot_name",
    "recovery_end_command",
    "restore_command",
    // In the group of versions.
    "server_version",
    "server_version_num",
    // They follow from other settings.
    "shared_memory_size",
    "shared_memory_size_in_huge_pages",
    // Names of other nodes, which whoever promotes changes.
    "synchronized_standby_slots",
    "synchronous_standby_names",
    "syslog_ident",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
];

/// The same, by pattern: paths, and where a recovery ends.
const LEFT_OUT_PATTERN: &str = "(_file|_dir|_directory|_directories)$|^recovery_target|trigger_file$";

/// Modules with settings that are no extensions.
const LIBRARIES: &[&str] = &["auth_delay", "auto_explain", "basic_archive", "plperl", "plpython", "pltcl", "sepgsql"];

pub(super) async fn read(
    check: &PostgresCheck,
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
    let rights = session.run(RIGHTS, deadline).await?;
    let right = |column: usize| rights.get(column).and_then(Option::as_deref).unwrap_or_default();
    let answer = session.sql(&question(right(0) == "t"), ANSWER_BYTES, deadline).await?;
    let rows = || answer.iter().filter_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None });
    let is_extension = |row: &&SimpleQueryRow| matches!(row.get(0), Some("extension" | "extension_file"));
    let modules: HashSet<&str> =
        rows().filter(is_extension).filter_map(|row| row.get(1)).chain(LIBRARIES.iter().copied()).collect();
    rows().for_each(|row| item(draft, row, &modules));
    if right(1) != "t" {
        let who = Printable::word(right(2));
        let words = format!(
            "{who} is not shown all settings, shared_preload_libraries is one of the others: GRANT pg_monitor TO {who}, or only \
             pg_read_all_settings"
        );
        draft.print.unseen.insert(PrintGroup::Setting, words);
    }
    Ok(())
}

/// Its name is in no module that the server has: whoever invented it may keep a secret there.
fn is_invented(name: &str, modules: &HashSet<&str>) -> bool {
    let prefix = name.split_once('.').map(|(prefix, _)| prefix.to_ascii_lowercase());
    prefix.is_some_and(|prefix| !modules.contains(&*prefix) && !modules.contains(&*format!("pg_{prefix}")))
}

fn item(draft: &mut Draft<'_>, row: &SimpleQueryRow, modules: &HashSet<&str>) {
    let text = |column| row.try_get(column).ok().flatten();
    let group = PrintGroup::ALL.iter().find(|group| Some(group.as_str()) == text(0));
    if let (Some(group), Some(name), Some(value)) = (group, text(1), text(2)) {
        let unit = text(3).map(str::to_owned);
        let (needs_restart, pending_restart) = (text(4) == Some("t"), text(5) == Some("t"));
        let invented = (*group == PrintGroup::Setting && is_invented(name, modules)).then(|| draft.hidden(name, value));
        let item = plain(invented.as_deref().unwrap_or(value));
        draft.add(*group, name, PrintItem { unit, needs_restart, pending_restart, ..item });
    }
}

fn question(records_default: bool) -> String {
    let quoted = |names: &[&str]| names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let default = if records_default {
        "UNION ALL SELECT 'database default', d.datcollversion, pg_catalog.pg_database_collation_actual_version(d.oid)
         FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database() AND d.datcollversion IS NOT NULL"
    } else {
        ""
    };
    // Commands may hold secrets. What the command line sets the next restart brings again, whatever the file says. The collations of
    // one library have one version, so one of them is asked for all.
    format!(
        "SELECT 'version', 'server_version', pg_catalog.current_setting('server_version'), NULL, false, false
         UNION ALL SELECT 'version', 'build', 
           coalesce(pg_catalog.substring(pg_catalog.version(), ' on (.*)$'), pg_catalog.version()), NULL, false, false
         UNION ALL SELECT 'setting', s.name,
           CASE WHEN s.name ~ '_command$' AND s.setting NOT IN ('', '(disabled)') THEN '(set)' ELSE s.setting END,
           s.unit, s.context = 'postmaster', s.pending_restart AND s.source <> 'command line'
         FROM pg_catalog.pg_settings s
         WHERE s.name NOT IN ({left_out}) AND s.name !~ '{LEFT_OUT_PATTERN}'
           AND {not_secret}
         UNION ALL SELECT 'extension', e.extname, e.extversion, NULL, false, false FROM pg_catalog.pg_extension e
         UNION ALL SELECT 'extension_file', a.name, a.default_version, NULL, false, false
         FROM pg_catalog.pg_available_extensions() a
         UNION ALL SELECT v.kind, c.name, v.version, NULL, false, false
         FROM (SELECT CASE g.collprovider WHEN 'i' THEN 'icu' WHEN 'c' THEN 'libc' ELSE g.collprovider::text END AS name,
                 pg_catalog.string_agg(g.collversion, ', ' ORDER BY g.collversion) AS recorded,
                 pg_catalog.string_agg(pg_catalog.pg_collation_actual_version(g.oid), ', ' ORDER BY g.collversion) AS actual
               FROM (SELECT k.collprovider, k.collversion, pg_catalog.min(k.oid) AS oid FROM pg_catalog.pg_collation k
                     WHERE k.collversion IS NOT NULL AND k.collnamespace = 'pg_catalog'::pg_catalog.regnamespace
                     GROUP BY k.collprovider, k.collversion) g
               GROUP BY g.collprovider
               UNION ALL (SELECT pg_catalog.concat(k.collnamespace::pg_catalog.regnamespace, '.', k.collname), k.collversion,
                            pg_catalog.pg_collation_actual_version(k.oid)
                          FROM pg_catalog.pg_collation k
                          WHERE k.collversion IS NOT NULL AND k.collnamespace <> 'pg_catalog'::pg_catalog.regnamespace
                          ORDER BY k.oid LIMIT 100)
               {default}) c,
              LATERAL (VALUES ('collation_recorded', c.recorded), ('collation_actual', c.actual)) v(kind, version)",
        left_out = quoted(LEFT_OUT),
        not_secret = not_secret("s.name", "!~*"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_setting_that_no_module_has_there_is_a_fingerprint_alone() {
        let modules = HashSet::from(["pg_cron", "pg_stat_statements", "auto_explain"]);
        for name in ["pg_stat_statements.max", "cron.database_name", "auto_explain.log_wal", "work_mem"] {
            assert!(!is_invented(name, &modules), "{name}");
        }
        for name in ["app.tenant", "App.x.y", "vault.url"] {
            assert!(is_invented(name, &modules), "{name}");
        }
    }
}
