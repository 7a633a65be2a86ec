//! Resolves names with the system's resolver. It blocks, for half a minute when no name server answers, so it runs on separate
//! threads: nothing else waits behind a name.
//!
//! There is at most one lookup per name in the whole process, and all who ask meanwhile share its answer. So there are as many
//! threads as unanswered names, at most [`THREADS`]; they end when there is nothing to look up.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, ToSocketAddrs},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::watch;

/// Names that are looked up at the same time. More of them wait.
const THREADS: usize = 32;

/// The result of a lookup.
pub(super) type Answer = Result<Arc<[IpAddr]>, Arc<str>>;

/// Looks up the addresses of a name, in the order of the answer. The caller decides how long to wait: dropping this ends the wait,
/// not the lookup.
pub(super) async fn lookup(host: &str) -> Answer {
    static ALL: LazyLock<Arc<Lookups>> = LazyLock::new(|| Arc::new(Lookups::new(THREADS, ask_the_system)));
    ALL.lookup(host).await
}

fn ask_the_system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

struct Lookups {
    most: usize,
    ask: fn(&str) -> io::Result<Vec<IpAddr>>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// Every name that is being looked up, or waits for that.
    expected: HashMap<Arc<str>, watch::Receiver<Option<Answer>>>,
    waiting: VecDeque<(Arc<str>, watch::Sender<Option<Answer>>)>,
    threads: usize,
}

impl Lookups {
    fn new(most: usize, ask: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Self { most, ask, book: Mutex::default() }
    }

    async fn lookup(self: &Arc<Self>, host: &str) -> Answer {
        let mut expected = self.expect(host);
        let answer = expected.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        answer.unwrap_or_else(|| Err("the lookup was broken off".into()))
    }

    fn expect(self: &Arc<Self>, host: &str) -> watch::Receiver<Option<Answer>> {
        let mut book = self.lock();
        if let Some(expected) = book.expected.get(host) {
            return expected.clone();
        }
        let host = Arc::<str>::from(host);
        let (publish, expected) = watch::channel(None);
        book.expected.insert(Arc::clone(&host), expected.clone());
        book.waiting.push_back((host, publish));
        if book.threads < self.most {
            let own = Arc::clone(self);
            match thread::Builder::new().name("mainstay-names".to_owned()).spawn(move || own.work()) {
                Ok(_) => book.threads += 1,
                // The running threads will come to it.
                Err(_) if book.threads > 0 => {}
                Err(error) => Self::fail_all(&mut book, &error),
            }
        }
        expected
    }

    fn fail_all(book: &mut Book, error: &io::Error) {
        let why = Arc::<str>::from(format!("no thread can be started to look it up: {error}"));
        for (host, publish) in std::mem::take(&mut book.waiting) {
            book.expected.remove(&host);
            publish.send_replace(Some(Err(Arc::clone(&why))));
        }
    }

    fn work(&self) {
        while let Some((host, publish)) = self.next() {
            let answer = (self.ask)(&host).map(Arc::from).map_err(|error| error.to_string().into());
            self.lock().expected.remove(&host);
            publish.send_replace(Some(answer));
        }
    }

    fn next(&self) -> Option<(Arc<str>, watch::Sender<Option<Answer>>)> {
        let mut book = self.lock();
        let next = book.waiting.pop_front();
        if next.is_none() {
            book.threads -= 1;
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Condvar,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use tokio::{
        task::JoinSet,
        time::{sleep, timeout},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static AT_ONCE: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    static SPEAKS: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    /// A name server that answers nobody until it speaks.
    fn silent(host: &str) -> io::Result<Vec<IpAddr>> {
        ASKED.fetch_add(1, Ordering::SeqCst);
        MOST.fetch_max(AT_ONCE.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        drop(SPEAKS.1.wait_while(SPEAKS.0.lock().unwrap(), |speaks| !*speaks).unwrap());
        AT_ONCE.fetch_sub(1, Ordering::SeqCst);
        if host == "gone" { Err(io::Error::other("no such name")) } else { Ok(vec![[127, 0, 0, 1].into()]) }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_ask_and_only_so_many_at_a_time() {
        let lookups = Arc::new(Lookups::new(3, silent));
        let mut asking = JoinSet::new();
        for n in 0..1000 {
            let lookups = Arc::clone(&lookups);
            asking.spawn(async move {
                BEGUN.fetch_add(1, Ordering::SeqCst);
                lookups.lookup(["a", "b", "c", "d", "gone"][n % 5]).await
            });
        }
        let all_ask = async {
            while BEGUN.load(Ordering::SeqCst) < 1000 || AT_ONCE.load(Ordering::SeqCst) < 3 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, all_ask).await.unwrap();
        // Whoever loses patience costs nothing.
        assert!(timeout(Duration::from_millis(1), lookups.lookup("a")).await.is_err());
        *SPEAKS.0.lock().unwrap() = true;
        SPEAKS.1.notify_all();
        let answers = timeout(PATIENCE, asking.join_all()).await.unwrap();
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 800);
        assert!(answers.iter().all(|answer| answer.as_ref().err().is_none_or(|why| &**why == "no such name")));
        assert_eq!((ASKED.load(Ordering::SeqCst), MOST.load(Ordering::SeqCst)), (5, 3));
        let all_end = async {
            while lookups.lock().threads > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, all_end).await.unwrap();
        assert!(lookups.lock().expected.is_empty());
        assert!(lookups.lookup("a").await.is_ok(), "and again later");
    }
}
