//! A container made of the image, run by runc.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::seccomp;
use crate::support::{
    netns::run,
    process::Process,
    scratch::Scratch,
    volume::Volume,
    wait::{patience, until, within},
};

/// What `make image` built.
pub const ARCHIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/dist/mainstay-image.tar");

/// The files of the image, unpacked by buildah.
pub struct Image {
    scratch: Scratch,
    pub root: PathBuf,
    container: String,
}

impl Image {
    pub fn unpacked() -> Self {
        assert!(Path::new(ARCHIVE).exists(), "{ARCHIVE} is missing: `make image` builds it");
        let scratch = Scratch::new();
        let container = buildah(&scratch, &["from", "--quiet", &format!("oci-archive:{ARCHIVE}")]);
        let root = PathBuf::from(buildah(&scratch, &["mount", &container]));
        Self { scratch, root, container }
    }

    /// Runs its program by buildah itself.
    pub fn run(&self, words: &[&str]) -> String {
        buildah(&self.scratch, &[&["run", "--isolation", "chroot", &self.container, "--", "/mainstay"], words].concat())
    }
}

fn buildah(scratch: &Scratch, words: &[&str]) -> String {
    let (storage, state) = (scratch.path("storage"), scratch.path("state"));
    let place = ["buildah", "--storage-driver", "vfs", "--root", storage.to_str().unwrap(), "--runroot", state.to_str().unwrap()];
    run(&[&place, words].concat()).trim().to_owned()
}

/// How a container is run.
#[derive(Default)]
pub struct Options {
    /// Besides the program's name; `run` without any.
    pub arguments: Vec<String>,
    pub variables: Vec<(String, String)>,
    /// What is mounted where, for reading.
    pub mounts: Vec<(PathBuf, String)>,
    /// Directories of the pod (`emptyDir`), which mainstay's user may write to.
    pub writable: Vec<String>,
    /// Directories that outlive the container, as those of a volume claim.
    pub kept: Vec<(PathBuf, String)>,
    /// The control group of the pod, if it has one.
    pub below: Option<String>,
    /// Bytes (`resources.limits.memory`).
    pub memory: Option<u64>,
    /// Thousandths of a core (`resources.limits.cpu`).
    pub cpu: Option<u64>,
    /// Open files; as many as the test may have without it.
    pub files: Option<u64>,
}

/// One that runs.
pub struct Container {
    /// runc, which shows the log of the program and ends as it does.
    pub process: Process,
    pub pid: u32,
    volume: Option<Volume>,
    pub remains: Remains,
    _scratch: Scratch,
}

/// What is left of a container, and is removed at the end of the test, however it ends.
pub struct Remains {
    name: String,
    pub group: Group,
    state: PathBuf,
}

/// A control group of the test's own, of every controller.
pub struct Group(pub String);

const FILE: &str = "mainstay.yaml";

impl Container {
    /// mainstay with these settings in a `ConfigMap`.
    pub fn start(image: &Image, settings: &Value, mut options: Options) -> Self {
        let scratch = Scratch::new();
        let volume = Volume::new(scratch.path("config"), &[(FILE, &settings.to_string())]);
        options.mounts.push((scratch.path("config"), "/etc/mainstay".into()));
        options.variables.push(("MAINSTAY_CONFIG".into(), "/etc/mainstay/mainstay.yaml".into()));
        Self::launch(image, scratch, Some(volume), &options)
    }

    /// mainstay as its variables say.
    pub fn start_without_a_file(image: &Image, options: &Options) -> Self {
        Self::launch(image, Scratch::new(), None, options)
    }

    fn launch(image: &Image, scratch: Scratch, volume: Option<Volume>, options: &Options) -> Self {
        let remains = prepare(image, &scratch, options);
        let name = &remains.name;
        let mut command = runc(&scratch.path("runc"));
        command.args(["run", "--bundle", scratch.path("bundle").to_str().unwrap(), name]);
        let process = Process::start_by(command);
        let pid = until("runc tells its process", || {
            let state = runc(&scratch.path("runc")).args(["state", name]).output_now();
            serde_json::from_str::<Value>(&state).ok()?["pid"].as_u64()
        });
        Self { process, pid: u32::try_from(pid).unwrap(), volume, remains, _scratch: scratch }
    }

    /// Puts other settings into the `ConfigMap`.
    pub fn configure(&mut self, text: &str) {
        self.volume.as_mut().unwrap().swap(&[(FILE, text)]);
    }

    /// As the kubelet does by way of the container runtime.
    pub fn kill(&self, signal: &str) {
        run(&["kill", "-s", signal, &self.pid.to_string()]);
    }

    /// Runs its program once more in it, as an exec probe or a `preStop` does: the exit code.
    pub fn exec(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = runc(&self.remains.state);
        command.args(["exec", &self.remains.name, "/mainstay"]).args(words);
        let output = crate::support::child::Bounded::bounded_output(&mut command).unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// Whether the program itself, not runc, has ended.
    pub fn has_ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['Z', 'X']))
    }

    /// Waits until it has ended; its exit code.
    pub fn ends(&mut self) -> Option<i32> {
        within(patience(), "its end", || self.has_ended().then_some(()));
        self.process.ends_within(patience()).0.code()
    }

    /// A line of the kernel's description of the process.
    pub fn described(&self, key: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        let _ = runc(&self.state).args(["delete", "--force", &self.name]).output_now();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(controller.path().join(&self.0));
        }
    }
}

trait OutputNow {
    fn output_now(&mut self) -> String;
}

impl OutputNow for Command {
    fn output_now(&mut self) -> String {
        let output = crate::support::child::Bounded::bounded_output(self).unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn runc(state: &Path) -> Command {
    let mut command = Command::new("runc");
    command.arg("--root").arg(state);
    command
}

/// Writes what runc reads.
fn prepare(image: &Image, scratch: &Scratch, options: &Options) -> Remains {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("mainstay-pod-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let bundle = scratch.path("bundle");
    fs::create_dir(&bundle).unwrap();
    run(&["runc", "spec", "--bundle", bundle.to_str().unwrap()]);
    let mut config: Value = serde_json::from_str(&fs::read_to_string(bundle.join("config.json")).unwrap()).unwrap();
    config["root"] = json!({"path": image.root, "readonly": true});
    let arguments = if options.arguments.is_empty() { vec!["run".to_owned()] } else { options.arguments.clone() };
    let none: Vec<&str> = Vec::new();
    let process = &mut config["process"];
    process["terminal"] = false.into();
    process["user"] = json!({"uid": 65532, "gid": 65532});
    process["args"] = std::iter::once("/mainstay".to_owned()).chain(arguments).collect();
    process["env"] = options.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    process["capabilities"] =
        json!({"bounding": none, "effective": none, "inheritable": none, "permitted": none, "ambient": none});
    process["noNewPrivileges"] = true.into();
    let files = options.files.or(getrlimit(Resource::Nofile).maximum).unwrap_or(1 << 20);
    process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": files, "hard": files}]);
    let mounts = config["mounts"].as_array_mut().unwrap();
    for (from, to) in &options.mounts {
        mounts.push(json!({"destination": to, "source": from, "type": "bind", "options": ["rbind", "ro"]}));
    }
    for (from, to) in &options.kept {
        mounts.push(json!({"destination": to, "source": from, "type": "bind", "options": ["rbind", "rw"]}));
    }
    for (number, to) in options.writable.iter().enumerate() {
        let from = scratch.path(&format!("writable-{number}"));
        fs::create_dir(&from).unwrap();
        std::os::unix::fs::chown(&from, Some(65532), Some(65532)).unwrap();
        mounts.push(json!({"destination": to, "source": from, "type": "bind", "options": ["rbind", "rw"]}));
    }
    let linux = &mut config["linux"];
    // The network is the pod's: here that of the test.
    linux["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "network");
    let group = options.below.as_ref().map_or_else(|| name.clone(), |pod| format!("{pod}/{name}"));
    linux["cgroupsPath"] = format!("/{group}").into();
    linux["seccomp"] = seccomp::profile();
    let resources = linux["resources"].as_object_mut().unwrap();
    if let Some(bytes) = options.memory {
        // As the kubelet: memory alone, no swap.
        resources.insert("memory".into(), json!({"limit": bytes, "swap": bytes}));
    }
    if let Some(thousandths) = options.cpu {
        resources.insert("cpu".into(), json!({"quota": thousandths * 100, "period": 100_000}));
    }
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    Remains { name, group: Group(group), state: scratch.path("runc") }
}
