//! The newest process tells older ones which backends are active, passes orders on to them, and shows what they still serve.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    runtime::Runtime,
    sync::{mpsc, watch},
    task::AbortHandle,
    time::timeout,
};

use crate::{
    control::Lead,
    failover::RevokeMode,
    incidents::WatchedPool,
    lifecycle::{Lifeline, Phase},
    route::{EventLog, OlderLog, OlderProcess, StateEvent, Verb},
    upgrade::{
        channel,
        message::{PassedOrder, ToNewer, ToOlder},
    },
};

/// For an older process to read what it is told.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);

/// Leads older processes, while there are any.
#[derive(Debug)]
pub(in crate::app) struct Leader {
    pools: watch::Sender<Arc<Vec<WatchedPool>>>,
    events: Arc<EventLog>,
    older: Arc<OlderLog>,
    orders: Mutex<Option<mpsc::UnboundedReceiver<(String, Verb)>>>,
    commands: Mutex<Option<mpsc::UnboundedSender<Command>>>,
}

#[derive(Debug)]
enum Command {
    /// Another process leads them from now on.
    Give(std::sync::mpsc::Sender<Vec<OwnedFd>>),
    /// It does not after all.
    Resume,
}

impl Leader {
    pub(in crate::app) fn new(pools: watch::Sender<Arc<Vec<WatchedPool>>>, events: Arc<EventLog>) -> (Self, Arc<OlderLog>) {
        let (older, orders) = OlderLog::new();
        let older = Arc::new(older);
        let (orders, commands) = (Mutex::new(Some(orders)), Mutex::default());
        (Self { pools, events, older: Arc::clone(&older), orders, commands }, older)
    }

    /// Leads these processes from now on, the newest first.
    ///
    /// # Errors
    /// When there is no thread, or a socket is none.
    pub(super) fn begin(&self, runtime: Runtime, links: Vec<(UnixStream, Vec<u8>)>, lifeline: &Lifeline) -> io::Result<()> {
        let Some(orders) = self.orders.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Err(io::Error::other("older processes are led already"));
        };
        let (commands, commanded) = mpsc::unbounded_channel();
        *self.commands.lock().unwrap_or_else(PoisonError::into_inner) = Some(commands);
        let seen = *self.events.watch().borrow();
        let lead = Led {
            pools: self.pools.subscribe(),
            events: Arc::clone(&self.events),
            older: Arc::clone(&self.older),
            seen,
            links: Vec::new(),
            is_given: false,
        };
        let (lifeline, context) = (lifeline.clone(), runtime.enter());
        let (sender, heard) = mpsc::unbounded_channel();
        let links = links.into_iter().enumerate().map(|(id, (socket, unread))| Link::new(id, socket, unread, &sender));
        let links = links.collect::<io::Result<Vec<_>>>()?;
        drop(context);
        let run = Led { links, ..lead }.run(lifeline, (orders, commanded), (sender, heard));
        thread::Builder::new().name("mainstay-lead".to_owned()).spawn(move || runtime.block_on(run))?;
        Ok(())
    }

    /// The sockets to older processes, for the process that leads them from now on.
    pub(super) fn give(&self) -> Vec<OwnedFd> {
        let (reply, given) = std::sync::mpsc::channel();
        if self.command(Command::Give(reply)) { given.recv_timeout(WRITE_PATIENCE).unwrap_or_default() } else { Vec::new() }
    }

    /// This process leads them again.
    pub(in crate::app) fn resume(&self) {
        self.command(Command::Resume);
    }

    fn command(&self, command: Command) -> bool {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.as_ref().is_some_and(|commands| commands.send(command).is_ok())
    }
}

type Heard = (usize, Option<ToNewer>);

/// A socket to an older process.
struct Link {
    id: usize,
    /// Given to the next process that leads.
    twin: UnixStream,
    /// `None` once it is given.
    writing: Option<OwnedWriteHalf>,
    reader: AbortHandle,
    told: OlderProcess,
}

impl Link {
    /// Within the runtime.
    fn new(id: usize, socket: UnixStream, unread: Vec<u8>, heard: &mpsc::UnboundedSender<Heard>) -> io::Result<Self> {
        let twin = socket.try_clone()?;
        socket.set_nonblocking(true)?;
        let (reading, writing) = tokio::net::UnixStream::from_std(socket)?.into_split();
        let reader = tokio::spawn(read(id, reading, unread, heard.clone())).abort_handle();
        Ok(Self { id, twin, writing: Some(writing), reader, told: OlderProcess::default() })
    }

    async fn say(&mut self, line: &[u8]) -> bool {
        let Some(writing) = &mut self.writing else { return true };
        matches!(timeout(WRITE_PATIENCE, writing.write_all(line)).await, Ok(Ok(())))
    }

    /// Neither reads nor writes any more, and its end does not end the conversation.
    fn let_go(&mut self) {
        self.reader.abort();
        if let Some(writing) = self.writing.take() {
            writing.forget();
        }
    }
}

/// Passes on what an older process says, and at last that it is gone.
async fn read(id: usize, reading: OwnedReadHalf, unread: Vec<u8>, heard: mpsc::UnboundedSender<Heard>) {
    let mut lines = BufReader::new((&unread[..]).chain(reading)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // The first line after a change of the leader may be a part of one.
        if let Ok(message) = serde_json::from_str(&line)
            && heard.send((id, Some(message))).is_err()
        {
            return;
        }
    }
    let _ = heard.send((id, None));
}

struct Led {
    pools: watch::Receiver<Arc<Vec<WatchedPool>>>,
    events: Arc<EventLog>,
    older: Arc<OlderLog>,
    seen: u64,
    links: Vec<Link>,
    /// Another process leads.
    is_given: bool,
}

impl Led {
    /// Until no older process is left, or this one ends.
    async fn run(
        mut self,
        lifeline: Lifeline,
        (mut orders, mut commands): (mpsc::UnboundedReceiver<(String, Verb)>, mpsc::UnboundedReceiver<Command>),
        (sender, mut heard): (mpsc::UnboundedSender<Heard>, mpsc::UnboundedReceiver<Heard>),
    ) {
        let (mut draining, mut forced, mut stopped) = (lifeline.phase.clone(), lifeline.phase.clone(), lifeline.phase.clone());
        let (mut is_draining, mut is_forced) = (false, false);
        let mut newest = self.events.watch();
        self.older.lead(true);
        self.say(&ToOlder::Newest { pid: std::process::id() }).await;
        self.say_all().await;
        while !self.links.is_empty() {
            tokio::select! {
                _ = newest.changed() => self.say_news().await,
                Some((pool, verb)) = orders.recv() => {
                    if let Some(order) = PassedOrder::of(&verb) {
                        self.say(&ToOlder::Order { pool, order }).await;
                    }
                }
                Some((id, message)) = heard.recv() => self.hear(id, message),
                Some(command) = commands.recv() => match command {
                    Command::Give(reply) => self.give(&reply),
                    Command::Resume => self.resume(&sender).await,
                },
                () = draining.reached(Phase::Draining), if !is_draining => {
                    is_draining = true;
                    // One that fails is survived by the older one, which serves again.
                    if !lifeline.vital.is_lost() {
                        self.say(&ToOlder::Stop { force: false }).await;
                    }
                }
                () = forced.reached(Phase::Forced), if !is_forced => {
                    is_forced = true;
                    // A later phase is no order to cut anything.
                    if lifeline.forced.is_cancelled() && !lifeline.vital.is_lost() {
                        self.say(&ToOlder::Stop { force: true }).await;
                    }
                }
                () = stopped.reached(Phase::Stopped) => return,
            }
        }
        self.older.lead(false);
        self.older.show(Vec::new());
    }

    /// Which backends are active.
    async fn say_all(&mut self) {
        let pools = Arc::clone(&self.pools.borrow_and_update());
        for pool in pools.iter() {
            let now = pool.snapshot.get();
            let active = now.active.and_then(|id| now.backends.get(id.index())).map(|backend| Arc::clone(&backend.name));
            // While nobody is active, each process sees by itself why.
            if active.is_some() {
                self.say(&ToOlder::lead(&now.pool, &Lead { active, sessions_end: RevokeMode::Abort })).await;
            }
        }
    }

    async fn say_news(&mut self) {
        for event in self.events.since(self.seen) {
            self.seen = event.id;
            if let Some(lead) = decided(&event) {
                self.say(&ToOlder::lead(&event.pool, &lead)).await;
            }
        }
    }

    /// Says it to every one. One that does not read is not led any more; it sees that.
    async fn say(&mut self, message: &ToOlder) {
        if self.is_given {
            return;
        }
        let Ok(line) = channel::line(message) else { return };
        let mut gone = Vec::new();
        for link in &mut self.links {
            if !link.say(&line).await {
                gone.push(link.id);
            }
        }
        for id in gone {
            self.hear(id, None);
        }
    }

    fn hear(&mut self, id: usize, message: Option<ToNewer>) {
        match message {
            Some(ToNewer::Left(told)) => {
                if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
                    link.told = told;
                }
            }
            // Said while it was taken over, or by a later version.
            Some(_) => return,
            None if self.is_given => return,
            None => {
                for gone in self.links.extract_if(.., |link| link.id == id) {
                    gone.reader.abort();
                    tracing::info!(pid = gone.told.pid, "an older mainstay has ended");
                }
            }
        }
        if !self.is_given {
            self.older.show(self.links.iter().map(|link| link.told.clone()).filter(|told| told.pid != 0).collect());
        }
    }

    fn give(&mut self, reply: &std::sync::mpsc::Sender<Vec<OwnedFd>>) {
        self.is_given = true;
        self.older.lead(false);
        self.links.iter_mut().for_each(Link::let_go);
        let twins = self.links.iter().filter_map(|link| link.twin.try_clone().ok()).map(OwnedFd::from);
        // Whoever asked may have given up: then it resumes.
        let _ = reply.send(twins.collect());
    }

    async fn resume(&mut self, heard: &mpsc::UnboundedSender<Heard>) {
        if !std::mem::replace(&mut self.is_given, false) {
            return;
        }
        let links = std::mem::take(&mut self.links).into_iter();
        self.older.lead(true);
        self.links = links.filter_map(|link| Link::new(link.id, link.twin, Vec::new(), heard).ok()).collect();
        self.say(&ToOlder::Newest { pid: std::process::id() }).await;
        self.say_all().await;
    }
}

/// What an event says of the active backend.
fn decided(event: &StateEvent) -> Option<Lead> {
    match event.kind {
        "activate" => Some(Lead { active: event.backend.clone(), sessions_end: RevokeMode::Abort }),
        "revoke" => Some(Lead { active: None, sessions_end: event.sessions_end.unwrap_or(RevokeMode::Abort) }),
        "abort" => Some(Lead { active: None, sessions_end: RevokeMode::Abort }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decided_of_the_active_backend_is_passed_on_and_nothing_else() {
        let event = |kind, sessions_end| StateEvent { kind, sessions_end, backend: Some("db-a".into()), ..StateEvent::default() };
        let none = |sessions_end| Some(Lead { active: None, sessions_end });
        assert_eq!(decided(&event("revoke", Some(RevokeMode::Drain))), none(RevokeMode::Drain));
        assert_eq!(decided(&event("revoke", None)), none(RevokeMode::Abort));
        assert_eq!(decided(&event("abort", None)), none(RevokeMode::Abort));
        let active = Lead { active: Some("db-a".into()), sessions_end: RevokeMode::Abort };
        assert_eq!(decided(&event("activate", None)), Some(active));
        assert_eq!(decided(&event("suspend", None)), None);
    }
}
