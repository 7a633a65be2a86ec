//! What the look-alike says of itself: the answers to what mainstay asks of a `PostgreSQL` to check it, to learn what it is made of, to
//! have it prove itself, and to promote it. Each question is known by a piece of it.

use crate::system::{Fault, Role, View};

/// An answer. A question without a name for a column is told apart by its place.
#[derive(Debug, Default)]
pub(crate) struct Table {
    names: Vec<&'static str>,
    rows: Vec<Vec<Option<String>>>,
}

impl Table {
    pub(crate) fn new(names: &[&'static str]) -> Self {
        Self { names: names.to_vec(), rows: Vec::new() }
    }

    /// One row, whose columns have no names.
    fn row(values: &[Option<&str>]) -> Self {
        let mut table = Self { names: vec!["?column?"; values.len()], rows: Vec::new() };
        table.add(values);
        table
    }

    pub(crate) fn add(&mut self, values: &[Option<&str>]) {
        self.rows.push(values.iter().map(|value| value.map(str::to_owned)).collect());
    }

    pub(crate) fn names(&self) -> &[&'static str] {
        &self.names
    }

    pub(crate) fn rows(&self) -> &[Vec<Option<String>>] {
        &self.rows
    }
}

/// The extension that every node has, and one update lacks.
const EXTENSION: [&str; 2] = ["amcheck", "1.3"];

/// The answer to a question in small letters; `None` when it is none of these. `sessions` it has, and the client's port is `port`.
pub(crate) fn told(sql: &str, view: &View, (sessions, port): (usize, u16)) -> Option<Table> {
    let is_standby = view.role == Role::Standby;
    let (hears, position) = (word(view.hears), lsn(view.position));
    if sql.contains("'version', 'server_version'") {
        Some(print(view))
    } else if sql.contains("inet_client_addr") {
        let names = ["who", "address", "port", "super", "sees", "ends"];
        let mut table = Table::new(&names);
        table.add(&[Some("postgres"), Some("127.0.0.1"), Some(&port.to_string()), Some("t"), Some("t"), Some("t")]);
        Some(table)
    } else if sql.starts_with("select pg_catalog.current_setting('server_version_num')::int")
        || sql.contains("has_table_privilege")
    {
        Some(Table::row(&[Some("t"), Some("t"), Some("postgres")]))
    } else if sql.contains("pg_backend_pid(),") {
        // Not as a superuser: there are no libraries to load.
        Some(Table::row(&[Some("150000"), Some("1"), Some("off"), Some("postgres"), Some(&view.build.version)]))
    } else if sql.contains("superuser_reserved_connections") {
        Some(Table::row(&[Some("97"), Some(&sessions.to_string())]))
    } else if sql.contains("pg_promote(boolean") {
        Some(Table::row(&[Some(word(is_standby)), Some("t"), Some(hears), Some("f"), Some("0")]))
    } else if sql.contains("pg_checkpoint', 'usage'") {
        Some(Table::row(&[Some(word(is_standby)), Some("t"), Some("t")]))
    } else if sql.contains("wait_event = 'syncrep'") {
        let mut table = Table::row(&[Some(&view.position.to_string()), None, Some("")]);
        table.rows.truncate(usize::from(!is_standby));
        Some(table)
    } else if sql.contains("pg_is_wal_replay_paused() end") {
        Some(Table::row(&[Some(word(is_standby)), Some(hears), Some("f")]))
    } else if sql.starts_with("select pg_catalog.pg_last_wal_replay_lsn()") {
        Some(Table::row(&[Some(&position), Some(&position), Some(hears)]))
    } else if sql.starts_with("select not pg_catalog.pg_is_in_recovery()") {
        Some(Table::row(&[Some("t")]))
    } else if sql.starts_with("select pg_catalog.pg_current_wal")
        || sql.starts_with("select case when pg_catalog.pg_is_in_recovery()")
    {
        Some(Table::row(&[Some(&position)]))
    } else if sql.starts_with("select r.standby,") {
        let timeline = view.timeline.to_string();
        Some(Table::row(&[Some(word(is_standby)), (!is_standby).then_some(&*timeline)]))
    } else {
        faults(sql, view)
    }
}

/// What is wrong, a row each.
fn faults(sql: &str, view: &View) -> Option<Table> {
    if sql.contains("pg_available_extension_versions") {
        let mut table = Table::row(&[Some(&EXTENSION.join(" ")), Some("nothing")]);
        table.rows.truncate(usize::from(view.build.fault == Some(Fault::NoExtension)));
        return Some(table);
    }
    let nothing = ["s.pending_restart", "from pg_catalog.pg_collation c,", "pg_file_settings where", "pg_hba_file_rules where"];
    nothing.iter().any(|part| sql.contains(part)).then(Table::default)
}

/// What it is made of.
fn print(view: &View) -> Table {
    let mut table = Table { names: vec!["?column?"; 6], rows: Vec::new() };
    let mut add = |group, name, value, needs_restart| {
        table.add(&[Some(group), Some(name), Some(value), None, Some(needs_restart), Some("f")]);
    };
    add("version", "server_version", &*view.build.version, "f");
    add("setting", "max_connections", "100", "t");
    add("setting", "shared_preload_libraries", "", "t");
    add("setting", "work_mem", "4096", "f");
    add("extension", EXTENSION[0], EXTENSION[1], "f");
    if view.build.fault != Some(Fault::NoExtension) {
        add("extension_file", EXTENSION[0], EXTENSION[1], "f");
    }
    table
}

/// The row of mainstay's `postgres` check.
pub(crate) fn facts(view: &View) -> Table {
    let is_standby = view.role == Role::Standby;
    let names = ["in_recovery", "read_only", "timeline", "system_id", "lag_bytes", "version", "position", "hears"];
    let mut table = Table::new(&names);
    table.add(&[
        Some(word(is_standby)),
        Some(if is_standby { "on" } else { "off" }),
        Some(&view.timeline.to_string()),
        Some(&view.system_id.to_string()),
        is_standby.then_some("0"),
        Some(&view.build.version),
        Some(&view.position.to_string()),
        is_standby.then_some(word(view.hears)),
    ]);
    table
}

const fn word(is: bool) -> &'static str {
    if is { "t" } else { "f" }
}

/// A place in the log, as the server writes it.
pub(crate) fn lsn(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff)
}
