//! Files that are read at each login, off the control thread: a hung disk delays only this check, and is no evidence about the
//! server.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::config::{Secret, SecretSource};

/// Reads that may hang at once. A healthy disk needs one.
static READERS: Semaphore = Semaphore::const_new(8);

/// Does `work`, which reads files, on another thread.
///
/// # Errors
/// Those of `work`, or that it was not done by then.
pub(super) async fn off_thread<T: Send + 'static>(
    by: Instant,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let reading = async {
        let place = READERS.acquire().await;
        let done = tokio::task::spawn_blocking(move || {
            // Held until the disk has answered, so that a hung disk does not take every thread.
            let _place = place;
            work()
        });
        done.await.unwrap_or_else(|_| Err("it could not be read".into()))
    };
    timeout_at(by, reading).await.unwrap_or_else(|_| Err("the file system does not answer in time".into()))
}

/// The password of a login, from its file.
#[derive(Clone, Debug)]
pub(super) struct Password(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    /// The last that could be read.
    secret: Secret,
    /// The last warning about a file that cannot be read.
    told: Option<String>,
}

impl Password {
    /// One that was `secret` when the configuration was read.
    pub(super) fn new(secret: &Secret) -> Self {
        Self(Arc::new(Mutex::new(Known { secret: secret.clone(), told: None })))
    }

    /// That of a login that may have none.
    pub(super) async fn of(login: Option<&Self>, within: Duration) -> Option<Secret> {
        match login {
            Some(password) => Some(password.now(within).await),
            None => None,
        }
    }

    /// The present content of the file. If it cannot be read, its last content: somebody may be writing it, and a password that
    /// still works is better than none.
    pub(super) async fn now(&self, within: Duration) -> Secret {
        let Some(path) = self.path() else { return self.known().secret.clone() };
        let reading = path.clone();
        let read = off_thread(Instant::now() + within, move || Secret::read(&reading)).await;
        let mut known = self.known();
        match read {
            Ok(secret) => (known.secret, known.told) = (secret, None),
            Err(why) => {
                if known.told.as_ref() != Some(&why) {
                    tracing::warn!(file = %path.display(), %why, "a password file cannot be read: the check uses what it held before");
                    known.told = Some(why);
                }
            }
        }
        known.secret.clone()
    }

    fn path(&self) -> Option<PathBuf> {
        match self.known().secret.source() {
            SecretSource::File(path) => Some(path.clone()),
            SecretSource::Program | SecretSource::Variable(_) => None,
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
