//! A request to cancel a query, where clients are spread over several backends. It comes on a connection of its own, names a session by
//! number and key (`PostgreSQL` manual, "Canceling Requests in Progress"), and means nothing to a server that does not have it. So every
//! backend is told that a session may be with: nothing has to be remembered of sessions, whose keys TLS hides.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    context::ListenerContext,
    dial::{connect_any, send_whole},
    event_loop::timeout,
};
use crate::route::Route;

/// For all backends to be reached and to close.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells every backend but `told`, which knows it; until each has closed its connection. A client takes that for the sign that its
/// next query will not be the one that is cancelled. Nothing where clients have one backend only.
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
    // One that does not answer keeps nobody else from hearing of it.
    let _ = timeout(PATIENCE, all).await;
}

/// Tells one backend, and waits until it has closed. What cannot be told is lost, as it is without mainstay.
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
