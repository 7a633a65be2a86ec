//! The life of one connection: find a backend, relay, close, one log line.

use std::pin::pin;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    client::{Accepted, Client, ConnectionGuards},
    close,
    establish::{Ready, establish},
    identify::identify,
    order::{Turn, in_turn},
    relay::{Ended, Relay},
    session::SessionEnd,
};
use crate::{reason::RejectReason, route::OpenSession};

/// Runs a client to its end.
pub(super) fn serve(accepted: Accepted, turn: Option<Turn>, counted: TaskTrackerToken) -> impl Future<Output = ()> {
    serve_client(accepted.arrive(turn), counted)
}

/// The same for a client behind a proxy whose header is still to come. It may be over the limit.
pub(super) fn serve_proxied(
    accepted: Accepted,
    too_many: Option<RejectReason>,
    counted: TaskTrackerToken,
) -> impl Future<Output = ()> {
    let proxy = accepted.arrive(None);
    async move {
        let Some(proxy) = proxy else { return };
        match Box::pin(identify(proxy, too_many)).await {
            Ok(client) => serve_client(Some(client), counted).await,
            // A client without a header was already reset.
            Err(None) => {}
            Err(Some(refused)) => Box::pin(refused.tell()).await,
        }
    }
}

/// What is needed before and after the relay is boxed, and freed while the session relays: only the relay and the session's record
/// stay. (No `async fn`, which would keep a second copy of its arguments.)
#[allow(clippy::manual_async_fn, reason = "as said above")]
fn serve_client(client: Option<Box<Client>>, counted: TaskTrackerToken) -> impl Future<Output = ()> {
    async move {
        let _counted = counted;
        let Some(mut client) = client else { return };
        loop {
            // A client without a session already got its error.
            let Some(Ready { client: near, server, passed, session }) = Box::pin(begin(client)).await else { return };
            let settings = &session.listener().relay;
            let mut relay = Relay::new(near, server, passed, settings, &session.session, &session.session.route.metrics);
            let reason = relay.run(&session.listening).await;
            let ended = relay.end(reason);
            match session.close(ended) {
                SessionEnd::Over => return,
                SessionEnd::Closing(ended, session, guards) => return Box::pin(finish(ended, session, guards)).await,
                SessionEnd::Retryable(again) => client = again,
            }
        }
    }
}

/// Closes what is left of a session; the session counts until that is done.
async fn finish(ended: Ended, session: OpenSession, _guards: ConnectionGuards) {
    close::both(ended, session).await;
}

/// Finds a backend for a client, or rejects it when none serves it before its deadline.
async fn begin(mut client: Box<Client>) -> Option<Ready> {
    let turn = client.turn.take();
    if let Some(turn) = turn.as_ref().filter(|turn| !turn.has_come()) {
        Box::pin(turn.comes()).await;
    }
    match in_turn(turn, pin!(establish(*client))).await {
        Ok(ready) => Some(ready),
        Err(refused) => {
            // Boxed because it is rare: a served client must not carry it.
            Box::pin(refused.tell()).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that a function would give, without calling it.
    fn future_size<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_session_is_a_small_task() {
        let size = future_size(serve);
        assert!(size <= 384, "the task of a session takes {size} bytes");
    }
}
