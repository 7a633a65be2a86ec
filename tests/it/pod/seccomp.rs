//! The default seccomp profile of container runtimes (`RuntimeDefault`), and the byte path under it.

use std::{
    fs,
    io::{Read, Write},
    thread,
};

use serde_json::{Value, json};

use super::{
    container::{Container, Image, Options},
    pod,
};
use crate::support::{echo::Backend, front::unix_client, process::relay_by, wait::until};

/// Debian's package golang-github-containers-common has it, for Podman, CRI-O and buildah; those of Docker and containerd are made of the
/// same list.
const PROFILE: &str = "/usr/share/containers/seccomp.json";

/// The profile as runc reads it, for a container without capabilities: what only a container with one may call is left out.
pub fn profile() -> Value {
    let profile: Value = serde_json::from_str(&fs::read_to_string(PROFILE).unwrap()).unwrap();
    let is_some = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty());
    let applies = |rule: &&Value| {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let is_here = |list: &Value| {
            list.as_array().is_some_and(|list| list.iter().any(|arch| ["amd64", "x86_64", "x32"].iter().any(|a| arch == a)))
        };
        !is_some(&includes["caps"])
            && (!is_some(&includes["arches"]) || is_here(&includes["arches"]))
            && !is_here(&excludes["arches"])
    };
    let rule = |rule: &Value| {
        let mut made = json!({"names": rule["names"], "action": rule["action"]});
        for key in ["args", "errnoRet"] {
            if !rule[key].is_null() && rule[key] != json!([]) {
                made[key] = rule[key].clone();
            }
        }
        made
    };
    let rules: Vec<Value> = profile["syscalls"].as_array().unwrap().iter().filter(applies).map(rule).collect();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    })
}

#[test]
fn bytes_move_by_every_way_under_the_profile_and_nothing_is_granted() {
    let (backend, image) = (Backend::echo(), Image::unpacked());
    for relay in ["auto", "splice", "copy"] {
        let mut settings = pod(&[backend.address]);
        relay_by(&mut settings, relay);
        settings["metrics"] = json!({"detail": "full"});
        settings["busy_poll"] = "50us".into();
        let socket = json!({"name": "local", "listen": "unix:/run/mainstay/db.sock"});
        settings["pools"][0]["listeners"].as_array_mut().unwrap().push(socket);
        let options = Options { writable: vec!["/run/mainstay".into()], ..Options::default() };
        let container = Container::start(&image, &settings, options);
        until("it serves", || container.process.status()["pools"][0]["active"].is_string().then_some(()));
        assert_eq!((container.described("Uid"), container.described("Seccomp")), ("65532 65532 65532 65532".into(), "2".into()));
        assert_eq!((container.described("CapEff"), container.described("CapBnd")), ("0".repeat(16), "0".repeat(16)));
        assert_eq!(container.described("NoNewPrivs"), "1");
        streams(container.process.connect(), |stream| stream.try_clone().unwrap());
        let socket = format!("/proc/{}/root/run/mainstay/db.sock", container.pid);
        streams(unix_client(socket.as_ref()), |stream| stream.try_clone().unwrap());
        let spliced = container.process.metric("mainstay_relay_spliced_bytes_total", &[]);
        assert!(relay == "copy" || spliced > 0, "{relay}: nothing was spliced");
    }
}

/// 64 MiB there and back.
fn streams<S: Read + Write + Send + 'static>(stream: S, twin: impl Fn(&S) -> S) {
    const BLOCK: usize = 1 << 20;
    let (mut writer, mut reader) = (twin(&stream), stream);
    let writing = thread::spawn(move || {
        for number in 0..64_u8 {
            writer.write_all(&vec![number; BLOCK]).unwrap();
        }
    });
    let mut block = vec![0; BLOCK];
    for number in 0..64_u8 {
        reader.read_exact(&mut block).unwrap();
        assert!(block.iter().all(|byte| *byte == number), "block {number}");
    }
    writing.join().unwrap();
}
