//! Who a client is, and whether it gets in: by its address, or by the header of a proxy in front, which is read before anything else and
//! names it.
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

/// What is known of a client when it is accepted.
pub(super) enum Identity {
    /// Who it is. It counts among those of its address, where they are counted.
    Known(Option<Permit>),
    /// A proxy in front has still to name it.
    Proxied,
}

/// Judges a connection by the address at its other end.
///
/// # Errors
/// Why the client does not get in.
pub(super) fn judge(listener: &ListenerContext, peer: Peer) -> Result<Identity, RejectReason> {
    match (&listener.rules, peer.ip()) {
        (Some(rules), Some(ip)) if rules.is_proxy(ip) => Ok(Identity::Proxied),
        (Some(rules), Some(ip)) => rules.judge(ip).map(Identity::Known),
        _ => Ok(Identity::Known(None)),
    }
}

/// Lets a proxy in front say who the client is, and judges that; `too_many` says that there is no place for it.
///
/// # Errors
/// The client that is turned away, unless it was reset already.
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
            // Whoever is only refused does not count.
            Ok(taken) => permit = taken.filter(|_| too_many.is_none()),
            // It is told already that there are too many.
            Err(RejectReason::MaxConnectionsPerIp) if too_many.is_some() => {}
            Err(reason @ RejectReason::MaxConnectionsPerIp) => {
                // From here on it is one of those that are refused, of whom there are few at a time.
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
    // The time that the header took is not the client's.
    client.budget.deadline = Instant::now() + listener.pool.hold_config.timeout;
    match too_many {
        None => Ok(client),
        Some(reason) => Err(Some(Refused { client: *client, reason, why: "".into() })),
    }
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
