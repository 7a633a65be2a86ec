use std::{net::SocketAddr, process::Command};

use mainstay::route::{Print, PrintGroup};
use serde_json::{Value, json};

use super::{alike, becomes, changes, check, read, setting};
use crate::support::{child::Bounded, postgres::Postgres, wait::until};

/// In the settings of every server here.
const SECRETS: [&str; 7] = [
    "app.db_pwd=hunter22",
    "app.jwt=hunter22",
    "app.tenant=hunter22",
    "ssl_passphrase_command=echo hunter22",
    "archive_command=true hunter22 %p",
    "restore_command=false hunter22 %f %p",
    "recovery_end_command=true hunter22",
];

fn settings<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SECRETS[..], &["archive_mode=on", "archive_library="], more].concat()
}

fn address(server: &Postgres) -> SocketAddr {
    ([127, 0, 0, 1], server.port).into()
}

/// As the role that the check needs, and as one that may see everything.
fn roles() -> [Value; 2] {
    ["plain", "monitor"].map(|user| json!({"postgres": {"user": user}}))
}

fn pair() -> (Postgres, Postgres) {
    let source = Postgres::primary(&settings(&["shared_preload_libraries=pg_stat_statements", "cluster_name=left"]));
    source.sql("CREATE ROLE plain LOGIN; CREATE ROLE monitor LOGIN; GRANT pg_monitor TO monitor");
    source.hba("host all plain,monitor 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust");
    source.sql("CREATE ROLE upstream LOGIN REPLICATION PASSWORD 'hunter22'");
    let conninfo = format!("primary_conninfo=host=127.0.0.1 port={} user=upstream password=hunter22", source.port);
    let more = ["shared_preload_libraries=pg_stat_statements", "cluster_name=right", "primary_slot_name=right", &conninfo];
    source.sql("SELECT pg_create_physical_replication_slot('right')");
    let standby = source.standby(&settings(&more));
    until("the standby streams", || (source.sql("SELECT state FROM pg_stat_replication") == "streaming").then_some(()));
    (source, standby)
}

fn caught_up(source: &Postgres, standby: &Postgres) {
    let wrote = source.sql("SELECT pg_current_wal_lsn()");
    until("the standby has it", || (standby.sql(&format!("SELECT pg_last_wal_replay_lsn() >= '{wrote}'")) == "t").then_some(()));
}

fn has_no_secret(print: &Print) {
    // Neither it nor its plain hash, which tells it to whoever tries words.
    assert!(["hunter22", "20d2fe5e369d"].iter().all(|told| !format!("{print:?}").contains(told)), "{print:#?}");
    for hidden in
        ["primary_conninfo", "primary_slot_name", "port", "data_directory", "restore_command", "cluster_name", "in_hot_standby"]
    {
        assert!(setting(print, hidden).is_none(), "{hidden}");
    }
}

#[test]
fn a_primary_and_its_standby_have_the_same_print_whatever_happens() {
    let (mut source, standby) = pair();
    for role in roles() {
        let (first, second) = (read(&role, address(&source)), read(&role, address(&standby)));
        alike("primary and standby", &first, &second);
        has_no_secret(&first);
        has_no_secret(&second);
        assert_eq!(first.unseen, second.unseen);
        assert_eq!(setting(&first, "archive_command").unwrap().value, "(set)");
        assert!(first.len() > 350, "{}", first.len());
    }
    let [plain, monitor] = roles();
    let before = read(&monitor, address(&source));
    assert!(before.unseen.is_empty());
    assert_eq!(setting(&before, "shared_preload_libraries").unwrap().value, "pg_stat_statements");
    let reduced = read(&plain, address(&source));
    assert!(reduced.unseen[&PrintGroup::Setting].contains("GRANT pg_monitor TO plain"), "{:?}", reduced.unseen);
    assert!(setting(&reduced, "shared_preload_libraries").is_none());
    // It is not said to be absent.
    assert_eq!(changes(&before, &reduced), <[String; 0]>::default());

    // Under load.
    let mut bench = Command::new("pgbench");
    let port = source.port.to_string();
    let connection = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "postgres"];
    let made = Command::new("pgbench").args(["-i", "-q"]).args(connection).bounded_output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut load =
        bench.args(["-n", "-c", "4", "-t", "500"]).args(connection).stdout(std::process::Stdio::null()).spawn().unwrap();
    alike("under load", &before, &read(&monitor, address(&source)));
    assert!(crate::support::child::ended(&mut load).success());
    alike("after it", &before, &read(&monitor, address(&source)));
    // In a session of another role, and one that is set up otherwise.
    source.sql("SELECT pg_reload_conf()");
    alike("after a reload", &before, &read(&monitor, address(&source)));
    alike("the superuser", &before, &read(&json!("postgres"), address(&source)));
    source.stop_fast();
    source.restart(&settings(&["shared_preload_libraries=pg_stat_statements", "cluster_name=left"]));
    alike("after a restart", &before, &read(&monitor, address(&source)));
    standby.promote();
    alike("after a promotion", &before, &read(&monitor, address(&standby)));
    let errors: Vec<_> = source.log().lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn every_change_of_a_server_shows() {
    let (source, standby) = pair();
    let [_, role] = roles();
    let node = address(&source);
    let before = read(&role, node);
    assert_eq!(before.items[&PrintGroup::Version]["server_version"].value, source.sql("SHOW server_version"));
    assert!(!before.items[&PrintGroup::Version]["build"].value.contains("PostgreSQL"));

    source.sql("ALTER SYSTEM SET work_mem = '8MB'; ");
    source.sql("SELECT pg_reload_conf()");
    let changed = becomes(&role, node, "work_mem", "8192");
    assert_eq!(changes(&before, &changed), [r#"setting work_mem: "4MB", then "8MB""#]);
    assert_eq!(changes(&read(&role, address(&standby)), &changed), [r#"setting work_mem: "4MB", then "8MB""#]);
    assert_eq!(before.digest(&["work_mem".into()]), changed.digest(&["work_mem".into()]));

    // It waits for a restart.
    source.sql("ALTER SYSTEM SET max_worker_processes = 9");
    source.sql("SELECT pg_reload_conf()");
    let pending = until("it waits", || {
        Some(read(&role, node)).filter(|print| setting(print, "max_worker_processes").unwrap().pending_restart)
    });
    let waits = r#"setting max_worker_processes: "8", then "8 (another one waits for a restart)" (a change needs a restart)"#;
    assert_eq!(changes(&changed, &pending), [waits]);

    source.sql("CREATE EXTENSION pg_trgm VERSION '1.5'");
    let installed = read(&role, node);
    assert_eq!(changes(&pending, &installed), [r#"extension pg_trgm: absent, then "1.5""#]);
    source.sql("ALTER EXTENSION pg_trgm UPDATE");
    let updated = read(&role, node);
    assert_eq!(changes(&installed, &updated), [r#"extension pg_trgm: "1.5", then "1.6""#]);
    assert_eq!(updated.items[&PrintGroup::ExtensionFile]["pg_trgm"].value, "1.6");

    // As if the libraries of the operating system had changed under the databases.
    source.sql("UPDATE pg_collation SET collversion = '1.0' WHERE collprovider = 'i'");
    let collated = read(&role, node);
    let recorded = &collated.items[&PrintGroup::CollationRecorded]["icu"].value;
    let actual = &collated.items[&PrintGroup::CollationActual]["icu"].value;
    assert!(recorded == "1.0" && actual != "1.0" && !actual.is_empty(), "{recorded}, {actual}");
    source.sql("CREATE COLLATION public.german (provider = icu, locale = 'de')");
    let own = &read(&role, node).items[&PrintGroup::CollationActual]["public.german"].value.clone();
    assert!(actual.contains(own.as_str()), "{own}");
    // What the primary records, its standby records a moment later.
    caught_up(&source, &standby);
    let second = read(&role, address(&standby));
    assert_eq!(second.items[&PrintGroup::CollationRecorded], read(&role, node).items[&PrintGroup::CollationRecorded]);
}

/// A print is one login that ends with a goodbye, and changes nothing.
#[test]
fn a_print_is_no_line_in_the_log_and_leaves_no_session() {
    let server = Postgres::primary(&["log_min_messages=info", "log_min_error_statement=info"]);
    server.sql("CREATE ROLE plain LOGIN");
    server.hba("host all plain 127.0.0.1/32 trust");
    // That the server has read its files again is told in several lines; these come after them.
    server.sql("DO $$ BEGIN RAISE LOG 'from here on'; END $$");
    let lines = || server.log().split_once("from here on").unwrap().1.lines().count();
    let before = lines();
    for _ in 0..3 {
        read(&json!({"postgres": {"user": "plain"}}), address(&server));
    }
    until("the sessions are over", || {
        (server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'plain'") == "0").then_some(())
    });
    assert_eq!(lines(), before, "{}", server.log());
}

#[test]
fn a_server_that_cannot_be_asked_says_why() {
    let server = Postgres::primary(&[]);
    let refused = super::ask_within(crate::support::wait::patience(), &json!({"postgres": {"user": "nobody"}}), address(&server));
    assert!(refused.unwrap_err().contains("nobody"));
    assert!(check(&json!("postgres")).proxy_header.is_none());
}
