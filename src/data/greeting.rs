//! The first exchange of a `PostgreSQL` session. What the client says first is shown to the backend, but stays in the client's
//! socket until the backend has answered. A backend that drops the connection without a word, or says only that it does not
//! serve, has then cost the client nothing: the same bytes are shown to the next one.
//!
//! That is safe because a server does nothing for a client before it has answered its first packet (`PostgreSQL` manual,
//! "Message Flow", "Start-up"). And it is needed: a client that was told of a shutdown connects again faster than anybody can
//! withdraw the route.

use std::io;

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::TcpStream,
};

use crate::route::Revocation;

/// Request codes that stand where a `StartupMessage` has its protocol version (`PostgreSQL` manual, "Message Formats").
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const PROTOCOL_MAJOR: u32 = 3;
/// A `StartupMessage` is at most this long (`MAX_STARTUP_PACKET_LENGTH` in the server).
const STARTUP_MAX: usize = 10_000;
/// Length and code, with which every first packet begins.
const HEADER_LEN: usize = 8;
/// Field of an `ErrorResponse`: SQLSTATE `cannot_connect_now` (starting, stopping, recovering).
const CANNOT_CONNECT_NOW: &[u8] = b"\0C57P03\0";
/// Enough for that error in any language.
const ANSWER_LEN: usize = 1024;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Relay from here on. The backend has these bytes of the client already; they were taken out of the client's socket.
    Relay(u64),
    /// The backend does not serve. The client has lost nothing.
    Again,
}

/// Shows the client's first packet to the backend until that answers.
pub(super) async fn postgres(client: &TcpStream, server: &mut TcpStream, revocation: &Revocation) -> Greeting {
    let mut packet = vec![0; STARTUP_MAX];
    let mut shown = 0;
    let mut may_say_more = true;
    loop {
        let seen = tokio::select! {
            biased;
            () = revocation.revoked() => return Greeting::Again,
            willing = serves(server) => return if willing { relay(client, &mut packet[..shown]) } else { Greeting::Again },
            seen = said(client, &mut packet, shown), if may_say_more => seen,
        };
        match seen {
            Ok(Said::More(seen)) if begins_session(&packet[..seen]) => {
                if server.write_all(&packet[shown..seen]).await.is_err() {
                    return Greeting::Again;
                }
                shown = seen;
            }
            // It has finished sending, and may still read: the backend's answer decides.
            Ok(Said::Everything) if shown > 0 => may_say_more = false,
            // The client is gone, or this is no start of a session: the relay's business.
            _ => return relay(client, &mut packet[..shown]),
        }
    }
}

/// Takes what was shown out of the client's socket, past the runtime: what it knows of readiness tells of news, not of these.
fn relay(client: &TcpStream, shown: &mut [u8]) -> Greeting {
    let mut taken = 0;
    while taken < shown.len() {
        match recv(client, &mut shown[taken..], RecvFlags::DONTWAIT) {
            Ok((_, count @ 1..)) => taken += count,
            Err(Errno::INTR) => {}
            // It was there a moment ago: only a client that has reset its connection takes it away.
            _ => break,
        }
    }
    Greeting::Relay(taken as u64)
}

/// Waits until the backend has answered: whether it serves. One that closes in order has had its reasons, which are the client's.
async fn serves(server: &TcpStream) -> bool {
    let mut answer = [0; ANSWER_LEN];
    loop {
        if server.ready(Interest::READABLE).await.is_err() {
            return false;
        }
        match server.try_io(Interest::READABLE, || peek(server, &mut answer)) {
            Ok(count) => {
                let said = &answer[..count];
                return !(said.starts_with(b"E")
                    && said.windows(CANNOT_CONNECT_NOW.len()).any(|field| field == CANNOT_CONNECT_NOW));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_reset) => return false,
        }
    }
}

/// What a client has said, all told.
enum Said {
    /// So many bytes, more than were known.
    More(usize),
    /// No more than was known, and FIN.
    Everything,
}

/// Waits until the client has said more than `known` bytes, or will say no more. They stay where they are.
async fn said(client: &TcpStream, packet: &mut [u8], known: usize) -> io::Result<Said> {
    loop {
        let ready = client.ready(Interest::READABLE).await?;
        let seen = client.try_io(Interest::READABLE, || match peek(client, packet)? {
            count if count > known => Ok(count),
            // Makes the next look wait for news.
            _ => Err(io::ErrorKind::WouldBlock.into()),
        });
        match seen {
            Ok(count) => return Ok(Said::More(count)),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            // FIN stays ready for ever: waiting for news of it would spin.
            Err(_) if ready.is_read_closed() => return Ok(Said::Everything),
            Err(_) => {}
        }
    }
}

fn peek(stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    let (_, count) = recv(stream, bytes, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(count)
}

/// Whether a client begins so that wants to log in or to encrypt: not one that cancels a query, which gets no answer, and not
/// one that speaks another protocol, which would be repeated in vain.
fn begins_session(packet: &[u8]) -> bool {
    let Some((length, rest)) = packet.split_first_chunk() else { return false };
    let Some(code) = rest.first_chunk() else { return false };
    let (length, code) = (u32::from_be_bytes(*length), u32::from_be_bytes(*code));
    let plausible = usize::try_from(length).is_ok_and(|length| (HEADER_LEN..=STARTUP_MAX).contains(&length));
    plausible && (code >> 16 == PROTOCOL_MAJOR || matches!(code, SSL_REQUEST | GSSENC_REQUEST))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};
    use tokio::{io::AsyncReadExt, net::TcpListener, time::timeout};

    use super::*;
    use crate::failover::RevokeMode;

    const PATIENCE: Duration = Duration::from_secs(10);
    const STARTUP: &[u8] = b"\x00\x00\x00\x13\x00\x03\x00\x00user\0orders\0\0";
    const STOPPING: &[u8] = b"E\0\0\0\x2aSFATAL\0VFATAL\0C57P03\0Mshutting down\0\0";
    const BAD_PASSWORD: &[u8] = b"E\0\0\0\x2aSFATAL\0VFATAL\0C28P01\0Mwrong password\0\0";

    /// A client and a backend, each with our end of its connection.
    struct World {
        client: TcpStream,
        ours: TcpStream,
        backend: TcpStream,
        server: TcpStream,
    }

    async fn world() -> World {
        async fn pair() -> (TcpStream, TcpStream) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (far, near) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            (far.unwrap(), near.unwrap().0)
        }
        let ((client, ours), (backend, server)) = (pair().await, pair().await);
        World { client, ours, backend, server }
    }

    impl World {
        /// The greeting, while the client says `STARTUP` and the backend does `script` when it has come.
        async fn greet(&mut self, script: impl AsyncFnOnce(&mut TcpStream)) -> Greeting {
            self.client.write_all(STARTUP).await.unwrap();
            let revocation = Revocation::default();
            let scripted = async {
                let mut startup = [0; STARTUP.len()];
                self.backend.read_exact(&mut startup).await.unwrap();
                assert_eq!(startup, STARTUP);
                script(&mut self.backend).await;
            };
            let greeted = timeout(PATIENCE, postgres(&self.ours, &mut self.server, &revocation));
            tokio::join!(greeted, scripted).0.unwrap()
        }

        /// What of the client's bytes is left in our socket.
        fn left(&self) -> usize {
            let mut bytes = [0; 100];
            peek(&self.ours, &mut bytes).unwrap_or(0)
        }
    }

    #[tokio::test]
    async fn a_backend_that_answers_has_the_bytes_once() {
        let mut world = world().await;
        let greeting = world.greet(async |backend| backend.write_all(b"R\0\0\0\x08\0\0\0\0").await.unwrap()).await;
        assert_eq!(greeting, Greeting::Relay(STARTUP.len() as u64));
        assert_eq!(world.left(), 0);
    }

    #[tokio::test]
    async fn a_backend_that_resets_without_a_word_costs_the_client_nothing() {
        let mut world = world().await;
        let reset = async |backend: &mut TcpStream| {
            let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
            super::super::close::reset(backend);
            *backend = TcpStream::connect(dead.local_addr().unwrap()).await.unwrap();
        };
        assert_eq!(world.greet(reset).await, Greeting::Again);
        assert_eq!(world.left(), STARTUP.len());
    }

    #[tokio::test]
    async fn a_backend_that_only_says_that_it_does_not_serve_costs_the_client_nothing() {
        let mut world = world().await;
        assert_eq!(world.greet(async |backend| backend.write_all(STOPPING).await.unwrap()).await, Greeting::Again);
        assert_eq!(world.left(), STARTUP.len());
    }

    #[tokio::test]
    async fn any_other_error_is_the_clients_to_read() {
        let mut world = world().await;
        let greeting = world.greet(async |backend| backend.write_all(BAD_PASSWORD).await.unwrap()).await;
        assert_eq!(greeting, Greeting::Relay(STARTUP.len() as u64));
    }

    #[tokio::test]
    async fn another_protocol_is_not_held_up() {
        let mut world = world().await;
        world.client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let greeting = timeout(PATIENCE, postgres(&world.ours, &mut world.server, &Revocation::default())).await.unwrap();
        assert_eq!(greeting, Greeting::Relay(0));
        assert_eq!(world.left(), 18);
    }

    #[tokio::test]
    async fn a_revoked_backend_costs_the_client_nothing() {
        let mut world = world().await;
        world.client.write_all(STARTUP).await.unwrap();
        let revocation = Revocation::default();
        let revoke = async { revocation.revoke(RevokeMode::Abort) };
        let greeted = timeout(PATIENCE, postgres(&world.ours, &mut world.server, &revocation));
        assert_eq!(tokio::join!(greeted, revoke).0.unwrap(), Greeting::Again);
        assert_eq!(world.left(), STARTUP.len());
    }

    #[tokio::test]
    async fn a_client_that_finished_sending_waits_for_the_answer_without_spinning() {
        let mut world = world().await;
        world.client.write_all(STARTUP).await.unwrap();
        world.client.shutdown().await.unwrap();
        let cpu = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        let before = cpu();
        let greeted = timeout(Duration::from_millis(500), postgres(&world.ours, &mut world.server, &Revocation::default())).await;
        assert!(greeted.is_err(), "nobody answered");
        assert!(cpu().saturating_sub(before) < Duration::from_millis(100), "it spins: {:?}", cpu().saturating_sub(before));
    }
}
