//! Reads and writes the state files on a separate thread: a hung disk must delay no probe and no failover.
//!
//! One thread serves all pools. Their files are in one directory, so a disk that hangs for one hangs for all. A pending write of a
//! pool is replaced by a newer one, so nothing piles up behind such a disk.
//!
//! Writing is best effort, and follows the activation; nothing waits for it. A mainstay that is killed in between reads the earlier
//! state. That must be as safe as having no state file.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};

use super::file::{self, Kept};
use crate::metrics::Metrics;

/// How long to wait for the state of an earlier process. A pool that waits for it is not probed.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// After a failure, until the next attempt, unless there is something new to write before.
const RETRY: Duration = Duration::from_secs(5);
/// A slower file operation is reported.
const SLOW: Duration = Duration::from_secs(2);
/// How long to wait for pending writes when the process ends.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// The thread that owns the state files. Copies are the same.
#[derive(Clone)]
pub struct StateWriter(Arc<Shared>);

struct Shared {
    directory: PathBuf,
    metrics: Arc<Metrics>,
    book: Mutex<Book>,
    changed: Condvar,
}

#[derive(Default)]
struct Book {
    /// Oldest first; at most one write for each file.
    jobs: VecDeque<(Arc<Path>, Job)>,
    /// What the thread is doing, and since when.
    busy: Option<(Arc<Path>, Instant)>,
    /// Files whose last write failed, and why.
    failed: BTreeMap<Arc<Path>, String>,
    /// No attempt before this.
    rest: Option<Instant>,
    /// Nothing more comes.
    is_closed: bool,
    /// Another process owns the files: what is to be written waits.
    is_lent: bool,
}

/// A file, its content, and whether it was written.
type Written = (Arc<Path>, Arc<[u8]>, io::Result<()>);

enum Job {
    Read(Box<dyn FnOnce() + Send>),
    Write(Arc<[u8]>),
}

impl Book {
    fn writes(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.jobs.iter().filter(|(_, job)| matches!(job, Job::Write(_))).map(|(path, _)| path)
    }

    fn fail(&mut self, path: &Arc<Path>, error: String) {
        if !self.failed.contains_key(path) {
            tracing::error!(file = %path.display(), error, "the state file cannot be written; a restart would forget what it holds, such as the highest database epoch");
        }
        self.failed.insert(Arc::clone(path), error);
    }

    /// Files whose latest value is not on disk.
    fn unwritten(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.writes().chain(self.failed.keys()).chain(self.busy.as_ref().map(|(path, _)| path)).collect();
        paths.sort_unstable();
        paths.dedup();
        paths.iter().map(|path| path.display().to_string()).collect()
    }
}

impl StateWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start(directory: &Path, metrics: &Arc<Metrics>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            metrics: Arc::clone(metrics),
            book: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        thread::Builder::new().name("mainstay-state".to_owned()).spawn(move || own.work())?;
        Ok(Self(shared))
    }

    /// Faults of the disk, each a sentence. A restart would not repair it.
    pub fn complaints(&self) -> Vec<String> {
        let book = self.0.lock();
        let slow = book.busy.as_ref().filter(|(_, since)| since.elapsed() >= SLOW);
        let slow = slow.map(|(path, since)| {
            let seconds = since.elapsed().as_secs();
            format!(
                "the disk under state_dir has not answered for {seconds} s, at {}; nothing is remembered meanwhile",
                path.display()
            )
        });
        let failed = book.failed.iter().map(|(path, why)| format!("the state file {} cannot be written: {why}", path.display()));
        slow.into_iter().chain(failed).collect()
    }

    /// The file of one pool.
    pub(crate) fn file<T: Kept>(&self, pool: &str) -> StateFile<T> {
        self.at(file::path::<T>(&self.0.directory, pool))
    }

    /// A file of the whole process.
    pub(crate) fn process_file<T: Kept>(&self) -> StateFile<T> {
        self.at(file::process_path::<T>(&self.0.directory))
    }

    fn at<T>(&self, path: PathBuf) -> StateFile<T> {
        StateFile { shared: Arc::clone(&self.0), path: path.into(), kept: PhantomData }
    }

    /// Waits for what is to be written, but not for long; then another process owns the files, until [`StateWriter::take_back`].
    /// Blocks.
    pub(crate) fn lend(&self) {
        let mut book = self.0.lock();
        book.rest = None;
        let mut book = self.0.finish(book);
        book.is_lent = true;
        let files = book.unwritten().join(", ");
        drop(book);
        if !files.is_empty() {
            tracing::warn!(%files, "the latest state was not written before another process took over; it reads an older one");
        }
    }

    /// This process owns the files again, and writes the latest.
    pub(crate) fn take_back(&self) {
        self.0.lock().is_lent = false;
        self.0.changed.notify_all();
    }

    /// Waits for the last writes, but not for long, and reports what is not on disk. Blocks.
    pub(crate) fn close(&self) {
        let mut book = self.0.lock();
        (book.is_closed, book.rest) = (true, None);
        if book.is_lent {
            book.jobs.clear();
        }
        let book = self.0.finish(book);
        let files = book.unwritten().join(", ");
        drop(book);
        if !files.is_empty() {
            tracing::error!(%files, "the latest state was not written before the end; the next start knows an older one");
        }
    }
}

impl fmt::Debug for StateWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateWriter").field(&self.0.directory).finish()
    }
}

/// A file of one pool, or of the process.
pub(crate) struct StateFile<T> {
    shared: Arc<Shared>,
    path: Arc<Path>,
    kept: PhantomData<T>,
}

impl<T: Kept> StateFile<T> {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The state of an earlier process, or of this one before a reload; nothing when the disk does not answer in time.
    pub(crate) async fn read(&self) -> T {
        if let Ok(Some(kept)) = timeout(READ_PATIENCE, self.read_at_last()).await {
            return kept;
        }
        file::passed_over::<T>(&self.path, &format!("the disk did not answer within {READ_PATIENCE:?}"));
        T::default()
    }

    /// The same, however long the disk takes; `None` when the process ends before.
    pub(crate) async fn read_at_last(&self) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let path = Arc::clone(&self.path);
        // The caller may have given up.
        let read = move || drop(reply.send(file::read(&path)));
        self.shared.add(Arc::clone(&self.path), Job::Read(Box::new(read)));
        answer.await.ok()
    }

    /// Queues a write, in place of any pending one. Does not wait. What could not be read again is not written.
    pub(crate) fn write(&self, kept: &T) {
        let content = file::content(kept);
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        if length > T::MAX_LEN {
            self.shared.lock().fail(&self.path, file::too_long::<T>(length));
        } else {
            self.shared.add(Arc::clone(&self.path), Job::Write(content.into()));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, path: Arc<Path>, job: Job) {
        let mut book = self.lock();
        let is_older = |(other, old): &(Arc<Path>, Job)| matches!((old, &job), (Job::Write(_), Job::Write(_))) && *other == path;
        match book.jobs.iter().position(is_older) {
            Some(place) => book.jobs[place].1 = job,
            None => book.jobs.push_back((path, job)),
        }
        book.rest = None;
        self.show(&book);
        self.changed.notify_all();
    }

    /// Waits until nothing is left to do, for [`LAST_PATIENCE`] at most.
    fn finish<'a>(&self, mut book: MutexGuard<'a, Book>) -> MutexGuard<'a, Book> {
        let deadline = Instant::now() + LAST_PATIENCE;
        self.changed.notify_all();
        while !book.jobs.is_empty() || book.busy.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            book = self.changed.wait_timeout(book, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        book
    }

    fn show(&self, book: &Book) {
        let pending = book.writes().next().is_some() || book.busy.is_some();
        self.metrics.process.state_write_pending.set(i64::from(pending));
    }

    fn work(&self) {
        while let Some((path, job)) = self.next() {
            match job {
                Job::Read(read) => {
                    read();
                    self.done(None);
                }
                Job::Write(content) => {
                    let written = file::write(&path, &content);
                    self.done(Some((path, content, written)));
                }
            }
        }
    }

    /// The next job; `None` at the end.
    fn next(&self) -> Option<(Arc<Path>, Job)> {
        let mut book = self.lock();
        loop {
            let rest = book.rest.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            if rest.is_zero()
                && !book.is_lent
                && let Some((path, job)) = book.jobs.pop_front()
            {
                book.busy = Some((Arc::clone(&path), Instant::now()));
                return Some((path, job));
            }
            if book.is_closed {
                return None;
            }
            let rest = if rest.is_zero() { Duration::MAX } else { rest };
            book = self.changed.wait_timeout(book, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn done(&self, write: Option<Written>) {
        let mut book = self.lock();
        book.busy = None;
        match write {
            Some((path, _, Ok(()))) if book.failed.remove(&path).is_some() => {
                tracing::info!(file = %path.display(), "the state file can be written again");
            }
            None | Some((_, _, Ok(()))) => {}
            Some((path, content, Err(error))) => {
                self.metrics.process.state_write_failures.inc();
                book.fail(&path, error.to_string());
                if !book.is_closed {
                    book.rest = Some(Instant::now() + RETRY);
                    if !book.writes().any(|other| *other == path) {
                        book.jobs.push_back((path, Job::Write(content)));
                    }
                }
            }
        }
        self.show(&book);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Kept for u64 {
        const NAME: &'static str = "number";
        const MAX_LEN: u64 = 64;
        const LOST: &'static str = "nothing follows";
    }

    #[test]
    fn what_is_newer_takes_the_place_of_what_is_still_to_be_written() {
        let metrics = Metrics::new().unwrap();
        let shared = Arc::new(Shared { directory: "/x".into(), metrics, book: Mutex::default(), changed: Condvar::new() });
        let state = StateWriter(Arc::clone(&shared));
        let (orders, users) = (state.file("orders"), state.file("users"));
        for number in 1..=1000_u64 {
            orders.write(&number);
            users.write(&(number + 1));
        }
        let writes: Vec<_> = shared.lock().jobs.drain(..).collect();
        assert_eq!(writes.len(), 2);
        let is = |job: &Job, number: u64| matches!(job, Job::Write(content) if **content == *file::content(&number));
        assert!(is(&writes[0].1, 1000) && is(&writes[1].1, 1001));
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written_and_told() {
        #[derive(Default, serde::Serialize, serde::Deserialize)]
        struct Text(String);
        impl Kept for Text {
            const NAME: &'static str = "text";
            const MAX_LEN: u64 = 64;
            const LOST: &'static str = "nothing follows";
        }
        let metrics = Metrics::new().unwrap();
        let shared = Arc::new(Shared { directory: "/x".into(), metrics, book: Mutex::default(), changed: Condvar::new() });
        let state = StateWriter(Arc::clone(&shared));
        let file = state.file("orders");
        file.write(&Text("short".into()));
        file.write(&Text("x".repeat(100)));
        assert!(state.complaints()[0].contains("may have 64"), "{:?}", state.complaints());
        let (_, Job::Write(content)) = shared.lock().jobs.pop_front().unwrap() else { panic!("it is written") };
        assert!(content.len() < 64 && shared.lock().jobs.is_empty(), "the one before is");
    }
}
