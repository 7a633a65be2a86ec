//! RESP2, the protocol of Redis (its documentation, "Redis serialization protocol specification"), as far as a check reads it.
//! Total: any input is a reply, or incomplete, or an error with a message; never a panic, and no memory beyond what was received.

use super::super::bounded::quote;
use crate::wire::redis::{BULK, ERROR, LIST, STATUS, line};

/// A longer line is no answer to a check.
const LINE_MAX: usize = 1024;
/// A configuration has about 500 words, with those of modules more. What a Sentinel tells of a primary has about fifty.
const LIST_MAX: usize = 4096;
/// `INFO` of one section has a few KiB.
const BULK_MAX: usize = 60 * 1024;

/// An answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`, `+PONG`.
    Status(String),
    /// `-LOADING …`, without the sign.
    Error(String),
    /// A text of known length.
    Bulk(String),
    /// Texts of known length, as a Sentinel answers, and `CONFIG GET`.
    List(Vec<String>),
}

/// A command as the server reads it: an array of bulk strings.
pub(super) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

/// The first word of an error, which is its kind.
pub(super) fn code(error: &str) -> &str {
    error.split(' ').next().unwrap_or_default()
}

/// Reads one reply from the beginning of `received`: the reply and its length in bytes; `None` when it is incomplete.
///
/// # Errors
/// What is wrong, when this is no RESP or no answer to a check.
pub fn parse(received: &[u8]) -> Result<Option<(Reply, usize)>, String> {
    let Some(&kind) = received.first() else { return Ok(None) };
    if ![STATUS, ERROR, BULK, LIST].contains(&kind) {
        return Err(format!("it does not speak Redis: its answer begins with {}", quote(&received[..received.len().min(8)])));
    }
    let Some((text, after)) = line(&received[..received.len().min(LINE_MAX + 1)]) else {
        return if received.len() > LINE_MAX { Err("its answer has a line without an end".into()) } else { Ok(None) };
    };
    let text = String::from_utf8_lossy(&text[1..]).into_owned();
    match kind {
        STATUS => Ok(Some((Reply::Status(text), after))),
        ERROR => Ok(Some((Reply::Error(text), after))),
        LIST => list(&text, after, received),
        _ => Ok(bulk(&text, after, received)?.map(|(text, end)| (Reply::Bulk(text), end))),
    }
}

/// A list contains only texts; a null list is empty.
fn list(count: &str, start: usize, received: &[u8]) -> Result<Option<(Reply, usize)>, String> {
    if count == "-1" {
        return Ok(Some((Reply::List(Vec::new()), start)));
    }
    let Some(count) = count.parse::<usize>().ok().filter(|count| *count <= LIST_MAX) else {
        return Err(format!("its answer has a count of {}", quote(count.as_bytes())));
    };
    let (mut words, mut at) = (Vec::new(), start);
    for _ in 0..count {
        match received.get(at) {
            None => return Ok(None),
            Some(&BULK) => {}
            Some(_) => return Err("its answer is a list of something else than texts".into()),
        }
        match parse(&received[at..])? {
            Some((Reply::Bulk(word), length)) => {
                words.push(word);
                at += length;
            }
            _ => return Ok(None),
        }
    }
    Ok(Some((Reply::List(words), at)))
}

fn bulk(length: &str, start: usize, received: &[u8]) -> Result<Option<(String, usize)>, String> {
    let Some(length) = length.parse::<usize>().ok().filter(|length| *length <= BULK_MAX) else {
        return Err(format!("its answer has a length of {}", quote(length.as_bytes())));
    };
    let end = start + length;
    match received.get(start..end + 2) {
        None => Ok(None),
        Some(text) if text.ends_with(b"\r\n") => Ok(Some((String::from_utf8_lossy(&text[..length]).into_owned(), end + 2))),
        Some(_) => Err("its answer is longer than it said".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        assert_eq!(command(&["AUTH", "probe", "pass word"]), b"*3\r\n$4\r\nAUTH\r\n$5\r\nprobe\r\n$9\r\npass word\r\n");
    }

    #[test]
    fn replies_are_read_whole_and_one_at_a_time() {
        let bytes = b"+PONG\r\n-LOADING Redis is loading\r\n$4\r\na\r\nb\r\n$0\r\n\r\n";
        let mut at = 0;
        let mut replies = Vec::new();
        while let Some((reply, length)) = parse(&bytes[at..]).unwrap() {
            at += length;
            replies.push(reply);
        }
        assert_eq!(at, bytes.len());
        let expected = [
            Reply::Status("PONG".into()),
            Reply::Error("LOADING Redis is loading".into()),
            Reply::Bulk("a\r\nb".into()),
            Reply::Bulk(String::new()),
        ];
        assert_eq!(replies, expected);
    }

    #[test]
    fn every_beginning_of_a_reply_is_not_whole_yet() {
        for whole in [&b"+PONG\r\n"[..], b"-ERR x\r\n", b"$10\r\n0123456789\r\n"] {
            for cut in 0..whole.len() {
                assert_eq!(parse(&whole[..cut]), Ok(None), "{:?}", &whole[..cut]);
            }
            assert!(parse(whole).unwrap().is_some());
        }
    }

    #[test]
    fn what_is_no_answer_to_a_check_is_an_error() {
        let endless = [b"+".as_slice(), &[b'x'; LINE_MAX + 1]].concat();
        for bad in [
            &b"HTTP/1.1"[..],
            b"R\0\0",
            b"*x\r\n",
            b"*9999\r\n",
            b"*1\r\n*1\r\n",
            b":1\r\n",
            b"$-1\r\n",
            b"$99999999999\r\n",
            b"$x\r\n",
            b"$1\r\nabc",
            &endless,
        ] {
            assert!(parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
