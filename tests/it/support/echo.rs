//! Scripted backends: a thread that accepts, and a script that is run on each connection.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{config::LOOPBACK, wait::until};

/// A backend that runs `script` on each connection, on a thread of its own.
pub struct Backend {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    listener: Option<TcpListener>,
    thread: Option<JoinHandle<()>>,
    /// Bound once it has stopped, so that no other test gets its port; whoever starts again at this address may bind as well.
    kept: Option<socket2::Socket>,
}

impl Backend {
    /// The script runs once the client has said something: a TCP check connects and leaves without a word.
    pub fn start(script: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::start_at(LOOPBACK, script)
    }

    pub fn start_at(address: SocketAddr, script: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::start_first(address, move |stream| {
            if let Ok(1) = stream.peek(&mut [0; 1]) {
                script(stream);
            }
        })
    }

    /// The script runs at once, for a server that speaks first.
    pub fn start_first(address: SocketAddr, script: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::start_noting(address, move |stream, _| script(stream))
    }

    /// As [`Backend::start_first`]; the script is told when the connection was accepted. One thread accepts, so that the order
    /// of these moments is the order of the connects, however late the script has its turn.
    pub fn start_noting(address: SocketAddr, script: impl Fn(TcpStream, Instant) + Send + Sync + 'static) -> Self {
        // Where another one has ended, a connection of another test may have the port for a moment.
        let socket = until("its address is free", || {
            let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&address.into()).ok().map(|()| socket)
        });
        Self::start_on(socket, script)
    }

    /// The same, on a socket that has its address already, such as that of [`refusing`].
    pub fn start_on(socket: socket2::Socket, script: impl Fn(TcpStream, Instant) + Send + Sync + 'static) -> Self {
        socket.listen(4096).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let own = listener.try_clone().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, script) = (Arc::clone(&stop), Arc::new(script));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    let script = Arc::clone(&script);
                    let at = Instant::now();
                    std::thread::spawn(move || script(stream, at));
                }
            }
        });
        Self { address, stop, listener: Some(own), thread: Some(thread), kept: None }
    }

    /// Echoes until the client finishes.
    pub fn echo() -> Self {
        Self::start(|stream| {
            let mut reader = stream.try_clone().unwrap();
            let mut writer = stream;
            let _ = io::copy(&mut reader, &mut writer);
            let _ = writer.shutdown(std::net::Shutdown::Write);
        })
    }

    /// Says who it is as often as it is asked (by [`who`]). Port 0: any.
    pub fn speaker(name: u8, address: SocketAddr) -> Self {
        Self::start_at(address, move |mut stream| {
            let mut byte = [0; 1];
            while let Ok(1) = stream.read(&mut byte) {
                if stream.write_all(&[name]).is_err() {
                    return;
                }
            }
        })
    }

    /// Closes the listening socket: from now on connects are refused.
    pub fn stop(&mut self) {
        self.close();
        let socket = socket2::Socket::new(socket2::Domain::for_address(self.address), socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        // A test that uses up every port may be quicker.
        self.kept = socket.bind(&self.address.into()).ok().map(|()| socket);
    }

    fn close(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread from its accept; a connect could not, when there is no port left for it.
        if let Some(listener) = self.listener.take() {
            let _ = socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.close();
    }
}

/// An address of this machine that refuses every connect for as long as the socket lives: bound, so that nobody else gets its port,
/// and not listened on.
pub fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&LOOPBACK.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Ends a connection with RST.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Asks a [`Backend::speaker`] for its name.
pub fn who(mut client: &TcpStream) -> io::Result<u8> {
    let mut answer = [0; 1];
    client.write_all(b"?")?;
    client.read_exact(&mut answer)?;
    Ok(answer[0])
}
