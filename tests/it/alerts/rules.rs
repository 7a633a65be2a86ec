//! The rules: promtool tries each in its case and in the quiet cases beside it, and every one of them has both.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::{Alert, Rules, alerts, path, promql, text, yaml};
use crate::support::{
    scratch::Scratch,
    wait::{patience, within},
};

#[derive(Deserialize)]
struct Cases {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    input_series: Vec<Series>,
    promql_expr_test: Vec<Expectation>,
}

#[derive(Deserialize)]
struct Series {
    series: String,
}

#[derive(Deserialize)]
struct Expectation {
    exp_samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    labels: String,
}

pub(super) fn promtool(args: &[&str]) {
    let scratch = Scratch::new();
    let log = File::create(scratch.path("log")).unwrap();
    let mut command = Command::new("promtool");
    command.args(args).current_dir(path("deploy/prometheus")).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("promtool (package prometheus; tests/install-deps installs it): {error}"));
    // The cases take it six seconds of the processor, which others may want as well.
    let status = within(12 * patience(), "promtool has ended", || child.try_wait().unwrap());
    assert!(status.success(), "promtool {args:?}\n{}", fs::read_to_string(scratch.path("log")).unwrap());
}

#[test]
fn promtool_takes_every_file() {
    promtool(&["check", "rules", "rules.yaml"]);
    promtool(&["check", "config", "prometheus.yml"]);
}

#[test]
fn each_fires_in_its_case_and_in_no_other() {
    promtool(&["test", "rules", "rules_test.yaml"]);
}

#[test]
fn each_has_a_case_in_which_it_fires_and_a_quiet_one_beside_it() {
    let Cases { tests } = yaml(&text("deploy/prometheus/rules_test.yaml"));
    for alert in alerts() {
        let name = format!("alertname=\"{}\"", alert.name);
        let expects =
            |case: &&Case| case.promql_expr_test.iter().flat_map(|at| &at.exp_samples).any(|one| one.labels.contains(&name));
        assert!(tests.iter().any(|case| expects(&case)), "{} never fires", alert.name);
        // It is not quiet only because nothing is there.
        let looks_at = promql::selectors(&alert.expr);
        let feeds = |case: &&Case| {
            let fed = |name: &str| case.input_series.iter().any(|one| one.series.starts_with(&format!("{name}{{")));
            looks_at.iter().any(|selector| fed(&selector.name))
        };
        let quiet = |case: &&Case| case.name.starts_with("quiet") || case.name.starts_with("ten quiet");
        assert!(tests.iter().any(|case| quiet(&case) && feeds(&case)), "{} has no quiet case", alert.name);
    }
    for case in tests.iter().filter(|case| case.name.starts_with("quiet")) {
        assert!(case.promql_expr_test.iter().all(|at| at.exp_samples.is_empty()), "not quiet: {}", case.name);
    }
}

#[test]
fn the_rules_for_kubernetes_are_made_from_them() {
    #[derive(Deserialize)]
    struct PrometheusRule {
        #[serde(rename = "apiVersion")]
        api_version: String,
        kind: String,
        spec: Rules,
    }

    let (rules, made) = (text("deploy/prometheus/rules.yaml"), text("deploy/prometheus/prometheusrule.yaml"));
    let from = rules.find("groups:").unwrap();
    let indented: String = rules[from..].lines().flat_map(|line| ["  ", line, "\n"]).collect();
    let (_, spec) = made.split_once("\nspec:\n").unwrap();
    assert!(spec == indented, "run `make alert-rules`");
    let made: PrometheusRule = yaml(&made);
    assert_eq!((&*made.api_version, &*made.kind), ("monitoring.coreos.com/v1", "PrometheusRule"));
    assert_eq!(made.spec, yaml::<Rules>(&rules));
}

#[test]
fn each_says_what_has_happened_and_what_to_do_now() {
    let mut bases: BTreeMap<String, String> = BTreeMap::new();
    for Alert { name: alert, labels, annotations, .. } in alerts() {
        let said = |key: &str| annotations.get(key).unwrap_or_else(|| panic!("{alert} has no {key}"));
        assert!(["page", "ticket"].contains(&&*labels["severity"]), "{alert}");
        assert!(!said("summary").is_empty(), "{alert}");
        assert!(said("description").contains(" Now: "), "{alert} does not say what to do");
        let (base, anchor) = said("runbook_url").split_once('#').unwrap();
        assert_eq!(anchor, alert.to_lowercase());
        bases.insert(base.to_owned(), alert);
    }
    assert_eq!(bases.len(), 1, "more than one place for the runbook: {bases:?}");
    let (base, _) = bases.first_key_value().unwrap();
    assert!(text("docs/metrics.md").contains(&format!("sed -i 's|{base}|")), "how to set {base}");
}
