//! Every expression names series that a running mainstay exposes, with their labels and the values of these.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{
    alerts, dashboard,
    promql::{self, Matcher, Selector},
};
use crate::support::{
    echo::Backend,
    process::{Process, settings},
};

/// Labels that Prometheus adds to every series.
const OF_THE_TARGET: [&str; 2] = ["instance", "job"];

/// Metric → label → its values.
type Exposed = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The name and the labels of a series.
type Series = (String, BTreeMap<String, String>);

/// What a mainstay with one pool of two backends exposes.
fn scraped(detail: &str) -> BTreeSet<Series> {
    let backends = [Backend::echo(), Backend::echo()];
    let mut settings = settings(&[backends[0].address, backends[1].address]);
    settings["metrics"] = json!({"detail": detail});
    let process = Process::start(&settings).serving();
    let text = process.get("/metrics").1;
    let series = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
            let (label, value) = pair.split_once("=\"").unwrap();
            (label.to_owned(), value.trim_end_matches('"').to_owned())
        });
        (name.to_owned(), labels.collect())
    });
    series.collect()
}

fn exposed() -> Exposed {
    let mut exposed = Exposed::new();
    for (name, labels) in scraped("full") {
        let family = exposed.entry(name).or_default();
        for (label, value) in labels {
            family.entry(label).or_default().insert(value);
        }
    }
    // Prometheus's own.
    exposed.insert("up".to_owned(), BTreeMap::new());
    exposed
}

/// What an expression names and nobody exposes.
fn faults(exposed: &Exposed, expr: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut labels: BTreeSet<&str> = OF_THE_TARGET.into();
    for selector in promql::selectors(expr) {
        let Some((name, family)) = exposed.get_key_value(&selector.name) else {
            faults.push(format!("there is no metric {}", selector.name));
            continue;
        };
        labels.extend(family.keys().map(|label| &**label));
        for matcher in selector.matchers.iter().filter(|matcher| !OF_THE_TARGET.contains(&&*matcher.label)) {
            let Some(values) = family.get(&matcher.label) else {
                faults.push(format!("{name} has no label {}", matcher.label));
                continue;
            };
            let unknown = matcher.values.iter().filter(|value| !value.starts_with('$') && !values.contains(*value));
            faults.extend(unknown.map(|value| format!("{name} is never there with {}=\"{value}\"", matcher.label)));
        }
    }
    // `label_replace` makes labels, too.
    let made = |label: &String| expr.contains(&format!("\"{label}\""));
    let unknown = promql::groupings(expr).into_iter().filter(|label| !labels.contains(&**label) && !made(label));
    faults.extend(unknown.map(|label| format!("no metric here has the label {label}")));
    faults
}

/// The labels that a text for people names, such as `{{ $labels.pool }}` or `{{pool}}`.
fn named(text: &str) -> Vec<String> {
    let inside = text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim());
    let names = inside.filter_map(|inside| {
        let word = inside.split_whitespace().last()?;
        Some(word.strip_prefix("$labels.").unwrap_or(word).to_owned())
    });
    names.filter(|name| !["else", "end", "humanizeDuration"].contains(&&**name)).collect()
}

fn faults_with_texts<'a>(exposed: &Exposed, expr: &str, texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    let of_metrics =
        promql::selectors(expr).into_iter().filter_map(|selector| exposed.get(&selector.name)).flat_map(BTreeMap::keys);
    let known: BTreeSet<&str> = of_metrics.map(|label| &**label).chain(OF_THE_TARGET).collect();
    let unknown =
        texts.flat_map(|text| named(text)).filter(|label| !known.contains(&**label) && !expr.contains(&format!("\"{label}\"")));
    faults(exposed, expr).into_iter().chain(unknown.map(|label| format!("a text names the label {label}"))).collect()
}

#[test]
fn the_rules_and_the_dashboard_name_what_a_running_mainstay_exposes() {
    let exposed = exposed();
    assert!(exposed.len() > 60, "{}", exposed.len());
    let of_alerts = alerts().into_iter().flat_map(|alert| {
        let faults = faults_with_texts(&exposed, &alert.expr, alert.annotations.values());
        faults.into_iter().map(move |fault| format!("alert {}: {fault}", alert.name))
    });
    let of_panels = dashboard::queries().into_iter().flat_map(|query| {
        let faults = faults_with_texts(&exposed, &query.expr, std::iter::once(&query.legend));
        faults.into_iter().map(move |fault| format!("panel {}: {fault}", query.panel))
    });
    let faults: Vec<String> = of_alerts.chain(of_panels).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Whether a selector takes this series. What is chosen on the dashboard takes all.
fn takes(selector: &Selector, (name, labels): &Series) -> bool {
    let chosen = |matcher: &&Matcher| !OF_THE_TARGET.contains(&&*matcher.label) && !matcher.values[0].starts_with('$');
    let mut demands = selector.matchers.iter().filter(chosen);
    selector.name == *name && demands.all(|matcher| matcher.values.contains(&labels[&matcher.label]) != matcher.is_negated)
}

/// `increase` and `rate` do not see the first step of a series that was not there before.
#[test]
fn what_an_alert_or_a_panel_counts_is_there_from_the_start_with_the_least_detail_too() {
    let [short, full] = ["short", "full"].map(scraped);
    assert!(short.len() < full.len() / 2);
    let missing = |place: &str, selector: &Selector| -> Vec<String> {
        let missing = full.iter().filter(|series| takes(selector, series) && !short.contains(*series));
        missing.map(|series| format!("{place}: {series:?}")).collect()
    };
    let mut faults = Vec::new();
    let mut counted = 0;
    let of_alerts = alerts().into_iter().map(|alert| (alert.name, alert.expr));
    for (place, expr) in of_alerts.chain(dashboard::queries().into_iter().map(|query| (query.panel, query.expr))) {
        for (function, selector) in
            ["increase", "rate"].iter().flat_map(|name| promql::counted(&expr, name).into_iter().map(move |found| (*name, found)))
        {
            counted += 1;
            assert!(short.iter().any(|series| takes(&selector, series)), "{place}: nothing of {}", selector.name);
            // A rate is drawn over time, and a sum over all words sees the others: there the first step is little.
            let is_exact =
                function == "increase" && !selector.name.ends_with("_bucket") && !expr.starts_with("label_replace(sum");
            faults.extend(missing(&place, &selector).into_iter().filter(|_| is_exact));
        }
    }
    assert!(counted > 20, "{counted}");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_wrong_name_is_found() {
    let exposed = exposed();
    for (expr, fault) in [
        ("mainstay_backend_activ == 1", "there is no metric mainstay_backend_activ"),
        (r#"mainstay_backend_proof{status="failed"}"#, "mainstay_backend_proof has no label status"),
        (r#"mainstay_backend_proof{state=~"failed|bad"}"#, "mainstay_backend_proof is never there with state=\"bad\""),
        ("sum by (reader) (mainstay_backend_active)", "no metric here has the label reader"),
    ] {
        assert_eq!(faults(&exposed, expr), [fault], "{expr}");
    }
}
