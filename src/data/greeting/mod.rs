//! The first exchange with a database that may turn out not to serve. If a backend drops the connection before it answers, or says
//! only that it does not serve, the client has lost nothing and the next backend is tried.
//!
//! | file | what is exchanged |
//! |---|---|
//! | [`postgres`] | the client's first packet for an answer |
//! | [`mysql`] | the server's greeting, before the client knows of it |
//! | [`redis`] | a `PING` of our own, before the client's first byte |

pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod redis;

use std::io;

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};

use super::event_loop::{Interest, Socket};
use crate::{route::Revocation, wire::Protocol};

/// The result, and the bytes passed on meanwhile. Client bytes that the backend has were removed from the client's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// What to do next.
    pub(super) next: Next,
    /// Bytes of the client that the backend has.
    pub(super) upstream: u64,
    /// Bytes of the backend that the client has.
    pub(super) downstream: u64,
}

impl Greeting {
    /// Nothing was passed on.
    const fn without_a_word(next: Next) -> Self {
        Self { next, upstream: 0, downstream: 0 }
    }
}

/// What to do after a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Relay.
    Relay,
    /// The same; but the client's packet is this cancel request. The backend has it, but the session may be on another one.
    Cancel(Box<[u8]>),
    /// The backend does not serve. The client has lost nothing: any backend may refuse encryption.
    Again,
}

/// Finds out, in `protocol`, whether the backend serves this client.
pub(super) async fn exchange(protocol: Protocol, client: &Socket, server: &mut Socket, revocation: &Revocation) -> Greeting {
    match protocol {
        Protocol::Unknown => Greeting::without_a_word(Next::Relay),
        Protocol::Postgres => postgres::greet(client, server, revocation).await,
        Protocol::Mysql => Greeting::without_a_word(mysql::greet(client, server, revocation).await),
        Protocol::Redis => Greeting::without_a_word(redis::greet(client, server, revocation).await),
    }
}

/// Removes what was shown from the client's socket, without the event loop: its readiness is about new bytes, not these.
fn take(client: &Socket, shown: &mut [u8]) -> u64 {
    let mut taken = 0;
    while taken < shown.len() {
        match recv(client, &mut shown[taken..], RecvFlags::DONTWAIT) {
            Ok((_, count @ 1..)) => taken += count,
            Err(Errno::INTR) => {}
            // It was just there: only a client that has reset its connection removes it.
            _ => break,
        }
    }
    taken as u64
}

/// How many bytes a client has sent in all.
enum ClientSent {
    /// This many bytes, more than before.
    More(usize),
    /// No more than before, and FIN.
    Everything,
}

/// Waits until the client has sent more than `known` bytes, or cannot send more. The bytes stay in the socket.
async fn client_sent(client: &Socket, packet: &mut [u8], known: usize) -> io::Result<ClientSent> {
    loop {
        client.readable().await;
        let will_say_no_more = client.is_read_closed();
        let seen = client.try_io(Interest::Readable, || match peek(client, packet)? {
            count if count > known => Ok(count),
            // The next poll waits for a new event.
            _ => Err(io::ErrorKind::WouldBlock.into()),
        });
        match seen {
            Ok(count) => return Ok(ClientSent::More(count)),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            // FIN stays readable for ever: waiting for another event would spin.
            Err(_) if will_say_no_more => return Ok(ClientSent::Everything),
            Err(_) => {}
        }
    }
}

fn peek(stream: &Socket, bytes: &mut [u8]) -> io::Result<usize> {
    let (_, count) = recv(stream, bytes, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(count)
}
