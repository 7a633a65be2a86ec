//! The figures of docs/container.md, in the lines that begin with FIGURE.

use std::{process::Command, time::Duration};

use super::{
    container::{Container, Image, Options},
    kubelet, passes, pod,
};
use crate::support::{
    echo::Backend,
    process::Process,
    wait::{Watch, until},
};

/// From its start until it is ready for clients.
const READY: Duration = Duration::from_millis(50);
/// Memory of its own before anybody has come.
const OWN: u64 = 4 << 20;
/// With the pages of the program's file, which all mainstays of a node share.
const RESIDENT: u64 = 16 << 20;

#[test]
fn it_is_ready_within_50_milliseconds_and_takes_little_memory() {
    let (backend, image) = (Backend::echo(), Image::unpacked());
    let mut times: Vec<_> = (0..20)
        .map(|_| {
            let watch = Watch::start();
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs"]);
            command.arg(image.root.join("mainstay")).args(["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
            command.args(["--log-format", "json", "--backend", &backend.address.to_string()]);
            let process = Process::start_by(command);
            while kubelet(process.admin, "/readyz", Duration::from_secs(1)) != Ok(200) {
                assert!(watch.elapsed() < crate::support::wait::patience());
            }
            (watch.elapsed(), watch.unhindered())
        })
        .collect();
    times.sort();
    println!("FIGURE ready: fastest {:?}, median {:?}, slowest {:?}", times[0].0, times[10].0, times[19].0);
    assert!(times[0].1 < READY, "{times:?}");

    let container = Container::start(&image, &pod(&[backend.address]), Options { memory: Some(64 << 20), ..Options::default() });
    until("it serves", || passes(container.process.admin, "/readyz").then_some(()));
    let bytes = |key: &str| container.described(key).trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    let (own, resident) = (bytes("RssAnon"), bytes("VmRSS"));
    let group =
        std::fs::read_to_string(format!("/sys/fs/cgroup/memory/{}/memory.usage_in_bytes", container.remains.group.0)).unwrap();
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("FIGURE idle: own {:.1} MiB, resident {:.1} MiB; its group {} B", mebibytes(own), mebibytes(resident), group.trim());
    assert!(own <= OWN && resident <= RESIDENT, "{own} {resident}");
}
