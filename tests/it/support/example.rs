//! An example of `examples/` as a process, with real servers in the place of those that it names.

use std::{fs, net::SocketAddr, ops::Deref, path::Path};

use super::{process::Process, scratch::Scratch};

/// The password of the check in every example that has one.
pub(crate) const PASSWORD: &str = "S3cr3t-of-the-example";

/// The process, and the files that it was given.
pub(crate) struct Example {
    process: Process,
    _own: Scratch,
}

impl Deref for Example {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// Starts an example. Whatever it calls `addresses[n].0` is at `addresses[n].1`; it listens on ports that are free, and has the
/// password from a file.
pub(crate) fn start(name: &str, addresses: &[(&str, SocketAddr)]) -> Example {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let own = Scratch::new();
    own.file("password", PASSWORD, 0o600);
    let mut lines: Vec<String> = text.lines().map(|line| adapted(line, own.directory())).collect();
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
    Example { process: Process::start_with(&text), _own: own }
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
