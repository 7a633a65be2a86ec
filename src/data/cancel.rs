//! A request to cancel a query, on a listener that spreads clients over several backends. It comes on its own connection, names a
//! session by number and key (`PostgreSQL` manual, "Canceling Requests in Progress"), and a server without that session ignores it.
//! So it is sent to every backend that may have the session; mainstay need not remember session keys, which TLS hides.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use rustix::net::{RecvFlags, recv};

use super::{
    context::ListenerContext,
    dial::{connect_any, send_whole},
    event_loop::{Interest, Socket, timeout},
};
use crate::{
    net::socket::is_gone,
    route::Route,
    wire::postgres::{STARTUP_HEADER, Startup},
};

/// To reach all backends and wait until they close.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether what the client has sent begins such a request; `None` when that is too short to tell. It stays in its socket.
pub(super) fn is_sent(client: &Socket) -> Option<bool> {
    let mut header = [0; STARTUP_HEADER];
    let (_, sent) = recv(client, &mut header, RecvFlags::PEEK | RecvFlags::DONTWAIT).ok()?;
    let [.., a, b, c, d] = header;
    (sent >= STARTUP_HEADER).then(|| Startup::of(u32::from_be_bytes([a, b, c, d])) == Startup::Cancel)
}

/// Waits until the client has sent enough to tell whether it is such a request.
pub(super) async fn is_to_come(client: &Socket) -> bool {
    let told = async {
        loop {
            client.readable().await;
            match is_sent(client) {
                Some(told) => return told,
                None if is_gone(client) => return false,
                None => client.forget(Interest::Readable),
            }
        }
    };
    let told = timeout(PATIENCE, told).await.unwrap_or(false);
    client.look_again();
    told
}

/// Sends it to every backend except `told`, and waits until each has closed its connection: the client takes that for the sign that
/// its next query will not be cancelled. Does nothing where clients have only one backend.
pub(super) async fn tell_others(request: &[u8], told: &Route, listener: &ListenerContext, header: Option<&[u8]>) {
    let Some(balancer) = &listener.balancer else { return };
    // Fails only when it is closed, which it never is.
    let _permit = balancer.cancels.acquire().await;
    let others = listener.pool.routes.everybody().into_iter().filter(|route| route.backend != told.backend);
    let mut tellings: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
    tellings.extend(others.map(|route| Box::pin(tell(route, request, listener, header)) as _));
    let all = poll_fn(|cx| {
        tellings.retain_mut(|telling| telling.as_mut().poll(cx).is_pending());
        if tellings.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    });
    // A backend that does not answer does not delay the others.
    let _ = timeout(PATIENCE, all).await;
}

/// Sends it to one backend, and waits until that has closed. A failure is ignored, as a lost request would be without mainstay.
async fn tell(route: Arc<Route>, request: &[u8], listener: &ListenerContext, header: Option<&[u8]>) {
    let descriptors = &listener.pool.process.descriptors;
    let dialed = connect_any(&route.addresses, Instant::now(), PATIENCE, &listener.server_leg, descriptors).await;
    let Ok(server) = dialed else { return };
    for bytes in header.into_iter().chain([request]) {
        if send_whole(&server, bytes).is_err() {
            return;
        }
    }
    while let Ok(1..) = server.recv(&mut [0; 64]).await {}
}
