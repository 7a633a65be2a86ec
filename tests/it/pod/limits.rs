//! Limits of the pod's control groups: processor, memory, open files.

use std::{fs, net::SocketAddr, os::unix::process::ExitStatusExt, process::Command, thread, time::Duration};

use super::{
    Session,
    container::{Container, Group, Image, Options},
    kubelet, passes, pod,
};
use crate::support::{
    child::ends,
    echo::Backend,
    front::is_over,
    wait::{Watch, patience, until, within},
};

fn many(address: SocketAddr, count: usize) -> Vec<Session> {
    (0..count).map(|_| Session::open(address)).collect()
}

#[test]
fn a_twentieth_of_a_core_and_64_mebibytes_serve_a_thousand_sessions_and_every_probe() {
    let (backend, image) = (Backend::echo(), Image::unpacked());
    let mut settings = pod(&[backend.address]);
    settings["pools"][0]["connect_timeout"] = "5s".into();
    settings["pools"][0]["check"]["timeout"] = "5s".into();
    let container = Container::start(&image, &settings, Options { memory: Some(64 << 20), cpu: Some(50), ..Options::default() });
    let admin = container.process.admin;
    within(patience(), "startupProbe", || passes(admin, "/startupz").then_some(()));
    let mut sessions = many(container.process.address, 1000);
    println!("FIGURE resident with 1,000 sessions: {}", container.described("VmRSS"));
    // The kubelet restarts a container whose livenessProbe fails three times in a row.
    let mut failed = 0;
    for _ in 0..30 {
        match kubelet(admin, "/livez", Duration::from_secs(1)) {
            Ok(200) => failed = 0,
            other => {
                failed += 1;
                assert!(failed < 3, "{other:?}");
            }
        }
        sessions.iter_mut().step_by(100).for_each(Session::works);
    }
    assert!(!container.has_ended());
    assert_eq!(container.process.metric("mainstay_panics_total", &[]), 0);
}

#[test]
fn who_takes_the_memory_of_the_pod_dies_and_mainstay_goes_on() {
    let (backend, image) = (Backend::echo(), Image::unpacked());
    let group = format!("mainstay-pod-shared-{}", std::process::id());
    let memory = format!("/sys/fs/cgroup/memory/{group}");
    let (_shared, _app) = (Group(group.clone()), Group(format!("{group}/app")));
    fs::create_dir(&memory).expect("this test needs control groups (version 1), and root");
    fs::write(format!("{memory}/memory.use_hierarchy"), "1").ok();
    fs::write(format!("{memory}/memory.limit_in_bytes"), (96 << 20).to_string()).unwrap();
    let container =
        Container::start(&image, &pod(&[backend.address]), Options { below: Some(group.clone()), ..Options::default() });
    until("it serves", || passes(container.process.admin, "/readyz").then_some(()));
    let mut sessions = many(container.process.address, 100);
    // The app: it keeps all that it reads, and there is no end of it.
    fs::create_dir(format!("{memory}/app")).unwrap();
    let script = format!("echo $$ > {memory}/app/cgroup.procs && exec tail /dev/zero");
    let mut app = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let status = ends(&mut app);
    assert_eq!(status.and_then(|status| status.signal()), Some(9), "the kernel ends the app");
    sessions.iter_mut().for_each(Session::works);
    assert!(passes(container.process.admin, "/livez") && !container.has_ended());
}

#[test]
fn mainstay_without_memory_is_killed_by_the_kernel_and_starts_again_with_what_it_knew() {
    let (mut first, second, image) = (Backend::echo(), Backend::echo(), Image::unpacked());
    let mut settings = pod(&[first.address, second.address]);
    settings["state_dir"] = "/var/lib/mainstay".into();
    let state = crate::support::scratch::Scratch::new();
    std::os::unix::fs::chown(state.directory(), Some(65532), Some(65532)).unwrap();
    let options = |memory: Option<u64>| Options {
        memory,
        kept: vec![(state.directory().to_owned(), "/var/lib/mainstay".into())],
        ..Options::default()
    };
    let mut container = Container::start(&image, &settings, options(None));
    until("it serves", || passes(container.process.admin, "/readyz").then_some(()));
    first.stop();
    until("the second serves", || (container.process.status()["pools"][0]["active"] == "db-b").then_some(()));
    let session = Session::open(container.process.address);
    // A limit below what it has: the next page that it needs is one too many.
    let limit = format!("/sys/fs/cgroup/memory/{}/memory.limit_in_bytes", container.remains.group.0);
    let clients = thread::spawn({
        let address = container.process.address;
        move || {
            let mut sessions = Vec::new();
            while let Ok(stream) = crate::support::front::try_client(address) {
                sessions.push(stream);
            }
        }
    });
    let (mut low, watch): (u64, _) = (8 << 20, Watch::start());
    while !container.has_ended() {
        assert!(watch.elapsed() < patience(), "the kernel does not end it");
        let _ = fs::write(&limit, low.to_string());
        low = (low - (256 << 10)).max(1 << 20);
        // The pace of those who come.
        thread::sleep(Duration::from_millis(50));
    }
    assert!(is_over(&session.0), "its sessions end with it");
    clients.join().unwrap();
    assert_eq!(container.ends(), Some(137), "as the kubelet shows it: OOMKilled");
    drop(container);
    let again = Container::start(&image, &settings, options(Some(64 << 20)));
    until("it serves again", || passes(again.process.admin, "/readyz").then_some(()));
    Session::open(again.process.address).works();
    // The files are read while it serves already.
    until("it knows what happened before", || again.process.get("/api/v1/incidents").1.contains("db-a").then_some(()));
}

#[test]
fn few_open_files_bound_the_sessions_and_probes_still_pass() {
    let (backend, image) = (Backend::echo(), Image::unpacked());
    let container = Container::start(&image, &pod(&[backend.address]), Options { files: Some(256), ..Options::default() });
    until("it serves", || passes(container.process.admin, "/readyz").then_some(()));
    let most = container.process.logged("started;")["max_connections"].as_u64().unwrap();
    let mut sessions = many(container.process.address, usize::try_from(most).unwrap());
    let extra = crate::support::front::client(container.process.address);
    assert!(is_over(&extra), "one more is turned away");
    for path in ["/livez", "/readyz", "/startupz"] {
        assert!(passes(container.process.admin, path), "{path}");
    }
    sessions.iter_mut().for_each(Session::works);
    let refused = container.process.metric("mainstay_connections_rejected_total", &[]);
    assert!(refused >= 1, "{refused}");
}
