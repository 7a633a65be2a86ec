//! A name server of the test's own, and processes that ask it and nobody else. It has port 53 of a [`Network`](super::netns::Network)
//! of the test's own; the files that name it to a process stand over those of the machine in a mount namespace of that process.

use std::{
    collections::HashMap,
    fs, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

use super::process::{Process, Stderr};

/// What a question for a name gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// This error.
    Code(u8),
    /// Nothing at all.
    Silence,
    /// These addresses, after this time.
    Late(Duration, Vec<IpAddr>),
}

/// RFC 1035, 4.1.1: the server was unable to process the query.
pub const SERVFAIL: Reply = Reply::Code(2);
/// There is no such name.
pub const NXDOMAIN: Reply = Reply::Code(3);

const A: u16 = 1;
const AAAA: u16 = 28;

/// Addresses as a reply has them.
pub fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[derive(Default)]
struct Book {
    replies: Mutex<HashMap<String, Reply>>,
    /// How often the IPv4 address of each name was asked for: each lookup does so once.
    lookups: Mutex<HashMap<String, usize>>,
}

/// Answers until it is dropped. Names that it was not told of do not exist.
pub struct Dns {
    book: Arc<Book>,
    files: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// Starts within the network of the present thread. A process that asks it gives up after a second.
    pub fn start() -> Self {
        Self::with_patience(Duration::from_secs(1))
    }

    /// As [`Dns::start`]; processes wait so long for an answer, in whole seconds.
    pub fn with_patience(patience: Duration) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let socket = UdpSocket::bind("127.0.0.1:53").expect("a name server of the test's own needs a network of its own");
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let name = format!("mainstay-dns-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let files = std::env::temp_dir().join(name);
        fs::create_dir(&files).unwrap();
        let resolv = format!("nameserver 127.0.0.1\noptions timeout:{} attempts:1\n", patience.as_secs());
        for (file, text) in
            [("resolv.conf", &*resolv), ("hosts", "127.0.0.1 localhost\n"), ("nsswitch.conf", "hosts: files dns\n")]
        {
            fs::write(files.join(file), text).unwrap();
        }
        let (book, stop) = (Arc::<Book>::default(), Arc::<AtomicBool>::default());
        let (own, stopped) = (Arc::clone(&book), Arc::clone(&stop));
        let thread = thread::spawn(move || serve(&socket, &own, &stopped));
        Self { book, files, stop, thread: Some(thread) }
    }

    /// From now on `name` gets this.
    pub fn reply(&self, name: &str, reply: Reply) {
        self.book.replies.lock().unwrap().insert(name.to_owned(), reply);
    }

    /// From now on `name` stands for these addresses.
    pub fn set(&self, name: &str, texts: &[&str]) {
        self.reply(name, Reply::Addresses(addresses(texts)));
    }

    /// How often `name` was looked up.
    pub fn lookups(&self, name: &str) -> usize {
        self.book.lookups.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// A mainstay that asks this name server.
    pub fn start_process(&self, settings: &Value) -> Process {
        let prefix = mount_over(&self.files);
        Process::start_under(&prefix.iter().map(String::as_str).collect::<Vec<_>>(), settings, Stderr::Read)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_dir_all(&self.files);
    }
}

/// What becomes a process that finds these files in /etc. Nobody else does: its mounts are its own.
fn mount_over(files: &Path) -> Vec<String> {
    let script =
        "for file in resolv.conf hosts nsswitch.conf; do mount --bind \"$0/$file\" /etc/$file || exit 1; done; exec \"$@\"";
    let words = ["unshare", "--mount", "sh", "-c", script, files.to_str().unwrap()];
    words.map(str::to_owned).to_vec()
}

fn serve(socket: &UdpSocket, book: &Arc<Book>, stop: &AtomicBool) {
    let mut packet = [0; 512];
    while !stop.load(Ordering::SeqCst) {
        let (length, peer) = match socket.recv_from(&mut packet) {
            Ok(received) => received,
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) => continue,
            // Whoever asked before is gone (ICMP port unreachable).
            Err(_) => continue,
        };
        if let Some(question) = Question::read(&packet[..length]) {
            answer(socket, book, peer, question);
        }
    }
}

fn answer(socket: &UdpSocket, book: &Book, peer: SocketAddr, question: Question) {
    if question.kind == A {
        *book.lookups.lock().unwrap().entry(question.name.clone()).or_default() += 1;
    }
    let reply = book.replies.lock().unwrap().get(&question.name).cloned().unwrap_or(NXDOMAIN);
    match reply {
        Reply::Silence => {}
        Reply::Code(code) => drop(socket.send_to(&question.answer(code, &[]), peer)),
        Reply::Addresses(addresses) => drop(socket.send_to(&question.answer(0, &addresses), peer)),
        Reply::Late(delay, addresses) => {
            let socket = socket.try_clone().unwrap();
            thread::spawn(move || {
                thread::sleep(delay);
                let _ = socket.send_to(&question.answer(0, &addresses), peer);
            });
        }
    }
}

/// RFC 1035, 4.1: a header of 12 bytes, then the name as labels, its type and class.
struct Question {
    name: String,
    kind: u16,
    packet: Vec<u8>,
}

impl Question {
    fn read(packet: &[u8]) -> Option<Self> {
        let mut labels = Vec::new();
        let mut at = 12;
        loop {
            let length = usize::from(*packet.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(std::str::from_utf8(packet.get(at..at + length)?).ok()?.to_ascii_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
        Some(Self { name: labels.join("."), kind, packet: packet.get(..at + 4)?.to_vec() })
    }

    fn answer(&self, code: u8, addresses: &[IpAddr]) -> Vec<u8> {
        let of_kind: Vec<_> = addresses.iter().filter(|ip| self.kind == if ip.is_ipv4() { A } else { AAAA }).collect();
        let mut packet = self.packet.clone();
        // An answer; recursion was desired and is available.
        packet[2..4].copy_from_slice(&[0x81, 0x80 | code]);
        packet[4..12].copy_from_slice(&[0, 1, 0, u8::try_from(of_kind.len()).unwrap(), 0, 0, 0, 0]);
        for ip in of_kind {
            let bytes = match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            // The name is that of the question, at byte 12.
            packet.extend([0xc0, 12]);
            packet.extend(self.kind.to_be_bytes());
            packet.extend([0, 1, 0, 0, 0, 0]);
            packet.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
            packet.extend(bytes);
        }
        packet
    }
}
