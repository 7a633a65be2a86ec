//! Packets of the `MySQL` protocol and their contents (`MySQL` documentation, "Client/Server Protocol", "`MySQL` Packets" and
//! "Basic Data Types"). Total: any input is a packet, or incomplete, or an error with a message; never a panic, and no memory
//! beyond what was received.

use super::super::bounded::quote;
pub(super) use crate::wire::mysql::frame;
use crate::wire::mysql::{HEADER, header};

/// A longer packet is no answer to a check.
const PACKET_MAX: usize = 60 * 1024;
/// In place of the length of a value.
pub(super) const NULL: u8 = 0xfb;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its sequence number.
    pub sequence: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Reads one packet from the beginning of `received`: the packet and its length in bytes; `None` when it is incomplete.
///
/// # Errors
/// What is wrong, when this is no answer to a check.
pub fn parse(received: &[u8]) -> Result<Option<(Packet, usize)>, String> {
    let Some((length, sequence, rest)) = header(received) else { return Ok(None) };
    if length > PACKET_MAX {
        return Err(format!("it does not speak MySQL: its answer begins with {}", quote(&received[..received.len().min(8)])));
    }
    let packet = rest.get(..length).map(|payload| Packet { sequence, payload: payload.to_vec() });
    Ok(packet.map(|packet| (packet, HEADER + length)))
}

/// Reads through a payload. Every method returns `None` where the payload is too short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    /// Up to the next NUL, or to the end: some servers leave the last one out.
    pub(super) fn until_nul(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        let text = &self.0[..end.unwrap_or(self.0.len())];
        self.0 = &self.0[end.map_or(self.0.len(), |end| end + 1)..];
        text
    }

    pub(super) fn integer(&mut self) -> Option<u64> {
        let width = match self.byte()? {
            small @ ..=0xfa => return Some(u64::from(small)),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            _ => return None,
        };
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        Some(u64::from_le_bytes(bytes))
    }

    /// A length-encoded string.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.integer()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// A value of a row: a length-encoded string, or the byte for NULL.
    pub(super) fn value(&mut self) -> Option<Value<'a>> {
        if self.0.first() == Some(&NULL) {
            self.byte()?;
            return Some(Value::Null);
        }
        self.string().map(Value::Text)
    }
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Text(&'a [u8]),
}

/// A length-encoded string, for sending.
pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut encoded = match bytes.len() {
        0..0xfb => vec![length[0]],
        0xfb..0x1_0000 => vec![0xfc, length[0], length[1]],
        _ => vec![0xfd, length[0], length[1], length[2]],
    };
    encoded.extend(bytes);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_whole_or_not_there_yet() {
        let whole = frame(3, b"hello");
        assert_eq!(whole, b"\x05\0\0\x03hello");
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), Ok(None));
        }
        let more = [whole.as_slice(), b"\x01"].concat();
        assert_eq!(parse(&more), Ok(Some((Packet { sequence: 3, payload: b"hello".to_vec() }, 9))));
    }

    #[test]
    fn what_is_no_answer_to_a_check_is_an_error() {
        for bad in [&b"SSH-2.0-OpenSSH"[..], b"HTTP/1.1", b"\xff\xff\xff\0", b"\x01\xf0\0\0"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lengths_come_in_four_widths() {
        for (bytes, number) in [
            (&[250][..], 250),
            (&[0xfc, 0xfb, 0], 251),
            (&[0xfd, 1, 2, 3], 0x03_02_01),
            (&[0xfe, 1, 0, 0, 0, 0, 0, 0, 1], 0x0100_0000_0000_0001),
        ] {
            assert_eq!(Cursor(bytes).integer(), Some(number));
            assert_eq!(Cursor(&bytes[..bytes.len() - 1]).integer(), None);
        }
        assert_eq!(Cursor(&[0xff]).integer(), None);
        for length in [0, 1, 250, 251, 65_535, 65_536] {
            let encoded = string(&vec![7; length]);
            assert_eq!(Cursor(&encoded).string().map(<[u8]>::len), Some(length));
        }
        assert_eq!(Cursor(&[3, b'a', b'b']).string(), None);
        assert_eq!(Cursor(&[NULL, 1, b'x']).value(), Some(Value::Null));
    }

    #[test]
    fn a_text_ends_at_nul_or_at_the_end() {
        let mut cursor = Cursor(b"ab\0cd");
        assert_eq!((cursor.until_nul(), cursor.until_nul(), cursor.until_nul()), (&b"ab"[..], &b"cd"[..], &b""[..]));
    }
}
