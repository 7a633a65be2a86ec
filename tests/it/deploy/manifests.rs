//! `deploy/kubernetes`, as it is written.

use serde_json::Value;

use super::{
    address_of, document, list,
    pod::{Pod, unknown_ports},
    text,
};
use crate::support::repository::path;

const HERE: &str = "deploy/kubernetes";

/// A file of a component.
fn file(name: &str) -> Value {
    document(&format!("{HERE}/components/{name}.yaml"))
}

fn base() -> String {
    text(&format!("{HERE}/base/mainstay.yaml"))
}

const PASSWORD_WARNING: &str = "can be read by every user";
const ADMIN_WARNING: &str = "the admin endpoint can be reached from other machines";

/// The warnings of a configuration, but for those that this shape means to have.
fn unexpected<'a>(pod: &'a Pod, expected: &[&str]) -> Vec<&'a String> {
    pod.warnings.iter().filter(|warning| !expected.iter().any(|text| warning.contains(text))).collect()
}

#[test]
fn a_sidecar_is_what_its_configuration_says_and_shows_itself_to_nobody() {
    let workload = file("sidecar/sidecar");
    let spec = &workload["spec"]["template"]["spec"];
    let pod = Pod::of(spec, &base(), &Value::Null);
    pod.agrees();
    assert!(pod.is_native_sidecar());
    assert_eq!(pod.config["shutdown"]["delay"], "0s");
    assert_eq!(unexpected(&pod, &[PASSWORD_WARNING]), [""; 0]);
    let listen = list(&pod.config["admin"]["listen"]);
    assert_eq!(listen, ["unix:/run/mainstay/admin.sock", "127.0.0.1:8432"]);
    assert_eq!(workload["spec"]["template"]["metadata"]["labels"]["mainstay"], "sidecar");
}

#[test]
fn with_monitoring_prometheus_can_reach_a_sidecar() {
    let monitoring = document(&format!("{HERE}/components/monitoring/kustomization.yaml"));
    let literal = &monitoring["configMapGenerator"][0]["literals"][0];
    let (key, value) = literal.as_str().unwrap().split_once('=').unwrap();
    let workload = file("sidecar/sidecar");
    let pod = Pod::of(&workload["spec"]["template"]["spec"], &base(), &serde_json::json!({key: value}));
    pod.agrees();
    assert_eq!(list(&pod.config["admin"]["listen"])[1], "0.0.0.0:8432");
    assert_eq!(unexpected(&pod, &[PASSWORD_WARNING, ADMIN_WARNING]), [""; 0]);
    let endpoint = &file("monitoring/podmonitor")["spec"]["podMetricsEndpoints"][0];
    assert_eq!(unknown_ports(pod.container, &[&endpoint["port"]]), "");
    assert_eq!(endpoint["path"], "/metrics");
    // The rules count on the same rhythm.
    assert!(text("deploy/prometheus/rules.yaml").contains(&format!("interval: {}", endpoint["interval"].as_str().unwrap())));
}

#[test]
fn a_deployment_is_what_its_configuration_says() {
    let deployment = file("deployment/deployment");
    let template = &deployment["spec"]["template"];
    let pod = Pod::of(&template["spec"], &base(), &Value::Null);
    pod.agrees();
    assert_eq!(unexpected(&pod, &[PASSWORD_WARNING, ADMIN_WARNING]), [""; 0]);
    assert_eq!(template["spec"]["automountServiceAccountToken"], false);
    let account = file("deployment/serviceaccount");
    assert_eq!(account["automountServiceAccountToken"], false);
    assert_eq!(template["spec"]["serviceAccountName"], account["metadata"]["name"]);

    let labels = &deployment["spec"]["selector"]["matchLabels"];
    let (service, policy) = (file("deployment/service"), file("deployment/networkpolicy"));
    let budget = file("deployment/poddisruptionbudget");
    for selector in
        [&service["spec"]["selector"], &budget["spec"]["selector"]["matchLabels"], &policy["spec"]["podSelector"]["matchLabels"]]
    {
        assert_eq!(selector, labels);
    }
    for (key, value) in labels.as_object().unwrap() {
        assert_eq!(&template["metadata"]["labels"][key], value);
    }
    let ingress = list(&policy["spec"]["ingress"]).iter().flat_map(|rule| list(&rule["ports"]));
    let named: Vec<_> =
        ingress.map(|port| &port["port"]).chain(list(&service["spec"]["ports"]).iter().map(|port| &port["targetPort"])).collect();
    assert_eq!(named.len(), 3);
    assert_eq!(unknown_ports(pod.container, &named), "");
    // Nobody but who may is let in to the admin endpoint, which is not in the Service.
    let admin = list(&policy["spec"]["ingress"]).iter().find(|rule| rule["ports"][0]["port"] == "mainstay-admin").unwrap();
    assert!(!list(&admin["from"]).is_empty());
    let services: Vec<_> = list(&service["spec"]["ports"]).iter().map(|port| &port["targetPort"]).collect();
    assert_eq!(services, ["postgres"]);
    // The databases can be reached.
    let egress: Vec<_> =
        list(&policy["spec"]["egress"]).iter().flat_map(|rule| list(&rule["ports"])).map(|port| &port["port"]).collect();
    for backend in list(&pod.config["pools"][0]["backends"]) {
        let (_, port) = address_of(backend).rsplit_once(':').unwrap();
        assert!(egress.contains(&&port.parse::<u64>().unwrap().into()), "{backend}");
    }
}

#[test]
fn every_file_is_named_by_a_kustomization() {
    let mut found = 0;
    for directory in walk(&path(HERE)) {
        let Ok(kustomization) = std::fs::read_to_string(directory.join("kustomization.yaml")) else { continue };
        for entry in std::fs::read_dir(&directory).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            let name = entry.file_name().into_string().unwrap();
            assert!(name == "kustomization.yaml" || kustomization.contains(&name), "{}", entry.path().display());
            found += 1;
        }
    }
    assert!(found >= 20, "{found}");
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let inner = std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    std::iter::once(directory.to_owned()).chain(inner.flat_map(|path| walk(&path))).collect()
}

#[test]
fn a_job_of_the_older_shape_ends_mainstay_over_its_socket() {
    let job = document(&format!("{HERE}/examples/sidecar-classic/job.yaml"));
    let spec = &job["spec"]["template"]["spec"];
    assert_eq!(spec["securityContext"]["runAsUser"], 65532, "an order needs mainstay's user");
    let workload = file("sidecar/sidecar");
    let volumes = list(&workload["spec"]["template"]["spec"]["volumes"]);
    let mount = &spec["containers"][0]["volumeMounts"][0];
    assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]));
    let containers = list(&workload["spec"]["template"]["spec"]["initContainers"]);
    assert!(list(&containers[0]["volumeMounts"]).contains(mount));
    assert_eq!(job["metadata"]["labels"]["mainstay"], "sidecar");
}
