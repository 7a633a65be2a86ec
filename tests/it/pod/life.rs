//! From the first probe of the kubelet to the end, in both shapes: a native sidecar, and a container beside the app of a Job.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use serde_json::json;

use super::{
    Session,
    container::{Container, Image, Options},
    kubelet, passes, pod,
};
use crate::support::{
    echo::Backend,
    front::is_over,
    scratch::Scratch,
    wait::{Watch, patience, stands_still, until},
};

/// From the end of the last session to that of the process.
const AFTER_THE_LAST: Duration = Duration::from_millis(100);

#[test]
fn a_sidecar_starts_is_probed_is_configured_and_ends_after_the_app() {
    let (a, b, image) = (Backend::echo(), Backend::echo(), Image::unpacked());
    let mut settings = pod(&[a.address]);
    settings["reload"] = json!({"watch": "100ms"});
    settings["shutdown"]["timeout"] = "60s".into();
    settings["state_dir"] = "/var/lib/mainstay".into();
    // As little as a cautious operator gives it.
    let options =
        Options { memory: Some(64 << 20), cpu: Some(100), writable: vec!["/var/lib/mainstay".into()], ..Options::default() };
    let mut container = Container::start(&image, &settings, options);
    let admin = container.process.admin;
    until("startupProbe", || passes(admin, "/startupz").then_some(()));
    for _ in 0..20 {
        assert!(passes(admin, "/livez"), "{:?}", kubelet(admin, "/livez", Duration::from_secs(1)));
    }
    assert!(passes(admin, "/readyz"));
    let mut session = Session::open(container.process.address);

    settings["pools"][0]["backends"].as_array_mut().unwrap().push(json!({"name": "db-b", "address": b.address.to_string()}));
    container.configure(&settings.to_string());
    until("the ConfigMap is in use", || (container.process.status()["pools"][0]["backends"][1]["health"] == "up").then_some(()));
    session.works();

    // The app is gone already; a session of it is still open, as of one that is being ended.
    container.kill("TERM");
    until("it is not ready", || (!passes(admin, "/readyz")).then_some(()));
    assert!(passes(admin, "/livez"), "the kubelet must not kill it while it drains");
    assert!(TcpStream::connect_timeout(&container.process.address, patience()).is_err(), "new clients are refused");
    session.works();
    stands_still("it waits for the session", Duration::from_millis(500), || 1 + u64::from(container.has_ended()));
    drop(session);
    assert_eq!(container.ends(), Some(0));
}

#[test]
fn it_ends_at_once_after_the_last_session_and_at_once_without_any() {
    let (backend, image) = (Backend::echo(), Image::unpacked());
    let mut settings = pod(&[backend.address]);
    settings["shutdown"]["timeout"] = "60s".into();
    settings["state_dir"] = "/var/lib/mainstay".into();
    let mut times = Vec::new();
    for turn in 0..10 {
        let options = Options { writable: vec!["/var/lib/mainstay".into()], cpu: Some(500), ..Options::default() };
        let mut container = Container::start(&image, &settings, options);
        let sessions: Vec<_> = (0..turn % 2 * 20).map(|_| Session::open(container.process.address)).collect();
        let begins = || {
            container.kill("TERM");
            container.process.logged("draining");
        };
        // With sessions, the time begins when the last of them has ended; without, with the signal.
        if !sessions.is_empty() {
            begins();
        }
        let watch = Watch::start();
        if sessions.is_empty() {
            container.kill("TERM");
        }
        drop(sessions);
        while !container.has_ended() {
            assert!(watch.elapsed() < patience(), "it does not end");
            // How exactly the time is measured.
            thread::sleep(Duration::from_millis(1));
            watch.unhindered();
        }
        times.push(watch.unhindered());
        assert_eq!(container.ends(), Some(0));
    }
    times.sort();
    println!("FIGURE exit after the last session: median {:?}, longest {:?}", times[times.len() / 2], times.last().unwrap());
    assert!(times[times.len() / 2] < AFTER_THE_LAST, "{times:?}");
}

#[test]
fn a_job_whose_app_is_done_ends_by_order_and_only_with_the_token() {
    let (backend, image, scratch) = (Backend::echo(), Image::unpacked(), Scratch::new());
    let token = scratch.file("token", "0123456789abcdef0123456789abcdef", 0o644);
    let mut settings = pod(&[backend.address]);
    settings["admin"]["write"] = json!({"token_file": "/secret/token"});
    let mut container =
        Container::start(&image, &settings, Options { mounts: vec![(token, "/secret/token".into())], ..Options::default() });
    let admin = container.process.admin;
    until("startupProbe", || passes(admin, "/startupz").then_some(()));
    drop(Session::open(container.process.address));
    let order = |token: &str| {
        let mut stream = crate::support::front::client(admin);
        let body = r#"{"reason":"the job is done"}"#;
        let head = format!(
            "POST /api/v1/shutdown HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            admin.port(),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer[9..12].to_owned()
    };
    assert!(["401", "403"].contains(&&*order("of somebody else, and long enough")));
    assert!(!container.has_ended());
    assert_eq!(order("0123456789abcdef0123456789abcdef"), "200");
    assert_eq!(container.ends(), Some(0));
}

#[test]
fn a_second_signal_ends_it_and_its_exit_code_says_that_sessions_were_cut() {
    let (backend, image) = (Backend::echo(), Image::unpacked());
    let mut settings = pod(&[backend.address]);
    settings["shutdown"]["timeout"] = "60s".into();
    let mut container = Container::start(&image, &settings, Options::default());
    let session = Session::open(container.process.address);
    container.kill("TERM");
    container.process.logged("draining");
    container.kill("TERM");
    assert!(is_over(&session.0));
    assert_eq!(container.ends(), Some(1));
}

#[test]
fn without_a_place_to_write_it_runs_and_a_state_directory_that_is_read_only_is_told() {
    let (backend, image) = (Backend::echo(), Image::unpacked());
    let settings = pod(&[backend.address]);
    let container = Container::start(&image, &settings, Options::default());
    until("it serves", || passes(container.process.admin, "/readyz").then_some(()));
    Session::open(container.process.address).works();
    // Nobody can write anywhere, and there is no /tmp.
    assert!(!image.root.join("tmp").exists());
    drop(container);
    // A directory for the state that cannot be written is told, and costs no client anything.
    let mut with_state = settings;
    with_state["state_dir"] = "/var/lib/mainstay".into();
    let container = Container::start(&image, &with_state, Options::default());
    let told = container.process.logged("the state file cannot be written");
    assert!(told["error"].as_str().is_some_and(|error| error.contains("Read-only")), "{told}");
    until("it serves", || passes(container.process.admin, "/readyz").then_some(()));
    assert!(passes(container.process.admin, "/livez"));
    Session::open(container.process.address).works();
}

#[test]
fn a_container_is_configured_by_variables_alone() {
    let (a, b, image) = (Backend::echo(), Backend::echo(), Image::unpacked());
    let variables = [
        ("MAINSTAY_POOL", "orders".to_owned()),
        ("MAINSTAY_LISTEN", "127.0.0.1:0".to_owned()),
        ("MAINSTAY_BACKEND", format!("{},{}", a.address, b.address)),
        ("MAINSTAY_ADMIN", "0.0.0.0:0".to_owned()),
        ("MAINSTAY_LOG_FORMAT", "json".to_owned()),
        ("MAINSTAY_SHUTDOWN_TIMEOUT", "45s".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let mut container = Container::start_without_a_file(&image, &Options { variables, ..Options::default() });
    until("it is ready", || passes(container.process.admin, "/readyz").then_some(()));
    let session = Session::open(container.process.address);
    assert_eq!(container.process.status()["pools"][0]["name"], "orders");
    container.kill("TERM");
    assert_eq!(container.process.logged("draining")["timeout_ms"], "45000");
    drop(session);
    assert_eq!(container.ends(), Some(0));
}
