//! The connections of a client reach the backend in the order in which it made them, whichever worker each is on.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc::{self, Receiver},
    time::Instant,
};

use mainstay::config::ListenerRoute;

use crate::support::{
    config::{LOOPBACK, tcp_pool},
    echo::Backend,
    front::Front,
    wait::patience,
};

/// Tells of each connection that says its number when it was accepted.
fn noting() -> (Backend, Receiver<(u32, Instant)>) {
    let (accepted, notes) = mpsc::channel();
    let backend = Backend::start_noting(LOOPBACK, move |mut stream, at| {
        let mut number = [0; 4];
        if stream.read_exact(&mut number).is_ok() {
            let _ = accepted.send((u32::from_be_bytes(number), at));
        }
    });
    (backend, notes)
}

/// Connects so often, `row` times one after the other before a byte is sent; how many rows came in another order.
fn disordered(workers: usize, route: ListenerRoute, rows: usize, row: u32) -> usize {
    let (backend, notes) = noting();
    let mut config = tcp_pool(&[backend.address]);
    config.workers = Some(workers);
    config.pools[0].listeners[0].route = route;
    let front = Front::with(&config);
    // Not before nobody is held any more.
    front.connect().write_all(&[0; 4]).unwrap();
    notes.recv_timeout(patience()).unwrap();
    let is_disordered = |_: &usize| {
        let clients: Vec<TcpStream> = (0..row).map(|_| front.connect()).collect();
        for (number, mut client) in (0..).zip(&clients) {
            client.write_all(&u32::to_be_bytes(number)).unwrap();
        }
        let mut order: Vec<_> = clients.iter().map(|_| notes.recv_timeout(patience()).unwrap()).collect();
        order.sort_unstable_by_key(|(_, at)| *at);
        !order.is_sorted_by_key(|(number, _)| *number)
    };
    (0..rows).filter(is_disordered).count()
}

#[test]
fn two_connections_of_a_client_arrive_in_the_order_in_which_it_made_them() {
    assert_eq!(disordered(2, ListenerRoute::Primary, 500, 2), 0, "pairs of 500 were swapped");
}

#[test]
fn many_connections_of_a_client_arrive_in_the_order_in_which_it_made_them() {
    for route in [ListenerRoute::Primary, ListenerRoute::Any] {
        assert_eq!(disordered(3, route, 100, 12), 0, "rows of 100 were in disorder ({route:?})");
    }
}
