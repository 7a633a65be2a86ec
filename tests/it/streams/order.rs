//! The connections of a client reach the backend in the order in which it made them, whichever worker each is on.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use mainstay::{
    app,
    config::{Config, ListenerRoute},
};

use crate::support::{
    config::tcp_pool,
    echo::{Backend, refusing},
    front::{Front, connect, end},
    wait::{patience, until},
};

/// Tells of each connection that says its number when it was accepted.
fn noting() -> (Backend, Receiver<(u32, Instant)>) {
    noting_on(refusing().0)
}

fn noting_on(socket: socket2::Socket) -> (Backend, Receiver<(u32, Instant)>) {
    let (accepted, notes) = mpsc::channel();
    let backend = Backend::start_on(socket, move |mut stream, at| {
        let mut number = [0; 4];
        if stream.read_exact(&mut number).is_ok() {
            let _ = accepted.send((u32::from_be_bytes(number), at));
        }
    });
    (backend, notes)
}

fn config(backend: SocketAddr, workers: usize) -> Config {
    let mut config = tcp_pool(&[backend]);
    config.workers = Some(workers);
    config
}

/// Connects so often, `row` times one after the other before a byte of its own is sent; how many rows came in another order. `header`
/// comes before all.
fn disordered(config: &Config, notes: &Receiver<(u32, Instant)>, header: &[u8], rows: usize, row: u32) -> usize {
    let front = Front::with(config);
    let connect = || {
        let mut client = front.connect();
        client.write_all(header).unwrap();
        client
    };
    // Not before nobody is held any more.
    connect().write_all(&[0; 4]).unwrap();
    notes.recv_timeout(patience()).unwrap();
    let is_disordered = |_: &usize| {
        let clients: Vec<TcpStream> = (0..row).map(|_| connect()).collect();
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
    let (backend, notes) = noting();
    assert_eq!(disordered(&config(backend.address, 2), &notes, b"", 500, 2), 0, "pairs of 500 were swapped");
}

#[test]
fn many_connections_of_a_client_arrive_in_the_order_in_which_it_made_them() {
    for route in [ListenerRoute::Primary, ListenerRoute::Any] {
        let (backend, notes) = noting();
        let mut config = config(backend.address, 3);
        config.pools[0].listeners[0].route = route;
        assert_eq!(disordered(&config, &notes, b"", 100, 12), 0, "rows of 100 were in disorder ({route:?})");
    }
}

/// With several workers no order is kept behind a proxy: whoever waited for a header would keep those waiting whose header is there.
#[test]
fn connections_by_way_of_a_proxy_arrive_in_the_order_of_their_headers_with_one_worker() {
    let (backend, notes) = noting();
    let mut config = config(backend.address, 1);
    config.pools[0].listeners[0].proxy_protocol.accept_from = vec!["127.0.0.1/32".parse().unwrap()];
    let header = b"PROXY TCP4 192.0.2.1 198.51.100.7 4242 5432\r\n";
    assert_eq!(disordered(&config, &notes, header, 500, 2), 0, "pairs of 500 were swapped");
    assert_eq!(disordered(&config, &notes, header, 100, 12), 0, "rows of 100 were in disorder");
}

/// Rows of so many that were held, until there was a backend; how many of them came in another order.
fn disordered_by_the_hold(workers: usize, rows: usize, row: u32) -> usize {
    let is_disordered = |_: &usize| {
        let (socket, address) = refusing();
        let mut config = config(address, workers);
        // How soon they are released is not the subject.
        config.pools[0].check.interval = Duration::from_millis(50);
        let running = app::start(&config).unwrap();
        let held = &running.series[0].pool.held;
        let clients: Vec<TcpStream> = (0..row)
            .map(|number| {
                let mut client = connect(&running);
                client.write_all(&u32::to_be_bytes(number)).unwrap();
                until("it is held", || (held.get() == u64::from(number) + 1).then_some(()));
                client
            })
            .collect();
        let (_backend, notes) = noting_on(socket);
        let mut order: Vec<_> = clients.iter().map(|_| notes.recv_timeout(patience()).unwrap()).collect();
        // Their sessions end, instead of being waited for.
        drop(clients);
        end(running);
        order.sort_unstable_by_key(|(_, at)| *at);
        !order.is_sorted_by_key(|(number, _)| *number)
    };
    (0..rows).filter(is_disordered).count()
}

#[test]
fn connections_that_were_held_arrive_in_the_order_in_which_they_came() {
    for workers in [1, 2, 3] {
        // Released at once, and in two bursts.
        for row in [2, 40] {
            let disordered = disordered_by_the_hold(workers, 5, row);
            assert_eq!(disordered, 0, "rows of 5 were in disorder, each of {row}, with {workers} workers");
        }
    }
}
