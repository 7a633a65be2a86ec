//! RESP2, the protocol of Redis (its documentation, "Redis serialization protocol specification").

/// A line: `+OK`, `+PONG`.
pub const STATUS: u8 = b'+';
/// A line: `-LOADING …`.
pub const ERROR: u8 = b'-';
/// A text of known length.
pub const BULK: u8 = b'$';
/// A list of this many replies.
pub const LIST: u8 = b'*';

/// First word of an error: the server loads its data set.
pub const LOADING: &str = "LOADING";
/// The error for one client too many, which has no first word of its own.
pub const TOO_MANY: &str = "max number of clients";

/// The first line, with its marker and without its end, and where the next begins. `None` when it is incomplete.
pub fn line(received: &[u8]) -> Option<(&[u8], usize)> {
    let end = received.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&received[..end], end + 2))
}

/// An error reply.
pub fn error(words: &str) -> String {
    format!("{}{words}\r\n", char::from(ERROR))
}
