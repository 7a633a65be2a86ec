//! Connects to the backend of a route. Before the first byte the route is checked again: a dial that began under a revoked epoch
//! must not become a session.

use std::{
    future::{Future, poll_fn},
    io,
    os::fd::OwnedFd,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{SendFlags, SocketAddrUnix, send},
};
use socket2::{Domain, SockRef};

use super::{
    close,
    context::PoolContext,
    descriptors::Descriptors,
    event_loop::{Socket, sleep},
};
use crate::{
    failover::Passive,
    net::{
        addresses::Addresses,
        endpoint::Endpoint,
        socket::{LegOptions, is_its_own_peer, set_leg_options},
    },
    reason::DialError,
    route::{Listening, Route, TakenRoute},
};

/// Pause between attempts on a unix socket whose queue is full.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// A route under which the backend was reached.
pub(super) struct DialedRoute {
    pub(super) route: TakenRoute,
    /// The task is woken when the route ends.
    pub(super) listening: Listening,
    /// When the backend was reached.
    pub(super) since: Instant,
}

/// Connects under `route`, which was just taken, trying its addresses in order within one deadline, and sends the header if there
/// is one. Each address gets an equal share of the remaining time, as in a probe: clients must reach a backend that answers its
/// checks at its second address, even if the first is silent.
///
/// # Errors
/// Why there is no connection. It was already reported to control.
pub(super) async fn dial(
    pool: &PoolContext,
    route: TakenRoute,
    started: Instant,
    options: &LegOptions,
    header: Option<&[u8]>,
) -> Result<(Socket, DialedRoute), DialError> {
    let listening = Listening::begin(Arc::clone(&route.revocation)).await;
    match reach(pool, &route, &listening, started, options, header).await {
        Ok((server, since)) => {
            route.metrics.dial_duration.observe((since - started).as_secs_f64());
            Ok((server, DialedRoute { route, listening, since }))
        }
        Err(error) => {
            route.metrics.dial_failures.get(error).inc();
            tell(pool, &route, error);
            Err(error)
        }
    }
}

/// A connection to the backend, and when it was established.
async fn reach(
    pool: &PoolContext,
    route: &Route,
    listening: &Listening,
    started: Instant,
    options: &LegOptions,
    header: Option<&[u8]>,
) -> Result<(Socket, Instant), DialError> {
    let connecting = connect_any(&route.addresses, started, pool.connect_timeout, options, &pool.process.descriptors);
    let mut connecting = pin!(connecting);
    let server =
        poll_fn(|cx| if listening.is_revoked() { Poll::Ready(Err(DialError::Stale)) } else { connecting.as_mut().poll(cx) })
            .await?;
    let now = Instant::now();
    if !pool.routes.stands(route, now) || listening.is_revoked() {
        // Not by its close alone: a child process may have a copy.
        let _ = server.finish();
        return Err(DialError::Stale);
    }
    if let Some(header) = header {
        send_whole(&server, header)?;
    }
    Ok((server, now))
}

pub(super) async fn connect_any(
    addresses: &Addresses,
    mut now: Instant,
    limit: Duration,
    options: &LegOptions,
    descriptors: &Descriptors,
) -> Result<Socket, DialError> {
    let deadline = now + limit;
    let mut worst = None;
    for (tried, (place, address)) in addresses.in_order().enumerate() {
        let until = match addresses.len() - tried {
            1 => deadline,
            left => share(now, deadline, left),
        };
        match connect(address, until, options, descriptors).await {
            Ok(stream) => {
                addresses.answered_at(place);
                return Ok(stream);
            }
            Err(error) => worst = Some(worse(worst, classify(&error))),
        }
        now = Instant::now();
    }
    Err(worst.unwrap_or(DialError::Unresolved))
}

/// The deadline of the next address when this many are left.
#[cold]
fn share(now: Instant, deadline: Instant, left: usize) -> Instant {
    now + deadline.saturating_duration_since(now) / u32::try_from(left).unwrap_or(u32::MAX)
}

/// `Refused` only when every address refused, because it counts as proof that nothing listens.
#[cold]
fn worse(before: Option<DialError>, now: DialError) -> DialError {
    before.filter(|before| *before != DialError::Refused).unwrap_or(now)
}

async fn connect(endpoint: &Endpoint, deadline: Instant, options: &LegOptions, descriptors: &Descriptors) -> io::Result<Socket> {
    match endpoint {
        Endpoint::Tcp(address) => {
            let socket = descriptors.socket(Domain::for_address(*address))?;
            set_leg_options(&SockRef::from(&socket), options)?;
            let socket = Socket::connect(socket.into(), *address, deadline).await?;
            if is_its_own_peer(&socket, *address) {
                close::reset(&socket);
                return Err(Errno::CONNREFUSED.into());
            }
            Ok(socket)
        }
        Endpoint::Unix(path) => {
            let address = SocketAddrUnix::new(&**path)?;
            let socket = OwnedFd::from(descriptors.socket(Domain::UNIX)?);
            // A unix socket connects at once, or its queue is full: the kernel does not report when there is room again
            // (connect(2)).
            while let Err(errno) = rustix::net::connect(&socket, &address) {
                match errno {
                    Errno::AGAIN if Instant::now() < deadline => sleep(FULL_QUEUE_PAUSE).await,
                    Errno::AGAIN => return Err(Errno::TIMEDOUT.into()),
                    errno => return Err(errno.into()),
                }
            }
            Socket::new(socket)
        }
    }
}

/// Sends the header. A new socket always has room for it, so there is nothing to wait for. Its bytes do not count as the client's.
pub(super) fn send_whole(stream: &Socket, header: &[u8]) -> Result<(), DialError> {
    match retry_on_intr(|| send(stream, header, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)) {
        Ok(sent) if sent == header.len() => Ok(()),
        Ok(_) => Err(DialError::Other),
        Err(errno) => Err(classify(&errno.into())),
    }
}

#[cold]
fn classify(error: &io::Error) -> DialError {
    match Errno::from_io_error(error) {
        // A missing socket file: nothing listens.
        Some(Errno::CONNREFUSED | Errno::NOENT) => DialError::Refused,
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN) => DialError::Unreachable,
        Some(Errno::TIMEDOUT) => DialError::Timeout,
        // A shortage on this machine must never count against the backend.
        Some(
            Errno::ADDRNOTAVAIL
            | Errno::ADDRINUSE
            | Errno::MFILE
            | Errno::NFILE
            | Errno::NOBUFS
            | Errno::NOMEM
            | Errno::PERM
            | Errno::ACCESS,
        ) => DialError::LocalResources,
        _ => DialError::Other,
    }
}

#[cold]
fn tell(pool: &PoolContext, route: &Route, error: DialError) {
    let what = match error {
        DialError::Refused => Passive::DialRefused,
        DialError::Unreachable | DialError::Timeout | DialError::Other | DialError::Unresolved => Passive::DialFailed,
        DialError::Stale | DialError::LocalResources => return,
    };
    pool.report(route, what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_address_makes_a_refusal_no_proof() {
        use DialError::{Refused, Timeout};
        assert_eq!(worse(None, Refused), Refused);
        assert_eq!(worse(Some(Refused), Refused), Refused);
        assert_eq!(worse(Some(Refused), Timeout), Timeout);
        assert_eq!(worse(Some(Timeout), Refused), Timeout);
    }

    #[test]
    fn our_own_shortage_is_not_the_backends_fault() {
        for errno in [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::PERM] {
            assert_eq!(classify(&errno.into()), DialError::LocalResources, "{errno}");
        }
        assert_eq!(classify(&Errno::CONNREFUSED.into()), DialError::Refused);
        assert_eq!(classify(&Errno::HOSTUNREACH.into()), DialError::Unreachable);
        assert_eq!(classify(&Errno::NETUNREACH.into()), DialError::Unreachable);
    }
}
