//! `PostgreSQL`: a switchover with an orderly stop, a failover, and whatever is missing for either.

use std::{fmt::Write as _, fs, time::Duration};

use lab::session::{Endpoint, Session};
use mainstay::control::{
    probe::Deadline,
    promotion::{Member, Promoter, Severity},
};
use serde_json::json;

use super::{FAILED, OCCASION, Writers, ample, done, lacks, local, none_lost, promoter, refused, wait};
use crate::support::{postgres::Postgres, scratch::Scratch, wait::until};

/// A pool whose demote hook runs this script.
fn switching(user: &str, scratch: &Scratch, script: &str) -> Promoter {
    let hook = json!({"exec": [scratch.script(script)]});
    promoter(&json!({"postgres": {"user": user}, "timeout": "5s"}), &json!({"how": "sql", "demote": hook}))
}

/// As `pg_ctl stop -m fast` does.
fn stop(server: &Postgres) -> String {
    let file = server.data().join("postmaster.pid");
    format!("kill -INT {}\nwhile [ -e {} ]; do sleep 0.02; done", server.pid(), file.display())
}

fn follows(source: &Postgres) {
    until("the standby streams", || {
        (source.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1").then_some(())
    });
}

fn members(source: &Postgres, standby: &Postgres) -> (Member, Member) {
    (local("db-a", source.port), local("db-b", standby.port))
}

/// A session that writes rows, on a runtime of its own.
struct Writer {
    runtime: tokio::runtime::Runtime,
    session: Session,
}

impl Writer {
    fn connect(server: &Postgres) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let session = runtime.block_on(Session::connect(&Endpoint::Unix(server.socket()), "postgres", "postgres")).unwrap();
        Self { runtime, session }
    }

    fn write(&mut self, number: u64) -> bool {
        self.runtime.block_on(self.session.query(&format!("INSERT INTO t VALUES ({number})"))).is_ok()
    }
}

#[test]
fn a_switchover_under_load_loses_nothing_and_needs_only_the_rights_that_it_names() {
    let scratch = Scratch::new();
    let source = Postgres::primary(&[]);
    source.sql("CREATE ROLE probe LOGIN; CREATE TABLE t (i bigint)");
    source.hba("host all probe 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust");
    let standby = source.standby(&[]);
    follows(&source);
    let (from, to) = members(&source, &standby);
    let promoter = switching("probe", &scratch, &stop(&source));

    // Without any right.
    let missing = wait(promoter.preflight(Some(&from), &to, ample()));
    let grant = "GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO \"probe\"";
    lacks(&missing, Severity::Forbids, grant);
    lacks(&missing, Severity::Costs, "GRANT pg_checkpoint TO \"probe\"");
    assert_eq!(missing.len(), 2, "{missing:#?}");
    assert!(done(wait(promoter.prepare(&from, ample()))).contains("may not"));
    refused(wait(promoter.promote(None, &to, &FAILED, ample())), grant);
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");

    // As it says.
    source.sql(&format!("{grant}; GRANT pg_checkpoint TO \"probe\""));
    let granted = || standby.sql("SELECT has_function_privilege('probe', 'pg_promote(boolean, integer)', 'EXECUTE')") == "t";
    until("the standby knows", || granted().then_some(()));
    assert_eq!(wait(promoter.preflight(Some(&from), &to, ample())), []);
    let acknowledged = Writers::during(
        || Writer::connect(&source),
        Writer::write,
        || {
            assert!(done(wait(promoter.prepare(&from, ample()))).starts_with("CHECKPOINT on db-a"));
            done(wait(promoter.demote(&from, &to, &OCCASION, ample())));
            let words = done(wait(promoter.promote(Some(&from), &to, &OCCASION, ample())));
            assert!(words.starts_with("pg_promote() made db-b the primary on timeline 2"), "{words}");
        },
    );
    none_lost(&acknowledged, &standby.sql("SELECT i FROM t"));
    standby.sql("INSERT INTO t VALUES (-1)");
    // Ordered once more, nothing happens.
    let again = done(wait(promoter.promote(Some(&from), &to, &OCCASION, ample())));
    assert_eq!(again, "db-b is the primary already, on timeline 2");
    refused(wait(promoter.undo_demote(&from, ample())), "does not take writes any more");
}

#[test]
fn a_standby_is_promoted_after_the_death_of_its_primary() {
    let source = Postgres::primary(&[]);
    let standby = source.standby(&[]);
    follows(&source);
    let (from, to) = members(&source, &standby);
    let promoter = promoter(&json!("postgres"), &json!({"how": "sql"}));
    let missing = wait(promoter.preflight(Some(&from), &to, ample()));
    lacks(&missing, Severity::Forbids, "no `promotion.demote`");
    refused(wait(promoter.demote(&from, &to, &OCCASION, ample())), "no statement that stops it");
    source.signal_all("-KILL");
    let late = Deadline::after(Duration::from_secs(2));
    lacks(&wait(promoter.preflight(Some(&from), &to, late)), Severity::Forbids, "cannot log in to db-a");
    assert_eq!(wait(promoter.preflight(None, &to, ample())), []);
    done(wait(promoter.promote(None, &to, &FAILED, ample())));
    standby.sql("CREATE TABLE t (i int)");
    lacks(&wait(promoter.preflight(None, &to, ample())), Severity::Forbids, "db-b is no standby");
}

/// Every way in which a stop may go wrong before anything is promoted: the old one goes on, and the words say what to do.
#[test]
fn nothing_is_promoted_unless_the_old_primary_has_stopped() {
    let scratch = Scratch::new();
    let source = Postgres::primary(&[]);
    let standby = source.standby(&[]);
    follows(&source);
    let (from, to) = members(&source, &standby);
    let short = || Deadline::after(Duration::from_secs(2));
    let demote = |script: &str| {
        let promoter = switching("postgres", &scratch, script);
        let demoted = wait(promoter.demote(&from, &to, &OCCASION, short()));
        (promoter, demoted)
    };
    for (script, because) in [
        ("exit 0", "the demote hook ended well, but db-a has not stopped"),
        ("echo cannot reach the host; exit 255", "the demote hook failed with exit code 255; it said: cannot reach the host"),
        ("sleep 600", "the demote hook did not end within"),
    ] {
        let (promoter, demoted) = demote(script);
        refused(demoted, because);
        assert!(done(wait(promoter.undo_demote(&from, ample()))).starts_with("db-a runs on"));
    }
    // Frozen is not stopped: it accepts, and may go on.
    let freeze = lab::procfs::family(source.pid()).iter().fold("kill -STOP".to_owned(), |mut words, pid| {
        let _ = write!(words, " {pid}");
        words
    });
    // One of them may have ended meanwhile.
    refused(demote(&format!("{freeze} || :")).1, "has not stopped");
    source.signal_all("-CONT");
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
}

#[test]
fn a_standby_that_lacks_something_is_not_promoted() {
    let scratch = Scratch::new();
    let source = Postgres::primary(&[]);
    source.sql("CREATE TABLE t (i bigint)");
    let standby = source.standby(&[]);
    follows(&source);
    let (from, to) = members(&source, &standby);
    let promoter = switching("postgres", &scratch, &stop(&source));

    // It receives nothing: then it would lack what is written now, so nobody is stopped.
    let conninfo = fs::read_to_string(standby.data().join("postgresql.auto.conf")).unwrap();
    assert!(conninfo.contains("primary_conninfo"), "{conninfo}");
    standby.sql("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'");
    standby.sql("SELECT pg_reload_conf()");
    until("it receives nothing", || (standby.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0").then_some(()));
    lacks(&wait(promoter.preflight(Some(&from), &to, ample())), Severity::Loses, "db-b receives nothing from its primary");
    refused(wait(promoter.demote(&from, &to, &OCCASION, ample())), "so db-a was not stopped");
    standby.sql("ALTER SYSTEM RESET primary_conninfo");
    fs::write(standby.data().join("postgresql.auto.conf"), conninfo).unwrap();
    standby.sql("SELECT pg_reload_conf()");
    follows(&source);

    // It receives and does not apply.
    standby.sql("SELECT pg_wal_replay_pause()");
    until("it is paused", || (standby.sql("SELECT pg_get_wal_replay_pause_state()") == "paused").then_some(()));
    lacks(&wait(promoter.preflight(Some(&from), &to, ample())), Severity::Forbids, "SELECT pg_wal_replay_resume()");
    source.sql("INSERT INTO t SELECT generate_series(1, 1000)");
    done(wait(promoter.demote(&from, &to, &OCCASION, ample())));
    let late = Deadline::after(Duration::from_secs(1));
    refused(wait(promoter.promote(Some(&from), &to, &OCCASION, late)), "so it was not promoted: is its replay paused");
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
}
