//! Names in the image: there is `/etc/resolv.conf` from the kubelet, and no module of the C library.

use std::{fs, path::PathBuf, process::Command};

use serde_json::json;

use super::{
    container::{Container, Image, Options},
    pod,
};
use crate::support::{child::Bounded, dns::Dns, echo::Backend, netns::Network, scratch::Scratch, wait::until};

/// As the kubelet writes it.
const RESOLV: &str =
    "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.1\noptions ndots:5 timeout:1\n";

fn serves(image: &Image, name: &str, mounts: Vec<(PathBuf, String)>, resolved: &str) {
    let mut settings = pod(&[]);
    settings["pools"][0]["backends"] = json!([{"name": "db-a", "address": name}]);
    let container = Container::start(image, &settings, Options { mounts, ..Options::default() });
    until("the name is known and its backend serves", || {
        let backend = container.process.status()["pools"][0]["backends"][0].clone();
        (backend["resolved"] == json!([resolved]) && backend["health"] == "up").then_some(())
    });
}

#[test]
fn names_are_looked_up_with_a_search_list_over_both_protocols_and_in_the_hosts_file() {
    let image = Image::unpacked();
    Network::new().inside(|| {
        let (dns, scratch) = (Dns::start(), Scratch::new());
        let resolv = scratch.file("resolv.conf", RESOLV, 0o644);
        let hosts = scratch.file("hosts", "127.0.0.1 localhost\n127.0.0.3 db-of-hosts\n", 0o644);
        let mounts = || vec![(resolv.clone(), "/etc/resolv.conf".into())];
        dns.set("pg.shop.svc.cluster.local", &["127.0.0.2"]);
        dns.set("six.test", &["::1"]);
        let _backends = [("127.0.0.2", 1), ("::1", 2), ("127.0.0.3", 3)]
            .map(|(ip, name)| Backend::speaker(name, (ip.parse::<std::net::IpAddr>().unwrap(), 5432).into()));
        serves(&image, "pg:5432", mounts(), "127.0.0.2:5432");
        serves(&image, "six.test:5432", mounts(), "[::1]:5432");
        let both = [mounts(), vec![(hosts, "/etc/hosts".into())]].concat();
        serves(&image, "db-of-hosts:5432", both, "127.0.0.3:5432");
    });
}

#[test]
fn modules_of_the_c_library_that_a_machine_names_are_not_loaded() {
    let image = Image::unpacked();
    Network::new().inside(|| {
        let (dns, scratch) = (Dns::start(), Scratch::new());
        dns.set("pg.test", &["127.0.0.2"]);
        let _backend = Backend::speaker(1, ([127, 0, 0, 2], 5432).into());
        // A module that ends whoever loads it, as one for another version of the C library may.
        let source =
            scratch.file("trap.c", "void _exit(int); __attribute__((constructor)) static void trap(void) { _exit(99); }", 0o644);
        fs::create_dir(scratch.path("lib")).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-shared", "-fPIC", "-o"]).arg(scratch.path("lib/libnss_trap.so.2")).arg(source);
        assert!(gcc.bounded_status().unwrap().success());
        fs::copy("/lib/x86_64-linux-gnu/libc.so.6", scratch.path("lib/libc.so.6")).unwrap();
        fs::copy("/lib64/ld-linux-x86-64.so.2", scratch.path("lib/ld-linux-x86-64.so.2")).unwrap();
        let mounts = vec![
            (scratch.file("resolv.conf", RESOLV, 0o644), "/etc/resolv.conf".into()),
            (scratch.file("nsswitch.conf", "hosts: trap files dns\n", 0o644), "/etc/nsswitch.conf".into()),
            (scratch.path("lib"), "/lib/x86_64-linux-gnu".into()),
            (scratch.path("lib"), "/lib64".into()),
        ];
        serves(&image, "pg.test:5432", mounts, "127.0.0.2:5432");
    });
}
