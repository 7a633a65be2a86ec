//! How a socket is closed when its session did not end by itself.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::net::connect_unspec;

use super::{
    event_loop::{Socket, sleep, yield_now},
    relay::Ended,
};
use crate::{
    net::{backoff::Backoff, socket::unsent_bytes},
    reason::CloseReason,
};

/// How long to wait for a peer that does not read: when its session was revoked, and when the other side aborted.
const REVOKED_PATIENCE: Duration = Duration::from_secs(1);
pub(super) const RESET_PATIENCE: Duration = Duration::from_secs(30);

/// How long a peer that got FIN may take to finish before its socket is closed.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Closes both sockets of a session, after delivering what is pending if the peer reads it. Drops `place` once the backend's is
/// closed.
pub(super) async fn both(ended: Ended, place: impl Sized) {
    let patience = match ended.reason {
        CloseReason::Revoked | CloseReason::Killed | CloseReason::Shutdown => REVOKED_PATIENCE,
        _ => RESET_PATIENCE,
    };
    if ended.server_finished {
        drop(ended.server);
    } else if matches!(ended.reason, CloseReason::ClientReset) {
        abort(ended.server, REVOKED_PATIENCE).await;
    } else {
        // What a dead or demoted backend has not read yet must not reach it.
        reset(&ended.server);
        drop(ended.server);
    }
    drop(place);
    match (ended.client_finished, ended.reason) {
        (_, CloseReason::ClientReset) => reset(&ended.client),
        (true, _) => finish(ended.client, patience).await,
        (false, _) => abort(ended.client, patience).await,
    }
}

/// Sends RST after the kernel has delivered what was written before: RST alone would discard that. Gives up on a peer that reads
/// nothing for `patience`.
pub(super) async fn abort(stream: Socket, patience: Duration) {
    let stream = Cut(stream);
    handed_over(&stream.0, patience).await;
}

/// Waits until the peer's kernel has acknowledged everything that was written, or has read nothing for `patience`.
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

/// Ends in RST whenever it is dropped, also when the process stops before everything was delivered.
struct Cut(Socket);

impl Drop for Cut {
    fn drop(&mut self) {
        reset(&self.0);
    }
}

/// Sends RST at once; the socket closes when it is dropped.
pub(super) fn reset(stream: &impl AsFd) {
    // Not by SO_LINGER, which sends it at the last close: a child process has a copy until it runs its program. Fails only on a
    // socket that is already gone, and on a unix socket, which knows no RST.
    let _ = connect_unspec(stream);
}

/// The peer got everything and FIN. Reads what it still sends until it finishes too, since bytes left unread at the close would
/// cause a RST that may discard what the peer has not read yet. A peer that goes on is closed a second after its kernel has
/// everything, or when it reads nothing for `patience`.
pub(super) async fn finish(stream: Socket, patience: Duration) {
    let mut sink = [0_u8; 512];
    let finished = async {
        while let Ok(1..) = stream.recv(&mut sink).await {
            // A peer that sends without end must yield to others, and to the timer.
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
