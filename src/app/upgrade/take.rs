//! The newer process takes everything over, and begins to serve.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use tokio::{runtime, time::timeout};

use crate::{
    app::{error::StartError, planes::Planes, reload::Reloader},
    control::Remembered,
    net::{inherited::Inherited, listener::FileOwner},
    upgrade::{
        self,
        channel::{Channel, PATIENCE},
        message::{PROTOCOL, SocketUse, ToNewer, ToOlder},
    },
};

/// The running mainstay that this process takes over from.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    older: Vec<OwnedFd>,
    /// What was known of each pool, once this process is prepared.
    known: BTreeMap<String, Remembered>,
}

impl Predecessor {
    /// Who started this program to take over, and its listening sockets; `None` if nobody did. Standard input is empty afterwards.
    ///
    /// # Errors
    /// What the other process did not say in time, or what it gave that is no listening socket.
    pub fn meet() -> Result<Option<(Self, Inherited)>, StartError> {
        if std::env::var_os(upgrade::VARIABLE).is_none_or(|value| value.is_empty()) {
            return Ok(None);
        }
        Self::greet().map(Some).map_err(|error| {
            let variable = upgrade::VARIABLE;
            StartError(format!("{variable} says that a running mainstay started this one to take over, but: {error}; unset {variable} to start without"))
        })
    }

    fn greet() -> io::Result<(Self, Inherited)> {
        let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        rustix::net::sockopt::socket_type(&socket).map_err(|_| io::Error::other("its standard input is no socket"))?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        let mut channel = Channel::new(UnixStream::from(socket));
        let hello = ToOlder::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() };
        channel.say(&hello, &[], PATIENCE)?;
        let (mut inherited, mut older) = (Inherited::default(), Vec::new());
        loop {
            let ToNewer::Sockets { uses, more } = channel.hear(PATIENCE)? else { return Err(unexpected()) };
            for purpose in uses {
                let socket = channel.descriptor().ok_or_else(|| io::Error::other("a socket is missing"))?;
                match purpose {
                    SocketUse::Listener(name) => _ = inherited.add(&name, socket, FileOwner::Mainstay)?,
                    SocketUse::ListenerOfOther(name) => _ = inherited.add(&name, socket, FileOwner::Other)?,
                    SocketUse::Older => older.push(socket),
                }
            }
            if !more {
                return Ok((Self { channel, older, known: BTreeMap::new() }, inherited));
            }
        }
    }

    /// This process does not take over; says why.
    pub fn failed(&mut self, why: &str) {
        // Whoever waits sees the end of this process, too.
        let _ = self.channel.say(&ToOlder::Failed { why: why.to_owned() }, &[], PATIENCE);
    }

    /// Everything that can fail has been done. From here on only this process decides by itself. What was known of each pool.
    pub(in crate::app) fn prepared(&mut self) -> Result<BTreeMap<String, Remembered>, StartError> {
        let known = self.channel.say(&ToOlder::Prepared, &[], PATIENCE).and_then(|()| match self.channel.hear(3 * PATIENCE)? {
            ToNewer::Known { pools } => Ok(pools),
            _ => Err(unexpected()),
        });
        self.known = match known {
            Ok(known) => known,
            // What it has written is read from `state_dir`.
            Err(error) if is_gone(&error) => BTreeMap::new(),
            Err(error) => return Err(StartError(format!("the running mainstay did not hand over: {error}"))),
        };
        Ok(self.known.clone())
    }

    /// Waits until the pools have their backends, for some seconds at most; then accepts, and takes the sessions of the older
    /// processes in hand.
    pub(in crate::app) fn serve(mut self, planes: &mut Planes) -> Result<(), StartError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StartError::thread("lead", &error))?;
        // A backend that dies in this moment: its clients wait here as they would there.
        let _ = runtime.block_on(async { timeout(PATIENCE, self.found(planes)).await });
        planes.leave(false);
        let pools = planes.pools.keys().map(ToString::to_string).collect();
        let yours =
            self.channel.say(&ToOlder::Serving { pools }, &[], PATIENCE).and_then(|()| match self.channel.hear(PATIENCE)? {
                ToNewer::Yours => Ok(()),
                _ => Err(unexpected()),
            });
        let links = self.older.into_iter().map(|socket| (UnixStream::from(socket), Vec::new()));
        let mut links: Vec<_> = links.collect();
        match yours {
            Ok(()) => links.insert(0, self.channel.into_parts().map_err(|error| StartError::thread("lead", &error))?),
            Err(error) if is_gone(&error) => tell_alone(),
            Err(error) => return Err(StartError(format!("the running mainstay did not hand over: {error}"))),
        }
        planes.leader.begin(runtime, links, &planes.lifeline).map_err(|error| StartError::thread("lead", &error))
    }

    /// Every pool that had an active backend has one.
    async fn found(&self, planes: &Planes) {
        for (name, known) in &self.known {
            let Some(pool) = planes.pools.get(name.as_str()) else { continue };
            let mut snapshots = pool.snapshots.clone();
            while known.active.is_some() && snapshots.get().active.is_none() {
                snapshots.changed().await;
            }
        }
    }
}

impl Reloader {
    /// Takes everything over from the process before this one.
    pub(in crate::app) fn take_over(&self, predecessor: Predecessor) -> Result<(), StartError> {
        predecessor.serve(&mut self.lock().planes)
    }
}

/// The older process has died with the sessions that it had: while it lives, it ends the newer one before it closes its end.
fn tell_alone() {
    tracing::error!("the older mainstay died while it handed over: this one goes on alone");
}

/// The other end has closed.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn unexpected() -> io::Error {
    io::Error::other("it said something else than was expected")
}
