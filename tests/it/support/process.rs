//! The real binary as a process of its own, watched from outside: its log, its admin endpoint, and what the kernel says of it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};

use super::{
    child::{Bounded, until_stopped},
    config::relay,
    front::client,
    scratch::Scratch,
    wait::{Watch, patience, until, within},
};

/// One pool `orders` with a quick TCP check; every port chosen by the kernel. JSON is YAML.
pub fn settings(backends: &[SocketAddr]) -> Value {
    let names = ["db-a", "db-b", "db-c"];
    let backends: Vec<_> =
        backends.iter().zip(names).map(|(address, name)| json!({"name": name, "address": address.to_string()})).collect();
    let mut settings = json!({
        "admin": {"listen": "127.0.0.1:0"},
        "log": {"level": "info", "format": "json"},
        "shutdown": {"delay": "0s", "timeout": "5s"},
        "workers": 2,
        "pools": [{
            "name": "orders",
            "listen": "127.0.0.1:0",
            "check": {"tcp": {}, "interval": "200ms", "fast_interval": "50ms", "timeout": "500ms"},
            "connect_timeout": "1s",
            "backends": backends,
        }],
    });
    if relay() != "auto" {
        relay_by(&mut settings, &relay());
    }
    settings
}

/// Lets the listener of the first pool relay in this way.
pub fn relay_by(settings: &mut Value, relay: &str) {
    let pool = settings["pools"][0].as_object_mut().unwrap();
    pool.remove("listen");
    pool.insert("listeners".to_owned(), json!([{"name": "rw", "listen": "127.0.0.1:0", "relay": relay}]));
}

/// What becomes of the log on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stderr {
    /// It is read, and shown when the test fails.
    Read,
    /// The pipe stays open but nobody reads it once the process has started.
    Stuck,
    /// The reading end is closed once the process has started.
    Closed,
}

/// Its end, or the test's, removes it, unless the test made it.
struct SettingsFile {
    path: PathBuf,
    is_own: bool,
}

impl SettingsFile {
    fn new(settings: &Value) -> Self {
        Self::with(&settings.to_string())
    }

    fn with(text: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mainstay-test-{}-{number}.yaml", std::process::id()));
        fs::write(&path, text).unwrap();
        Self { path, is_own: true }
    }

    /// Puts another file in its place.
    fn replace(&self, text: &str) {
        let new = self.path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.path).unwrap();
    }
}

impl Drop for SettingsFile {
    fn drop(&mut self) {
        if self.is_own {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn command(prefix: &[&str], file: &SettingsFile) -> Command {
    let mut words: Vec<&str> = prefix.to_vec();
    words.extend([env!("CARGO_BIN_EXE_mainstay"), "run", "--config", file.path.to_str().unwrap()]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// A start that must fail, by way of another program that becomes it: the exit code, and all that it said.
pub fn start_in_vain(prefix: &[&str], settings: &Value) -> (Option<i32>, String) {
    let file = SettingsFile::new(settings);
    let mut command = command(prefix, &file);
    let output = command.stdin(Stdio::null()).bounded_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap() + std::str::from_utf8(&output.stdout).unwrap())
}

/// Reads a log until its end.
fn follow(lines: BufReader<ChildStderr>, log: &Arc<Mutex<Vec<String>>>) {
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            log.lock().unwrap().push(line + "\n");
        }
    });
}

/// Reads a log until it says where the process listens: for the clients of the first pool, and for its administration. `None`: it has ended.
fn listening(
    mut lines: BufReader<ChildStderr>,
    log: &Mutex<Vec<String>>,
) -> Option<(SocketAddr, SocketAddr, BufReader<ChildStderr>)> {
    let mut address = None;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let record: Value = serde_json::from_str(&line).unwrap_or_default();
        let first = |key: &str| {
            record[key].as_str()?.strip_prefix('[')?.strip_suffix(']')?.split(", ").find_map(|address| address.parse().ok())
        };
        if record["message"] == "listening" && address.is_none() {
            address = first("addresses");
        }
        let admin = first("admin");
        log.lock().unwrap().push(line);
        if let Some(admin) = admin {
            return Some((address?, admin, lines));
        }
    }
}

pub struct Process {
    child: Child,
    /// Where the clients of the first pool connect.
    pub address: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    stuck: Option<BufReader<ChildStderr>>,
    file: SettingsFile,
}

impl Process {
    /// Starts it and waits until it listens.
    pub fn start(settings: &Value) -> Self {
        Self::start_under(&[], settings, Stderr::Read)
    }

    /// As [`Process::start`], configured by a whole file.
    pub fn start_with(text: &str) -> Self {
        Self::start_file(&[], SettingsFile::with(text), Stderr::Read)
    }

    /// As [`Process::start`], configured by a file of the test's.
    pub fn start_at(path: PathBuf) -> Self {
        Self::start_file(&[], SettingsFile { path, is_own: false }, Stderr::Read)
    }

    /// As [`Process::start`], by the test's own command, which reads no file that [`Process::replace`] could replace.
    pub fn start_by(command: Command) -> Self {
        Self::start_command(command, SettingsFile { path: PathBuf::new(), is_own: false }, Stderr::Read)
    }

    /// As [`Process::start`], by way of another program (`prlimit`, …) that becomes it.
    pub fn start_under(prefix: &[&str], settings: &Value, stderr: Stderr) -> Self {
        Self::start_file(prefix, SettingsFile::new(settings), stderr)
    }

    /// With a `state_dir` on a disk that is full: its root is the only inode. Also that directory, as the process names it.
    pub fn start_on_a_full_disk(scratch: &Scratch, settings: &mut Value) -> (Self, PathBuf) {
        let disk = scratch.path("disk");
        fs::create_dir(&disk).unwrap();
        settings["state_dir"] = json!(disk);
        let script = "mount -t tmpfs -o size=64k,nr_inodes=1 none \"$0\" || exit 1; exec \"$@\"";
        let prefix = ["unshare", "--mount", "sh", "-c", script, disk.to_str().unwrap()];
        (Self::start_under(&prefix, settings, Stderr::Read).serving(), disk)
    }

    fn start_file(prefix: &[&str], file: SettingsFile, stderr: Stderr) -> Self {
        Self::start_command(command(prefix, &file), file, stderr)
    }

    fn start_command(mut command: Command, file: SettingsFile, stderr: Stderr) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = mpsc::channel();
        let (lines, own) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        thread::spawn(move || tell.send(listening(lines, &own)));
        let Ok(Some((address, admin, lines))) = told.recv_timeout(patience()) else {
            let _ = child.kill();
            panic!("mainstay did not start: {:?}\n{}", child.wait(), log.lock().unwrap().join(""));
        };
        let mut stuck = None;
        match stderr {
            Stderr::Read => follow(lines, &log),
            Stderr::Stuck => stuck = Some(lines),
            Stderr::Closed => drop(lines),
        }
        Self { child, address, admin, log, stuck, file }
    }

    /// From now on the log of one that was [`Stderr::Stuck`] is read.
    pub fn read_log(&mut self) {
        follow(self.stuck.take().unwrap(), &self.log);
    }

    /// Waits until the first pool has an active backend.
    pub fn serving(self) -> Self {
        until("a backend serves", || self.status()["pools"][0]["active"].is_string().then_some(()));
        self
    }

    /// Puts another file in the place of its configuration, and asks it by SIGHUP to load it; waits until it has, or has refused.
    pub fn reload(&self, text: &str) {
        let attempts = || self.metric("mainstay_config_reloads_total", &[]);
        let before = attempts();
        self.replace(text);
        self.signal(Signal::HUP);
        until("the configuration was loaded or refused", || (attempts() > before).then_some(()));
    }

    /// Puts another file in the place of its configuration.
    pub fn replace(&self, text: &str) {
        self.file.replace(text);
    }

    /// A client of the first pool.
    pub fn connect(&self) -> TcpStream {
        client(self.address)
    }

    /// `GET path` of the admin endpoint: status code and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap()
    }

    pub fn try_get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.admin, patience())?;
        stream.set_read_timeout(Some(patience()))?;
        // Then a long body is not in chunks.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok((head[9..12].parse().unwrap(), body.to_owned()))
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.get("/api/v1/status").1).unwrap()
    }

    /// The sum of all series of this name whose labels hold every one of these pairs; whole numbers only. Of a metric that the
    /// documentation has, a series that is not shown is 0.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let text = self.get("/metrics").1;
        let series: Vec<u64> = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter(|line| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\""))))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        let is_known = include_str!("../../../docs/metrics.md").contains(&format!("| `{name}` |"));
        assert!(is_known || !series.is_empty(), "there is no series {name} with {labels:?}");
        series.iter().sum()
    }

    /// All log lines so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!({"raw": line}))).collect()
    }

    /// Waits for a log line whose message holds `text`.
    pub fn logged(&self, text: &str) -> Value {
        until(text, || self.log().into_iter().find(|line| line["message"].as_str().is_some_and(|message| message.contains(text))))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it, and waits until it stands still. `SIGCONT` lets it go on.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        until_stopped(self.pid());
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid()))
    }

    /// Open descriptors, but for pipes: those that move streams stay in their pool.
    pub fn files(&self) -> usize {
        self.descriptors().iter().filter(|target| !target.starts_with("pipe:")).count()
    }

    /// Descriptors of pipes; each pipe has two.
    pub fn pipe_ends(&self) -> usize {
        self.descriptors().iter().filter(|target| target.starts_with("pipe:")).count()
    }

    /// What each descriptor stands for.
    fn descriptors(&self) -> Vec<String> {
        let links = fs::read_dir(self.proc("fd")).unwrap();
        links.filter_map(|link| Some(fs::read_link(link.unwrap().path()).ok()?.to_string_lossy().into_owned())).collect()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Processor time that all threads take while `what` is done.
    pub fn processor_time(&self, what: impl FnOnce()) -> Duration {
        let before = self.processor_time_so_far();
        what();
        self.processor_time_so_far().saturating_sub(before)
    }

    /// The same since it started; of threads that have ended nothing is known.
    pub fn processor_time_so_far(&self) -> Duration {
        let nanos = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
        };
        Duration::from_nanos(fs::read_dir(self.proc("task")).unwrap().map(|task| nanos(task.unwrap())).sum())
    }

    /// The id of the thread of this name, which a thread gives itself in its first moment.
    pub fn thread(&self, name: &str) -> String {
        until(&format!("there is a thread {name}"), || {
            let tasks = fs::read_dir(self.proc("task")).unwrap();
            let task = tasks
                .map(|task| task.unwrap())
                .find(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name));
            Some(task?.file_name().into_string().unwrap())
        })
    }

    /// For how long a thread of this id has wanted to run while the machine had other work.
    pub fn kept_from_running(&self, thread: &str) -> Duration {
        let text = fs::read_to_string(self.proc("task").join(thread).join("schedstat")).unwrap();
        Duration::from_nanos(text.split(' ').nth(1).and_then(|nanos| nanos.parse().ok()).unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, which must come within `limit` but for what the machine did for others; how it ended and how long that took.
    pub fn ends_within(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let watch = Watch::start();
        let (status, took) = within(limit.max(patience()), "its end", || {
            let took = watch.unhindered();
            Some((self.child.try_wait().unwrap()?, took))
        });
        assert!(took < limit, "it ended after {took:?}");
        (status, took)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("the log of mainstay:\n{}", self.log.lock().unwrap().join(""));
        }
    }
}
