//! The end of systemd: a datagram socket, as it makes one for each service (`Type=notify`).

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::support::wait::until;

/// Reads what a service says, from the moment it is told to.
pub struct ServiceManager {
    socket: UnixDatagram,
    said: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl ServiceManager {
    pub fn at(path: &Path) -> Self {
        let manager = Self::deaf(UnixDatagram::bind(path).unwrap());
        manager.listen()
    }

    /// At an abstract name, which has no file.
    pub fn at_abstract(name: &str) -> Self {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        Self::deaf(UnixDatagram::bind_addr(&address).unwrap()).listen()
    }

    /// One that does not read yet.
    pub fn deaf(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { socket, said: Arc::default(), stop: Arc::default(), reader: None }
    }

    pub fn listen(mut self) -> Self {
        let (socket, said) = (self.socket.try_clone().unwrap(), Arc::clone(&self.said));
        let stop = Arc::clone(&self.stop);
        self.reader = Some(thread::spawn(move || {
            let mut bytes = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                match socket.recv(&mut bytes) {
                    Ok(length) => said.lock().unwrap().push(String::from_utf8(bytes[..length].to_vec()).unwrap()),
                    Err(error) => assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}"),
                }
            }
        }));
        self
    }

    /// Fills the socket: nobody gets a message into it until it is read. How many it took.
    pub fn fill(path: &Path) -> usize {
        let own = UnixDatagram::unbound().unwrap();
        own.set_nonblocking(true).unwrap();
        (0..1_000_000).take_while(|_| own.send_to(b"STATUS=filler", path).is_ok()).count()
    }

    /// Every message so far.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// How many messages begin so.
    pub fn count(&self, prefix: &str) -> usize {
        self.said().iter().filter(|message| message.starts_with(prefix)).count()
    }

    /// Waits for a message that has this in it, behind so many others; its place.
    pub fn heard(&self, what: &str, behind: usize) -> usize {
        until(&format!("systemd is told {what}"), || {
            let said = self.said();
            let found = said.iter().skip(behind).position(|message| message.contains(what))?;
            Some(behind + found)
        })
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if thread::panicking() {
            println!("systemd was told: {:#?}", self.said());
        }
    }
}
