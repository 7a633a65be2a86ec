//! Clients that come by way of a proxy in front: its header is read before anything else, and names them.
//!
//! The header is looked at where it is, in the kernel's buffer, and taken out of it to the byte when it is whole: what the client
//! says right behind it belongs to the backend.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{RecvFlags, recv},
};
use tokio_util::sync::CancellationToken;

use super::{
    close,
    connection::{Admitted, Origin, Visit, Waiting},
    doors::Papers,
    event_loop::{Interest, Socket, sleep},
};
use crate::{
    net::proxy_protocol::{Header, LONGEST, parse},
    reason::RejectReason,
};

/// For the whole header. The specification asks for three seconds at least, which is one lost packet.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a stranger that a log line shows.
const QUOTED: usize = 16;

/// Why there is no header.
struct NoHeader {
    reason: RejectReason,
    why: String,
}

impl NoHeader {
    fn gone() -> Self {
        Self { reason: RejectReason::ClientGone, why: String::new() }
    }

    fn bad(why: impl Into<String>) -> Self {
        Self { reason: RejectReason::BadProxyHeader, why: why.into() }
    }
}

/// Lets the client say who it is, and judges it by that; `None` when it was turned away. One that is too many is marked as such,
/// and is refused as any other.
pub(super) async fn introduce(client: Box<Waiting>, visit: &mut Visit) -> Option<Box<Waiting>> {
    let listener = Arc::clone(&visit.listener);
    let Waiting { socket, peer: sender, mut admitted, attempts, .. } = *client;
    let mut seat = None;
    let header = match read(&socket, &listener.pool.retired).await {
        Ok(header) => header,
        Err(NoHeader { reason, why }) => {
            listener.turned_away(reason, sender, &why);
            close::reset(&socket);
            return None;
        }
    };
    let (peer, server) = match header {
        Header::Own => (sender, None),
        Header::Named { client, server } => (client.into(), Some(server)),
    };
    if let (Some(doors), Some(ip)) = (&listener.doors, peer.ip()) {
        match doors.judge(ip) {
            // Whoever is only refused does not count.
            Ok(taken) => seat = taken.filter(|_| admitted == Admitted::Guest),
            Err(RejectReason::MaxConnectionsPerIp) if admitted == Admitted::Guest => {
                // From here on it is one of those that are refused, of whom there are few at a time.
                let Some(place) = listener.refusals.admit() else {
                    listener.turned_away(RejectReason::MaxConnectionsPerIp, peer, "");
                    close::reset(&socket);
                    return None;
                };
                drop(std::mem::replace(&mut visit.place, place));
                admitted = Admitted::TooMany(RejectReason::MaxConnectionsPerIp);
            }
            // It is told already that there are too many.
            Err(RejectReason::MaxConnectionsPerIp) => {}
            Err(reason) => {
                listener.turned_away(reason, peer, "");
                close::reset(&socket);
                return None;
            }
        }
    }
    visit.papers = Papers::of(server, seat);
    // The time that the header took is not the client's.
    let deadline = Instant::now() + listener.pool.hold_config.timeout;
    Some(Box::new(Waiting { socket, peer, origin: Origin::Known, admitted, turn: None, deadline, attempts }))
}

/// Waits for the header and takes it out of the socket.
async fn read(socket: &Socket, retired: &CancellationToken) -> Result<Header, NoHeader> {
    tokio::select! {
        biased;
        header = whole(socket) => header,
        () = retired.cancelled() => Err(NoHeader { reason: RejectReason::Shutdown, why: String::new() }),
        () = sleep(TIMEOUT) => Err(NoHeader::bad(format!("no whole PROXY header came within {TIMEOUT:?}"))),
    }
}

async fn whole(socket: &Socket) -> Result<Header, NoHeader> {
    loop {
        socket.readable().await;
        let will_say_no_more = socket.is_read_closed();
        if let Some(header) = look(socket)? {
            return Ok(header);
        }
        if will_say_no_more {
            return Err(NoHeader::bad("the connection ended before its PROXY header was whole"));
        }
        // The beginning of a header waits in the kernel and stays there; only more of it wakes us again.
        socket.forget(Interest::Readable);
    }
}

fn look(socket: &Socket) -> Result<Option<Header>, NoHeader> {
    let mut bytes = [0; LONGEST];
    let seen = match retry_on_intr(|| recv(socket, &mut bytes[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)) {
        // A connection without a word: somebody looked whether this port answers.
        Ok((_, 0)) => return Err(NoHeader::gone()),
        Ok((_, seen)) => seen,
        Err(Errno::AGAIN) => return Ok(None),
        Err(_) => return Err(NoHeader::gone()),
    };
    match parse(&bytes[..seen]) {
        Ok(None) => Ok(None),
        Ok(Some((header, length))) => take(socket, &mut bytes[..length]).map(|()| Some(header)),
        Err(why) => Err(NoHeader::bad(format!("no PROXY header: {why} (\"{}\")", bytes[..seen.min(QUOTED)].escape_ascii()))),
    }
}

/// Takes the header out of the socket, where it was a moment ago.
fn take(socket: &Socket, header: &mut [u8]) -> Result<(), NoHeader> {
    let mut taken = 0;
    while taken < header.len() {
        match retry_on_intr(|| recv(socket, &mut header[taken..], RecvFlags::DONTWAIT)) {
            Ok((_, count @ 1..)) => taken += count,
            // Only a client that has reset its connection takes it away.
            _ => return Err(NoHeader::gone()),
        }
    }
    Ok(())
}
