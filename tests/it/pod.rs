//! The life of a pod, replayed without Kubernetes: the image that `make image` built, run by runc (which containerd runs, too) as the
//! kubelet has it run. It has uid 65532, no capabilities, no new privileges, the default seccomp profile, a read-only root without /tmp,
//! limits of memory and processor by control groups, and the network of the pod. `make pod` builds the image and runs these.

mod container;
mod figures;
mod image;
mod life;
mod limits;
mod names;
mod seccomp;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{front::Session, process::settings};

/// The settings of a container in a pod before these backends: the kubelet asks from elsewhere.
fn pod(backends: &[SocketAddr]) -> Value {
    let mut settings = settings(backends);
    settings["admin"] = json!({"listen": "0.0.0.0:0"});
    settings["workers"] = "auto".into();
    settings
}

/// A probe as the kubelet makes it (`pkg/probe/http`): a connection of its own, and this long for all of it; the status.
fn kubelet(admin: SocketAddr, path: &str, timeout: Duration) -> Result<u16, String> {
    let fail = |error: std::io::Error| error.to_string();
    let begun = std::time::Instant::now();
    let left = || timeout.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
    let admin = SocketAddr::from(([127, 0, 0, 1], admin.port()));
    let mut stream = TcpStream::connect_timeout(&admin, timeout).map_err(fail)?;
    stream.set_read_timeout(Some(left())).map_err(fail)?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {admin}\r\nUser-Agent: kube-probe/1.31\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).map_err(fail)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(fail)?;
    answer.get(9..12).and_then(|status| status.parse().ok()).ok_or(answer)
}

/// Whether the kubelet would call this a success.
fn passes(admin: SocketAddr, path: &str) -> bool {
    kubelet(admin, path, Duration::from_secs(1)).is_ok_and(|status| (200..400).contains(&status))
}
