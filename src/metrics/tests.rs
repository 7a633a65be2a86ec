use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    failover::{Cause, Health, Outcome, Reason},
    lifecycle::Phase,
    reason::{CloseReason, DialError, Direction},
};

fn pool(name: &str, backends: &[(&str, &str)]) -> PoolLabels {
    let backends = backends.iter().map(|(name, address)| (Arc::from(*name), Arc::from(*address))).collect();
    PoolLabels { name: name.into(), listeners: vec!["rw".into(), "ro".into()], backends }
}

fn one(labels: &PoolLabels) -> (Arc<Metrics>, PoolSeries) {
    let metrics = Metrics::new().unwrap();
    let series = metrics.series(labels).unwrap();
    (metrics, series)
}

/// The value of one series, written as `name{labels}`.
fn value(text: &str, series: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))
}

#[test]
fn every_series_is_there_at_zero_from_the_start() {
    let (metrics, _series) = one(&pool("orders", &[("a", "db-a:5432")]));
    metrics.show(Detail::Full);
    let text = metrics.render();
    for series in [
        "mainstay_panics_total",
        r#"mainstay_failovers_total{pool="orders",cause="down"}"#,
        r#"mainstay_probes_total{pool="orders",backend="a",outcome="wrong_cluster"}"#,
        r#"mainstay_transitions_total{pool="orders",backend="a",to="down",cause="two_signals"}"#,
        r#"mainstay_connections_rejected_total{pool="orders",listener="ro",reason="hold_full"}"#,
        r#"mainstay_failover_gap_seconds_count{pool="orders"}"#,
        r#"mainstay_failover_gap_seconds_bucket{pool="orders",le="0.0005"}"#,
    ] {
        assert_eq!(value(&text, series).as_deref(), Some("0"), "{series}\n{text}");
    }
}

#[test]
fn a_handle_counts_in_its_own_series_only() {
    // Written one after the other, the labels of both backends are the same word.
    let (metrics, a) = one(&pool("a", &[("bc", "x:1")]));
    let ab = metrics.series(&pool("ab", &[("c", "x:1")])).unwrap();
    a.backends[0].relay_bytes.get(Direction::Upstream).inc_by(7);
    ab.backends[0].transitions.get(Health::Down).get(Cause::TwoSignals).inc();
    let text = metrics.render();
    let bytes = |pool, backend| {
        value(&text, &format!(r#"mainstay_relay_bytes_total{{pool="{pool}",backend="{backend}",direction="upstream"}}"#))
    };
    assert_eq!(bytes("a", "bc").as_deref(), Some("7"));
    assert_eq!(bytes("ab", "c").as_deref(), Some("0"));
    let down = r#"mainstay_transitions_total{pool="ab",backend="c",to="down",cause="two_signals"}"#;
    assert_eq!(value(&text, down).as_deref(), Some("1"));
}

#[test]
fn series_live_as_long_as_somebody_counts_in_them_and_the_same_names_are_the_same_series() {
    let (metrics, before) = one(&pool("orders", &[("a", "x:1"), ("b", "y:1")]));
    before.backends[0].dial_duration.observe(1.0);
    before.pool.dial_retries.inc();
    let session = Arc::clone(&before.backends[1]);
    let after = metrics.series(&pool("orders", &[("c", "z:1"), ("a", "x:1")])).unwrap();
    drop(before);
    assert_eq!(after.backends[1].dial_duration.get_sample_count(), 1);
    let up = |backend| value(&metrics.render(), &format!(r#"mainstay_backend_up{{pool="orders",backend="{backend}"}}"#));
    assert_eq!(["a", "b", "c"].map(|backend| up(backend).is_some()), [true; 3]);
    assert_eq!(value(&metrics.render(), r#"mainstay_dial_retries_total{pool="orders"}"#).as_deref(), Some("1"));
    drop(session);
    assert_eq!(["a", "b", "c"].map(|backend| up(backend).is_some()), [true, false, true]);
    drop(after);
    assert!(!metrics.render().contains("orders"), "{}", metrics.render());
}

#[test]
fn a_family_is_written_once_whoever_has_series_in_it() {
    let (metrics, _orders) = one(&pool("orders", &[("a", "x:1"), ("b", "y:1")]));
    let _users = metrics.series(&pool("users", &[("a", "x:1")])).unwrap();
    let text = metrics.render();
    let mut kinds: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let all = kinds.len();
    assert!(kinds.is_sorted(), "{kinds:?}");
    kinds.dedup();
    assert_eq!(kinds.len(), all);
}

#[test]
fn exactly_one_gauge_of_a_one_hot_set_is_one() {
    let metrics = Metrics::new().unwrap();
    let phases = || {
        let text = metrics.render();
        ["running", "draining", "forced", "stopped"].map(|p| value(&text, &format!(r#"mainstay_phase{{phase="{p}"}}"#)).unwrap())
    };
    assert_eq!(phases(), ["1", "0", "0", "0"]);
    metrics.process.phase.set(Phase::Forced);
    assert_eq!(phases(), ["0", "0", "1", "0"]);
    assert_eq!(metrics.process.phase.get(), Phase::Forced);
}

#[test]
fn in_short_a_series_of_a_word_is_there_when_it_has_counted_or_somebody_would_miss_its_zero() {
    let (metrics, series) = one(&pool("orders", &[("a", "x:1")]));
    let backend = &series.backends[0];
    let values = |series: &str| {
        let short = metrics.render();
        metrics.show(Detail::Full);
        let full = metrics.render();
        metrics.show(Detail::Short);
        [short, full].map(|text| value(&text, series))
    };
    let zero = || Some("0".to_owned());
    let [rare, awaited] =
        ["stale", "refused"].map(|word| format!(r#"mainstay_dial_failures_total{{pool="orders",backend="a",reason="{word}"}}"#));
    assert_eq!(values(&awaited), [zero(), zero()]);
    assert_eq!(values(&rare), [None, zero()]);
    backend.dial_failures.get(DialError::Stale).inc_by(2);
    assert_eq!(values(&rare), [Some("2".into()), Some("2".into())]);
    let reason = |word| values(&format!(r#"mainstay_backend_reason{{pool="orders",backend="a",reason="{word}"}}"#));
    backend.reason.set(Reason::Fenced);
    assert_eq!([reason("fenced"), reason("eligible")], [[Some("1".into()), Some("1".into())], [None, zero()]]);
}

#[test]
fn buckets_that_are_left_out_take_nothing_from_the_others() {
    let (metrics, series) = one(&pool("orders", &[("a", "x:1")]));
    for seconds in [0.0001, 0.02, 0.02, 0.3, 1e9] {
        series.backends[0].probe_duration.observe(seconds);
    }
    let of = |detail| {
        metrics.show(detail);
        let text = metrics.render();
        let lines =
            text.lines().filter_map(|line| line.strip_prefix("mainstay_probe_duration_seconds_bucket{")).map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    let (short, full) = (of(Detail::Short), of(Detail::Full));
    let ends = [r#"le="0.001"} 1"#, r#"le="0.01"} 1"#, r#"le="0.1"} 3"#, r#"le="1"} 4"#, r#"le="5"} 4"#, r#"le="+Inf"} 5"#];
    assert!(short.len() == ends.len() && short.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{short:#?}");
    assert_eq!(full.len(), 16);
    assert!(short.iter().all(|line| full.contains(line)), "{full:#?}");
}

#[test]
fn a_pool_of_two_costs_at_most_16_kib() {
    let two = |name: &str, listeners: &[&str]| PoolLabels {
        listeners: listeners.iter().map(|name| Arc::from(*name)).collect(),
        ..pool(name, &[("db-a", "192.0.2.10:5432"), ("db-b", "192.0.2.11:5432")])
    };
    let metrics = Metrics::new().unwrap();
    let size = || metrics.render().len();
    let _first = metrics.series(&two("shop", &["rw", "ro"])).unwrap();
    let before = size();
    let _second = metrics.series(&two("orders", &["rw"])).unwrap();
    let of_one_listener = size() - before;
    let third = metrics.series(&two("payers", &["rw", "ro"])).unwrap();
    let of_two = size() - before - of_one_listener;
    // A month of it.
    for backend in &third.backends {
        backend.closed.get(CloseReason::ClientEof).inc_by(123_456_789);
        backend.relay_bytes.get(Direction::Downstream).inc_by(1 << 50);
        backend.probes.get(Outcome::Ok).inc_by(2_592_000);
        (0..100_000).for_each(|_| backend.probe_duration.observe(0.000_7));
    }
    let after_a_month = size() - before - of_one_listener;
    metrics.show(Detail::Full);
    println!(
        "{of_one_listener} bytes with one listener, {of_two} with two, {after_a_month} after a month; {} of three in full",
        size()
    );
    assert!(of_one_listener.max(of_two).max(after_a_month) <= 16 << 10, "{of_one_listener} {of_two} {after_a_month}");
}

#[test]
fn pieces_are_the_whole_and_none_is_much_of_it() {
    let metrics = Metrics::new().unwrap();
    let names: Vec<_> = (0..100).map(|number| format!("pool-{number}")).collect();
    let _series: Vec<_> =
        names.iter().map(|name| metrics.series(&pool(name, &[("db-a", "x:1"), ("db-b", "y:1")])).unwrap()).collect();
    let pieces: Vec<_> = metrics.exposition().collect();
    assert!(pieces.len() > 10, "{}", pieces.len());
    let whole: usize = pieces.iter().map(String::len).sum();
    assert!(pieces.iter().all(|piece| piece.ends_with('\n') && piece.len() < whole / 5));
    let lines: usize = pieces.iter().map(|piece| piece.lines().count()).sum();
    assert_eq!(lines, metrics.render().lines().count());
}

#[test]
fn there_is_one_info_series_a_backend_and_its_version_is_bounded() {
    let (metrics, series) = one(&pool("orders", &[("a", "db-a:5432")]));
    let versions = || {
        let text = metrics.render();
        text.lines().filter(|line| line.starts_with("mainstay_backend_info{")).map(str::to_owned).collect::<Vec<_>>()
    };
    let told = |version: &str| {
        vec![format!(r#"mainstay_backend_info{{pool="orders",backend="a",address="db-a:5432",version="{version}"}} 1"#)]
    };
    assert_eq!(versions(), told(""));
    let backend = &series.backends[0];
    backend.set_info("db-a:5432", "15.20 \"x\"\n\u{1b}[31m");
    assert_eq!(versions(), told(r#"15.20 \"x\"[31m"#));
    backend.set_info("db-a:5432", &"9".repeat(1_000_000));
    assert_eq!(versions(), told(&"9".repeat(64)));
}

#[test]
fn label_values_are_escaped() {
    let (metrics, _series) = one(&pool("a\"b\\c\nd", &[]));
    assert_eq!(value(&metrics.render(), r#"mainstay_pool_epoch{pool="a\"b\\c\nd"}"#).as_deref(), Some("0"));
}

#[test]
fn numbers_of_the_process_are_read_at_each_scrape() {
    let metrics = Metrics::new().unwrap();
    let open = || value(&metrics.render(), "process_open_fds").unwrap().parse::<i64>().unwrap();
    assert!(open() > 2);
    for name in ["process_resident_memory_bytes", "process_max_fds", "process_threads", "process_start_time_seconds"] {
        let number: f64 = value(&metrics.render(), name).unwrap().parse().unwrap();
        assert!(number > 0.0, "{name}");
    }
}

#[test]
fn iteration_names_every_value_once_in_order() {
    let (_metrics, series) = one(&pool("orders", &[("a", "x:1")]));
    let outcomes: Vec<Outcome> = series.backends[0].probes.iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes.len(), 11);
    assert_eq!((outcomes[0], outcomes[10]), (Outcome::Ok, Outcome::WrongCluster));
}

/// Name → (type, labels), of everything that is exposed.
fn exposed() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let (metrics, series) = one(&pool("orders", &[("a", "x:1")]));
    metrics.show(Detail::Full);
    // Those of proofs are there when a proof has been run.
    series.backends[0].proof_results.set(vec![(["extensions".into(), "passed".into()], 1.0)]);
    series.backends[0].proof_durations.set(vec![(["extensions".into()], 0.01)]);
    let text = metrics.render();
    let mut families: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            name.clone_into(&mut current);
            families.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = labels.rsplit_once('}').unwrap().0;
            let names = labels.split(',').map(|pair| pair.split_once('=').unwrap().0.to_owned()).filter(|name| name != "le");
            families.get_mut(&current).unwrap().1.extend(names);
        }
    }
    families
}

#[test]
fn the_documentation_and_the_registry_name_the_same_metrics() {
    let documented: BTreeMap<String, (String, BTreeSet<String>)> = include_str!("../../docs/metrics.md")
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
            let labels = cells[2].split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
            Some((cells[0].trim_end_matches('`').to_owned(), (cells[1].to_owned(), labels)))
        })
        .collect();
    assert!(documented.len() > 40);
    assert_eq!(documented, exposed());
}

#[test]
fn the_documentation_and_the_code_leave_out_the_same() {
    let told: BTreeMap<&str, Vec<&str>> = include_str!("../../docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("- `mainstay_").and_then(|_| line.strip_prefix("- `")?.split_once("`: ")))
        .map(|(name, words)| (name, words.split('`').skip(1).step_by(2).collect()))
        .collect();
    let left_out = names::ALL.iter().filter_map(|def| Some((def.name, def.zeros?.to_vec()))).collect();
    assert_eq!(told, left_out);
    // A word that no series has would never be shown.
    let (metrics, _series) = one(&pool("orders", &[("a", "x:1")]));
    metrics.show(Detail::Full);
    let text = metrics.render();
    for (name, words) in told {
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).collect();
        assert!(words.iter().all(|word| lines.iter().any(|line| line.contains(&format!("=\"{word}\"")))), "{name}: {words:?}");
    }
}
