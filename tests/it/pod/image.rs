//! What is in the image.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, path::Path, process::Command};

use serde_json::{Value, json};

use super::{
    container::{ARCHIVE, Container, Image, Options},
    pod,
};
use crate::support::{echo::Backend, netns::run, scratch::Scratch, wait::until};

/// 8 MiB, compressed.
const MOST: u64 = 8 << 20;

fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let file = layout.join("blobs/sha256").join(digest);
    assert!(run(&["sha256sum", file.to_str().unwrap()]).starts_with(digest), "a blob that is not what its name says");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// The files below, with their owners.
fn files(root: &Path, below: &Path, found: &mut BTreeSet<(String, u32)>) {
    for entry in fs::read_dir(below).unwrap().map(Result::unwrap) {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        found.insert((path.strip_prefix(root).unwrap().display().to_string(), meta.uid()));
        if meta.is_dir() {
            files(root, &path, found);
        }
    }
}

#[test]
fn the_image_is_small_and_says_what_it_is() {
    let scratch = Scratch::new();
    run(&["tar", "-xf", ARCHIVE, "-C", scratch.directory().to_str().unwrap()]);
    let index: Value = serde_json::from_str(&fs::read_to_string(scratch.path("index.json")).unwrap()).unwrap();
    let entry = &index["manifests"][0];
    let name = concat!("ghcr.io/mainstay/mainstay:", env!("CARGO_PKG_VERSION"));
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], name);
    let manifest = blob(scratch.directory(), entry);
    let size: u64 = manifest["layers"].as_array().unwrap().iter().map(|layer| layer["size"].as_u64().unwrap()).sum();
    println!("FIGURE image, compressed: {:.2} MiB", size as f64 / f64::from(1 << 20));
    assert!(size <= MOST, "{size} bytes");
    let config = &blob(scratch.directory(), &manifest["config"])["config"];
    assert_eq!(
        (&config["User"], &config["Entrypoint"], &config["Cmd"]),
        (&json!("65532:65532"), &json!(["/mainstay"]), &json!(["run"]))
    );
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    for label in ["title", "description", "licenses", "revision", "created"] {
        let label = format!("org.opencontainers.image.{label}");
        assert!(config["Labels"][&label].as_str().is_some_and(|text| !text.is_empty()), "{label} is missing");
    }
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "/mainstay", "wait", "--for", "startup", "--max", "3s"]));
}

#[test]
fn there_is_nothing_in_it_but_the_program_and_what_it_needs() {
    let image = Image::unpacked();
    let mut found = BTreeSet::new();
    files(&image.root, &image.root, &mut found);
    // A release has it, and an image by itself has not.
    found.remove(&("usr/share/doc/mainstay/THIRD-PARTY.txt".to_owned(), 0));
    let expected = [
        ("etc", 0),
        ("etc/group", 0),
        ("etc/mainstay", 0),
        ("etc/passwd", 0),
        ("etc/ssl", 0),
        ("etc/ssl/certs", 0),
        ("etc/ssl/certs/ca-certificates.crt", 0),
        ("mainstay", 0),
        ("run", 0),
        ("run/mainstay", 65532),
        ("usr", 0),
        ("usr/share", 0),
        ("usr/share/doc", 0),
        ("usr/share/doc/mainstay", 0),
        ("usr/share/doc/mainstay/LICENSE", 0),
        ("var", 0),
        ("var/lib", 0),
        ("var/lib/mainstay", 65532),
    ];
    assert_eq!(found, expected.map(|(name, owner)| (name.to_owned(), owner)).into());
    // buildah runs it, too, with nothing but a chroot around it.
    assert_eq!(image.run(&["--version"]), concat!("mainstay ", env!("CARGO_PKG_VERSION")));
    assert!(image.run(&["run", "--help"]).contains("MAINSTAY_LISTEN"));
}

#[test]
fn the_health_check_of_the_image_asks_where_the_variables_say() {
    let (backend, image) = (Backend::echo(), Image::unpacked());
    let port = std::net::TcpListener::bind(crate::support::config::LOOPBACK).unwrap().local_addr().unwrap().port();
    let variables = [
        ("MAINSTAY_LISTEN", "127.0.0.1:0".to_owned()),
        ("MAINSTAY_BACKEND", backend.address.to_string()),
        ("MAINSTAY_ADMIN", format!("unix:/run/mainstay/admin.sock,0.0.0.0:{port}")),
        ("MAINSTAY_LOG_FORMAT", "json".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    // The first of the addresses is asked, whatever it is.
    let both = |swap: bool| {
        let mut variables = variables.clone();
        if swap {
            variables[2].1 = format!("0.0.0.0:{port},unix:/run/mainstay/admin.sock");
        }
        Options { variables, writable: vec!["/run/mainstay".into()], ..Options::default() }
    };
    for swap in [true, false] {
        let container = Container::start_without_a_file(&image, &both(swap));
        let check = ["wait", "--for", "startup", "--max", "3s"];
        until("it is healthy", || (container.exec(&check).0 == Some(0)).then_some(()));
        run(&["kill", "-s", "STOP", &container.pid.to_string()]);
        let (code, told) = container.exec(&["wait", "--for", "startup", "--max", "1s"]);
        assert_eq!(code, Some(69), "{told}");
        run(&["kill", "-s", "CONT", &container.pid.to_string()]);
    }
}

#[test]
fn a_receiver_of_notifications_is_judged_by_the_authorities_of_the_image() {
    let (backend, image, scratch) = (Backend::echo(), Image::unpacked(), Scratch::new());
    let command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
                   -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=CA:FALSE";
    let openssl = |words: &str| {
        let mut command = Command::new("openssl");
        command.args(words.split(' ').skip(1)).current_dir(scratch.directory());
        command
    };
    assert!(crate::support::child::Bounded::bounded_output(&mut openssl(command)).unwrap().status.success());
    let port = std::net::TcpListener::bind(crate::support::config::LOOPBACK).unwrap().local_addr().unwrap().port();
    let mut server = openssl(&format!("openssl s_server -accept 127.0.0.1:{port} -cert cert.pem -key key.pem -quiet"));
    let mut server = server.stdin(std::process::Stdio::null()).spawn().unwrap();
    let secret = scratch.file("url", format!("https://127.0.0.1:{port}/hook"), 0o644);
    let mut settings = pod(&[backend.address]);
    settings["notify"] = json!([{"slack": {"url_file": "/secret/url"}}]);
    let options = Options { mounts: vec![(secret, "/secret/url".into())], ..Options::default() };
    let container = Container::start(&image, &settings, options);
    until("it serves", || container.process.status()["pools"][0]["active"].is_string().then_some(()));
    let (_, told) = container.exec(&["notify", "--test"]);
    server.kill().unwrap();
    server.wait().unwrap();
    // A certificate that nobody signed: without authorities it would say that there are none.
    assert!(told.contains("UnknownIssuer"), "{told}");
}
