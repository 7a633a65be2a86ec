//! A running mainstay, and clients of it.

use std::net::TcpStream;

use mainstay::app::Running;

use super::wait::patience;

/// Connects to the first listener.
pub fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.listeners[0][0][0]).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream
}

/// Ends it at once.
pub fn end(running: Running) {
    running.stop();
    running.stop();
    running.join();
}
