//! A name server that says nothing, and many who ask for the same names: one question a name is under way, and nobody else waits.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    dns::{Dns, Reply},
    echo::Backend,
    netns::Network,
    process::Process,
    redis::Redis,
    scratch::Scratch,
    wait::until,
};

const SENTINELS: usize = 8;
const BACKENDS: usize = 16;

/// Pool `cache` with the names of Sentinels that nobody answers for, and pool `orders` that a command tells the roles of.
fn settings(commanded: &[&Backend], redis: &Redis, scratch: &Scratch) -> Value {
    let addresses: Vec<_> = commanded.iter().map(|backend| backend.address).collect();
    let mut settings = crate::support::process::settings(&addresses);
    let script = scratch.script("cat $DIR/$MAINSTAY_BACKEND_PORT");
    let times = |mut check: Value| {
        for key in ["interval", "fast_interval"] {
            check[key] = "100ms".into();
        }
        check
    };
    settings["pools"][0]["check"] = times(json!({"exec": {"command": [script], "roles": true}}));
    let sentinels: Vec<_> = (0..SENTINELS).map(|n| format!("s{n}.test:26379")).collect();
    let mut cache = settings["pools"][0].clone();
    cache["name"] = "cache".into();
    cache["check"] = times(json!({"redis": {"sentinels": sentinels, "sentinel_name": "mymaster"}}));
    cache["backends"] = (1..=BACKENDS).map(|n| json!(format!("127.0.0.{n}:{}", redis.port))).collect();
    settings["pools"].as_array_mut().unwrap().push(cache);
    settings
}

fn active(process: &Process) -> Value {
    process.status()["pools"][0]["active"].clone()
}

#[test]
fn names_that_nobody_answers_for_are_asked_once_each_and_hold_up_no_failover() {
    Network::new().inside(|| {
        // The longest patience that a resolver has (resolv.conf(5)).
        let dns = Dns::with_patience(Duration::from_secs(30));
        let scratch = Scratch::new();
        // One server with many addresses.
        let redis = Redis::primary(&["bind 0.0.0.0", "protected-mode no"]);
        let (a, b) = (Backend::echo(), Backend::echo());
        let say = |backend: &Backend, role: &str| {
            fs::write(scratch.path("new"), role).unwrap();
            fs::rename(scratch.path("new"), scratch.path(&backend.address.port().to_string())).unwrap();
        };
        say(&a, "primary");
        say(&b, "standby");
        let names: Vec<_> = (0..SENTINELS).map(|n| format!("s{n}.test")).collect();
        for name in &names {
            dns.reply(name, Reply::Silence);
        }
        let process = dns.start_process(&settings(&[&a, &b], &redis, &scratch)).serving();
        until("every name is asked for", || names.iter().all(|name| dns.lookups(name) > 0).then_some(()));
        let probed = || process.metric("mainstay_probes_total", &[("pool", "cache")]);
        // Every backend has its own opinion of the Sentinels, which are asked about once a second.
        let before = probed();
        until("a thousand probes of the others", || (probed() > before + 1000).then_some(()));
        let lookups: Vec<_> = names.iter().map(|name| dns.lookups(name)).collect();
        assert!(lookups.iter().all(|count| *count == 1), "questions for each name, none of them answered: {lookups:?}");
        assert!(process.metric("process_threads", &[]) < 40, "a lookup that hangs costs a thread");
        say(&a, "standby");
        say(&b, "primary");
        until("the promoted one serves", || (active(&process) == "db-b").then_some(()));
    });
}
