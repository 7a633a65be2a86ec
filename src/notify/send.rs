//! One try to tell a receiver something.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::{
    exec,
    failure::Failure,
    format::{self, Message},
    http::{self, Target},
    notice::{Alert, Stage},
    sign,
};
use crate::{
    config::{Destination, Secret, parse_url, signing_key},
    failover::label::Label as _,
    reason::ReceiverKind,
};

/// For one try, all of it.
const LIMIT: Duration = Duration::from_secs(10);

/// A receiver's way out. Cloning it keeps the bound.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    to: Destination,
    /// Reads of files and of names that may hang: one for each receiver.
    reader: Arc<Semaphore>,
}

impl Sender {
    pub(super) fn new(to: &Destination) -> Self {
        Self { to: to.clone(), reader: Arc::new(Semaphore::new(1)) }
    }

    pub(super) const fn kind(&self) -> ReceiverKind {
        kind(&self.to)
    }

    /// One try.
    ///
    /// # Errors
    /// Why the receiver has not taken it.
    pub(super) async fn once(&self, message: &Message) -> Result<(), Failure> {
        if let Destination::Exec(words) = &self.to {
            return exec::run(words, body(&format::generic(message)).to_vec(), LIMIT, &self.reader).await;
        }
        let until = Instant::now() + LIMIT;
        let late = || Failure::again(format!("it has not answered within {LIMIT:?}"));
        timeout_at(until, self.post(message)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn post(&self, message: &Message) -> Result<(), Failure> {
        let (target, secret) = self.prepared().await?;
        match &self.to {
            Destination::Slack(_) => http::post(&target, body(&format::slack(message)), Vec::new()).await,
            Destination::PagerDuty(_) => {
                let event = |ends| body(&format::pager_duty(message, secret.expose(), ends));
                let is_over = matches!(message.notice.stage, Stage::Over(_));
                http::post(&target, event(is_over), Vec::new()).await?;
                if message.notice.alert == Alert::Test {
                    http::post(&target, event(true), Vec::new()).await?;
                }
                Ok(())
            }
            Destination::Webhook(_) => {
                let key = signing_key(secret.expose()).map_err(|why| Failure::again(format!("secret_file: {why}")))?;
                let body = body(&format::generic(message));
                http::post(&target, body.clone(), signed(&key, message, &body)?).await
            }
            Destination::Exec(_) => Ok(()),
        }
    }

    /// What is read anew for each try: the secret, the authorities, and the addresses of the host.
    async fn prepared(&self) -> Result<(Target, Secret), Failure> {
        let stuck = || Failure::again("this machine's disk or resolver does not answer");
        let place = Arc::clone(&self.reader).acquire_owned().await.map_err(|_| stuck())?;
        let to = self.to.clone();
        let reading = spawn_blocking(move || {
            // Held until they have answered, so that no more threads hang with it.
            let _place = place;
            read(&to)
        });
        reading.await.unwrap_or_else(|_| Err(stuck()))
    }
}

pub(super) const fn kind(to: &Destination) -> ReceiverKind {
    match to {
        Destination::Slack(_) => ReceiverKind::Slack,
        Destination::PagerDuty(_) => ReceiverKind::PagerDuty,
        Destination::Webhook(_) => ReceiverKind::Webhook,
        Destination::Exec(_) => ReceiverKind::Exec,
    }
}

/// Blocks on the disk and the resolver.
fn read(to: &Destination) -> Result<(Target, Secret), Failure> {
    let secret =
        |name: &str, file: &Path| Secret::read(file).map_err(|why| Failure::again(format!("{name} {}: {why}", file.display())));
    let url = |text: &str| parse_url(text).map_err(Failure::never);
    match to {
        Destination::Slack(slack) => {
            let secret = secret("url_file", &slack.url_file)?;
            Ok((http::prepare(url(secret.expose())?, slack.tls_ca_file.as_ref())?, secret))
        }
        Destination::PagerDuty(pagerduty) => {
            let secret = secret("routing_key_file", &pagerduty.routing_key_file)?;
            Ok((http::prepare(url(pagerduty.url.expose())?, pagerduty.tls_ca_file.as_ref())?, secret))
        }
        Destination::Webhook(webhook) => {
            let secret = secret("secret_file", &webhook.secret_file)?;
            Ok((http::prepare(url(webhook.url.expose())?, webhook.tls_ca_file.as_ref())?, secret))
        }
        Destination::Exec(_) => Err(Failure::never("it has no URL")),
    }
}

/// The headers of Standard Webhooks. The time is that of the try.
fn signed(key: &[u8], message: &Message, body: &[u8]) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let headers = [
        ("webhook-id", message.id.clone()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", sign::signature(key, &message.id, seconds, body)),
    ];
    let header =
        |(name, value): (&'static str, String)| Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?));
    headers.into_iter().map(header).collect::<Option<_>>().ok_or_else(|| Failure::never("it cannot be signed"))
}

fn body(value: &serde_json::Value) -> Bytes {
    value.to_string().into()
}

impl std::fmt::Display for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind().as_str())
    }
}
