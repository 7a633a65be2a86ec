//! `deploy/grafana/dashboard.json`: its queries, and what Grafana demands of it.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use lab::port::ReservedPort;
use serde_json::{Value, json};

use super::{prometheus::Prometheus, rules, shop::Shop, text};
use crate::support::{scratch::Scratch, wait::patience};

/// Something that the dashboard asks Prometheus.
#[derive(Clone)]
pub(super) struct Query {
    pub panel: String,
    pub expr: String,
    pub legend: String,
    /// Over the time shown; else now.
    pub is_range: bool,
}

/// Events that need not have happened.
pub(super) const RARE: [&str; 3] = ["Switchovers", "Two primaries", "Changed backends"];

fn dashboard() -> Value {
    serde_json::from_str(&text("deploy/grafana/dashboard.json")).unwrap()
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn word(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}

/// Every query: of panels, of events drawn over them, and of the lists to choose from.
pub(super) fn queries() -> Vec<Query> {
    let dashboard = dashboard();
    let of_panels = list(&dashboard, "panels").iter().flat_map(|panel| {
        list(panel, "targets").iter().map(move |target| Query {
            panel: word(panel, "title"),
            expr: word(target, "expr"),
            legend: word(target, "legendFormat"),
            is_range: target["range"] == true,
        })
    });
    let of_events = list(&dashboard["annotations"], "list").iter().map(|event| Query {
        panel: word(event, "name"),
        expr: word(event, "expr"),
        legend: format!("{} {}", word(event, "titleFormat"), word(event, "textFormat")),
        is_range: true,
    });
    let of_lists = list(&dashboard["templating"], "list").iter().filter_map(|variable| {
        let (expr, label) =
            variable["query"]["query"].as_str()?.strip_prefix("label_values(")?.strip_suffix(')')?.rsplit_once(", ")?;
        Some(Query { panel: word(variable, "label"), expr: expr.to_owned(), legend: format!("{{{{{label}}}}}"), is_range: false })
    });
    of_panels.chain(of_events).chain(of_lists).collect()
}

/// A query as Grafana sends it with everything chosen.
pub(super) fn filled_in(expr: &str) -> String {
    let values = [("$__range_s", "300"), ("$__range", "5m"), ("$__rate_interval", "1m"), ("$instance", ".*"), ("$pool", ".*")];
    values.iter().fold(expr.to_owned(), |expr, (variable, value)| expr.replace(variable, value))
}

/// What Grafana would draw nothing for.
pub(super) fn empty(prometheus: &Prometheus) -> Vec<String> {
    let expected = queries().into_iter().filter(|query| !RARE.contains(&&*query.panel));
    let empty = expected.filter(|query| !prometheus.shows(query));
    empty.map(|query| format!("{}: {}", query.panel, query.expr)).collect()
}

/// Everything that it asks was there when a real Prometheus had scraped a real failover.
#[test]
fn no_panel_is_empty_after_a_failover() {
    let shop = Shop::open(true);
    let nobody = ReservedPort::new().unwrap();
    let prometheus = Prometheus::of(shop.site.process.admin, nobody.address(), "1s");
    shop.serves_a_client();
    shop.fails_over();
    let begun = Instant::now();
    let left = loop {
        shop.serves_a_client();
        let left = empty(&prometheus);
        if left.is_empty() || begun.elapsed() > 3 * patience() {
            break left;
        }
        // A rate needs two scrapes.
        thread::sleep(Duration::from_millis(500));
    };
    assert!(left.is_empty(), "empty panels after a failover: {left:#?}");
    assert_eq!(prometheus.ask("sum(mainstay_failovers_total)"), [1.0]);
}

#[test]
fn every_query_follows_what_was_chosen() {
    let queries = queries();
    assert!(queries.len() > 40, "{}", queries.len());
    for Query { panel, expr, .. } in queries {
        assert!(expr.contains("$instance") || panel == "mainstay", "{panel}: {expr}");
        let left = filled_in(&expr);
        assert!(!left.contains('$'), "{panel}: {left}");
    }
}

#[test]
fn panels_have_places_and_names_of_their_own_and_their_data_from_the_chosen_source() {
    let dashboard = dashboard();
    let panels = list(&dashboard, "panels");
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = word(panel, "title");
        assert!(!title.is_empty());
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{title}");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} lies over another panel at {place:?}");
        }
        if panel["type"] != "row" {
            let targets = list(panel, "targets");
            assert!(!targets.is_empty(), "{title}");
            for of in targets.iter().chain([panel]) {
                assert_eq!(of["datasource"]["uid"], "${datasource}", "{title}");
            }
            let refs: BTreeSet<String> = targets.iter().map(|target| word(target, "refId")).collect();
            assert_eq!(refs.len(), targets.len(), "{title}");
        }
    }
    for event in list(&dashboard["annotations"], "list") {
        assert_eq!(event["datasource"]["uid"], "${datasource}", "{}", event["name"]);
    }
}

#[test]
fn rows_are_in_order_and_each_panel_says_what_it_shows_and_in_which_unit() {
    let dashboard = dashboard();
    let panels = list(&dashboard, "panels");
    let rows: Vec<String> = panels.iter().filter(|panel| panel["type"] == "row").map(|row| word(row, "title")).collect();
    assert_eq!(rows, ["Now", "Failovers", "Traffic", "Checks", "Proof", "Process"]);
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let (title, description) = (word(panel, "title"), word(panel, "description"));
        assert!(description.ends_with(['.', ')']) && description.len() > 20, "{title}: {description}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        // The columns of a table are labels. What is left of a sample says nothing.
        assert!(panel["type"] != "table" || panel["transformations"].to_string().contains("\"Time\":true"), "{title}");
    }
}

/// Prometheus itself reads every expression.
#[test]
fn every_expression_is_valid() {
    let rules: Vec<Value> = queries()
        .iter()
        .enumerate()
        .map(|(number, query)| json!({"record": format!("board:{number}"), "expr": filled_in(&query.expr)}))
        .collect();
    let scratch = Scratch::new();
    let file = json!({"groups": [{"name": "board", "rules": rules}]}).to_string();
    rules::promtool(&["check", "rules", &scratch.file("board.yaml", file, 0o644).display().to_string()]);
}
