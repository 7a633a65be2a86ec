//! A session whose route is gated: its client is not read any more from the next boundary on.
//!
//! A boundary is where the last byte that moved was the server's, and nothing is left of what was read from either side. For a client
//! that waits for answers, nothing of it is then under way. Whether it is inside a transaction only the server knows: control asks
//! it, and lets such a session pass, up to its next boundary. A client that sends ahead may have more under way: control does not
//! trust a boundary at first sight.
//!
//! | a session that | stands |
//! |---|---|
//! | has its login to do | as any other: each message of the client needs the answer before it |
//! | has finished on one side | under way: it ends by itself |
//! | has a client that does not take what the server sent | under way: it has not got its answer |
//! | has a client that was reset | ends: what that client left unread is not passed on |
//! | has a client that said its last words and finished | under way: they are passed on, and it ends by itself |

use std::task::{Context, Poll};

use super::{
    Relay,
    copy::{self, Looked},
    half::End,
};
use crate::{
    data::event_loop::after_others,
    reason::CloseReason,
    route::{Gating, Position},
};

/// What a look at the client's socket shows.
enum Seen {
    Nothing,
    Request,
    /// FIN, after bytes that are unread or without any.
    Finished,
    Reset,
}

impl Relay<'_> {
    pub(super) fn poll_gated(&mut self, cx: &mut Context<'_>, gating: Gating) -> Poll<CloseReason> {
        let is_held = self.is_at_boundary() && !self.session.gate.may_pass(gating);
        let upstream = if is_held { self.poll_held() } else { self.poll_upstream() };
        let polled = self.poll_rest(cx, upstream);
        if polled.is_pending() {
            self.tell_position(gating);
        }
        polled
    }

    const fn is_at_boundary(&self) -> bool {
        self.server_spoke_last && self.upstream.rests() && self.downstream.rests()
    }

    /// The client's end is noticed, and nothing else of it.
    fn poll_held(&mut self) -> Poll<End> {
        match self.look_at_client() {
            Seen::Nothing | Seen::Request => Poll::Pending,
            Seen::Finished => self.poll_upstream(),
            Seen::Reset => Poll::Ready(End::SourceReset),
        }
    }

    fn tell_position(&mut self, gating: Gating) {
        let position = if !self.is_at_boundary() {
            Position::UnderWay
        } else if self.session.gate.may_pass(gating) {
            // Nothing of the client has come yet.
            return;
        } else {
            match self.look_at_client() {
                Seen::Nothing => Position::Silent,
                Seen::Request => Position::Unread,
                Seen::Finished | Seen::Reset => {
                    // The next turn deals with it.
                    after_others();
                    Position::UnderWay
                }
            }
        };
        self.session.gate.tell(gating, position, || self.server.local_addr());
    }

    /// Takes nothing. The task is woken when there is more to see.
    fn look_at_client(&self) -> Seen {
        self.client.attend();
        if self.client.is_gone() {
            return Seen::Reset;
        }
        match copy::poll_look(&self.client) {
            Poll::Pending => Seen::Nothing,
            Poll::Ready(Looked::More) if !self.client.is_read_closed() => Seen::Request,
            Poll::Ready(Looked::More | Looked::SourceFinished) => Seen::Finished,
            Poll::Ready(Looked::SourceFailed) => Seen::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        config::RelayMode,
        data::{
            close,
            event_loop::{
                Socket, sleep, spawn,
                testing::{pair, run},
                timeout,
            },
            relay::{RelaySettings, supply_pipes},
        },
        failover::{Epoch, RevokeMode, Time},
        metrics::{Metrics, PoolLabels},
        net::endpoint::Peer,
        route::{Frontend, Listening, Revocation, Route, RouteId, Session, SessionTable, Stand, kill, send},
    };

    const MODES: [RelayMode; 3] = [RelayMode::Copy, RelayMode::Splice, RelayMode::Auto];
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A client and a server with a relay between them.
    struct Pair {
        client: Socket,
        server: Socket,
        route: Arc<Revocation>,
        session: Arc<Session>,
        near_server: std::net::SocketAddr,
        ended: Rc<Cell<Option<CloseReason>>>,
    }

    fn relayed(mode: RelayMode, passed: (u64, u64)) -> Pair {
        supply_pipes(8, Box::new(|_| {}));
        let ((client, near_client), (server, near_server)) = (pair(), pair());
        let route = Arc::<Revocation>::default();
        let labels = PoolLabels { name: "orders".into(), listeners: vec![], backends: vec![("db-a".into(), "db-a:5432".into())] };
        let series = Metrics::new().unwrap().series(&labels).unwrap();
        let id = RouteId::Active(Epoch(1));
        let way = Route::new("db-a".into(), &series.backends[0], id, [].into(), Arc::clone(&route));
        let frontend = Arc::new(Frontend { pool: "orders".into(), listener: "rw".into() });
        let session = Arc::new(Session::new(Peer::Unix, frontend, Arc::new(way), Time::from_millis(0)));
        let (address, ended) = (near_server.local_addr().unwrap(), Rc::new(Cell::new(None)));
        let (known, under, end) = (Arc::clone(&session), Arc::clone(&route), Rc::clone(&ended));
        spawn(async move {
            let settings = RelaySettings { mode, idle: None, half_close: PATIENCE, reset: PATIENCE, keepalive: None };
            let listening = Listening::begin(under).await;
            let mut relay = Relay::new(near_client, near_server, passed, &settings, &known, &series.backends[0]);
            let reason = relay.run(&listening).await;
            let ended = relay.end(reason);
            end.set(Some(reason));
            drop(listening);
            close::both(ended, ()).await;
        });
        Pair { client, server, route, session, near_server: address, ended }
    }

    impl Pair {
        async fn becomes(&self, wanted: Position) {
            let stands = async {
                loop {
                    let gating = self.route.gating().expect("it is gated");
                    if self.session.gate.stand(gating).is_some_and(|stand| stand.position() == wanted) {
                        return;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let told = || self.route.gating().and_then(|gating| self.session.gate.stand(gating));
            assert!(timeout(PATIENCE, stands).await.is_ok(), "{wanted:?}, it is {:?}", told().map(Stand::position));
        }

        async fn ask(&mut self, words: &[u8]) {
            self.client.write_all(words).await.unwrap();
        }

        async fn answer(&mut self, words: &[u8]) {
            self.server.write_all(words).await.unwrap();
        }

        async fn client_hears(&mut self, words: &[u8]) {
            hears(&mut self.client, words).await;
        }

        async fn server_hears(&mut self, words: &[u8]) {
            hears(&mut self.server, words).await;
        }

        /// Nothing comes to the server for a while. (A fault may go unseen here, and nothing else.)
        async fn server_hears_nothing(&mut self) {
            let heard = timeout(Duration::from_millis(30), self.server.read_u8()).await;
            assert!(heard.is_err(), "{heard:?}");
        }

        async fn ends(&self, reason: CloseReason) {
            let ends = async {
                while self.ended.get().is_none() {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            assert!(timeout(PATIENCE, ends).await.is_ok(), "it goes on");
            assert_eq!(self.ended.get(), Some(reason));
        }

        fn send(&self, to: Position) {
            let stand = self.session.gate.stand(self.route.gating().unwrap()).unwrap();
            send(&self.route, &[(Arc::clone(&self.session), stand, to)]);
        }
    }

    async fn hears(socket: &mut Socket, words: &[u8]) {
        let mut heard = vec![0; words.len()];
        timeout(PATIENCE, socket.read_exact(&mut heard)).await.expect("nothing comes").unwrap();
        assert!(heard == words, "other words came");
    }

    fn reset(socket: &mut Socket) {
        close::reset(socket);
        // The close is what sends it.
        *socket = pair().0;
    }

    fn with_each_relay(test: impl AsyncFn(RelayMode)) {
        for mode in MODES {
            run(test(mode));
        }
    }

    #[test]
    fn a_client_is_held_at_the_boundary_and_not_before_and_goes_on_when_the_gate_opens() {
        with_each_relay(async |mode| {
            let mut pair = relayed(mode, (0, 0));
            pair.ask(b"one").await;
            pair.server_hears(b"one").await;
            pair.route.gate();
            pair.becomes(Position::UnderWay).await;
            // Sent ahead, before the answer: no boundary.
            pair.ask(b"two").await;
            pair.server_hears(b"two").await;
            pair.answer(b"1").await;
            pair.client_hears(b"1").await;
            pair.becomes(Position::Silent).await;
            pair.ask(b"three").await;
            pair.becomes(Position::Unread).await;
            pair.server_hears_nothing().await;
            // The server's words pass: the end that it tells, above all.
            pair.answer(b"57P01").await;
            pair.client_hears(b"57P01").await;
            pair.becomes(Position::Unread).await;
            pair.route.ungate();
            pair.server_hears(b"three").await;
            pair.route.gate();
            pair.becomes(Position::UnderWay).await;
            pair.answer(b"3").await;
            pair.client_hears(b"3").await;
            pair.becomes(Position::Silent).await;
            pair.route.ungate();
            pair.ask(b"four").await;
            pair.server_hears(b"four").await;
        });
    }

    #[test]
    fn a_client_that_waits_at_the_gate_notices_when_it_opens() {
        with_each_relay(async |mode| {
            let mut pair = relayed(mode, (0, 0));
            pair.route.gate();
            pair.becomes(Position::Silent).await;
            let stand = pair.session.gate.stand(pair.route.gating().unwrap()).unwrap();
            assert_eq!(stand.leg().port, pair.near_server.port());
            assert!(stand.leg().is_at(pair.near_server.ip()));
            pair.ask(b"one").await;
            pair.becomes(Position::Unread).await;
            pair.route.ungate();
            pair.server_hears(b"one").await;
        });
    }

    #[test]
    fn who_is_let_pass_goes_on_up_to_the_next_boundary() {
        with_each_relay(async |mode| {
            let mut pair = relayed(mode, (0, 0));
            pair.route.gate();
            pair.becomes(Position::Silent).await;
            for silent in [true, false] {
                if silent {
                    pair.send(Position::LetPass);
                    pair.becomes(Position::LetPass).await;
                }
                pair.ask(b"one").await;
                if !silent {
                    pair.becomes(Position::Unread).await;
                    pair.send(Position::LetPass);
                }
                pair.server_hears(b"one").await;
                pair.becomes(Position::UnderWay).await;
                pair.answer(b"1").await;
                pair.client_hears(b"1").await;
                pair.becomes(Position::Silent).await;
            }
            pair.send(Position::LetPass);
            pair.becomes(Position::LetPass).await;
            // Held back again before it has said anything.
            pair.send(Position::UnderWay);
            pair.becomes(Position::Silent).await;
            pair.ask(b"two").await;
            pair.becomes(Position::Unread).await;
            pair.server_hears_nothing().await;
        });
    }

    #[test]
    fn what_a_full_server_has_not_taken_is_no_boundary() {
        with_each_relay(async |mode| {
            let mut pair = relayed(mode, (0, 0));
            let block = vec![7; 64 << 10];
            let mut sent = 0_usize;
            while let Ok(Ok(written)) = timeout(Duration::from_millis(100), pair.client.write(&block)).await {
                sent += written;
            }
            // The server speaks without having read all.
            pair.answer(b"wait").await;
            pair.client_hears(b"wait").await;
            pair.route.gate();
            pair.becomes(Position::UnderWay).await;
            let mut left = vec![0; sent];
            timeout(PATIENCE, pair.server.read_exact(&mut left)).await.expect("it is not passed on").unwrap();
            pair.becomes(Position::UnderWay).await;
            pair.answer(b"done").await;
            pair.client_hears(b"done").await;
            pair.becomes(Position::Silent).await;
        });
    }

    #[test]
    fn a_client_that_does_not_take_its_answer_is_at_no_boundary() {
        with_each_relay(async |mode| {
            let mut pair = relayed(mode, (0, 0));
            pair.ask(b"all of it").await;
            pair.server_hears(b"all of it").await;
            let block = vec![7; 64 << 10];
            let mut sent = 0_usize;
            while let Ok(Ok(written)) = timeout(Duration::from_millis(100), pair.server.write(&block)).await {
                sent += written;
            }
            pair.route.gate();
            pair.becomes(Position::UnderWay).await;
            let mut answer = vec![0; sent];
            timeout(PATIENCE, pair.client.read_exact(&mut answer)).await.expect("it does not come").unwrap();
            pair.becomes(Position::Silent).await;
        });
    }

    #[test]
    fn a_gated_session_notices_every_end() {
        with_each_relay(async |mode| {
            for unread in [false, true] {
                let gated = async || {
                    let mut pair = relayed(mode, (0, 0));
                    pair.route.gate();
                    pair.becomes(Position::Silent).await;
                    if unread {
                        pair.ask(b"unread").await;
                        pair.becomes(Position::Unread).await;
                    }
                    pair
                };
                let mut pair = gated().await;
                reset(&mut pair.client);
                pair.ends(CloseReason::ClientReset).await;

                let mut pair = gated().await;
                pair.client.finish().unwrap();
                // Its last words are passed on, and the server's.
                pair.server_hears(if unread { b"unread" } else { b"" }).await;
                assert_eq!(pair.server.read(&mut [0; 8]).await.unwrap(), 0);
                pair.becomes(Position::UnderWay).await;
                pair.answer(b"bye").await;
                pair.client_hears(b"bye").await;
                pair.server.finish().unwrap();
                pair.ends(CloseReason::ClientEof).await;

                let mut pair = gated().await;
                pair.answer(b"57P01").await;
                pair.server.finish().unwrap();
                pair.client_hears(b"57P01").await;
                assert_eq!(pair.client.read(&mut [0; 8]).await.unwrap(), 0);
                pair.becomes(Position::UnderWay).await;

                let mut pair = gated().await;
                reset(&mut pair.server);
                pair.ends(CloseReason::ServerReset).await;

                let pair = gated().await;
                pair.route.revoke(RevokeMode::Abort);
                pair.ends(CloseReason::Revoked).await;

                let pair = gated().await;
                kill(&[Arc::clone(&pair.session)]);
                pair.ends(CloseReason::Killed).await;
            }
        });
    }

    #[test]
    fn a_login_is_under_way_until_the_server_has_answered_what_a_greeting_passed_on() {
        with_each_relay(async |mode| {
            let mut pair = relayed(mode, (8, 0));
            pair.route.gate();
            pair.becomes(Position::UnderWay).await;
            pair.answer(b"R").await;
            pair.client_hears(b"R").await;
            pair.becomes(Position::Silent).await;
        });
    }

    #[test]
    fn a_session_that_begins_under_a_closed_gate_is_held_and_listed_under_its_route() {
        run(async {
            let pair = relayed(RelayMode::Auto, (0, 0));
            pair.route.gate();
            pair.becomes(Position::Silent).await;
            let table = Arc::new(SessionTable::default());
            let _entry = table.enter(1, Arc::clone(&pair.session));
            assert_eq!(table.under(&pair.route).len(), 1);
        });
    }
}
