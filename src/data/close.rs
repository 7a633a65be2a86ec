//! How a socket ends when a session does not end by itself.

use std::time::Duration;

use socket2::SockRef;
use tokio::{io::AsyncReadExt, net::TcpStream, time::Instant};

use crate::net::{backoff::Backoff, socket::unsent_bytes};

/// How long a peer that was told FIN may take to finish before the socket is closed under it.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends RST, after the kernel has handed over what was written before: RST alone would throw that away. Gives up on a peer
/// that takes nothing for `patience`.
pub(super) async fn abort(stream: TcpStream, patience: Duration) {
    let mut pause = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
    let mut unsent = usize::MAX;
    let mut deadline = Instant::now() + patience;
    while let Ok(now @ 1..) = unsent_bytes(&stream) {
        if now < unsent {
            unsent = now;
            deadline = Instant::now() + patience;
        } else if Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(pause.next_pause()).await;
    }
    reset(&stream);
}

/// Sends RST at once; the close follows when the socket is dropped.
pub(super) fn reset(stream: &TcpStream) {
    // Fails only on a socket that is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// The peer was told everything and FIN. Reads what it still sends until it finishes too, since bytes left unread at the close
/// would turn into a RST that may overtake what it has not read yet.
pub(super) async fn finish(mut stream: TcpStream) {
    let mut sink = [0_u8; 512];
    let drained = async { while let Ok(1..) = stream.read(&mut sink).await {} };
    let _ = tokio::time::timeout(FINISH_TIMEOUT, drained).await;
}
