//! The built-in proofs of `PostgreSQL`, each of which a real server fails.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use lab::cluster::programs::Binaries;
use mainstay::control::guard::proofs::{Latency, Scope};
use serde_json::json;

use super::{Pool, local};
use crate::support::{
    netns::run,
    postgres::{self, Postgres},
    scratch::Scratch,
    wait::until,
};

/// What cannot be told without the times of probes.
const UNTOLD: &str = "probe_latency";

fn pool() -> Pool {
    Pool::new(&json!("postgres"), &json!({}))
}

fn follows(source: &Postgres) {
    until("the standby streams", || {
        (source.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1").then_some(())
    });
}

fn pair() -> (Postgres, Postgres) {
    let source = Postgres::primary(&[]);
    let standby = source.standby(&[]);
    follows(&source);
    (source, standby)
}

#[test]
fn a_healthy_pair_passes_all_and_a_monitoring_role_needs_three_grants() {
    let (source, standby) = pair();
    source.sql("CREATE EXTENSION pg_stat_statements; CREATE EXTENSION amcheck");
    let caught_up = || standby.sql("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'") == "1";
    until("the standby has them", || caught_up().then_some(()));
    pool().prove(local(standby.port), Some(local(source.port))).skipped(UNTOLD, "not known yet").all_but(&[UNTOLD]);
    // Alone, and when clients wait.
    let alone = pool().prove_in(Scope::Quick, local(source.port), None);
    for name in ["max_connections", "version_order"] {
        alone.skipped(name, "there is no other one to compare with");
    }
    alone.all_but(&["max_connections", "version_order", UNTOLD]);

    source.sql("CREATE ROLE probe LOGIN");
    source.hba("host all probe 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust");
    standby.hba("host all probe 127.0.0.1/32 trust");
    until("the standby has the role", || {
        (standby.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'probe'") == "1").then_some(())
    });
    let pool = Pool::new(&json!({"postgres": {"user": "probe"}}), &json!({}));
    let (file, hba) = (
        "GRANT SELECT ON pg_file_settings TO probe; GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO probe",
        "GRANT SELECT ON pg_hba_file_rules TO probe; GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO probe",
    );
    let results = pool.prove(local(standby.port), Some(local(source.port)));
    results.skipped("config_file", file).skipped("hba_file", hba).all_but(&["config_file", "hba_file", UNTOLD]);
    // As it says.
    source.sql(&format!("{file}; {hba}; GRANT pg_read_all_stats TO probe"));
    let granted = || standby.sql("SELECT has_function_privilege('probe', 'pg_hba_file_rules()', 'EXECUTE')") == "t";
    until("the standby has the grants", || granted().then_some(()));
    pool.prove(local(standby.port), Some(local(source.port))).all_but(&[UNTOLD]);
}

#[test]
fn a_standby_that_receives_nothing_fails() {
    let (source, standby) = pair();
    standby.sql("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'");
    standby.sql("SELECT pg_reload_conf()");
    until("it receives nothing", || (standby.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0").then_some(()));
    let quick = pool().prove_in(Scope::Quick, local(standby.port), Some(local(source.port)));
    quick.failed("replication", "receives nothing (pg_stat_wal_receiver is empty)").all_but(&["replication", UNTOLD]);
    // The primary of another cluster is no standby.
    let other = Postgres::primary(&[]);
    pool().prove(local(other.port), Some(local(source.port))).failed("replication", "it is no standby");
    standby.sql("SELECT pg_wal_replay_pause()");
    until("it is paused", || (standby.sql("SELECT pg_get_wal_replay_pause_state()") == "paused").then_some(()));
    let quick = pool().prove_in(Scope::Quick, local(standby.port), Some(local(source.port)));
    quick.failed("replication", "SELECT pg_wal_replay_resume()");
}

#[test]
fn a_standby_that_reconnects_meanwhile_passes() {
    let (source, standby) = pair();
    // Out of the way for a moment; the receiver starts again by itself.
    source.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication");
    pool().prove(local(standby.port), Some(local(source.port))).passed("replication");
}

#[test]
fn a_collation_that_has_changed_fails() {
    let (here, active) = (Postgres::primary(&[]), Postgres::primary(&[]));
    let made = "CREATE COLLATION made (provider = icu, locale = 'de'); SET allow_system_table_mods = on";
    here.sql(&format!("{made}; UPDATE pg_collation SET collversion = '1.2.3' WHERE collname = 'made'"));
    let addresses = || (local(here.port), Some(local(active.port)));
    let prove = || pool().prove(addresses().0, addresses().1);
    prove()
        .failed("collations", "collation made was made with version 1.2.3, and the system has ")
        .failed("collations", "the active one: no collation has changed");
    // On both.
    active.sql(&format!("{made}; UPDATE pg_collation SET collversion = '1.2.3' WHERE collname = 'made'"));
    prove().inconclusive("collations", "the active one: collation made was made with version 1.2.3");
    here.sql("ALTER COLLATION made REFRESH VERSION");
    // Of a database.
    here.sql("SET allow_system_table_mods = on; UPDATE pg_database SET datcollversion = '0.1' WHERE datname = 'postgres'");
    prove().inconclusive("collations", "database postgres was made with version 0.1");
    active.sql("ALTER COLLATION made REFRESH VERSION");
    prove().failed("collations", "database postgres was made with version 0.1");
}

#[test]
fn an_extension_that_is_not_on_disk_fails() {
    let (here, active) = (Postgres::primary(&[]), Postgres::primary(&[]));
    for server in [&here, &active] {
        server.sql("CREATE EXTENSION amcheck; CREATE EXTENSION citext");
    }
    let prove = || pool().prove(local(here.port), Some(local(active.port)));
    // A version that no file has.
    here.sql("UPDATE pg_extension SET extversion = '9.9' WHERE extname = 'amcheck'");
    prove()
        .failed("extensions", "amcheck 9.9 is installed, and on disk is 1.")
        .failed("extensions", "the active one: every installed");
    // None of its files.
    here.sql("UPDATE pg_extension SET extname = 'vanished' WHERE extname = 'amcheck'");
    prove().failed("extensions", "vanished 9.9 is installed, and on disk is nothing");
    // An older version from which an update is on disk is none to fear.
    here.sql("UPDATE pg_extension SET extname = 'amcheck', extversion = '1.1' WHERE extname = 'vanished'");
    prove().passed("extensions");
    // Its library.
    here.sql("SET allow_system_table_mods = on; UPDATE pg_proc SET probin = '$libdir/vanished' WHERE proname = 'bt_index_check'");
    prove().failed("extensions", "$libdir/vanished");
}

/// A copy of the server's programs and files in which this extension is missing. The server looks for its files beside its program.
fn without_extension(scratch: &Scratch, name: &str) -> Binaries {
    let installed = postgres::binaries();
    let pg_config = |what: &str| PathBuf::from(run(&[installed.directory().join("pg_config").to_str().unwrap(), what]).trim());
    let (bin, share, lib) = (pg_config("--bindir"), pg_config("--sharedir"), pg_config("--pkglibdir"));
    let beside = |path: &Path| scratch.directory().join(path.strip_prefix("/usr").unwrap());
    let link = |from: &Path, left_out: &dyn Fn(&str) -> bool| {
        fs::create_dir_all(beside(from)).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = beside(from).join(entry.file_name());
            if !left_out(entry.file_name().to_str().unwrap()) && !to.exists() {
                symlink(entry.path(), to).unwrap();
            }
        }
    };
    fs::set_permissions(scratch.directory(), fs::Permissions::from_mode(0o755)).unwrap();
    link(&bin, &|file| file == "postgres");
    fs::copy(bin.join("postgres"), beside(&bin).join("postgres")).unwrap();
    link(&lib, &|file| file == format!("{name}.so"));
    link(&share.join("extension"), &|file| file.starts_with(name));
    link(&share, &|_| false);
    Binaries::at(&beside(&bin))
}

/// As after an update of the server's packages that lacks one.
#[test]
fn a_standby_that_lacks_an_extension_fails() {
    let scratch = Scratch::new();
    let source = Postgres::primary(&[]);
    source.sql("CREATE EXTENSION amcheck");
    let standby = source.standby_by(&without_extension(&scratch, "amcheck"), &[]);
    follows(&source);
    let results = pool().prove(local(standby.port), Some(local(source.port)));
    results.failed("extensions", "amcheck 1.3 is installed, and on disk is nothing").all_but(&["extensions", UNTOLD]);
}

#[test]
fn a_setting_that_waits_for_a_restart_fails_unless_it_is_ignored() {
    let (source, standby) = pair();
    standby.sql("ALTER SYSTEM SET max_locks_per_transaction = 100");
    standby.sql("ALTER SYSTEM SET wal_buffers = '8MB'");
    standby.sql("SELECT pg_reload_conf()");
    until("they wait", || {
        (standby.sql("SELECT count(*) FROM pg_settings WHERE pending_restart AND name ~ 'wal_buffers|max_locks'") == "2")
            .then_some(())
    });
    let addresses = (local(standby.port), Some(local(source.port)));
    let results = pool().prove(addresses.0, addresses.1);
    results.failed("pending_restart", "the next restart changes max_locks_per_transaction, wal_buffers");
    // The file itself is right.
    results.all_but(&["pending_restart", UNTOLD]);
    let ignoring = Pool::new(&json!("postgres"), &json!({"ignore": ["wal_buffers", "max_locks_per_transaction"]}));
    ignoring.prove(addresses.0, addresses.1).all_but(&[UNTOLD]);
}

/// The next start would fail, and nothing shows it until then.
#[test]
fn files_that_the_next_start_would_refuse_fail() {
    let (source, standby) = pair();
    let addresses = (local(standby.port), Some(local(source.port)));
    let file = |name: &str| standby.data().join(name);
    let append = |name: &str, line: &str| {
        let whole = fs::read_to_string(file(name)).unwrap();
        fs::write(file(name), format!("{whole}{line}\n")).unwrap();
        whole
    };
    let hba = append("pg_hba.conf", "host all all 10.0.0.0/33 scram-sha-256");
    pool()
        .prove(addresses.0, addresses.1)
        .failed("hba_file", "pg_hba.conf:")
        .failed("hba_file", "the active one: pg_hba.conf has no error");
    fs::write(file("pg_hba.conf"), hba).unwrap();
    let whole = append("postgresql.conf", "work_mme = 64MB");
    pool().prove(addresses.0, addresses.1).failed("config_file", "work_mme unrecognized configuration parameter");
    fs::write(file("postgresql.conf"), &whole).unwrap();
    append("postgresql.conf", "shared_buffers = 'much'");
    pool().prove(addresses.0, addresses.1).failed("config_file", "shared_buffers setting could not be applied");
    fs::write(file("postgresql.conf"), &whole).unwrap();
    append("postgresql.conf", "a line = = 'hunter22");
    let results = pool().prove(addresses.0, addresses.1);
    assert!(!results.failed("config_file", "postgresql.conf:").to_string().contains("hunter22"));
    fs::write(file("postgresql.conf"), whole).unwrap();
    pool().prove(addresses.0, addresses.1).all_but(&[UNTOLD]);
}

#[test]
fn a_server_without_room_for_the_sessions_of_the_active_one_fails() {
    let source = Postgres::primary(&[]);
    let standby = source.standby(&["superuser_reserved_connections=19"]);
    follows(&source);
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = lab::session::Endpoint::Unix(source.socket());
        let session = runtime.block_on(lab::session::Session::connect(&endpoint, "postgres", "postgres")).unwrap();
        sessions.push((session, runtime));
    }
    let results = pool().prove(local(standby.port), Some(local(source.port)));
    results.failed("max_connections", "takes 1 sessions, and the active one has 2").all_but(&["max_connections", UNTOLD]);
    sessions.pop();
    until("one is left", || {
        (source.sql("SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'") == "1").then_some(())
    });
    pool().prove(local(standby.port), Some(local(source.port))).passed("max_connections");
}

#[test]
fn probes_that_are_much_slower_than_those_of_the_active_one_fail() {
    let server = Postgres::primary(&[]);
    let ms = Duration::from_millis;
    let slow = Pool { latency: Some(Latency { subject: ms(40), active: ms(10) }), ..pool() };
    slow.prove(local(server.port), None).failed("probe_latency", "took at most 40.0ms; on the active one 10.0ms");
    let noise = Pool { latency: Some(Latency { subject: ms(4), active: ms(1) }), ..pool() };
    noise.prove(local(server.port), None).passed("probe_latency");
}

#[test]
fn a_server_that_is_gone_or_hangs_is_no_failure_and_takes_no_longer_than_clients_wait() {
    let server = Postgres::primary(&[]);
    server.signal_all("-STOP");
    let results = pool().prove_in(Scope::Quick, local(server.port), None);
    results.unanswered("extensions", "").unanswered("hba_file", "there was no time");
    let took: Duration = results.0.iter().map(|one| one.took).sum();
    println!("{took:.1?}");
    server.signal_all("-KILL");
    let gone = pool().prove_in(Scope::Quick, local(server.port), None);
    gone.unanswered("extensions", "cannot log in");
}
