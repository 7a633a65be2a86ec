//! A second opinion on which server is the primary: that of the Sentinels (Redis documentation, "High availability with Redis
//! Sentinel").
//!
//! Redis does not count promotions, so it cannot tell an old primary that returns from the present one. Sentinels count theirs
//! (`config-epoch`) and agree on the name that has the highest count. They are asked in the background, about once a second, and no
//! check waits for them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    super::{
        bounded::{Allowance, Bounded},
        deadline::Deadline,
        files::Password,
        tcp,
    },
    resp::{self, Reply},
};
use crate::{
    config::Sentinels,
    control::resolver,
    failover::Printable,
    net::{addr::BackendAddr, endpoint::Endpoint},
    telemetry::{Admitted, LineLimit},
};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);
/// For one Sentinel, from the connect to its answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// An opinion that is older counts no more.
const MAX_AGE: Duration = Duration::from_mins(1);

/// The primary that the Sentinels name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) host: String,
    pub(super) port: u16,
    /// How many failovers they have counted.
    pub(super) config_epoch: u64,
}

impl Named {
    /// Whether that is the connected server.
    pub(super) fn is(&self, host: &str, peer: &Endpoint) -> bool {
        let Some(peer) = peer.tcp() else { return false };
        self.port == peer.port() && (self.host.parse() == Ok(peer.ip()) || self.host.eq_ignore_ascii_case(host))
    }
}

/// Their last answer, and when it came.
#[derive(Clone, Debug, Default)]
enum Opinion {
    #[default]
    NotAsked,
    Asked(Option<(Named, Instant)>),
}

/// The Sentinels of a pool. They are asked for as long as this lives.
#[derive(Debug)]
pub(super) struct SentinelMonitor {
    opinion: watch::Receiver<Opinion>,
    _alive: Arc<()>,
}

impl SentinelMonitor {
    /// Begins to ask, on the current runtime.
    pub(super) fn convene(sentinels: &Sentinels) -> Self {
        let (publish, opinion) = watch::channel(Opinion::NotAsked);
        let alive = Arc::new(());
        let asked = Asked { password: sentinels.password.as_ref().map(Password::new), sentinels: sentinels.clone() };
        tokio::spawn(keep_asking(Arc::new(asked), publish, Arc::downgrade(&alive)));
        Self { opinion, _alive: alive }
    }

    /// The primary that they name; `None` when none of them answers. Waits only for the first round.
    pub(super) async fn named(&mut self) -> Option<Named> {
        let asked = self.opinion.wait_for(|opinion| matches!(opinion, Opinion::Asked(_))).await;
        match &*asked.ok()? {
            Opinion::Asked(Some((named, at))) if at.elapsed() < MAX_AGE => Some(named.clone()),
            _ => None,
        }
    }
}

/// Who is asked, and with which password.
struct Asked {
    sentinels: Sentinels,
    password: Option<Password>,
}

async fn keep_asking(asked: Arc<Asked>, publish: watch::Sender<Opinion>, alive: Weak<()>) {
    let (mut told, lines) = (None, LineLimit::default());
    while alive.strong_count() > 0 {
        let mut round = JoinSet::new();
        for sentinel in &asked.sentinels.addresses {
            let (sentinel, asked) = (sentinel.clone(), Arc::clone(&asked));
            round.spawn(async move { timeout(PATIENCE, ask(&sentinel, &asked)).await.ok().flatten() });
        }
        let answers: Vec<_> = round.join_all().await.into_iter().flatten().collect();
        tell_refusals(&answers, &mut told, &lines);
        let named = answers.into_iter().filter_map(Result::ok);
        let heard = named.max_by_key(|named| named.config_epoch).map(|named| (named, Instant::now()));
        publish.send_modify(|opinion| {
            let before = match std::mem::take(opinion) {
                Opinion::Asked(before) => before,
                Opinion::NotAsked => None,
            };
            *opinion = Opinion::Asked(heard.or(before));
        });
        sleep(INTERVAL).await;
    }
}

/// A log line when they begin to refuse to answer, or give another reason for it.
fn tell_refusals(answers: &[Result<Named, Printable>], told: &mut Option<Printable>, lines: &LineLimit<()>) {
    let refusal = answers.iter().find_map(|answer| answer.as_ref().err()).cloned();
    if let Some(why) = refusal.as_ref().filter(|_| refusal != *told)
        && let Some(Admitted { suppressed }) = lines.admits(())
    {
        tracing::warn!(%why, suppressed, "a Sentinel does not answer: it counts as silent");
    }
    *told = refusal;
}

/// One Sentinel's answer, or the error with which it refuses one.
async fn ask(sentinel: &BackendAddr, Asked { sentinels, password }: &Asked) -> Option<Result<Named, Printable>> {
    let addresses = resolver::lookup(sentinel).await.ok()?;
    let (socket, _) = tcp::connect(&addresses, Deadline::after(PATIENCE)).await.ok()?;
    let mut stream = Bounded::new(socket, Allowance::new());
    let mut received = Vec::new();
    if let Some(password) = Password::of(password.as_ref(), PATIENCE / 4).await {
        let login = ["AUTH"].into_iter().chain(sentinels.user.as_deref()).chain([password.expose()]).collect::<Vec<_>>();
        stream.write_all(&resp::command(&login)).await.ok()?;
        if let Reply::Error(why) = reply(&mut stream, &mut received).await? {
            return Some(Err(format!("{sentinel}: {why}").into()));
        }
    }
    let name = &*sentinels.name;
    let questions = [resp::command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]), resp::command(&["SENTINEL", "MASTER", name])];
    stream.write_all(&questions.concat()).await.ok()?;
    let (address, state) = (reply(&mut stream, &mut received).await?, reply(&mut stream, &mut received).await?);
    let (address, state) = match (address, state) {
        (Reply::Error(why), _) | (_, Reply::Error(why)) => return Some(Err(format!("{sentinel}: {why}").into())),
        (Reply::List(address), Reply::List(state)) => (address, state),
        _ => return None,
    };
    let [host, port] = address.as_slice() else { return None };
    let epoch = state.iter().position(|word| word == "config-epoch").and_then(|key| state.get(key + 1)?.parse().ok())?;
    Some(Ok(Named { host: host.clone(), port: port.parse().ok()?, config_epoch: epoch }))
}

async fn reply(stream: &mut Bounded, received: &mut Vec<u8>) -> Option<Reply> {
    loop {
        if let Some((reply, length)) = resp::parse(received).ok()? {
            received.drain(..length);
            return Some(reply);
        }
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_address_or_by_the_name_it_is_configured_by() {
        let named = |host: &str| Named { host: host.into(), port: 6379, config_epoch: 1 };
        let at = |address: &str| Endpoint::from(address.parse::<std::net::SocketAddr>().unwrap());
        let peer = at("10.0.0.1:6379");
        assert!(named("10.0.0.1").is("redis-a", &peer) && named("Redis-A").is("redis-a", &peer));
        assert!(!named("10.0.0.2").is("redis-a", &peer) && !named("10.0.0.1").is("redis-a", &at("10.0.0.1:6380")));
    }
}
