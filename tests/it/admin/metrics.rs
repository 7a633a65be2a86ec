//! `/metrics` is valid, complete, and says what the snapshot says.

#![allow(clippy::float_cmp, reason = "gauges are whole numbers, which f64 holds exactly")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
};

use mainstay::{
    config::ListenerRoute,
    failover::{BackendId, Epoch, FailoverReady, ReadEligibility, label::Label},
    metrics::{Detail, PoolLabels, PoolSeries},
    route::Snapshot,
};

use super::fixture::{Fixture, dead, failed_over};

type Labels = BTreeMap<String, String>;

/// Every sample, checked against the text format 0.0.4 as strictly as `promtool check metrics`: HELP and TYPE before the
/// samples, a family in one piece, no sample twice, counters end in `_total`, buckets cumulative and ending in +Inf.
fn parse(text: &str) -> BTreeMap<(String, Labels), f64> {
    assert!(text.ends_with('\n'));
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut family, mut kind) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(families.insert(name.to_owned()), "{name} comes in two pieces");
            assert!(!help.is_empty());
            name.clone_into(&mut family);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, type_) = rest.split_once(' ').unwrap();
            assert_eq!(name, family, "TYPE follows HELP");
            assert!(["counter", "gauge", "histogram"].contains(&type_), "{line}");
            assert_eq!(type_ == "counter", name.ends_with("_total"), "{line}");
            type_.clone_into(&mut kind);
        } else {
            let (name, labels, value) = sample(line);
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{line} under {family}");
            assert!(samples.insert((name, labels), value).is_none(), "twice: {line}");
        }
    }
    check_histograms(&samples);
    samples
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, tail) = rest.split_once("=\"").unwrap();
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            let (value, tail) = label_value(tail);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = tail.strip_prefix(',').unwrap_or(tail);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("{line}")))
}

/// Up to the closing quote, with escapes undone.
fn label_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next().unwrap().1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                other => panic!("unknown escape \\{other}"),
            }),
            c => value.push(c),
        }
    }
    panic!("a label value without an end: {text}");
}

fn check_histograms(samples: &BTreeMap<(String, Labels), f64>) {
    let mut series: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
    for ((name, labels), count) in samples {
        if let Some(base) = name.strip_suffix("_bucket") {
            let mut labels = labels.clone();
            let bound = labels.remove("le").unwrap().parse().unwrap();
            series.entry((base.to_owned(), labels)).or_default().push((bound, *count));
        }
    }
    assert!(!series.is_empty());
    for ((base, labels), mut buckets) in series {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{base} {labels:?}");
        let (bound, count) = *buckets.last().unwrap();
        assert!(bound.is_infinite() && samples[&(format!("{base}_count"), labels.clone())] == count, "{base} {labels:?}");
        assert!(samples.contains_key(&(format!("{base}_sum"), labels)));
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_text_is_valid_and_its_series_never_change() {
    let f = Fixture::new(dead());
    f.metrics.show(Detail::Full);
    let before = parse(&f.get("/metrics").body);
    f.publisher.snapshot(failed_over());
    f.series.pool.failover_gap.observe(0.051);
    f.series.backends[0].probe_duration.observe(1e9);
    let after = parse(&f.get("/metrics").body);
    let names = |samples: &BTreeMap<(String, Labels), f64>| -> BTreeSet<(String, Labels)> {
        let version_aside = |key: &(String, Labels)| key.0 != "mainstay_backend_info";
        samples.keys().filter(|key| version_aside(key)).cloned().collect()
    };
    assert_eq!(names(&before), names(&after));
}

#[test]
fn gauges_say_what_the_snapshot_says() {
    let f = Fixture::new(dead());
    f.metrics.show(Detail::Full);
    let check = |snapshot: &Snapshot, ready: f64| {
        let samples = parse(&f.get("/metrics").body);
        let get = |name: &str, pairs: &[(&str, &str)]| samples[&(format!("mainstay_{name}"), labels(pairs))];
        let pool = ("pool", "orders");
        assert_eq!(get("ready", &[]), ready);
        assert_eq!(get("phase", &[("phase", "running")]), 1.0);
        assert_eq!(get("pool_serving", &[pool]), f64::from(snapshot.active.is_some()));
        assert_eq!(get("pool_epoch", &[pool]), snapshot.epoch.0 as f64);
        assert_eq!(get("primary_conflict", &[pool]), f64::from(snapshot.conflict));
        assert_eq!(get("failover_ready", &[pool]), f64::from(snapshot.failover_ready == FailoverReady::Yes));
        for reason in FailoverReady::ALL {
            let expected = f64::from(*reason == snapshot.failover_ready);
            assert_eq!(get("failover_ready_reason", &[pool, ("reason", reason.as_str())]), expected);
        }
        for (index, view) in snapshot.backends.iter().enumerate() {
            let backend = ("backend", &*view.name);
            let one_hot = |name: &str, label: &str, hot: &str| {
                let sum: f64 = samples
                    .iter()
                    .filter(|((n, l), _)| *n == format!("mainstay_{name}") && l["backend"] == *view.name)
                    .map(|(_, value)| value)
                    .sum();
                assert_eq!((get(name, &[pool, backend, (label, hot)]), sum), (1.0, 1.0), "{name} {hot}");
            };
            one_hot("backend_health", "state", view.health.as_str());
            one_hot("backend_reason", "reason", view.reason.as_str());
            one_hot("backend_reader_reason", "reason", view.read_eligibility.as_str());
            assert_eq!(get("backend_reader", &[pool, backend]), f64::from(view.read_eligibility.as_str() == "reader"));
            one_hot("backend_role", "role", view.facts.role.map_or("unknown", Label::as_str));
            assert_eq!(get("backend_up", &[pool, backend]), f64::from(view.health.as_str() == "up"));
            assert_eq!(get("backend_eligible", &[pool, backend]), f64::from(view.reason.as_str() == "eligible"));
            assert_eq!(get("backend_active", &[pool, backend]), f64::from(snapshot.active.map(BackendId::index) == Some(index)));
            assert_eq!(get("backend_db_epoch", &[pool, backend]), view.facts.db_epoch.unwrap_or(0) as f64);
            assert_eq!(get("backend_replication_lag_bytes", &[pool, backend]), view.facts.lag_bytes.unwrap_or(0) as f64);
            let version = ("version", view.facts.version.as_deref().unwrap_or(""));
            assert_eq!(get("backend_info", &[pool, backend, ("address", &view.address), version]), 1.0);
        }
    };
    check(&dead(), 0.0);
    let mut served = Snapshot { conflict: true, epoch: Epoch(9), failover_ready: FailoverReady::Yes, ..failed_over() };
    served.backends[1].facts.lag_bytes = Some(16 << 20);
    served.backends[0].read_eligibility = ReadEligibility::Reader;
    f.publisher.snapshot(served.clone());
    check(&served, 1.0);
}

#[test]
fn a_pool_that_only_serves_readers_serves_while_one_may_be_read() {
    let f = Fixture::leading(ListenerRoute::Replica, dead());
    let serving = || parse(&f.get("/metrics").body)[&("mainstay_pool_serving".to_owned(), labels(&[("pool", "orders")]))];
    assert_eq!(serving(), 0.0);
    let mut snapshot = dead();
    snapshot.backends[0].read_eligibility = ReadEligibility::Reader;
    f.publisher.snapshot(snapshot);
    assert_eq!(serving(), 1.0);
    f.publisher.snapshot(dead());
    assert_eq!(serving(), 0.0);
}

#[test]
fn hostile_names_are_escaped() {
    let hostile = "a\"b\\c\nd{}=,é\u{1b}";
    let mut snapshot = failed_over();
    snapshot.backends[0].name = hostile.into();
    snapshot.pool = "or\"ders\n".into();
    snapshot.backends[0].facts.version = Some("15\"\n\u{1b}".into());
    let f = Fixture::new(snapshot);
    let samples = parse(&f.get("/metrics").body);
    assert!(samples.contains_key(&("mainstay_backend_up".into(), labels(&[("pool", "or\"ders\n"), ("backend", hostile)]))));
    let versions: Vec<&String> =
        samples.keys().filter(|(n, _)| n == "mainstay_backend_info").map(|(_, l)| &l["version"]).collect();
    assert!(versions.contains(&&r#"15"\u{a}\u{1b}"#.to_owned()), "{versions:?}");
}

/// Many pools, so that `/metrics` does not fit into the buffers of a socket.
fn crowd(f: &Fixture) -> Vec<PoolSeries> {
    let pool = |number| PoolLabels {
        name: format!("pool-{number}").into(),
        listeners: vec!["rw".into()],
        backends: ["db-a", "db-b"].map(|name| (name.into(), "192.0.2.1:5432".into())).to_vec(),
    };
    (0..300).map(|number| f.metrics.series(&pool(number)).unwrap()).collect()
}

#[test]
fn a_few_pools_come_with_a_length_and_many_in_pieces() {
    let f = Fixture::new(failed_over());
    let few = f.get("/metrics");
    assert_eq!(few.header("content-length").unwrap().parse(), Ok(few.body.len()));
    let _series = crowd(&f);
    let many = f.get("/metrics");
    assert_eq!((many.header("content-length"), many.header("transfer-encoding")), (None, Some("chunked")));
    assert!(many.chunks > 10, "{}", many.chunks);
    let samples = parse(&many.body);
    let up = (0..300).filter(|number| {
        let labels = labels(&[("pool", &format!("pool-{number}")), ("backend", "db-b")]);
        samples.contains_key(&("mainstay_backend_up".to_owned(), labels))
    });
    assert_eq!(up.count(), 300);
    assert!(f.ask("HEAD", "/metrics", "Host: localhost\r\n").body.is_empty());
}

#[test]
fn a_scrape_that_nobody_reads_delays_no_other() {
    let f = Fixture::new(failed_over());
    let _series = crowd(&f);
    let silent: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = f.connect();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream
        })
        .collect();
    // The first bytes say that each is being answered.
    for mut stream in &silent {
        stream.read_exact(&mut [0; 12]).unwrap();
    }
    assert_eq!(f.get("/livez").status, 200);
    assert_eq!(f.get("/metrics").body.lines().filter(|line| line.starts_with("mainstay_backend_up{")).count(), 602);
}
