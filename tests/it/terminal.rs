//! What a terminal shows of the failover of real servers, and what the hour in memory remembers.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::support::{
    echo::Backend,
    postgres::Postgres,
    process::{Process, settings},
    tmux::Terminal,
    wait::until,
};

fn history(process: &Process, query: &str) -> Value {
    serde_json::from_str(&process.get(&format!("/api/v1/history{query}")).1).unwrap()
}

/// The states of a backend in the last steps. What was looked for a moment ago may be in the last but one.
fn states(history: &Value, backend: &str) -> String {
    let mut backends = history["pools"].as_array().unwrap().iter().flat_map(|pool| pool["backends"].as_array().unwrap());
    let found = backends.find(|one| one["name"] == backend);
    found.map(|one| one["state"].as_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn the_death_of_a_real_primary_is_seen_while_somebody_watches() {
    let primary = Postgres::primary(&[]);
    primary.hba("host replication all 127.0.0.1/32 trust");
    let standby = primary.standby(&[]);
    until("the standby streams", || {
        (primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1").then_some(())
    });
    let addresses = [&primary, &standby].map(|server| ([127, 0, 0, 1], server.port).into());
    let mut settings = settings(&addresses);
    settings["pools"][0]["check"] = json!({"postgres": {"user": "postgres", "tls": "off"}, "timeout": "2s"});
    let process = Process::start(&settings).serving();
    let terminal = Terminal::start(110, 24);
    terminal.run(&format!("mainstay status --watch --admin {}", process.admin));
    let screen = terminal.until("all is well", |screen| screen.starts_with("All is well: 1 pool"));
    println!("{screen}");
    assert!(screen.contains("* db-a") && screen.contains("standby"), "{screen}");
    primary.signal_all("-KILL");
    let screen = terminal.until("nobody serves", |screen| screen.starts_with("TROUBLE in 1 of 1 pool"));
    println!("{screen}");
    assert!(screen.lines().nth(2).unwrap().starts_with("!! orders: NO BACKEND MAY SERVE. db-a is down"), "{screen}");
    standby.promote();
    let screen = terminal.until("the other one serves", |screen| screen.starts_with("WARNING") && screen.contains("* db-b"));
    println!("{screen}");
    assert!(screen.contains("db-a -> db-b, cause down"), "{screen}");
    terminal.until("the strips have it", |screen| {
        let strip =
            |name: &str| screen.lines().rfind(|line| line.starts_with(&format!("    {name}  "))).unwrap_or_default().to_owned();
        strip("db-a").contains('D') && strip("db-b").contains('R')
    });
    let history = history(&process, "?pool=orders");
    assert!(states(&history, "db-a").ends_with('D') && states(&history, "db-b").contains('R'), "{history}");
    let outage: f64 = history["pools"][0]["outage_seconds"].as_array().unwrap().iter().filter_map(Value::as_f64).sum();
    assert!(outage > 0.0, "{history}");
}

#[test]
fn the_hour_keeps_what_stays_configured_and_forgets_the_rest() {
    let mut backends = [Backend::echo(), Backend::echo()];
    let addresses = [backends[0].address, backends[1].address];
    let mut settings = settings(&addresses);
    let process = Process::start(&settings).serving();
    let mut client = process.connect();
    until("bytes are counted", || {
        client.write_all(&[7; 4096]).unwrap();
        client.read_exact(&mut [0; 4096]).unwrap();
        let history = history(&process, "?last=2");
        let mut rates = history["pools"][0]["bytes_per_second"].as_array().unwrap().iter();
        rates.any(|rate| rate.as_f64().is_some_and(|rate| rate > 0.0)).then_some(())
    });
    assert_eq!(history(&process, "?last=1")["pools"][0]["connections"], json!([1]));
    // Down, and up again before anybody looks.
    backends[0].stop();
    until("another one is active", || (process.status()["pools"][0]["active"] == "db-b").then_some(()));
    backends[0] = Backend::start_at(addresses[0], |_| {});
    until("it is up again", || (process.status()["pools"][0]["backends"][0]["health"] == "up").then_some(()));
    let states_of = |backend: &str| states(&history(&process, "?last=6"), backend);
    assert!(states_of("db-a").contains('D'), "{}", states_of("db-a"));
    // `db-a` stays, `db-b` goes, `db-c` and a second pool come.
    let pool = &mut settings["pools"][0];
    pool["backends"][1] = json!({"name": "db-c", "address": addresses[1].to_string()});
    let mut second = pool.clone();
    second["name"] = json!("users");
    settings["pools"].as_array_mut().unwrap().push(second);
    process.reload(&settings.to_string());
    let names = |history: &Value| {
        let pools = history["pools"].as_array().unwrap().iter();
        pools.map(|pool| pool["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("the new pool is there", || (names(&history(&process, "?last=1")) == ["orders", "users"]).then_some(()));
    assert!(states_of("db-a").contains('D') && states_of("db-b").is_empty(), "{}", states_of("db-a"));
    until("the new backend is active", || states_of("db-c").ends_with(['A', 'U', '?', 'D']).then_some(()));
    assert!(history(&process, "?pool=users&last=360")["pools"][0]["connections"][300].is_null(), "it is new: ten minutes ago");
    settings["pools"].as_array_mut().unwrap().remove(0);
    process.reload(&settings.to_string());
    assert_eq!(names(&history(&process, "")), ["users"]);
    assert_eq!(process.get("/api/v1/history?pool=orders").0, 404);
}
