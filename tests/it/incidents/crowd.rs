//! Clients that measure what they feel: each has a session, and when it is lost connects again until it is served.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use lab::session::{Endpoint, Session};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::wait::{until, within};

/// Between two queries of a session, and after a rejection.
const PAUSE: Duration = Duration::from_millis(10);

/// What all of them felt.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Sessions that were lost.
    pub lost: u64,
    /// Connects after the first loss that were served.
    pub served: u64,
    /// Connects that were rejected.
    pub rejected: u64,
    /// Connects that ended in any other way.
    pub broken: u64,
    /// The longest connect after the first loss.
    pub longest: Duration,
    first_lost: Option<Instant>,
    first_served: Option<Instant>,
}

impl Figures {
    /// From the first loss to the first client that was served again, or until now.
    pub fn felt(&self) -> Duration {
        let until = self.first_served.unwrap_or_else(Instant::now);
        self.first_lost.map_or(Duration::ZERO, |lost| until - lost)
    }
}

pub struct Crowd {
    figures: Arc<Mutex<Figures>>,
    connected: Arc<Mutex<usize>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    /// How long they had to wait for a processor.
    unscheduled: Arc<Mutex<Duration>>,
    count: usize,
}

impl Crowd {
    /// So many clients, all of which are served.
    pub fn before(address: SocketAddr, count: usize) -> Self {
        let (figures, connected, stop) = (Arc::default(), Arc::default(), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clients: Vec<_> =
            (0..count).map(|_| client(address, Arc::clone(&figures), Arc::clone(&connected), stop.clone())).collect();
        let unscheduled = Arc::new(Mutex::default());
        let noted = Arc::clone(&unscheduled);
        let thread = std::thread::spawn(move || {
            runtime.spawn(note_unscheduled(noted));
            runtime.block_on(async { drop(clients.into_iter().collect::<JoinSet<()>>().join_all().await) });
        });
        let crowd = Self { figures, connected, stop, thread: Some(thread), unscheduled, count };
        crowd.all_are_served();
        crowd
    }

    pub fn all_are_served(&self) {
        until("every client is served", || (*self.connected.lock().unwrap() == self.count).then_some(()));
    }

    /// Waits until each has lost its session and is served again.
    pub fn comes_back(&self) {
        let all = u64::try_from(self.count).unwrap();
        within(Duration::from_mins(1), "every client has come back", || (self.figures().served >= all).then_some(()));
    }

    pub fn figures(&self) -> Figures {
        self.figures.lock().unwrap().clone()
    }

    /// Ends each of them after its attempt that is under way.
    pub fn stop(&mut self) -> Figures {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.figures()
    }

    /// What is told and what was measured differ by at most 100 ms, but for the time for which the clients had no processor.
    #[track_caller]
    pub fn agrees(&self, what: &str, told: &Value, measured: Duration) {
        let slack = *self.unscheduled.lock().unwrap();
        let (told, measured) = (told.as_f64().unwrap(), measured.as_secs_f64());
        println!("# {what}: told {told:.3} s, measured {measured:.3} s (no processor: {slack:?})");
        assert!((told - measured).abs() <= 0.1 + slack.as_secs_f64(), "{what}: told {told}, measured {measured}");
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How long this thread wanted to run and had no processor (schedstat, second number), brought up to date all the time.
async fn note_unscheduled(noted: Arc<Mutex<Duration>>) {
    loop {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        let nanos = text.split(' ').nth(1).and_then(|nanos| nanos.parse().ok()).unwrap();
        *noted.lock().unwrap() = Duration::from_nanos(nanos);
        // Soon enough: it is looked at after what is measured.
        tokio::time::sleep(PAUSE).await;
    }
}

async fn client(address: SocketAddr, figures: Arc<Mutex<Figures>>, connected: Arc<Mutex<usize>>, stop: CancellationToken) {
    let note = |what: &dyn Fn(&mut Figures)| what(&mut figures.lock().unwrap());
    while !stop.is_cancelled() {
        let began = Instant::now();
        let session = Session::connect(&Endpoint::Tcp(address), "postgres", "postgres").await;
        let ended = Instant::now();
        note(&|figures| {
            if figures.first_lost.is_none() {
                return;
            }
            figures.longest = figures.longest.max(ended - began);
            match &session {
                Ok(_) => {
                    figures.served += 1;
                    figures.first_served.get_or_insert(ended);
                }
                Err(error) if error.to_string().contains("57P03") || error.to_string().contains("no database node") => {
                    figures.rejected += 1;
                }
                Err(error) => {
                    println!("# a connect failed: {error}");
                    figures.broken += 1;
                }
            }
        });
        if let Ok(mut session) = session {
            *connected.lock().unwrap() += 1;
            while !stop.is_cancelled() && session.query("SELECT 1").await.is_ok() {
                // As an application between two queries.
                tokio::time::sleep(PAUSE).await;
            }
            *connected.lock().unwrap() -= 1;
            if stop.is_cancelled() {
                return session.close().await;
            }
            note(&|figures| {
                figures.lost += 1;
                figures.first_lost.get_or_insert_with(Instant::now);
            });
        } else {
            // As an application that tries again.
            tokio::time::sleep(PAUSE).await;
        }
    }
}
