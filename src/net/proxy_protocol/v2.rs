//! Version 2: binary (2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, LONGEST, agrees};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length of the rest.
const FIXED: usize = 16;

const VERSION: u8 = 0x20;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;

const STREAM_V4: u8 = 0x11;
const STREAM_V6: u8 = 0x21;

/// Types of the extensions behind the addresses (2.2.3). Others are ignored.
const TLV_CRC32C: u8 = 0x03;

pub(super) const OWN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, &'static str> {
    if !agrees(bytes, SIGNATURE) {
        return Err("it begins like version 2, but not with its signature");
    }
    let command = match bytes.get(12) {
        Some(byte) if byte & 0xf0 != VERSION => return Err("its version is not 2"),
        Some(byte) if byte & 0x0f > PROXY => return Err("its command is neither LOCAL nor PROXY"),
        Some(byte) => byte & 0x0f,
        None => return Ok(None),
    };
    let Some(&family) = bytes.get(13) else { return Ok(None) };
    if family >> 4 > 3 || family & 0x0f > 2 {
        return Err("its family or transport is not known");
    }
    let Some(length) = bytes.get(14..FIXED).and_then(|length| length.try_into().ok()).map(u16::from_be_bytes) else {
        return Ok(None);
    };
    let end = FIXED + usize::from(length);
    if end > LONGEST {
        return Err("it is longer than 4096 bytes");
    }
    let Some(whole) = bytes.get(..end) else { return Ok(None) };
    // "The receiver must discard the protocol block", whatever it holds.
    let header = if command == LOCAL { Header::Own } else { proxied(family, whole)? };
    Ok(Some((header, end)))
}

fn proxied(family: u8, whole: &[u8]) -> Result<Header, &'static str> {
    let block = &whole[FIXED..];
    let ends = match family {
        STREAM_V4 => ends::<4, Ipv4Addr>(block),
        STREAM_V6 => ends::<16, Ipv6Addr>(block),
        // No address that can be used, or no way to tell where it ends: the connection's own are used ("the receiver should ignore
        // address information").
        _ => return Ok(Header::Own),
    };
    let (header, used) = ends.ok_or("it is shorter than the addresses of its family")?;
    check_extensions(whole, FIXED + used)?;
    Ok(header)
}

/// Both addresses, then both ports; and how long that is.
fn ends<const BYTES: usize, Address: From<[u8; BYTES]> + Into<IpAddr>>(block: &[u8]) -> Option<(Header, usize)> {
    let (client, rest) = block.split_first_chunk::<BYTES>()?;
    let (server, rest) = rest.split_first_chunk::<BYTES>()?;
    let ports = rest.first_chunk::<4>()?;
    let end =
        |ip: &[u8; BYTES], at: usize| SocketAddr::new(Address::from(*ip).into(), u16::from_be_bytes([ports[at], ports[at + 1]]));
    Some((Header::Named { client: end(client, 0), server: end(server, 2) }, 2 * BYTES + ports.len()))
}

/// Checks the extensions: type, length, value, each complete; a checksum must be right.
fn check_extensions(whole: &[u8], from: usize) -> Result<(), &'static str> {
    const CUT: &str = "an extension goes beyond its end";
    let mut at = from;
    while at < whole.len() {
        let &[kind, high, low] = whole.get(at..at + 3).ok_or(CUT)? else { return Err(CUT) };
        let start = at + 3;
        let value = whole.get(start..start + usize::from(u16::from_be_bytes([high, low]))).ok_or(CUT)?;
        if kind == TLV_CRC32C {
            let told = value.try_into().map(u32::from_be_bytes).map_err(|_| "its checksum is not 4 bytes")?;
            // "The checksum is computed over the whole header with its own field set to zero."
            if told != crc32c([&whole[..start], &[0; 4], &whole[start + 4..]]) {
                return Err("its checksum is wrong");
            }
        }
        at = start + value.len();
    }
    Ok(())
}

/// CRC-32C (RFC 3720 appendix B.4), bit by bit: a header is short, and few have a checksum.
fn crc32c(parts: [&[u8]; 3]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in parts.into_iter().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    !crc
}

/// `client` and `server` are of one family.
pub(super) fn named(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let mut block = Vec::with_capacity(36);
    let mut family = STREAM_V4;
    for address in [client, server] {
        match address {
            SocketAddr::V4(address) => block.extend(address.ip().octets()),
            SocketAddr::V6(address) => {
                block.extend(address.ip().octets());
                family = STREAM_V6;
            }
        }
    }
    block.extend(client.port().to_be_bytes());
    block.extend(server.port().to_be_bytes());
    let length = u8::try_from(block.len()).unwrap_or(u8::MAX);
    [SIGNATURE, &[VERSION | PROXY, family, 0, length][..], &block].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "192.0.2.1:56324";
    const SERVER: &str = "198.51.100.7:5432";

    /// A header with this command, family and block.
    fn header(version_and_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[version_and_command, family][..], &length, block].concat()
    }

    fn block() -> Vec<u8> {
        named(CLIENT.parse().unwrap(), SERVER.parse().unwrap())[FIXED..].to_vec()
    }

    fn with_extension(kind: u8, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&block()[..], &[kind], &length, value].concat()
    }

    fn ends() -> Header {
        Header::Named { client: CLIENT.parse().unwrap(), server: SERVER.parse().unwrap() }
    }

    #[test]
    fn a_header_byte_for_byte() {
        let bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x15\x38";
        assert_eq!(named(CLIENT.parse().unwrap(), SERVER.parse().unwrap()), bytes);
        assert_eq!(parse(bytes), Ok(Some((ends(), 28))));
    }

    #[test]
    fn whoever_has_no_address_keeps_that_of_the_connection() {
        for (command, family, block) in [
            (0x20, 0x00, vec![]),
            (0x20, 0x11, block()),
            (0x20, 0x11, vec![1, 2, 3]),
            (0x21, 0x00, vec![]),
            (0x21, 0x00, vec![7; 300]),
            (0x21, 0x31, vec![b'/'; 216]),
            (0x21, 0x12, block()),
        ] {
            let bytes = header(command, family, &block);
            assert_eq!(parse(&bytes), Ok(Some((Header::Own, bytes.len()))), "{command:x} {family:x}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (command, family, block) in [
            (0x11, 0x11, block()),
            (0x31, 0x11, block()),
            (0x22, 0x11, block()),
            (0x2f, 0x11, block()),
            (0x21, 0x41, block()),
            (0x21, 0x13, block()),
            (0x21, 0x11, block()[..11].to_vec()),
            (0x21, 0x21, block()),
            (0x21, 0x11, vec![]),
            (0x21, 0x11, vec![0; 4081]),
        ] {
            assert!(parse(&header(command, family, &block)).is_err(), "{command:x} {family:x} {}", block.len());
        }
    }

    #[test]
    fn a_header_beyond_the_bound_is_refused_before_it_has_come() {
        assert!(parse(&[SIGNATURE, &[0x21, 0x11, 0xff, 0xff][..]].concat()).is_err());
        assert_eq!(parse(&[SIGNATURE, &[0x21, 0x11, 0x0f, 0xf0][..]].concat()), Ok(None));
    }

    #[test]
    fn extensions_are_passed_over_whole() {
        let bytes = header(0x21, 0x11, &with_extension(0x05, b"an id"));
        assert_eq!(parse(&[&bytes[..], b"data"].concat()), Ok(Some((ends(), bytes.len()))));
        for cut in 1..8 {
            let block = with_extension(0x05, b"an id");
            assert!(parse(&header(0x21, 0x11, &block[..block.len() - cut])).is_err(), "{cut} bytes less");
        }
    }

    #[test]
    fn a_checksum_is_verified() {
        assert_eq!(crc32c([b"1234", b"56789", b""]), 0xe306_9283);
        let zero = header(0x21, 0x11, &with_extension(TLV_CRC32C, &[0; 4]));
        let right = crc32c([&zero, &[], &[]]).to_be_bytes();
        let bytes = header(0x21, 0x11, &with_extension(TLV_CRC32C, &right));
        assert_eq!(parse(&bytes), Ok(Some((ends(), bytes.len()))));
        // Of another type it would be passed over: that byte is not one of them.
        for at in (FIXED..bytes.len()).filter(|at| *at != 28) {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x40;
            assert!(parse(&wrong).is_err(), "byte {at}");
        }
        assert!(parse(&header(0x21, 0x11, &with_extension(TLV_CRC32C, &[0; 3]))).is_err());
    }
}
