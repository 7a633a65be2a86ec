//! Programs that a test starts: none is waited for without an end.
#![allow(missing_docs, clippy::missing_panics_doc, clippy::unwrap_used, reason = "a failing test should panic")]

use std::{
    fs::{self, DirEntry},
    io::{self, BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use crate::wait::{patience, until, wait_until};

/// How long a program may take; a server's clean stop, or a new cluster, takes longer than most conditions.
fn limit() -> Duration {
    3 * patience()
}

/// As `output`, `status` and `wait` of the standard library, but a program that does not end in time is killed and fails the test.
pub trait Bounded {
    /// What a program printed, and how it ended; it has no input.
    ///
    /// # Errors
    /// It cannot be started.
    fn bounded_output(&mut self) -> io::Result<Output>;

    /// How a program ended; its output is not read.
    ///
    /// # Errors
    /// It cannot be started.
    fn bounded_status(&mut self) -> io::Result<ExitStatus>;
}

impl Bounded for Command {
    fn bounded_output(&mut self) -> io::Result<Output> {
        let child = self.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(output(child))
    }

    fn bounded_status(&mut self) -> io::Result<ExitStatus> {
        Ok(ended(&mut self.spawn()?))
    }
}

/// What a child prints from now on, and how it ends.
#[track_caller]
pub fn output(mut child: Child) -> Output {
    let (stdout, stderr) = (child.stdout.take().map(all_of), child.stderr.take().map(all_of));
    let status = ended(&mut child);
    // Whoever has inherited its output may keep it open.
    let all = |said: Option<Receiver<Vec<u8>>>| said.map_or(Vec::new(), |said| said.recv_timeout(patience()).unwrap());
    Output { status, stdout: all(stdout), stderr: all(stderr) }
}

/// Waits for the end of a child.
#[track_caller]
pub fn ended(child: &mut Child) -> ExitStatus {
    ends(child).unwrap_or_else(|| {
        let _ = child.kill();
        panic!("process {} did not end and was killed", child.id())
    })
}

/// Waits until no thread of a process that was sent SIGSTOP runs any more: the signal takes its time.
#[track_caller]
pub fn until_stopped(pid: u32) {
    let stat = |task: DirEntry| fs::read_to_string(task.path().join("stat")).unwrap_or_default();
    // Behind the name, which may hold anything: the state; Z is for a thread that has ended.
    let is_still = |stat: String| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 'Z', 'X']));
    until("every thread stands still", || {
        let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        tasks.all(|task| is_still(stat(task))).then_some(())
    });
}

/// How a child ends; `None`: not in time.
pub fn ends(child: &mut Child) -> Option<ExitStatus> {
    let mut ended = None;
    wait_until(limit(), || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    ended
}

fn all_of(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = tell.send(bytes);
    });
    told
}

/// The lines that a child prints, one after the other.
pub struct Lines(Receiver<String>);

impl Lines {
    pub fn of(output: impl Read + Send + 'static) -> Self {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self(told)
    }

    /// The next line; `None` after the last one.
    #[track_caller]
    pub fn next(&self) -> Option<String> {
        match self.0.recv_timeout(limit()) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("waited in vain for a line"),
        }
    }
}
