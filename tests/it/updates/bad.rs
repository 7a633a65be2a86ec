//! Updates that break something, as real ones did. Each of them stops at the standby.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use lab::{servers::release::Release, transactions::Tally};
use serde_json::json;

use super::rolling::{Change, OLD, READ, Readers, Rolling, new_release, writers};
use crate::support::{
    netns::run,
    postgres::Postgres,
    wait::{until, within},
};

/// How mainstay comes to know it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sign {
    /// This proof fails, and its evidence holds this.
    Fails(&'static str, &'static str),
    /// It does not come up.
    Down,
    /// It never lasts for `guard.soak`.
    Restless,
    /// The server dies of this proof, which therefore has no answer.
    DiesOf(&'static str),
}

pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// What is wrong with the programs and their files.
    pub(crate) tamper: fn(&Release),
    /// And with the settings that come with them.
    pub(crate) settings: &'static [&'static str],
    /// What is done once they run.
    then: fn(&Postgres),
    pub(crate) sign: Sign,
}

const fn files(name: &'static str, tamper: fn(&Release), sign: Sign) -> Kind {
    Kind { name, tamper, settings: &[], then: |_| {}, sign }
}

const TRIGRAMS: &str = "lib/postgresql/pg_trgm.so";

pub(crate) const KINDS: [Kind; 12] = [
    // Releases of PostgreSQL bring new rules for time zones.
    files(
        "time zones",
        |release| release.replace("share/postgresql/timezone/Europe/Berlin", "share/postgresql/timezone/Asia/Tokyo"),
        Sign::Fails("time", "2026-07-01 21:00:00"),
    ),
    Kind {
        settings: &["datestyle=German"],
        ..files("another default", |_| {}, Sign::Fails("time", "here (01.07.2026 14:00:00)"))
    },
    // A planner that takes another plan.
    Kind {
        settings: &["enable_indexscan=off", "enable_bitmapscan=off", "enable_indexonlyscan=off"],
        ..files("a slow query", |_| {}, Sign::Fails("lookup", ""))
    },
    files(
        "an extension is not on disk",
        |release| {
            let versions = fs::read_dir(release.path("share/postgresql/extension")).unwrap().map(|entry| entry.unwrap().path());
            let own = versions.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("pg_trgm"));
            own.for_each(|path| fs::remove_file(path).unwrap());
            release.remove(TRIGRAMS);
        },
        Sign::Fails("extensions", "pg_trgm 1.6 is installed, and on disk is nothing"),
    ),
    files("a library is not on disk", |release| release.remove(TRIGRAMS), Sign::Fails("search", "pg_trgm")),
    // PostgreSQL 17.1: extensions that were built for 17.0.
    files(
        "a library of another ABI",
        |release| release.edit(TRIGRAMS, |bytes| another_abi(bytes)),
        Sign::Fails("search", "incompatible library"),
    ),
    files("a query crashes it", crashes_in_similarity, Sign::DiesOf("search")),
    // MySQL 8.0.38, with ten thousand tables.
    files("it does not start", does_not_start, Sign::Down),
    files("it crashes after a while", |_| {}, Sign::Restless),
    files(
        "it cannot replicate",
        |release| release.remove("lib/postgresql/libpqwalreceiver.so"),
        Sign::Fails("replication", "receives nothing"),
    ),
    // What the package does to the configuration after the start.
    Kind {
        then: |server| {
            server.sql("ALTER SYSTEM SET shared_buffers = '1TB'");
            server.sql("SELECT pg_reload_conf()");
            let waits = || server.sql("SELECT pending_restart FROM pg_settings WHERE name = 'shared_buffers'") == "t";
            until("it waits for a restart", || waits().then_some(()));
        },
        ..files("a setting waits for a restart", |_| {}, Sign::Fails("pending_restart", "shared_buffers"))
    },
    Kind {
        then: |server| {
            let file = server.data().join("pg_hba.conf");
            let before = fs::read_to_string(&file).unwrap();
            fs::write(file, format!("{before}host all all 10.0.0.0/33 scram-sha-256\n")).unwrap();
        },
        ..files("pg_hba.conf is broken", |_| {}, Sign::Fails("hba_file", "pg_hba.conf:"))
    },
];

pub(crate) fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("no kind {name}"))
}

/// The library says that names are shorter than the server's (`Pg_magic_struct`: `FUNC_MAX_ARGS`, `INDEX_MAX_KEYS`, `NAMEDATALEN`).
fn another_abi(bytes: &mut [u8]) {
    let magic: Vec<u8> = [100_u32, 32, 64].iter().flat_map(|number| number.to_ne_bytes()).collect();
    let place = bytes.windows(magic.len()).position(|window| window == magic).expect("no magic block");
    bytes[place + 8] = 63;
}

/// The first instruction of the function is one that no processor has.
fn crashes_in_similarity(release: &Release) {
    let symbols = run(&["nm", "-D", release.path(TRIGRAMS).to_str().unwrap()]);
    let line = symbols.lines().find(|line| line.ends_with(" T similarity")).expect("no function similarity");
    // The code is mapped from the beginning of the file, so its address is its place.
    let place = usize::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
    release.edit(TRIGRAMS, |bytes| bytes[place..place + 2].copy_from_slice(&[0x0f, 0x0b]));
}

fn does_not_start(release: &Release) {
    let path = release.path("bin/postgres");
    fs::write(&path, "#!/bin/sh\necho 'PANIC: could not start' >&2\nexit 1\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// One of its processes dies, so all of them are started anew.
fn crash(server: &Postgres) {
    let pid = server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
    run(&["kill", "-SEGV", &pid]);
}

/// What was measured of one.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Sessions of clients on the changed node.
    pub(crate) sessions: usize,
    /// From its first answer, or its end, until its state was told.
    pub(crate) decided: Duration,
}

impl Kind {
    /// Has the standby run it, and sees that it stops there.
    pub(crate) fn stops(&self, rolling: &mut Rolling, change: Change) -> Figures {
        let release = new_release();
        (self.tamper)(&release);
        let before = rolling.begin_change(1, &release, self.settings, change);
        let stopped = rolling.nodes[1].log().len();
        if !matches!(self.sign, Sign::Down) {
            rolling.nodes[1].wait_ready();
            (self.then)(&rolling.nodes[1]);
        }
        let since = Instant::now();
        rolling.ready(1, change);
        let word = self.is_told(rolling);
        let decided = since.elapsed();
        let refused = rolling.site.run(&["switchover", "orders", "--to", "db-b"]);
        refused.is_refused(if word.is_empty() { "db-b" } else { word });
        assert!(rolling.site.run(&["status"]).out.contains(if word.is_empty() { "db-b" } else { word }));
        assert_eq!(rolling.site.active().as_deref(), Some("db-a"));
        if matches!(self.sign, Sign::Restless) {
            for _ in 0..5 {
                let crashes =
                    || rolling.nodes[1].log()[stopped..].matches("database system is ready to accept read-only").count();
                let seen = crashes();
                crash(&rolling.nodes[1]);
                within(READ, "it has started again", || (crashes() > seen).then_some(()));
                rolling.nodes[1].wait_ready();
                assert_ne!(rolling.proof(1).0, "proven");
            }
        }
        Figures { sessions: rolling.sessions(1) - before, decided }
    }

    /// What is told of it, once it is; a word of that.
    fn is_told(&self, rolling: &Rolling) -> &'static str {
        match self.sign {
            Sign::Fails(proof, text) => {
                // On a busy machine `probe_latency` may fail before it. All are run again a minute later.
                let told = || Some(rolling.proof(1)).filter(|(state, what)| state == "failed" && what.starts_with(proof));
                let (_, what) = within(READ, &format!("{}: {proof} failed", self.name), told);
                assert!(what.contains(text), "{}: {what}", self.name);
                proof
            }
            Sign::DiesOf(proof) => {
                let told = || Some(rolling.proof(1)).filter(|(state, what)| state == "unproven" && what.starts_with(proof));
                let (_, what) = within(READ, "it has died of it", told);
                println!("{}: {what}", self.name);
                ""
            }
            Sign::Down => {
                within(READ, "it is down", || (rolling.pool()["backends"][1]["health"] == "down").then_some(()));
                ""
            }
            Sign::Restless => {
                within(READ, "it has to last", || (rolling.proof(1).0 == "proving").then_some(()));
                ""
            }
        }
    }
}

/// One after the other, each so many times, on the same standby, which becomes what it was in between.
pub(crate) fn stop_at_the_standby(kinds: impl IntoIterator<Item = &'static Kind>, runs: usize) {
    let mut rolling = Rolling::new(&json!({"mode": "enforce", "soak": "2s"}));
    let old = Arc::new(Release::postgres(OLD));
    let (writers, readers) = (writers(rolling.rw()), Readers::start(rolling.ro()));
    for kind in kinds {
        let mut times = Vec::new();
        for _ in 0..runs {
            // Without, readers would be cut by the stop.
            let figures = kind.stops(&mut rolling, Change::Announced);
            assert_eq!(figures.sessions, 0, "{}", kind.name);
            times.push(figures.decided);
            rolling.revert(&old);
        }
        times.sort();
        println!(
            "{}: {runs} runs, no session on it; told after {:.1?} (median), {:.1?} (worst)",
            kind.name,
            times[runs / 2],
            times[runs - 1]
        );
    }
    let (tally, reads) = (writers.stop(), readers.stop());
    println!(
        "{} transactions committed, broken {:?}; {} reads, failed {:?}",
        Tally::of(&tally.committed),
        tally.broken(),
        reads.done,
        reads.failed
    );
    assert_eq!(tally.broken(), [0; 3], "{tally:?}");
    assert_eq!(rolling.nodes[0].sql("SELECT count(*) FROM t"), Tally::of(&tally.committed).to_string(), "lost");
    assert_eq!(reads.failed, [""; 0]);
}
