//! The socket between two mainstays: lines of JSON, and descriptors beside them (`SCM_RIGHTS`, unix(7)).

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};

/// For each answer of a process that starts, and for its backends to be found. Several of them are shorter than an order waits.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Descriptors in one message; the kernel takes 253 (`SCM_MAX_FD`).
pub const MOST_DESCRIPTORS: usize = 200;
/// No line is longer: what is known of some thousand pools.
const MAX_LINE_BYTES: usize = 16 << 20;

/// One end, while each waits for the other: calls block, with a deadline.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    unread: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Channel {
    /// Two ends.
    ///
    /// # Errors
    /// Those of socketpair(2).
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (own, other) = UnixStream::pair()?;
        Ok((Self::new(own), other.into()))
    }

    /// This end.
    pub const fn new(socket: UnixStream) -> Self {
        Self { socket, unread: Vec::new(), descriptors: VecDeque::new() }
    }

    /// Says something, with descriptors.
    ///
    /// # Errors
    /// When the other end is gone, or does not read within `patience`.
    pub fn say(&mut self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>], patience: Duration) -> io::Result<()> {
        let line = line(message)?;
        let deadline = Instant::now() + patience;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        let mut sent = 0;
        while sent < line.len() {
            self.socket.set_write_timeout(Some(left(deadline)?))?;
            sent += sendmsg(&self.socket, &[IoSlice::new(&line[sent..])], &mut beside, SendFlags::NOSIGNAL)?;
            // They went with the first bytes.
            beside = SendAncillaryBuffer::new(&mut []);
        }
        Ok(())
    }

    /// The next thing that the other end says, within `patience`.
    ///
    /// # Errors
    /// `UnexpectedEof` when it is gone, `TimedOut`, or what is no message.
    pub fn hear<T: DeserializeOwned>(&mut self, patience: Duration) -> io::Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            if self.unread.len() > MAX_LINE_BYTES {
                return Err(io::Error::other("a message is too long"));
            }
            self.socket.set_read_timeout(Some(left(deadline)?))?;
            self.receive()?;
        }
    }

    /// The next descriptor that came with a message.
    pub fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Ends the conversation with deadlines: the socket, which does not block from now on, and what has been received of it.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn into_parts(self) -> io::Result<(UnixStream, Vec<u8>)> {
        self.socket.set_nonblocking(true)?;
        Ok((self.socket, self.unread))
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; 64 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(self.socket.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC);
        let received = received.map_err(|errno| match io::Error::from(errno) {
            late if late.kind() == io::ErrorKind::WouldBlock => timed_out(),
            other => other,
        })?;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&bytes[..received.bytes]);
        Ok(())
    }
}

/// A message as it is sent.
///
/// # Errors
/// When JSON cannot say it, which no message of [`super::message`] causes.
pub fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(timed_out()) } else { Ok(left) }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the other mainstay did not answer in time")
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn pair() -> (Channel, Channel) {
        let (own, other) = Channel::pair().unwrap();
        (own, Channel::new(other.into()))
    }

    #[test]
    fn descriptors_come_with_their_lines_and_in_order() {
        let (mut own, mut other) = pair();
        let sockets: Vec<_> = (0..450).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        let said = ports.clone();
        let saying = thread::spawn(move || {
            for (ports, sockets) in said.chunks(MOST_DESCRIPTORS).zip(sockets.chunks(MOST_DESCRIPTORS)) {
                let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
                own.say(&ports, &descriptors, SOON).unwrap();
            }
            own
        });
        let mut heard = Vec::new();
        while heard.len() < ports.len() {
            for port in other.hear::<Vec<u16>>(SOON).unwrap() {
                let socket = TcpListener::from(other.descriptor().unwrap());
                assert_eq!(socket.local_addr().unwrap().port(), port);
                heard.push(port);
            }
        }
        assert_eq!((heard, other.descriptor().is_none()), (ports, true));
        drop(saying.join().unwrap());
        assert_eq!(other.hear::<u8>(SOON).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_long_message_arrives_and_silence_has_an_end() {
        let (mut own, mut other) = pair();
        let long = "x".repeat(3 << 20);
        let said = long.clone();
        let saying = thread::spawn(move || {
            own.say(&said, &[], SOON).unwrap();
            own
        });
        assert_eq!(other.hear::<String>(SOON).unwrap(), long);
        let mut own = saying.join().unwrap();
        assert_eq!(other.hear::<u8>(Duration::from_millis(20)).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let full = own.say(&"x".repeat(8 << 20), &[], Duration::from_millis(50)).unwrap_err();
        assert!(matches!(full.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{full}");
    }
}
