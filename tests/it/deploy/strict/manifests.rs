//! What kustomize makes of each example.

use std::fs;

use serde_json::Value;

use super::{
    schema,
    tools::{kubernetes_validate, kustomize, kustomize_at},
};
use crate::{
    deploy::{documents, list, only, pod::Pod, text, word},
    support::{repository::path, scratch::Scratch},
};

fn rendered(example: &str) -> Vec<Value> {
    documents(&kustomize(&format!("deploy/kubernetes/examples/{example}")))
}

/// The pods of all workloads, with their kinds.
fn pods(resources: &[Value]) -> Vec<(&str, &Value)> {
    let workloads = resources.iter().filter(|resource| resource["spec"]["template"]["spec"]["containers"].is_array());
    workloads.map(|workload| (word(&workload["kind"]), &workload["spec"]["template"]["spec"])).collect()
}

/// Each agrees with the configuration that is rendered beside it.
fn agree(resources: &[Value], count: usize) {
    let data = &only(resources, "ConfigMap")["data"];
    let pods = pods(resources);
    assert_eq!(pods.len(), count);
    for (_, spec) in pods {
        Pod::of(spec, word(&data["mainstay.yaml"]), data).agrees();
    }
}

fn kinds(resources: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<_> = resources.iter().map(|resource| word(&resource["kind"])).collect();
    kinds.sort_unstable();
    kinds
}

#[test]
fn sidecars_are_valid_and_come_before_what_was_there() {
    let resources = rendered("sidecar");
    assert_eq!(kinds(&resources), ["ConfigMap", "Deployment", "Job", "PodMonitor", "PrometheusRule"]);
    schema::are_valid(&resources, &schema::NATIVE);
    agree(&resources, 2);
    for (_, spec) in pods(&resources) {
        assert_eq!(spec["initContainers"][0]["name"], "mainstay");
        assert_eq!(list(&spec["containers"]).len(), 1);
    }
    // The application keeps what it had.
    let (_, shop) = pods(&resources)[0];
    assert_eq!((&shop["initContainers"][1]["name"], &shop["terminationGracePeriodSeconds"]), (&"migrate".into(), &60.into()));
}

#[test]
fn sidecars_of_the_older_shape_are_valid_before_and_after_1_29() {
    let resources = rendered("sidecar-classic");
    assert_eq!(kinds(&resources), ["ConfigMap", "Deployment", "Job", "PodMonitor", "PrometheusRule"]);
    schema::are_valid(&resources, &[&schema::CLASSIC[..], &schema::NATIVE[..]].concat());
    agree(&resources, 2);
    for (_, spec) in pods(&resources) {
        let containers = list(&spec["containers"]);
        assert_eq!((containers.len(), &containers[0]["name"]), (2, &"mainstay".into()), "the kubelet starts it first");
        assert!(containers[0]["restartPolicy"].is_null() && containers[0]["lifecycle"]["postStart"].is_object());
        assert!(list(&spec["initContainers"]).is_empty());
        assert!(list(&containers[0]["env"]).iter().any(|variable| variable["name"] == "SHUTDOWN_DELAY"));
    }
}

/// What a quick start writes into a file.
pub(super) fn written(name: &str) -> String {
    let documented = text("docs/kubernetes.md");
    let (_, from) = documented.split_once(&format!("$ cat > {name} <<END\n")).unwrap();
    from.split_once("END\n").unwrap().0.to_owned()
}

#[test]
fn the_quick_start_is_what_a_new_user_types() {
    let (own, classic) = (Scratch::new(), text("deploy/kubernetes/examples/sidecar-classic/app.yaml"));
    std::os::unix::fs::symlink(path(""), own.path("mainstay")).unwrap();
    fs::create_dir(own.path("shop")).unwrap();
    own.file("shop/app.yaml", classic, 0o644);
    let config = text("deploy/kubernetes/base/mainstay.yaml").replace("db-a.databases.svc.cluster.local", "postgres-0.postgres");
    own.file("shop/mainstay.yaml", &config, 0o644);
    own.file("shop/kustomization.yaml", written("kustomization.yaml"), 0o644);
    let resources = documents(&kustomize_at(&own.path("shop")));
    assert_eq!(kinds(&resources), ["ConfigMap", "Deployment"]);
    schema::are_valid(&resources, &schema::NATIVE);
    agree(&resources, 1);
    assert_eq!(only(&resources, "ConfigMap")["data"]["mainstay.yaml"], config);
    assert_eq!(only(&resources, "ConfigMap")["metadata"]["name"], "mainstay");
}

/// So that an older cluster is not given the newer shape by mistake.
#[test]
fn the_newer_shape_is_refused_where_it_does_not_exist() {
    let resources = rendered("sidecar");
    let own = Scratch::new();
    let file = own.file("deployment.json", only(&resources, "Deployment").to_string(), 0o644);
    let (is_valid, said) = kubernetes_validate("1.27", &[file]);
    assert!(!is_valid && said.contains("restartPolicy"), "{said}");
}

#[test]
fn the_deployment_is_valid() {
    let resources = rendered("deployment");
    let expected = [
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "PrometheusRule",
        "Service",
        "ServiceAccount",
    ];
    assert_eq!(kinds(&resources), expected);
    schema::are_valid(&resources, &schema::NATIVE);
    agree(&resources, 1);
    assert_eq!(only(&resources, "ConfigMap")["metadata"]["name"], "mainstay", "a hash would replace the pods");
}

#[test]
fn a_wrong_field_in_any_map_of_any_manifest_is_found() {
    for example in ["sidecar", "sidecar-classic", "deployment"] {
        let resources = rendered(example);
        for version in ["1.29", "1.37"] {
            let count = schema::a_wrong_field_is_found_everywhere(&resources, version);
            println!("{example}, Kubernetes {version}: a wrong field was found in each of {count} maps");
            assert!(count > 40, "{count}");
        }
    }
    schema::a_wrong_field_is_found_in_resources_of_the_operator(&rendered("deployment"));
}
