//! The plain check, and the first step of every other: a TCP connect.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustix::io::Errno;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{Deadline, Failure, Finding};
use crate::failover::Outcome;

/// Connects and hangs up. Proves that something listens, not that it works: a hung server's kernel accepts for it.
///
/// # Errors
/// When our own side lacked something to connect with.
pub async fn probe(addresses: &[SocketAddr], deadline: Deadline) -> Result<Finding, Arc<str>> {
    match connect(addresses, deadline).await {
        Ok((_, address)) => Ok(Finding::new(Outcome::Ok, format!("{address} accepted a connection"))),
        Err(Failure::Backend(finding)) => Ok(finding),
        Err(Failure::Local(evidence)) => Err(evidence),
    }
}

/// Connects to the first address that accepts, in order. Each address gets an equal share of the time that is left, so that
/// a silent one does not use up the chance of the next. The socket has `TCP_NODELAY` set, and was sent the header that goes with
/// the deadline.
///
/// # Errors
/// What kept all of them from accepting. `refused` only when *every* address refused, because a refusal counts as proof
/// that nobody listens.
pub async fn connect(addresses: &[SocketAddr], deadline: Deadline) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut worst: Option<Finding> = None;
    for (tried, &address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = Instant::now() + deadline.at().saturating_duration_since(Instant::now()) / left;
        match timeout_at(share, open(address, deadline)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => match failure(&error, address) {
                Failure::Backend(finding) => worst = Some(worse(worst, finding)),
                local @ Failure::Local(_) => return Err(local),
            },
            Err(_) => worst = Some(worse(worst, silence(address, deadline.timeout()))),
        }
    }
    Err(worst.map_or_else(|| Failure::backend(Outcome::Unreachable, "the name has no address"), Failure::Backend))
}

async fn open(address: SocketAddr, deadline: Deadline) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    // A connection that is slower than it might be still answers the check.
    drop(stream.set_nodelay(true));
    if let Some(header) = deadline.header() {
        stream.write_all(header).await?;
    }
    Ok(stream)
}

fn worse(before: Option<Finding>, now: Finding) -> Finding {
    match before {
        Some(before) if before.outcome != Outcome::Refused => before,
        _ => now,
    }
}

fn silence(address: SocketAddr, timeout: Duration) -> Finding {
    Finding::new(Outcome::ConnectTimeout, format!("{address} did not answer a connect within {timeout:?}"))
}

fn failure(error: &io::Error, address: SocketAddr) -> Failure {
    let outcome = match Errno::from_io_error(error) {
        // connect(2): no free port, no descriptor, no memory or buffer on this machine.
        Some(Errno::ADDRNOTAVAIL | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN) => {
            return Failure::Local(format!("this machine could not open a connection to {address}: {error}").into());
        }
        Some(Errno::CONNREFUSED) => Outcome::Refused,
        Some(Errno::TIMEDOUT) => Outcome::ConnectTimeout,
        Some(Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE) => Outcome::Closed,
        _ => Outcome::Unreachable,
    };
    let evidence = match outcome {
        Outcome::Refused => format!("{address} refused the connection"),
        _ => format!("connect to {address} failed: {error}"),
    };
    Failure::backend(outcome, evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn raw(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn our_own_shortage_is_never_evidence_against_the_backend() {
        for errno in [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::AGAIN] {
            assert!(matches!(failure(&raw(errno), at(1)), Failure::Local(_)), "{errno:?}");
        }
        for (errno, outcome) in [
            (Errno::CONNREFUSED, Outcome::Refused),
            (Errno::HOSTUNREACH, Outcome::Unreachable),
            (Errno::NETUNREACH, Outcome::Unreachable),
            (Errno::TIMEDOUT, Outcome::ConnectTimeout),
        ] {
            let Failure::Backend(finding) = failure(&raw(errno), at(1)) else { panic!("{errno:?}") };
            assert_eq!(finding.outcome, outcome);
        }
    }

    #[test]
    fn one_silent_address_makes_a_refusal_no_proof() {
        let refused = || Finding::new(Outcome::Refused, "r");
        let silent = || silence(at(1), Duration::from_secs(1));
        assert_eq!(worse(Some(refused()), silent()).outcome, Outcome::ConnectTimeout);
        assert_eq!(worse(Some(silent()), refused()).outcome, Outcome::ConnectTimeout);
        assert_eq!(worse(Some(refused()), refused()).outcome, Outcome::Refused);
    }
}
