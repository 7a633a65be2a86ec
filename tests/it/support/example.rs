//! An example of `examples/` as a process, with real servers in the place of those that it names.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use super::process::Process;

/// The password of the check in every example that has one.
pub(crate) const PASSWORD: &str = "S3cr3t-of-the-example";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Starts an example. Whatever it calls `addresses[n].0` is at `addresses[n].1`; it listens on ports that are free, and has the
/// password from a file.
pub(crate) fn start(name: &str, addresses: &[(&str, SocketAddr)]) -> Process {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let own = std::env::temp_dir().join(format!("mainstay-example-{}-{number}", std::process::id()));
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("password"), PASSWORD).unwrap();
    let mut lines: Vec<String> = text.lines().map(|line| adapted(line, &own)).collect();
    if !text.contains("\nadmin:") && !text.starts_with("admin:") {
        lines.push("admin: {listen: \"127.0.0.1:0\"}".into());
    }
    lines.push("log: {format: json}".into());
    let mut text = lines.join("\n") + "\n";
    for (written, real) in addresses {
        assert!(text.contains(written), "{name} names no {written}");
        text = text.replace(written, &real.to_string());
    }
    assert!(!text.contains("10.0.0."), "an address of the example is left: {text}");
    Process::start_with(&text)
}

fn adapted(line: &str, own: &Path) -> String {
    let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
    match rest.split_once(": ") {
        Some(("listen", _)) => format!("{indent}listen: 127.0.0.1:0"),
        Some(("password", _)) => format!("{indent}password_file: {}", own.join("password").display()),
        Some(("state_dir", _)) => format!("{indent}state_dir: {}", own.display()),
        // What is said of other machines in a comment.
        _ if rest.starts_with('#') => String::new(),
        _ => line.to_owned(),
    }
}
