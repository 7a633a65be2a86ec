//! The first exchange with a database that may turn out not to serve. A backend that drops the connection without a word, or says only
//! that it does not serve, has then cost the client nothing: the next one is tried.
//!
//! | file | what is exchanged |
//! |---|---|
//! | [`postgres`] | the client's first packet for an answer |
//! | [`mysql`] | the server's greeting, before the client knows of it |
//! | [`redis`] | a question of our own, before the client's first |

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

/// How it went, and what went past meanwhile. The client's bytes that the backend has were taken out of the client's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// What is to be done.
    pub(super) next: Next,
    /// Bytes of the client that the backend has.
    pub(super) upstream: u64,
    /// Bytes of the backend that the client has.
    pub(super) downstream: u64,
}

impl Greeting {
    /// Nothing of the client or of the backend went past.
    const fn without_a_word(next: Next) -> Self {
        Self { next, upstream: 0, downstream: 0 }
    }
}

/// What is to be done after a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Relay from here on.
    Relay,
    /// The same; but the client is here to cancel a query, by these bytes. The backend has them, and another may be meant.
    Cancel(Box<[u8]>),
    /// The backend does not serve. The client has lost nothing: a refused encryption is the answer of any backend.
    Again,
}

/// Sees in the words of `protocol` whether the backend serves this client.
pub(super) async fn exchange(protocol: Protocol, client: &Socket, server: &mut Socket, revocation: &Revocation) -> Greeting {
    match protocol {
        Protocol::Unknown => Greeting::without_a_word(Next::Relay),
        Protocol::Postgres => postgres::greet(client, server, revocation).await,
        Protocol::Mysql => Greeting::without_a_word(mysql::greet(client, server, revocation).await),
        Protocol::Redis => Greeting::without_a_word(redis::greet(client, server, revocation).await),
    }
}

/// Takes what was shown out of the client's socket, past the event loop: what it knows of readiness tells of news, not of these.
fn take(client: &Socket, shown: &mut [u8]) -> u64 {
    let mut taken = 0;
    while taken < shown.len() {
        match recv(client, &mut shown[taken..], RecvFlags::DONTWAIT) {
            Ok((_, count @ 1..)) => taken += count,
            Err(Errno::INTR) => {}
            // It was there a moment ago: only a client that has reset its connection takes it away.
            _ => break,
        }
    }
    taken as u64
}

/// What a client has said, all told.
enum ClientSent {
    /// So many bytes, more than were known.
    More(usize),
    /// No more than was known, and FIN.
    Everything,
}

/// Waits until the client has said more than `known` bytes, or will say no more. They stay where they are.
async fn client_sent(client: &Socket, packet: &mut [u8], known: usize) -> io::Result<ClientSent> {
    loop {
        client.readable().await;
        let will_say_no_more = client.is_read_closed();
        let seen = client.try_io(Interest::Readable, || match peek(client, packet)? {
            count if count > known => Ok(count),
            // Makes the next look wait for news.
            _ => Err(io::ErrorKind::WouldBlock.into()),
        });
        match seen {
            Ok(count) => return Ok(ClientSent::More(count)),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            // FIN stays ready for ever: waiting for news of it would spin.
            Err(_) if will_say_no_more => return Ok(ClientSent::Everything),
            Err(_) => {}
        }
    }
}

fn peek(stream: &Socket, bytes: &mut [u8]) -> io::Result<usize> {
    let (_, count) = recv(stream, bytes, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(count)
}
