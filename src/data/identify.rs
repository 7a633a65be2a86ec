//! Identifies a client by its address, or by the header of a proxy in front, and decides whether it is admitted.
//!
//! The header is read in place, in the kernel's buffer, and removed when it is complete, to the byte: what follows belongs to the
//! backend.

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
    access::ClientMeta,
    client::Client,
    close,
    context::ListenerContext,
    event_loop::{Interest, Socket, sleep},
    per_ip::Permit,
    refusal::Refused,
};
use crate::{
    net::{
        endpoint::Peer,
        proxy_protocol::{Header, LONGEST, parse},
    },
    reason::RejectReason,
};

/// For the whole header. The specification asks for at least three seconds, which is one lost packet.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an unknown peer that a log line shows.
const QUOTED: usize = 16;

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

/// What is known of a client at its accept.
pub(super) enum Identity {
    /// Its identity. It counts among the connections of its address, if they are counted.
    Known(Option<Permit>),
    /// A proxy in front must still name it.
    Proxied,
}

/// Checks a connection by the address of its peer.
///
/// # Errors
/// Why the client is rejected.
pub(super) fn judge(listener: &ListenerContext, peer: Peer) -> Result<Identity, RejectReason> {
    match (&listener.rules, peer.ip()) {
        (Some(rules), Some(ip)) if rules.is_proxy(ip) => Ok(Identity::Proxied),
        (Some(rules), Some(ip)) => rules.judge(ip).map(Identity::Known),
        _ => Ok(Identity::Known(None)),
    }
}

/// Reads who the client is from the proxy's header, and checks that address; `too_many` says that there is no place for it.
///
/// # Errors
/// The rejected client, unless it was already reset.
pub(super) async fn identify(
    mut client: Box<Client>,
    mut too_many: Option<RejectReason>,
) -> Result<Box<Client>, Option<Refused>> {
    let listener = Arc::clone(&client.guards.listener);
    let cut_off = |client: &Client, reason, why: &str| {
        listener.turned_away(reason, client.peer, why);
        close::reset(&client.socket);
    };
    let server = match read(&client.socket, &listener.pool.retired).await {
        Ok(Header::Own) => None,
        Ok(Header::Named { client: named, server }) => {
            client.peer = named.into();
            Some(server)
        }
        Err(NoHeader { reason, why }) => {
            cut_off(&client, reason, &why);
            return Err(None);
        }
    };
    let mut permit = None;
    if let (Some(rules), Some(ip)) = (&listener.rules, client.peer.ip()) {
        match rules.judge(ip) {
            // A client that is only rejected does not count.
            Ok(taken) => permit = taken.filter(|_| too_many.is_none()),
            // It already gets the error that there are too many.
            Err(RejectReason::MaxConnectionsPerIp) if too_many.is_some() => {}
            Err(reason @ RejectReason::MaxConnectionsPerIp) => {
                // From here on it is one of the rejected clients, whose number is limited.
                let Some(place) = listener.refusals.admit() else {
                    cut_off(&client, reason, "");
                    return Err(None);
                };
                client.guards.place = place;
                client.guards.active = None;
                too_many = Some(reason);
            }
            Err(reason) => {
                cut_off(&client, reason, "");
                return Err(None);
            }
        }
    }
    client.guards.meta = ClientMeta::of(server, permit);
    // The time for the header does not count against the client.
    client.budget.deadline = Instant::now() + listener.pool.hold_config.timeout;
    match too_many {
        None => Ok(client),
        Some(reason) => Err(Some(Refused { client: *client, reason, why: "".into() })),
    }
}

/// Waits for the header and removes it from the socket.
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
        // The first part of the header stays in the kernel; only more bytes wake us again.
        socket.forget(Interest::Readable);
    }
}

fn look(socket: &Socket) -> Result<Option<Header>, NoHeader> {
    let mut bytes = [0; LONGEST];
    let seen = match retry_on_intr(|| recv(socket, &mut bytes[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)) {
        // A connection that sent nothing: a check whether this port answers.
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

/// Removes the header from the socket, where it was just seen.
fn take(socket: &Socket, header: &mut [u8]) -> Result<(), NoHeader> {
    let mut taken = 0;
    while taken < header.len() {
        match retry_on_intr(|| recv(socket, &mut header[taken..], RecvFlags::DONTWAIT)) {
            Ok((_, count @ 1..)) => taken += count,
            // Only a client that has reset its connection removes it.
            _ => return Err(NoHeader::gone()),
        }
    }
    Ok(())
}
