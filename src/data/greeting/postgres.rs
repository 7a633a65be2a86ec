//! The first exchange of a `PostgreSQL` session. The client's first packet is sent to the backend, but stays in the client's socket
//! until the backend has answered. If a backend drops the connection before that, or says only that it does not serve, the client
//! has lost nothing: the same bytes go to the next backend.
//!
//! A backend that does not encrypt answers `N` to the request for it, with which libpq begins by default (`sslmode=prefer`). `N` is
//! passed on and decides nothing: the client continues in clear text, and that packet is handled in the same way. The next backend
//! then gets the `StartupMessage` without the request, as the protocol allows. After `S`, TLS begins and nothing can be read any
//! more.
//!
//! This is safe because a server does nothing for a client before it has answered its first packet (`PostgreSQL` manual, "Message
//! Flow", "Start-up"). It is needed because a client that was told of a shutdown reconnects faster than the route can be withdrawn.

use std::io;

use rustix::net::{SendFlags, send};
use tokio::io::AsyncWriteExt;

use super::{ClientSent, Greeting, Next, client_sent, peek, take};
use crate::{
    data::event_loop::{Interest, Socket},
    route::Revocation,
    wire::postgres::{CANCEL_MAX, STARTUP_HEADER, STARTUP_MAX, Startup},
};

/// Field of an `ErrorResponse`: SQLSTATE `cannot_connect_now` (starting, stopping, recovering).
const CANNOT_CONNECT_NOW: &[u8] = b"\0C57P03\0";
/// Enough for that error in any language.
const ANSWER_LEN: usize = 1024;

/// Sends the client's first packet to the backend and waits for the answer. `N` is not the final answer: it is passed on, and the
/// client's next packet is again the first.
pub(super) async fn greet(client: &Socket, server: &mut Socket, revocation: &Revocation) -> Greeting {
    let mut packet = vec![0; STARTUP_MAX];
    let mut greeting = Greeting { next: Next::Relay, upstream: 0, downstream: 0 };
    loop {
        let (shown, answer) = exchange(client, server, revocation, &mut packet).await;
        if answer == Answer::DoesNotServe {
            return Greeting { next: Next::Again, ..greeting };
        }
        let refused = answer == Answer::DoesNotEncrypt && asks_for_encryption(&packet[..shown]);
        greeting.upstream += take(client, &mut packet[..shown]);
        if shown == packet.len() {
            // There was no room to see whether more follows, and the kernel reports it only once.
            client.look_again();
        }
        if answer == Answer::Cancels {
            return Greeting { next: Next::Cancel(packet[..shown].into()), ..greeting };
        }
        if !refused || !pass_no(server, client) {
            return greeting;
        }
        greeting.downstream += 1;
    }
}

/// What a backend answers to a client's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It is gone, or says only that it does not serve.
    DoesNotServe,
    /// An answer that begins with the refusal to encrypt.
    DoesNotEncrypt,
    /// No answer: the packet cancels a query.
    Cancels,
    /// Left to the relay, as is a client that is gone or begins no session.
    Relay,
}

/// What a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// Too short to tell.
    Unknown,
    /// A packet of this length that wants to log in or to encrypt.
    Session(usize),
    /// One that cancels a query, which gets no answer.
    Cancel(usize),
    /// Another protocol: sending it again would not help.
    Other,
}

/// Sends one packet, which may come in pieces, until the backend answers: how much of `packet` was sent, and the answer.
async fn exchange(client: &Socket, server: &mut Socket, revocation: &Revocation, packet: &mut [u8]) -> (usize, Answer) {
    let (mut known, mut shown) = (0, 0);
    let mut may_say_more = true;
    loop {
        let seen = tokio::select! {
            biased;
            () = revocation.revoked() => return (shown, Answer::DoesNotServe),
            answer = answer(server) => match answer {
                // The backend waits for a packet that will not come, and must get the FIN.
                Answer::DoesNotEncrypt if !may_say_more => return (shown, Answer::Relay),
                answer => return (shown, answer),
            },
            // A reset is no new event behind a FIN, nor behind bytes that were not read yet.
            () = client.gone() => return (shown, Answer::Relay),
            seen = client_sent(client, packet, known), if may_say_more => seen,
        };
        match seen {
            Ok(ClientSent::More(seen)) => {
                known = seen;
                let first = first(&packet[..seen]);
                let until = match first {
                    First::Session(_) => seen,
                    First::Cancel(length) if seen >= length => length,
                    First::Unknown | First::Cancel(_) => continue,
                    First::Other => return (shown, Answer::Relay),
                };
                if server.write_all(&packet[shown..until]).await.is_err() {
                    return (shown, Answer::DoesNotServe);
                }
                shown = until;
                if matches!(first, First::Cancel(_)) {
                    return (shown, Answer::Cancels);
                }
            }
            // The client has finished sending, and may still read: the backend's answer decides.
            Ok(ClientSent::Everything) if is_whole(&packet[..shown]) => may_say_more = false,
            // An incomplete packet gets no answer: the backend must get the FIN.
            _ => return (shown, Answer::Relay),
        }
    }
}

/// Passes on the `N`, which was just there, to a client that has received almost nothing: neither socket needs waiting. Whether
/// that worked; if not, one of them is gone.
fn pass_no(server: &Socket, client: &Socket) -> bool {
    take(server, &mut [0; 1]) == 1 && matches!(send(client, b"N", SendFlags::DONTWAIT | SendFlags::NOSIGNAL), Ok(1))
}

/// Waits for the backend's answer. A backend that closes normally has its reasons, and the client gets the same.
async fn answer(server: &Socket) -> Answer {
    let mut answer = [0; ANSWER_LEN];
    loop {
        server.readable().await;
        match server.try_io(Interest::Readable, || peek(server, &mut answer)) {
            Ok(count) => return understood(&answer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_reset) => return Answer::DoesNotServe,
        }
    }
}

fn understood(said: &[u8]) -> Answer {
    match said.first() {
        Some(b'N') => Answer::DoesNotEncrypt,
        Some(b'E') if said.windows(CANNOT_CONNECT_NOW.len()).any(|field| field == CANNOT_CONNECT_NOW) => Answer::DoesNotServe,
        _ => Answer::Relay,
    }
}

/// What this is as a first packet: whether it begins a session, and whether it only asks for encryption.
pub(crate) fn first_packet(packet: &[u8]) -> (bool, bool) {
    (begins_session(packet), asks_for_encryption(packet))
}

/// Whether the beginning of a backend's answer says that it does not serve.
pub(crate) fn does_not_serve(answer: &[u8]) -> bool {
    understood(answer) == Answer::DoesNotServe
}

/// Whether the beginning of a packet wants to log in or to encrypt.
fn begins_session(packet: &[u8]) -> bool {
    matches!(first(packet), First::Session(_))
}

/// Whether the packet is complete.
fn is_whole(packet: &[u8]) -> bool {
    matches!(first(packet), First::Session(length) if packet.len() >= length)
}

fn first(packet: &[u8]) -> First {
    let Some((length, rest)) = packet.split_first_chunk() else { return First::Unknown };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(STARTUP_HEADER..=STARTUP_MAX).contains(&length) {
        return First::Other;
    }
    let Some(code) = rest.first_chunk() else { return First::Unknown };
    match Startup::of(u32::from_be_bytes(*code)) {
        Startup::Cancel if length <= CANCEL_MAX => First::Cancel(length),
        Startup::Encryption | Startup::Login => First::Session(length),
        Startup::Cancel | Startup::Unsupported(_) => First::Other,
    }
}

/// Whether this only asks for TLS or GSS encryption: a client that did not wait for the answer has sent more, which only that
/// backend may read.
fn asks_for_encryption(shown: &[u8]) -> bool {
    let Some((code, [])) = shown.strip_prefix(&8_u32.to_be_bytes()).and_then(<[u8]>::split_first_chunk) else { return false };
    Startup::of(u32::from_be_bytes(*code)) == Startup::Encryption
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::{
        data::event_loop::{
            testing::{pair, run},
            timeout, yield_now,
        },
        failover::RevokeMode,
        wire::postgres::CANCEL_REQUEST,
    };

    const PATIENCE: Duration = Duration::from_secs(10);
    const STARTUP: &[u8] = b"\x00\x00\x00\x15\x00\x03\x00\x00user\0orders\0\0";
    const STOPPING: &[u8] = b"E\0\0\0\x2aSFATAL\0VFATAL\0C57P03\0Mshutting down\0\0";
    const BAD_PASSWORD: &[u8] = b"E\0\0\0\x2aSFATAL\0VFATAL\0C28P01\0Mwrong password\0\0";

    const SSL: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
    const GSSENC: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];

    fn relayed(upstream: usize, downstream: u64) -> Greeting {
        Greeting { next: Next::Relay, upstream: upstream as u64, downstream }
    }

    fn again(upstream: usize, downstream: u64) -> Greeting {
        Greeting { next: Next::Again, upstream: upstream as u64, downstream }
    }

    /// A client and a backend, each with our end of its connection.
    struct World {
        client: Socket,
        ours: Socket,
        backend: Socket,
        server: Socket,
    }

    fn world() -> World {
        let ((client, ours), (backend, server)) = (pair(), pair());
        World { client, ours, backend, server }
    }

    impl World {
        /// The greeting, while the client says `STARTUP` and the backend does `script` when it has come.
        async fn greet(&mut self, script: impl AsyncFnOnce(&mut Socket)) -> Greeting {
            self.client.write_all(STARTUP).await.unwrap();
            let revocation = Revocation::default();
            let scripted = async {
                let mut startup = [0; STARTUP.len()];
                self.backend.read_exact(&mut startup).await.unwrap();
                assert_eq!(startup, STARTUP);
                script(&mut self.backend).await;
            };
            let greeted = timeout(PATIENCE, greet(&self.ours, &mut self.server, &revocation));
            tokio::join!(greeted, scripted).0.unwrap()
        }

        /// What of the client's bytes is left in our socket.
        fn left(&self) -> usize {
            let mut bytes = [0; 100];
            peek(&self.ours, &mut bytes).unwrap_or(0)
        }
    }

    #[test]
    fn a_backend_that_answers_has_the_bytes_once() {
        run(async {
            let mut world = world();
            let greeting = world.greet(async |backend| backend.write_all(b"R\0\0\0\x08\0\0\0\0").await.unwrap()).await;
            assert_eq!(greeting, relayed(STARTUP.len(), 0));
            assert_eq!(world.left(), 0);
        });
    }

    #[test]
    fn a_backend_that_resets_without_a_word_costs_the_client_nothing() {
        run(async {
            let mut world = world();
            let reset = async |backend: &mut Socket| {
                super::super::super::close::reset(backend);
                *backend = pair().0;
            };
            assert_eq!(world.greet(reset).await, again(0, 0));
            assert_eq!(world.left(), STARTUP.len());
        });
    }

    #[test]
    fn a_backend_that_only_says_that_it_does_not_serve_costs_the_client_nothing() {
        run(async {
            let mut world = world();
            assert_eq!(world.greet(async |backend| backend.write_all(STOPPING).await.unwrap()).await, again(0, 0));
            assert_eq!(world.left(), STARTUP.len());
        });
    }

    #[test]
    fn any_other_error_is_the_clients_to_read() {
        run(async {
            let mut world = world();
            let greeting = world.greet(async |backend| backend.write_all(BAD_PASSWORD).await.unwrap()).await;
            assert_eq!(greeting, relayed(STARTUP.len(), 0));
        });
    }

    #[test]
    fn another_protocol_is_not_held_up() {
        run(async {
            let mut world = world();
            world.client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let greeting = timeout(PATIENCE, greet(&world.ours, &mut world.server, &Revocation::default())).await.unwrap();
            assert_eq!(greeting, relayed(0, 0));
            assert_eq!(world.left(), 18);
        });
    }

    #[test]
    fn a_revoked_backend_costs_the_client_nothing() {
        run(async {
            let mut world = world();
            world.client.write_all(STARTUP).await.unwrap();
            let revocation = Revocation::default();
            let revoke = async { revocation.revoke(RevokeMode::Abort) };
            let greeted = timeout(PATIENCE, greet(&world.ours, &mut world.server, &revocation));
            assert_eq!(tokio::join!(greeted, revoke).0.unwrap(), again(0, 0));
            assert_eq!(world.left(), STARTUP.len());
        });
    }

    #[test]
    fn a_client_that_finished_sending_waits_for_the_answer_without_spinning() {
        run(async {
            let mut world = world();
            world.client.write_all(STARTUP).await.unwrap();
            world.client.shutdown().await.unwrap();
            let cpu = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
            let before = cpu();
            let greeted =
                timeout(Duration::from_millis(500), greet(&world.ours, &mut world.server, &Revocation::default())).await;
            assert!(greeted.is_err(), "nobody answered");
            assert!(cpu().saturating_sub(before) < Duration::from_millis(100), "it spins: {:?}", cpu().saturating_sub(before));
        });
    }

    /// The greeting of a client that says this and then leaves so, while the backend does not say a word; and what is left of the
    /// client's bytes.
    async fn leaves(said: &[u8], leave: impl FnOnce(Socket)) -> (Greeting, usize) {
        let World { mut client, ours, mut server, backend } = world();
        client.write_all(said).await.unwrap();
        leave(client);
        let greeting = timeout(PATIENCE, greet(&ours, &mut server, &Revocation::default())).await.unwrap();
        drop(backend);
        (greeting, peek(&ours, &mut [0; 100]).unwrap_or(0))
    }

    #[test]
    fn a_client_that_leaves_within_its_first_packet_is_the_relays_business_at_once() {
        run(async {
            for length in 0..STARTUP.len() {
                let shown = if length < STARTUP_HEADER { 0 } else { length };
                assert_eq!(leaves(&STARTUP[..length], drop).await, (relayed(shown, 0), length - shown), "{length} bytes, FIN");
            }
            let cancel = &cancel_request()[..15];
            assert_eq!(leaves(cancel, drop).await, (relayed(0, 0), 15));
        });
    }

    #[test]
    fn a_client_that_resets_is_noticed_while_the_backend_is_silent_also_behind_its_bytes_and_its_fin() {
        run(async {
            let reset = |client: Socket| super::super::super::close::reset(&client);
            let after_fin = |client: Socket| {
                client.finish().unwrap();
                super::super::super::close::reset(&client);
            };
            for said in [&b""[..], &STARTUP[..3], &STARTUP[..12], STARTUP] {
                assert_eq!(leaves(said, reset).await.0.next, Next::Relay, "{} bytes", said.len());
                assert_eq!(leaves(said, after_fin).await.0.next, Next::Relay, "{} bytes and FIN", said.len());
            }
        });
    }

    fn cancel_request() -> Vec<u8> {
        [&16_u32.to_be_bytes()[..], &CANCEL_REQUEST.to_be_bytes(), b"pid_key_"].concat()
    }

    #[test]
    fn a_request_to_cancel_is_shown_whole_and_has_no_answer() {
        run(async {
            let request = cancel_request();
            let mut world = world();
            let revocation = Revocation::default();
            let cancels = async {
                for byte in &request {
                    world.client.write_all(&[*byte]).await.unwrap();
                    yield_now().await;
                }
                let mut heard = [0; 16];
                timeout(PATIENCE, world.backend.read_exact(&mut heard)).await.unwrap().unwrap();
                assert_eq!(heard[..], request);
            };
            let greeted = timeout(PATIENCE, greet(&world.ours, &mut world.server, &revocation));
            let greeting = tokio::join!(greeted, cancels).0.unwrap();
            assert_eq!(greeting, Greeting { next: Next::Cancel(request.into()), upstream: 16, downstream: 0 });
            assert_eq!(world.left(), 0);
        });
    }

    #[test]
    fn what_lies_behind_a_burst_that_fills_the_buffer_is_ready_to_be_read() {
        run(async {
            for size in [STARTUP_MAX - 1, STARTUP_MAX, STARTUP_MAX + 1, 15_022, 60_000] {
                let mut world = world();
                let burst = [STARTUP, &vec![7; size - STARTUP.len()]].concat();
                world.client.write_all(&burst).await.unwrap();
                let shown = size.min(STARTUP_MAX);
                let revocation = Revocation::default();
                let answers = async {
                    let mut heard = vec![0; shown];
                    timeout(PATIENCE, world.backend.read_exact(&mut heard)).await.unwrap().unwrap();
                    // It has looked for more, in vain, before it hears the answer.
                    yield_now().await;
                    world.backend.write_all(b"R\0\0\0\x08\0\0\0\0").await.unwrap();
                };
                let greeted = timeout(PATIENCE, greet(&world.ours, &mut world.server, &revocation));
                assert_eq!(tokio::join!(greeted, answers).0.unwrap(), relayed(shown, 0));
                let mut rest = vec![0; size - shown];
                timeout(PATIENCE, world.ours.read_exact(&mut rest)).await.expect("it stalls").unwrap();
            }
        });
    }

    /// Both sides of a talk: the client says each packet once it has read what the one before was answered.
    async fn talk(world: &mut World, lines: &[(&[u8], &[u8])]) -> Greeting {
        let revocation = Revocation::default();
        let greeted = timeout(PATIENCE, greet(&world.ours, &mut world.server, &revocation));
        let (client, backend) = (&mut world.client, &mut world.backend);
        let talked = async {
            for (index, (packet, answer)) in lines.iter().enumerate() {
                client.write_all(packet).await.unwrap();
                let mut heard = vec![0; packet.len()];
                timeout(PATIENCE, backend.read_exact(&mut heard)).await.unwrap().unwrap();
                assert_eq!(heard, *packet, "line {index}");
                backend.write_all(answer).await.unwrap();
                if index + 1 < lines.len() {
                    let mut heard = vec![0; answer.len()];
                    timeout(PATIENCE, client.read_exact(&mut heard)).await.unwrap().unwrap();
                    assert_eq!(heard, *answer, "line {index}");
                }
            }
        };
        tokio::join!(greeted, talked).0.unwrap()
    }

    #[test]
    fn a_backend_that_refuses_to_encrypt_and_then_does_not_serve_costs_the_client_nothing() {
        run(async {
            let mut world = world();
            assert_eq!(talk(&mut world, &[(GSSENC, b"N"), (SSL, b"N"), (STARTUP, STOPPING)]).await, again(16, 2));
            assert_eq!(world.left(), STARTUP.len());
        });
    }

    #[test]
    fn a_backend_that_refuses_to_encrypt_and_then_answers_has_the_bytes_once() {
        run(async {
            let mut world = world();
            assert_eq!(talk(&mut world, &[(SSL, b"N"), (STARTUP, b"R\0\0\0\x08\0\0\0\0")]).await, relayed(8 + STARTUP.len(), 1));
            assert_eq!(world.left(), 0);
            let mut answer = [0; 9];
            world.server.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[0], b'R', "the `N` was taken, and no more");
        });
    }

    #[test]
    fn a_backend_that_encrypts_is_not_looked_into() {
        run(async {
            let mut world = world();
            assert_eq!(talk(&mut world, &[(SSL, b"S")]).await, relayed(8, 0));
            let mut answer = [0; 1];
            world.server.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"S");
        });
    }

    #[test]
    fn a_client_that_did_not_wait_for_the_refusal_is_relayed() {
        run(async {
            let mut world = world();
            let both = [SSL, STARTUP].concat();
            assert_eq!(talk(&mut world, &[(&both, b"N")]).await, relayed(both.len(), 0));
        });
    }

    #[test]
    fn an_n_that_answers_a_start_is_a_notice_and_relayed() {
        run(async {
            let mut world = world();
            assert_eq!(talk(&mut world, &[(STARTUP, b"N\0\0\0\x05\0")]).await, relayed(STARTUP.len(), 0));
        });
    }

    #[test]
    fn a_backend_that_refuses_to_encrypt_hears_that_the_client_finished() {
        run(async {
            let mut world = world();
            world.client.write_all(SSL).await.unwrap();
            world.client.shutdown().await.unwrap();
            let refuses = async {
                world.backend.read_exact(&mut [0; 8]).await.unwrap();
                while !matches!(client_sent(&world.ours, &mut [0; 16], 8).await.unwrap(), ClientSent::Everything) {}
                yield_now().await;
                world.backend.write_all(b"N").await.unwrap();
            };
            let revocation = Revocation::default();
            let greeted = timeout(PATIENCE, greet(&world.ours, &mut world.server, &revocation));
            assert_eq!(tokio::join!(greeted, refuses).0.unwrap(), relayed(8, 0));
        });
    }

    #[test]
    fn a_client_that_leaves_after_the_refusal_is_the_relays_business() {
        run(async {
            let mut world = world();
            let revocation = Revocation::default();
            let leaves = async {
                world.client.write_all(SSL).await.unwrap();
                world.backend.read_exact(&mut [0; 8]).await.unwrap();
                world.backend.write_all(b"N").await.unwrap();
                timeout(PATIENCE, world.client.read_exact(&mut [0; 1])).await.unwrap().unwrap();
                world.client.shutdown().await.unwrap();
            };
            let greeted = timeout(PATIENCE, greet(&world.ours, &mut world.server, &revocation));
            assert_eq!(tokio::join!(greeted, leaves).0.unwrap(), relayed(8, 1));
        });
    }
}
