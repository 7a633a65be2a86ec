//! For tests of what runs in a loop.

use std::{
    future::Future,
    net::{TcpListener, TcpStream},
};

use super::{EventLoop, Socket};

/// Runs a loop until `future` is ready.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    EventLoop::new().unwrap().run(None, future).unwrap()
}

/// Both ends of a new connection.
pub(crate) fn pair() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = listener.accept().unwrap().0;
    let [far, near] = [far, near].map(|stream| {
        stream.set_nonblocking(true).unwrap();
        Socket::new(stream).unwrap()
    });
    (far, near)
}
