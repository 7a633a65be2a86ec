//! `deploy/grafana/dashboard.json`: its queries, and what Grafana demands of it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::text;

/// Something that the dashboard asks Prometheus.
pub(super) struct Query {
    pub panel: String,
    pub expr: String,
    pub legend: String,
}

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
        })
    });
    let of_events = list(&dashboard["annotations"], "list").iter().map(|event| Query {
        panel: word(event, "name"),
        expr: word(event, "expr"),
        legend: word(event, "titleFormat"),
    });
    let of_lists = list(&dashboard["templating"], "list").iter().filter_map(|variable| {
        let (expr, label) =
            variable["query"]["query"].as_str()?.strip_prefix("label_values(")?.strip_suffix(')')?.rsplit_once(", ")?;
        Some(Query { panel: word(variable, "label"), expr: expr.to_owned(), legend: format!("{{{{{label}}}}}") })
    });
    of_panels.chain(of_events).chain(of_lists).collect()
}

/// A query as Grafana sends it with everything chosen.
pub(super) fn filled_in(expr: &str) -> String {
    ["$instance", "$pool"]
        .iter()
        .fold(expr.replace("$__range", "5m").replace("$__rate_interval", "5m"), |expr, variable| expr.replace(variable, ".*"))
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
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(!list(panel, "targets").is_empty(), "{title}");
        }
    }
}
