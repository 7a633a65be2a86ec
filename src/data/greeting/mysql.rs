//! The greeting of a `MySQL` server. The client waits for it and has sent nothing, so a backend that closes instead, or says that
//! it is shutting down, has cost it nothing (`MySQL` documentation, "Connection Phase").

use std::io;

use super::{Next, client_sent, peek};
use crate::{
    data::event_loop::{Interest, Socket},
    route::Revocation,
    wire::mysql::{ERROR, HEADER, SHUTDOWN},
};

/// Header, error marker and error code.
const ERROR_LEN: usize = HEADER + 3;
/// `ER_SERVER_SHUTDOWN`, `ER_UNKNOWN_COM_ERROR` (a Galera node that is not ready), `ER_SERVER_OFFLINE_MODE`. Not "too many
/// connections": the client gets that, as it would without mainstay.
const NOT_SERVING: [u16; 3] = [SHUTDOWN, 1047, 3032];

/// Waits for the greeting, which stays in the server's socket.
pub(super) async fn greet(client: &Socket, server: &Socket, revocation: &Revocation) -> Next {
    let mut looked = [0; 1];
    tokio::select! {
        biased;
        () = revocation.revoked() => Next::Again,
        next = first_word(server) => next,
        // A client that leaves, or sends before the greeting: the relay handles it.
        _ = client_sent(client, &mut looked, 0) => Next::Relay,
    }
}

async fn first_word(server: &Socket) -> Next {
    let mut word = [0; ERROR_LEN];
    loop {
        server.readable().await;
        let will_say_no_more = server.is_read_closed();
        let understood = server.try_io(Interest::Readable, || match peek(server, &mut word)? {
            0 => Ok(Next::Again),
            length => understood(&word[..length]).ok_or_else(|| io::ErrorKind::WouldBlock.into()),
        });
        match understood {
            Ok(next) => return next,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !will_say_no_more => {}
            // It was reset, or ended in the middle of the greeting: waiting for another event would spin.
            Err(_) => return Next::Again,
        }
    }
}

/// What to do after this beginning; `None` when more bytes are needed.
pub(crate) fn understood(word: &[u8]) -> Option<Next> {
    match word {
        [_, _, _, _, ERROR, code @ ..] => {
            let code = u16::from_le_bytes(code.try_into().ok()?);
            Some(if NOT_SERVING.contains(&code) { Next::Again } else { Next::Relay })
        }
        [_, _, _, _, _, ..] => Some(Next::Relay),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::{
        data::event_loop::{
            testing::{pair, run},
            timeout, yield_now,
        },
        failover::RevokeMode,
    };

    #[test]
    fn an_error_that_says_that_it_does_not_serve_is_no_greeting() {
        assert_eq!(understood(b"\x4a\0\0\0\x0a5.5"), Some(Next::Relay));
        assert_eq!(understood(&[0x20, 0, 0, 0, 0xff, 0x1d, 0x04]), Some(Next::Again), "1053");
        assert_eq!(understood(&[0x20, 0, 0, 0, 0xff, 0x10, 0x04]), Some(Next::Relay), "1040 is for the client");
        for cut in 0..5 {
            assert_eq!(understood(&[0x20, 0, 0, 0, 0xff][..cut]), None);
        }
        assert_eq!(understood(&[0x20, 0, 0, 0, 0xff, 0x1d]), None);
    }

    async fn greeted(script: impl AsyncFnOnce(Socket, Socket, &Revocation)) -> Next {
        let ((client, ours), (backend, server)) = (pair(), pair());
        let revocation = Revocation::default();
        let greeted = timeout(Duration::from_secs(10), greet(&ours, &server, &revocation));
        tokio::join!(greeted, script(client, backend, &revocation)).0.unwrap()
    }

    #[test]
    fn whoever_hangs_up_or_is_revoked_costs_nothing_and_whoever_speaks_is_relayed() {
        run(async {
            assert_eq!(greeted(async |client, backend, _| drop((backend, Box::leak(Box::new(client))))).await, Next::Again);
            let revoke = async |client, backend, revocation: &Revocation| {
                revocation.revoke(RevokeMode::Abort);
                Box::leak(Box::new((client, backend)));
            };
            assert_eq!(greeted(revoke).await, Next::Again);
            let speaks = async |client, mut backend: Socket, _: &Revocation| {
                for byte in b"\x4a\0\0\0\x0a" {
                    backend.write_all(&[*byte]).await.unwrap();
                    yield_now().await;
                }
                Box::leak(Box::new((client, backend)));
            };
            assert_eq!(greeted(speaks).await, Next::Relay);
            let ends_within_its_word = async |client, mut backend: Socket, _: &Revocation| {
                backend.write_all(b"\x4a\0\0").await.unwrap();
                Box::leak(Box::new(client));
            };
            assert_eq!(greeted(ends_within_its_word).await, Next::Again);
            let leaves = async |client, backend, _: &Revocation| {
                drop(client);
                Box::leak(Box::new(backend));
            };
            assert_eq!(greeted(leaves).await, Next::Relay);
        });
    }
}
