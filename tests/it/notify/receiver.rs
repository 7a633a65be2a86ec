//! A receiver that takes what it is told, and notes it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Instant,
};

use serde_json::Value;

use crate::support::{config::LOOPBACK, echo::Backend, wait::until};

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Told {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head)).1
    }

    pub(super) fn kind(&self) -> String {
        self.json()["kind"].as_str().unwrap().to_owned()
    }
}

pub(super) struct Receiver {
    pub(super) server: Backend,
    told: Arc<Mutex<Vec<Told>>>,
}

/// Reads a request.
pub(super) fn request(stream: &TcpStream) -> Option<Told> {
    let at = Instant::now();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Told { at, head, body })
}

impl Receiver {
    pub(super) fn start() -> Self {
        Self::answering("HTTP/1.1 204 No Content\r\n\r\n")
    }

    pub(super) fn answering(answer: &str) -> Self {
        let told = Arc::<Mutex<Vec<Told>>>::default();
        let (noted, answer) = (Arc::clone(&told), answer.to_owned());
        let server = Backend::start_first(LOOPBACK, move |mut stream| {
            if let Some(request) = request(&stream) {
                noted.lock().unwrap().push(request);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { server, told }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address())
    }

    pub(super) fn all(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    pub(super) fn kinds(&self) -> Vec<String> {
        self.all().iter().map(Told::kind).collect()
    }

    /// Waits until it was told this often, and returns the last.
    pub(super) fn nth(&self, count: usize) -> Told {
        until(&format!("message {count}"), || self.all().get(count - 1).cloned())
    }
}
