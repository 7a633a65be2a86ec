//! A program of the user as a receiver. It runs without a shell, in a process group of its own and with a clean environment; its
//! input is the JSON. At its deadline the group is killed.

use std::{
    fs::File,
    io::{self, Seek, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{MemfdFlags, memfd_create};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::failure::Failure;
use crate::{
    command::{Ended, Process, clean_environment},
    config::Word,
    failover::Printable,
};

/// Characters of what it said that are told.
const LONGEST: usize = 200;

/// Runs it with this input.
///
/// # Errors
/// Why it did not take it.
pub(super) async fn run(words: &[Word], input: Vec<u8>, limit: Duration, reader: &Arc<Semaphore>) -> Result<(), Failure> {
    let until = Instant::now() + limit;
    let mut command = Command::new(words.first().map_or("", Word::expose));
    clean_environment(command.args(words.iter().skip(1).map(Word::expose)));
    let (gone, _) = oneshot::channel();
    let runtime = Handle::current();
    let starting = async {
        let place = Arc::clone(reader).acquire_owned().await.ok()?;
        let start = move || {
            // The file may be on a disk that does not answer: then no more threads hang with it.
            let _place = place;
            Process::start(command, in_memory(&input)?, gone, &runtime)
        };
        spawn_blocking(start).await.ok()
    };
    let mut process = match timeout_at(until, starting).await {
        Ok(Some(Ok(process))) => process,
        Ok(Some(Err(error))) => return Err(Failure::again(format!("it cannot be started: {error}"))),
        Ok(None) | Err(_) => return Err(Failure::again("it could not be started in time")),
    };
    let Ok(ended) = timeout_at(until, process.ended()).await else {
        return Err(Failure::again(format!("it did not end within {limit:?} and was killed{}", said(words, &process))));
    };
    match ended {
        Ended::Code(0) => Ok(()),
        Ended::Code(code) => Err(Failure::again(format!("it failed with exit code {code}{}", said(words, &process)))),
        Ended::Signal(signal) => Err(Failure::again(format!("it was killed by signal {signal}{}", said(words, &process)))),
        Ended::Unknown => Err(Failure::again("how it ended is not known")),
    }
}

/// A file without a name: unlike a pipe it takes all of it at once, whether the program reads or not.
fn in_memory(input: &[u8]) -> io::Result<Stdio> {
    let mut file = File::from(memfd_create("notification", MemfdFlags::CLOEXEC)?);
    file.write_all(input)?;
    file.rewind()?;
    Ok(file.into())
}

/// The first line of what it said, errors first, without what must not be shown.
fn said(words: &[Word], process: &Process) -> String {
    let (stdout, stderr) = process.said();
    let line = |output: &[u8]| {
        let text = String::from_utf8_lossy(output).into_owned();
        text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    };
    let Some(line) = line(stderr).or_else(|| line(stdout)) else { return String::new() };
    let secrets = words.iter().filter(|word| matches!(word, Word::Secret(_))).map(Word::expose).filter(|word| !word.is_empty());
    let line = secrets.fold(line, |line, secret| line.replace(secret, "***"));
    format!("; it said: {}", Printable::from(line.chars().take(LONGEST).collect::<String>()))
}
