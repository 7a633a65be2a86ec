//! Receivers that do harm cost no failover any time, and lose nothing but what the bound says.

use std::{
    io::Write,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};

use super::{Receiver, receiver::request, webhook};
use crate::support::{
    child::Bounded,
    config::LOOPBACK,
    echo::{Backend, refusing},
    process::{Process, settings},
    scratch::Scratch,
    wait::{until, within},
};

/// An authority, and a certificate for `localhost` by it.
fn certificates(scratch: &Scratch) -> (PathBuf, PathBuf, PathBuf) {
    let script = "set -e
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $key -days 2 -subj '/CN=test authority' -keyout ca.key -out ca.crt
openssl req -new $key -subj /CN=server -keyout server.key -out server.csr
printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.crt";
    let output = Command::new("sh").args(["-c", script]).current_dir(scratch.directory()).bounded_output().unwrap();
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    (scratch.path("ca.crt"), scratch.path("server.crt"), scratch.path("server.key"))
}

/// A receiver that speaks TLS and takes everything.
fn encrypted(certificate: &PathBuf, key: &PathBuf) -> Backend {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap());
    Backend::start_first(LOOPBACK, move |stream| {
        let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        let mut seen = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = std::io::Read::read(&mut tls, &mut piece) {
            seen.extend_from_slice(&piece[..count]);
            if seen.ends_with(b"}") {
                let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                return;
            }
        }
    })
}

fn count(process: &Process, result: &str) -> u64 {
    process.metric("mainstay_notifications_total", &[("kind", "webhook"), ("result", result)])
}

#[test]
fn the_certificate_and_the_name_of_a_receiver_are_verified() {
    let scratch = Scratch::new();
    let (authority, certificate, key) = certificates(&scratch);
    let server = encrypted(&certificate, &key);
    let with = |host: &str, authority: Option<&PathBuf>| {
        let mut receiver = webhook(&scratch, &format!("https://{host}:{}/", server.address.port()));
        receiver["webhook"]["tls_ca_file"] = json!(authority);
        if authority.is_none() {
            receiver["webhook"].as_object_mut().unwrap().remove("tls_ca_file");
        }
        receiver
    };
    let mut settings = settings(&["127.0.0.1:1".parse().unwrap()]);
    settings["notify"] =
        json!([with("localhost", Some(&authority)), with("127.0.0.1", Some(&authority)), with("localhost", None)]);
    let file = scratch.file("mainstay.yaml", settings.to_string(), 0o600);
    let run = |authorities: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.args(["notify", "--test", "-c"]).arg(&file).env("SSL_CERT_FILE", authorities).env("SSL_CERT_DIR", "/nowhere");
        command.bounded_output().unwrap()
    };
    // Where no file is named: the authorities of the machine.
    let out = String::from_utf8(run(authority.to_str().unwrap()).stdout).unwrap();
    assert!(out.contains("notify[2] webhook: told in "), "{out}");
    let out = String::from_utf8(run("/nowhere").stdout).unwrap();
    assert!(out.contains("notify[2] webhook: FAILED: this machine has no CA certificates"), "{out}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    let output = command.args(["notify", "--test", "-c"]).arg(&file).bounded_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("notify[0] webhook: told in "), "{out}");
    assert!(lines[1].starts_with("notify[1] webhook: FAILED: TLS: invalid peer certificate"), "{out}");
    assert!(lines[2].starts_with("notify[2] webhook: FAILED: "), "{out}");
    assert_eq!(output.status.code(), Some(1));
}

/// Never answers.
fn hanging() -> Backend {
    Backend::start_first(LOOPBACK, |stream| {
        let _ = request(&stream);
        thread::park_timeout(Duration::from_mins(5));
    })
}

/// A byte a second, for ever.
fn dripping() -> Backend {
    Backend::start_first(LOOPBACK, |mut stream| {
        // A byte before the request is no answer to it.
        let _ = request(&stream);
        for byte in b"HTTP/1.1 200 OK\r\n".iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            // The pace that it is about: nothing is waited for.
            thread::sleep(Duration::from_secs(1));
        }
    })
}

/// Sends `beginning`, and then more than anybody reads.
fn flooding(beginning: &'static str) -> Backend {
    Backend::start_first(LOOPBACK, move |mut stream| {
        let _ = request(&stream);
        let _ = stream.write_all(beginning.as_bytes());
        while stream.write_all(&[b'x'; 1 << 12]).is_ok() {}
    })
}

const GIGABYTE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
const LONG_HEAD: &str = "HTTP/1.1 200 OK\r\nX: ";

#[test]
fn each_way_to_do_harm_has_its_words_and_its_end() {
    let scratch = Scratch::new();
    let target = Receiver::start();
    let redirects =
        Receiver::answering(&format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", target.url()));
    let fails = Receiver::answering("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let talks = Receiver::answering("220 mail.example.com ESMTP\r\n");
    let (hangs, drips, floods, long_head) = (hanging(), dripping(), flooding(GIGABYTE), flooding(LONG_HEAD));
    let (_kept, refuses) = refusing();
    let mut settings = settings(&["127.0.0.1:1".parse().unwrap()]);
    let cases = [
        (hangs.address, "FAILED: it has not answered within 10s"),
        (drips.address, "FAILED: it has not answered within 10s"),
        (refuses, "FAILED: it cannot be connected to: Connection refused"),
        (redirects.address(), "FAILED: it answered 302: a redirect, and none is followed"),
        (fails.address(), "FAILED: it answered 500"),
        (talks.address(), "FAILED: it does not answer as HTTP says"),
        (floods.address, "told in "),
        (long_head.address, "FAILED: it does not answer as HTTP says"),
    ];
    settings["notify"] = cases.iter().map(|(address, _)| webhook(&scratch, &format!("http://{address}/"))).collect();
    settings["notify"].as_array_mut().unwrap().push(json!({"exec": ["/bin/sh", "-c", "yes & sleep 600"]}));
    let file = scratch.file("mainstay.yaml", settings.to_string(), 0o600);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    let mut child = command.args(["notify", "--test", "-c"]).arg(file).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let ended = within(Duration::from_mins(2), "it has an end", || child.try_wait().unwrap());
    let mut out = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    for (position, (_, words)) in cases.iter().enumerate() {
        assert!(lines[position].starts_with(&format!("notify[{position}] webhook: {words}")), "{words}: {out}");
    }
    assert!(lines[8].starts_with("notify[8] exec: FAILED: it did not end within 10s and was killed; it said: y"), "{out}");
    assert_eq!((ended.code(), target.all().len()), (Some(1), 0));
}

#[test]
fn whatever_a_receiver_does_the_others_are_told_and_one_that_recovers_as_well() {
    let scratch = Scratch::new();
    let (good, target) = (Receiver::start(), Receiver::start());
    let redirects =
        Receiver::answering(&format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", target.url()));
    let (hangs, drips, floods, long_head) = (hanging(), dripping(), flooding(GIGABYTE), flooding(LONG_HEAD));
    let (_kept, refuses) = refusing();
    let asked = Arc::new(AtomicUsize::new(0));
    let count_asked = Arc::clone(&asked);
    let recovers = Backend::start_first(LOOPBACK, move |mut stream| {
        let _ = request(&stream);
        let status = if count_asked.fetch_add(1, Ordering::SeqCst) < 2 { "503 Later" } else { "204 Thanks" };
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes());
    });
    let mut a = Backend::echo();
    let mut settings = settings(&[a.address]);
    let bad = [
        hangs.address,
        refuses,
        redirects.address(),
        drips.address,
        long_head.address,
        floods.address,
        recovers.address,
        good.address(),
    ];
    settings["notify"] = bad.iter().map(|address| webhook(&scratch, &format!("http://{address}/"))).collect();
    let process = Process::start(&settings).serving();
    let memory = process.memory();
    a.stop();
    let outage = good.nth(1);
    assert_eq!(outage.kind(), "outage");
    // A redirect is given up at once; what answered 1 GB, and what recovered, has been told.
    let given_up = process.logged("a receiver could not be told");
    assert_eq!((&given_up["receiver"], &given_up["tries"]), (&json!("notify[2]"), &json!(1)));
    let told = |receiver: &str| {
        let is_it = |line: &Value| line["message"] == "told" && line["receiver"] == receiver;
        until(receiver, || process.log().into_iter().find(is_it))
    };
    assert_eq!(
        (&told("notify[5]")["tries"], &told("notify[6]")["tries"], &told("notify[7]")["tries"]),
        (&json!(1), &json!(3), &json!(1))
    );
    assert_eq!((count(&process, "sent"), count(&process, "failed"), target.all().len()), (3, 1, 0));
    // The end comes to all that take it, though others still try to tell the beginning.
    let _again = Backend::start_first(a.address, drop);
    assert_eq!(good.nth(2).kind(), "over");
    assert_eq!(process.metric("mainstay_notifications_dropped_total", &[]), 0);
    let grown = process.memory().saturating_sub(memory);
    assert!(grown < 32 << 20, "{grown} bytes more");
    // A receiver that is removed loses what waited for it, and that is counted: the beginning and the end, of four.
    settings["notify"] = json!([]);
    process.reload(&settings.to_string());
    until("it is counted", || (process.metric("mainstay_notifications_dropped_total", &[]) >= 8).then_some(()));
}

/// From the first sign to the activation, in milliseconds.
fn failover(process: &Process) -> f64 {
    let last =
        until("it has failed over", || Some(process.status()["pools"][0]["last_failover"].clone()).filter(Value::is_object));
    last["detected_ms"].as_f64().unwrap() + last["gap_ms"].as_f64().unwrap()
}

#[test]
fn a_receiver_that_hangs_costs_no_failover_any_time() {
    const RUNS: usize = 9;
    let scratch = Scratch::new();
    let hangs = hanging();
    let run = |receivers: usize| {
        let (mut x, mut a, b) = (Backend::echo(), Backend::echo(), Backend::echo());
        let mut settings = settings(&[a.address, b.address]);
        let mut other = settings["pools"][0].clone();
        (other["name"], other["backends"]) = (json!("other"), json!([x.address.to_string()]));
        settings["pools"].as_array_mut().unwrap().push(other);
        settings["notify"] = (0..receivers).map(|_| webhook(&scratch, &format!("http://{}/", hangs.address))).collect();
        let process = Process::start(&settings).serving();
        until("the other pool serves", || process.status()["pools"][1]["active"].is_string().then_some(()));
        // Its outage keeps every receiver busy.
        x.stop();
        until("its outage", || process.status()["pools"][1]["active"].is_null().then_some(()));
        a.stop();
        failover(&process)
    };
    let (mut without, mut with): (Vec<f64>, Vec<f64>) = (0..RUNS).map(|_| (run(0), run(8))).unzip();
    without.sort_by(f64::total_cmp);
    with.sort_by(f64::total_cmp);
    let (without, with) = (without[RUNS / 2], with[RUNS / 2]);
    println!("# median of {RUNS} failovers: {without} ms without a receiver, {with} ms with eight that hang");
    assert!(with <= without * 2.0 + 50.0, "{with} ms with receivers that hang, {without} ms without");
}
