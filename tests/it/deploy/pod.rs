//! What the kubelet is told of mainstay in a pod, beside what mainstay's configuration says.

use std::{collections::BTreeSet, fmt::Write as _};

use clap::Parser;
use mainstay::cli::wait;
use serde_json::{Value, json};

use super::{accepted::accepted, list, seconds, word};
use crate::support::repository::text;

/// One command line of a probe.
#[derive(Parser)]
struct Wait {
    #[command(flatten)]
    _args: wait::Args,
}

/// mainstay in a pod.
pub(super) struct Pod<'a> {
    spec: &'a Value,
    pub container: &'a Value,
    /// What mainstay makes of its configuration there.
    pub config: Value,
    pub warnings: Vec<String>,
}

impl<'a> Pod<'a> {
    /// Of this pod; `config` is the file in the `ConfigMap`, `data` its other keys.
    pub(super) fn of(spec: &'a Value, config: &str, data: &Value) -> Self {
        let all = list(&spec["containers"]).iter().chain(list(&spec["initContainers"]));
        let found: Vec<_> = all.filter(|container| container["name"] == "mainstay").collect();
        assert_eq!(found.len(), 1, "mainstay in {spec}");
        let container = found[0];
        let environment: Vec<_> = list(&container["env"]).iter().filter_map(|variable| value_of(variable, data)).collect();
        let read = accepted(config, &environment);
        Self { spec, container, config: read.config, warnings: read.warnings }
    }

    /// It comes before the others, and goes on beside them.
    pub(super) fn is_native_sidecar(&self) -> bool {
        self.spec["initContainers"][0]["name"] == "mainstay" && self.container["restartPolicy"] == "Always"
    }

    /// Everything that can be wrong between both.
    pub(super) fn agrees(&self) {
        self.is_restricted();
        self.has_every_path();
        self.is_asked_where_it_listens();
        self.has_time_to_end();
    }

    /// The profile "restricted" of the Pod Security Standards, and a root file system that nobody writes to.
    fn is_restricted(&self) {
        let (own, pod) = (&self.container["securityContext"], &self.spec["securityContext"]);
        let either = |key: &str| if own[key].is_null() { &pod[key] } else { &own[key] };
        assert_eq!([either("runAsUser"), either("runAsGroup")], [65532; 2]);
        assert_eq!([either("runAsNonRoot"), &own["readOnlyRootFilesystem"]], [true; 2]);
        assert_eq!(own["allowPrivilegeEscalation"], false);
        assert_eq!(own["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(either("seccompProfile"), &json!({"type": "RuntimeDefault"}));
        for key in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
            assert!(self.spec[key].is_null(), "{key}");
        }
        let resources = &self.container["resources"];
        assert!(resources["requests"]["memory"].is_string() && resources["limits"]["memory"].is_string());
        assert!(resources["limits"]["cpu"].is_null(), "a limit of the processor delays checks");
    }

    /// The command, and every path of the configuration, is in a volume of the pod; only what mainstay writes may be written to.
    fn has_every_path(&self) {
        let volumes: BTreeSet<_> = list(&self.spec["volumes"]).iter().map(|volume| word(&volume["name"])).collect();
        let mounts = list(&self.container["volumeMounts"]);
        for mount in mounts {
            assert!(volumes.contains(word(&mount["name"])), "no volume {mount}");
            assert!(mount["subPath"].is_null(), "never changes: {mount}");
        }
        let is_there = |path: &str, writable: bool| {
            let mount = mounts.iter().find(|mount| path.starts_with(word(&mount["mountPath"])));
            let mount = mount.unwrap_or_else(|| panic!("{path} is in no volume"));
            assert_eq!(mount["readOnly"] != true, writable, "{path}");
            let volume = list(&self.spec["volumes"]).iter().find(|volume| volume["name"] == mount["name"]).unwrap();
            assert_eq!(volume["emptyDir"].is_object(), writable, "{path}: {volume}");
        };
        assert_eq!(self.container["command"], json!(["/mainstay", "run", "--config", "/etc/mainstay/mainstay.yaml"]));
        is_there("/etc/mainstay/mainstay.yaml", false);
        is_there("/run/mainstay/admin.sock", true);
        is_there(word(&self.config["state_dir"]), true);
        let config = self.config.to_string();
        // What the Secrets were replaced by is a directory with the same names.
        for path in config.split('"').filter(|text| text.contains("mainstay-scratch")) {
            let (_, name) = path.split_once("mainstay-scratch").unwrap();
            is_there(&format!("/run/secrets/{}", name.split_once('/').unwrap().1), false);
        }
    }

    /// Every port that is named is one on which it listens, and every probe asks for what there is, where it is.
    fn is_asked_where_it_listens(&self) {
        let admin = addresses(&self.config["admin"]["listen"]);
        let pools: Vec<String> = list(&self.config["pools"]).iter().flat_map(pool_addresses).collect();
        let ports: Vec<_> =
            list(&self.container["ports"]).iter().map(|port| (word(&port["name"]), port["containerPort"].to_string())).collect();
        for (name, port) in &ports {
            let addresses = if *name == "mainstay-admin" { &admin } else { &pools };
            assert!(
                addresses.iter().any(|address| address.ends_with(&format!(":{port}"))),
                "{name} is {port}, but {addresses:?}"
            );
        }
        // Other machines reach the pools of a Deployment, and only the pod those of a sidecar.
        let is_sidecar = ports.len() == 1;
        for address in &pools {
            assert_eq!(address.starts_with("127.0.0.1:"), is_sidecar, "{address}");
        }
        assert!(is_sidecar || ports.len() == pools.len() + 1);
        assert!(admin.contains(&"unix:/run/mainstay/admin.sock".to_owned()));
        assert_eq!(self.config["admin"]["write"], false, "orders over the network");

        let documented = text("docs/admin.md");
        for (probe, path) in [("startupProbe", "/startupz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            let probe = &self.container[probe];
            if is_sidecar && path == "/readyz" {
                assert!(probe.is_null(), "a database's trouble would take the application out");
            } else if let Some(command) = probe["exec"]["command"].as_array() {
                asks_over_the_socket(command, &path[1..path.len() - 1]);
            } else {
                assert_eq!(probe["httpGet"], json!({"path": path, "port": "mainstay-admin"}));
                assert!(documented.contains(&format!("| `{path}")), "{path}");
                assert!(
                    admin.iter().any(|address| address == "0.0.0.0:8432"),
                    "the kubelet asks the address of the pod: {admin:?}"
                );
            }
        }
    }

    /// It is not killed before it has ended by itself; what waits for a database is not sent away before it would be told.
    fn has_time_to_end(&self) {
        let shutdown = &self.config["shutdown"];
        if !self.is_native_sidecar() {
            let grace = self.spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
            let needed = seconds(&shutdown["delay"]) + seconds(&shutdown["timeout"]);
            // A Job ends it by an order that waits for nothing.
            assert!(grace > needed || self.spec["restartPolicy"] == "Never", "{grace} s, but it may take {needed} s");
        }
        let probe = &self.container["readinessProbe"];
        if !probe.is_null() {
            let patience = probe["periodSeconds"].as_u64().unwrap() * probe["failureThreshold"].as_u64().unwrap();
            for pool in list(&self.config["pools"]) {
                assert!(
                    patience > seconds(&pool["hold"]["timeout"]),
                    "a pod leaves its Service while clients are held: {patience} s"
                );
            }
        }
    }
}

/// A probe by a command gets its answer within its own time.
fn asks_over_the_socket(command: &[Value], goal: &str) {
    let words: Vec<_> = command.iter().map(word).collect();
    let goal = goal.trim_end_matches('z');
    let max = words[words.iter().position(|word| *word == "--max").unwrap() + 1];
    let expected = ["/mainstay", "wait", "--for", goal, "--max", max, "--admin", "unix:/run/mainstay/admin.sock"];
    assert_eq!(words, expected);
    Wait::try_parse_from(&words[1..]).unwrap_or_else(|error| panic!("{error}"));
}

/// The value of a variable of a container, literal or of the `ConfigMap`.
fn value_of<'a>(variable: &'a Value, data: &'a Value) -> Option<(&'a str, &'a str)> {
    let from = variable["valueFrom"]["configMapKeyRef"]["key"].as_str();
    let value = from.map_or(&variable["value"], |key| &data[key]);
    assert!(!value.is_null() || variable["valueFrom"]["configMapKeyRef"]["optional"] == true, "{variable}");
    Some((word(&variable["name"]), value.as_str()?))
}

fn addresses(value: &Value) -> Vec<String> {
    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    all.iter().map(|address| word(address).to_owned()).collect()
}

fn pool_addresses(pool: &Value) -> Vec<String> {
    let listeners = list(&pool["listeners"]).iter().map(|listener| &listener["listen"]);
    listeners.chain([&pool["listen"]].into_iter().filter(|listen| !listen.is_null())).flat_map(addresses).collect()
}

/// Ports of a Service and a `NetworkPolicy` by name, which must be ports of the container; what of it is not.
pub(super) fn unknown_ports(container: &Value, named: &[&Value]) -> String {
    let ports: Vec<_> = list(&container["ports"]).iter().map(|port| &port["name"]).collect();
    let mut unknown = String::new();
    for name in named.iter().filter(|name| name.is_string() && !ports.contains(name)) {
        let _ = write!(unknown, "{name} ");
    }
    unknown
}
