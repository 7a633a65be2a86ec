//! A `PING` of our own, before the client's first byte. A Redis server does not speak first, and executes commands at once: a
//! command sent to a dying server may have been executed, so it cannot be sent to another one. `PING` can. Its answer is removed
//! from the stream, and the client sees neither.

use std::io;

use rustix::net::{SendFlags, send};

use super::{Next, peek, take};
use crate::{
    data::event_loop::{Interest, Socket},
    route::Revocation,
    wire::redis::{self, ERROR, STATUS},
};

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
/// An answer has one line, and none is this long.
const ANSWER_LEN: usize = 1024;

/// Asks whether the server answers.
pub(super) async fn greet(client: &Socket, server: &Socket, revocation: &Revocation) -> Next {
    // Just connected: there is room for these bytes, or there is no connection.
    if !matches!(send(server, PING, SendFlags::DONTWAIT | SendFlags::NOSIGNAL), Ok(count) if count == PING.len()) {
        return Next::Again;
    }
    let next = tokio::select! {
        biased;
        () = revocation.revoked() => Next::Again,
        next = answer(server) => next,
        // Nobody waits for the answer. A client that only finished sending may still read: our answer must not reach it.
        () = client.gone() => Next::Relay,
    };
    next
}

async fn answer(server: &Socket) -> Next {
    let mut answer = [0; ANSWER_LEN];
    loop {
        server.readable().await;
        let will_say_no_more = server.is_read_closed();
        let understood = server.try_io(Interest::Readable, || match peek(server, &mut answer)? {
            0 => Ok((Next::Again, 0)),
            length => understood(&answer[..length]).ok_or_else(|| io::ErrorKind::WouldBlock.into()),
        });
        match understood {
            Ok((next, line)) => {
                take(server, &mut answer[..line]);
                return next;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !will_say_no_more => {}
            // It was reset, or ended in the middle of its answer: waiting for another event would spin.
            Err(_) => return Next::Again,
        }
    }
}

/// What to do after this answer, and how much of it answers our `PING`; `None` when it is incomplete.
pub(crate) fn understood(answer: &[u8]) -> Option<(Next, usize)> {
    if !matches!(answer.first(), Some(&(STATUS | ERROR))) {
        return Some((Next::Relay, 0));
    }
    let Some((line, end)) = redis::line(answer) else {
        // Longer than any answer to a PING: it is for the client.
        return (answer.len() >= ANSWER_LEN).then_some((Next::Relay, 0));
    };
    if line.starts_with(b"-LOADING") {
        return Some((Next::Again, 0));
    }
    // Sent without a question, before it closes: the client is rejected, and should get the reason.
    if line.starts_with(b"-DENIED") || line.starts_with(b"-ERR max number of clients") {
        return Some((Next::Relay, 0));
    }
    Some((Next::Relay, end))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        data::{
            close,
            event_loop::{
                testing::{pair, run},
                timeout, yield_now,
            },
        },
        failover::RevokeMode,
    };

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn our_answer_is_taken_and_the_clients_is_not() {
        for (answer, next, taken) in [
            (&b"+PONG\r\n"[..], Next::Relay, 7),
            (b"+PONG\r\n+more", Next::Relay, 7),
            (b"-NOAUTH Authentication required.\r\n", Next::Relay, 34),
            (b"-BUSY a script runs\r\n", Next::Relay, 21),
            (b"-LOADING Redis is loading\r\n", Next::Again, 0),
            (b"-ERR max number of clients reached\r\n", Next::Relay, 0),
            (b"-DENIED Redis is running in protected mode\r\n", Next::Relay, 0),
            (b"HTTP/1.1 400", Next::Relay, 0),
            (&[b'+'; ANSWER_LEN], Next::Relay, 0),
        ] {
            assert_eq!(understood(answer), Some((next, taken)), "{}", answer.escape_ascii());
        }
        for cut in [&b"+"[..], b"+PONG", b"+PONG\r", b"-LOAD"] {
            assert_eq!(understood(cut), None);
        }
    }

    #[test]
    fn the_backend_is_asked_before_it_hears_the_client() {
        run(async {
            let ((mut client, ours), (mut backend, mut server)) = (pair(), pair());
            client.write_all(b"INCR a").await.unwrap();
            let revocation = Revocation::default();
            let answers = async {
                let mut asked = [0; PING.len()];
                backend.read_exact(&mut asked).await.unwrap();
                assert_eq!(asked, PING);
                backend.write_all(b"+PONG\r\nrest").await.unwrap();
            };
            let greeted = timeout(PATIENCE, greet(&ours, &server, &revocation));
            assert_eq!(tokio::join!(greeted, answers).0.unwrap(), Next::Relay);
            let (mut rest, mut looked) = ([0; 4], [0; 16]);
            server.read_exact(&mut rest).await.unwrap();
            assert_eq!((&rest, peek(&ours, &mut looked).unwrap()), (b"rest", 6), "the client's word is where it was");
        });
    }

    #[test]
    fn one_that_hangs_up_is_revoked_or_loads_costs_nothing() {
        run(async {
            for how in ["hangs up", "is revoked", "ends within its word", "loads"] {
                let ((mut client, ours), (mut backend, server)) = (pair(), pair());
                client.write_all(b"INCR a").await.unwrap();
                let revocation = Revocation::default();
                let fails = async {
                    match how {
                        "hangs up" => drop(backend),
                        "is revoked" => revocation.revoke(RevokeMode::Abort),
                        "ends within its word" => {
                            backend.write_all(b"-LOAD").await.unwrap();
                            drop(backend);
                        }
                        _ => backend.write_all(b"-LOADING the data set\r\n").await.unwrap(),
                    }
                };
                let greeted = timeout(PATIENCE, greet(&ours, &server, &revocation));
                assert_eq!(tokio::join!(greeted, fails).0.unwrap(), Next::Again, "{how}");
                assert_eq!(peek(&ours, &mut [0; 16]).unwrap(), 6, "{how}");
            }
        });
    }

    #[test]
    fn a_client_that_resets_does_not_wait_for_a_backend_that_hangs() {
        run(async {
            for finishes in [false, true] {
                let ((mut client, ours), (_backend, server)) = (pair(), pair());
                client.write_all(&[b'x'; 1000]).await.unwrap();
                let revocation = Revocation::default();
                let leaves = async {
                    yield_now().await;
                    if finishes {
                        client.finish().unwrap();
                        yield_now().await;
                    }
                    close::reset(&client);
                    drop(client);
                };
                let greeted = timeout(PATIENCE, greet(&ours, &server, &revocation));
                assert_eq!(tokio::join!(greeted, leaves).0.unwrap(), Next::Relay);
            }
        });
    }

    #[test]
    fn a_client_that_only_finished_sending_does_not_read_our_answer() {
        run(async {
            let ((mut client, ours), (mut backend, mut server)) = (pair(), pair());
            client.write_all(b"INCR a").await.unwrap();
            client.finish().unwrap();
            let revocation = Revocation::default();
            let answers = async {
                backend.read_exact(&mut [0; PING.len()]).await.unwrap();
                yield_now().await;
                yield_now().await;
                backend.write_all(b"+PONG\r\nrest").await.unwrap();
            };
            let greeted = timeout(PATIENCE, greet(&ours, &server, &revocation));
            assert_eq!(tokio::join!(greeted, answers).0.unwrap(), Next::Relay);
            let mut rest = [0; 4];
            timeout(PATIENCE, server.read_exact(&mut rest)).await.unwrap().unwrap();
            assert_eq!(&rest, b"rest");
        });
    }
}
