//! How a socket ends when a session does not end by itself.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use socket2::SockRef;

use super::{
    event_loop::{Socket, sleep, yield_now},
    relay::Ended,
};
use crate::{
    net::{backoff::Backoff, socket::unsent_bytes},
    reason::CloseReason,
};

/// Patience with a peer that does not take what it was sent: when its session was revoked, and when the other side aborted.
const REVOKED_PATIENCE: Duration = Duration::from_secs(1);
pub(super) const RESET_PATIENCE: Duration = Duration::from_secs(30);

/// How long a peer that was told FIN may take to finish before the socket is closed under it.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Closes both sockets of a session: what a side has not been told yet it is told, if it takes it.
pub(super) async fn both(ended: Ended) {
    let patience = match ended.reason {
        CloseReason::Revoked | CloseReason::Shutdown => REVOKED_PATIENCE,
        _ => RESET_PATIENCE,
    };
    if !ended.server_finished {
        // What a dead or demoted backend has not taken yet must not reach it.
        if matches!(ended.reason, CloseReason::ClientReset) {
            abort(ended.server, REVOKED_PATIENCE).await;
        } else {
            reset(&ended.server);
            drop(ended.server);
        }
    }
    match (ended.client_finished, ended.reason) {
        (_, CloseReason::ClientReset) => reset(&ended.client),
        (true, _) => finish(ended.client, patience).await,
        (false, _) => abort(ended.client, patience).await,
    }
}

/// Sends RST, after the kernel has handed over what was written before: RST alone would throw that away. Gives up on a peer
/// that takes nothing for `patience`.
pub(super) async fn abort(stream: Socket, patience: Duration) {
    let stream = Cut(stream);
    handed_over(&stream.0, patience).await;
}

/// Waits until the peer's kernel has acknowledged everything that was written, or has taken nothing for `patience`.
async fn handed_over(stream: &Socket, patience: Duration) {
    let mut pause = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
    let mut unsent = usize::MAX;
    let mut deadline = Instant::now() + patience;
    while let Ok(now @ 1..) = unsent_bytes(stream) {
        if now < unsent {
            unsent = now;
            deadline = Instant::now() + patience;
        } else if Instant::now() >= deadline {
            break;
        }
        sleep(pause.next_pause()).await;
    }
}

/// Ends in RST however it is dropped: also when the process stops before everything was handed over.
struct Cut(Socket);

impl Drop for Cut {
    fn drop(&mut self) {
        reset(&self.0);
    }
}

/// Sends RST at once; the close follows when the socket is dropped.
pub(super) fn reset(stream: &impl AsFd) {
    // Fails only on a socket that is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// The peer was told everything and FIN. Reads what it still sends until it finishes too, since bytes left unread at the close
/// would turn into a RST that may overtake what it has not read yet. A peer that goes on all the same is cut off a second after
/// its kernel has everything, or when it takes nothing for `patience`.
pub(super) async fn finish(stream: Socket, patience: Duration) {
    let mut sink = [0_u8; 512];
    let finished = async {
        while let Ok(1..) = stream.recv(&mut sink).await {
            // A peer that sends without end must not keep the others, or the time, from their turn.
            yield_now().await;
        }
    };
    let out_of_time = async {
        handed_over(&stream, patience).await;
        sleep(FINISH_TIMEOUT).await;
    };
    tokio::select! {
        () = finished => {}
        () = out_of_time => {}
    }
}
