//! The plain check, and the first step of every other: a connect.

use std::{io, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use rustix::io::Errno;
use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::either::Either;

use super::{
    deadline::Deadline,
    finding::{Failure, Finding},
    kind::{Check, Kind},
    single::Single,
};
use crate::{
    config::TcpCheck,
    failover::{Outcome, Printable},
    net::{addr::BackendAddr, addresses::Addresses, endpoint::Endpoint, socket::is_its_own_peer},
};

/// An unencrypted connection, TCP or unix.
pub type Plain = Either<TcpStream, UnixStream>;

/// Pause between attempts on a unix socket whose queue is full; the kernel does not report when it has room (connect(2)).
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// The plain check.
#[derive(Debug)]
pub struct Tcp;

impl Kind for TcpCheck {
    fn of(&self, _: &BackendAddr) -> Check {
        Check::Single(Box::new(Tcp))
    }

    fn descriptors(&self) -> usize {
        1
    }
}

#[async_trait]
impl Single for Tcp {
    async fn probe(&mut self, addresses: &Addresses, deadline: Deadline) -> Result<Finding, Printable> {
        probe(addresses, deadline).await
    }
}

/// Connects and closes. Proves that something listens, not that it works: a hung server's kernel still accepts.
///
/// # Errors
/// When this machine could not connect; the text says what was missing.
pub async fn probe(addresses: &Addresses, deadline: Deadline) -> Result<Finding, Printable> {
    match connect(addresses, deadline).await {
        Ok((_, address)) => Ok(Finding::new(Outcome::Ok, format!("{address} accepted a connection"))),
        Err(Failure::Backend(finding)) => Ok(finding),
        Err(Failure::Local(evidence)) => Err(evidence),
    }
}

/// Connects to the first address that accepts, beginning with the one that did so last. Each gets an equal share of the remaining
/// time, so that a silent one does not use up the time of the next. The socket has `TCP_NODELAY`, and the header of the deadline
/// was sent.
///
/// # Errors
/// Why none of them accepted. `refused` only when *every* address refused, because a refusal counts as proof that nothing listens.
pub async fn connect(addresses: &Addresses, deadline: Deadline) -> Result<(Plain, Endpoint), Failure> {
    let mut worst: Option<Finding> = None;
    for (tried, (place, address)) in addresses.in_order().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = Instant::now() + deadline.at().saturating_duration_since(Instant::now()) / left;
        match timeout_at(share, open(address, deadline)).await {
            Ok(Ok(stream)) => {
                addresses.answered_at(place);
                return Ok((stream, address.clone()));
            }
            Ok(Err(error)) => match failure(&error, address) {
                Failure::Backend(finding) => worst = Some(worse(worst, finding)),
                local @ Failure::Local(_) => return Err(local),
            },
            Err(_) => worst = Some(worse(worst, silence(address, deadline.timeout()))),
        }
    }
    Err(worst.map_or_else(|| Failure::backend(Outcome::Unreachable, "the name has no address"), Failure::Backend))
}

/// The near end of a connection; a unix socket has none.
pub(super) fn near(connection: &Plain) -> Option<SocketAddr> {
    match connection {
        Either::Left(stream) => stream.local_addr().ok(),
        Either::Right(_) => None,
    }
}

async fn open(endpoint: &Endpoint, deadline: Deadline) -> io::Result<Plain> {
    let mut stream = plain(endpoint).await?;
    if let Some(header) = deadline.header() {
        stream.write_all(header).await?;
    }
    Ok(stream)
}

async fn plain(endpoint: &Endpoint) -> io::Result<Plain> {
    match endpoint {
        Endpoint::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            if is_its_own_peer(&stream, *address) {
                // With RST, so that the port is free at once for a later listener.
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                return Err(Errno::CONNREFUSED.into());
            }
            // Without `TCP_NODELAY` a connection is slower, but still answers the check.
            drop(stream.set_nodelay(true));
            Ok(Either::Left(stream))
        }
        Endpoint::Unix(path) => loop {
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(FULL_QUEUE_PAUSE).await,
                connected => return connected.map(Either::Right),
            }
        },
    }
}

fn worse(before: Option<Finding>, now: Finding) -> Finding {
    match before {
        Some(before) if before.outcome != Outcome::Refused => before,
        _ => now,
    }
}

fn silence(address: &Endpoint, timeout: Duration) -> Finding {
    Finding::new(Outcome::ConnectTimeout, format!("{address} did not answer a connect within {timeout:?}"))
}

fn failure(error: &io::Error, address: &Endpoint) -> Failure {
    let outcome = match Errno::from_io_error(error) {
        // connect(2): no free port, no descriptor, no memory or buffer on this machine.
        Some(Errno::ADDRNOTAVAIL | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN) => {
            return Failure::Local(format!("this machine could not open a connection to {address}: {error}").into());
        }
        // A missing socket file: nothing listens.
        Some(Errno::CONNREFUSED | Errno::NOENT) => Outcome::Refused,
        // unix(7): the file may not be written to, or cannot be reached.
        Some(Errno::ACCESS) if address.tcp().is_none() => Outcome::Misconfigured,
        Some(Errno::TIMEDOUT) => Outcome::ConnectTimeout,
        Some(Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE) => Outcome::Closed,
        _ => Outcome::Unreachable,
    };
    let evidence = match outcome {
        Outcome::Refused if error.kind() == io::ErrorKind::NotFound => format!("there is no socket at {address}"),
        Outcome::Refused => format!("{address} refused the connection"),
        Outcome::Misconfigured => format!("the user of mainstay may not connect to {address}: {error}"),
        _ => format!("connect to {address} failed: {error}"),
    };
    Failure::backend(outcome, evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Endpoint {
        SocketAddr::from(([127, 0, 0, 1], port)).into()
    }

    fn raw(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn our_own_shortage_is_never_evidence_against_the_backend() {
        for errno in [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::AGAIN] {
            assert!(matches!(failure(&raw(errno), &at(1)), Failure::Local(_)), "{errno:?}");
        }
        for (errno, outcome) in [
            (Errno::CONNREFUSED, Outcome::Refused),
            (Errno::HOSTUNREACH, Outcome::Unreachable),
            (Errno::NETUNREACH, Outcome::Unreachable),
            (Errno::TIMEDOUT, Outcome::ConnectTimeout),
            // A firewall of this machine says that as well (connect(2)): whose fault it is, is not known.
            (Errno::ACCESS, Outcome::Unreachable),
        ] {
            let Failure::Backend(finding) = failure(&raw(errno), &at(1)) else { panic!("{errno:?}") };
            assert_eq!(finding.outcome, outcome);
        }
        let unix = Endpoint::Unix(std::path::Path::new("/run/db").into());
        for (errno, outcome) in [(Errno::NOENT, Outcome::Refused), (Errno::ACCESS, Outcome::Misconfigured)] {
            let Failure::Backend(finding) = failure(&raw(errno), &unix) else { panic!("{errno:?}") };
            assert_eq!(finding.outcome, outcome);
        }
    }

    #[test]
    fn one_silent_address_makes_a_refusal_no_proof() {
        let refused = || Finding::new(Outcome::Refused, "r");
        let silent = || silence(&at(1), Duration::from_secs(1));
        assert_eq!(worse(Some(refused()), silent()).outcome, Outcome::ConnectTimeout);
        assert_eq!(worse(Some(silent()), refused()).outcome, Outcome::ConnectTimeout);
        assert_eq!(worse(Some(refused()), refused()).outcome, Outcome::Refused);
    }
}
