//! The PROXY protocol: a header before everything else names the client of a connection ("The PROXY protocol, Versions 1 & 2",
//! Willy Tarreau; section numbers below are of that text).
//!
//! | file | what it holds |
//! |---|---|
//! | `v1` | a line of text |
//! | `v2` | the binary form |
//!
//! Pure: bytes in, header out. A reader calls again with more bytes while the answer is `Ok(None)`.

mod v1;
mod v2;

use std::net::{IpAddr, SocketAddr};

/// The longest header that is read, in bytes. Version 1 has at most 107 (2.1). Version 2 could have 64 KiB, but senders should stay
/// below 536 (2.2); certificates and other extensions need a few hundred more.
pub const LONGEST: usize = 4096;

/// Versions of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The sender speaks for itself, or for a client without an IP address (LOCAL, UNKNOWN, UNSPEC, a unix socket): only the
    /// addresses of the connection are known.
    Own,
    /// The sender speaks for a client.
    Named {
        /// The client's address.
        client: SocketAddr,
        /// The address to which it connected.
        server: SocketAddr,
    },
}

/// The header at the beginning of `bytes`, and its length in bytes; `None` when more bytes are needed. Never `None` for [`LONGEST`]
/// bytes or more.
///
/// # Errors
/// Why no header can become of this, whatever follows, in words for a log line.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, &'static str> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => v1::parse(bytes),
        Some(b'\r') => v2::parse(bytes),
        Some(_) => Err("it begins with neither form of the PROXY header"),
    }
}

impl Version {
    /// The header for a client that connected to `server`. Both get one family: IPv4 becomes IPv6 if they differ.
    pub fn named(self, client: SocketAddr, server: SocketAddr) -> Vec<u8> {
        let (client, server) = one_family(client, server);
        match self {
            Self::V1 => v1::named(client, server),
            Self::V2 => v2::named(client, server),
        }
    }

    /// The header of a sender that speaks for itself: a check.
    pub const fn own(self) -> &'static [u8] {
        match self {
            Self::V1 => v1::OWN,
            Self::V2 => v2::OWN,
        }
    }
}

fn one_family(client: SocketAddr, server: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (client_ip, server_ip) = (client.ip().to_canonical(), server.ip().to_canonical());
    let (client_ip, server_ip) = match (client_ip, server_ip) {
        (IpAddr::V4(client), IpAddr::V6(_)) => (client.to_ipv6_mapped().into(), server_ip),
        (IpAddr::V6(_), IpAddr::V4(server)) => (client_ip, server.to_ipv6_mapped().into()),
        same => same,
    };
    (SocketAddr::new(client_ip, client.port()), SocketAddr::new(server_ip, server.port()))
}

/// Whether `bytes` and the expected beginning agree, as far as both go.
fn agrees(bytes: &[u8], beginning: &[u8]) -> bool {
    bytes.iter().zip(beginning).all(|(is, must)| is == must)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [(&str, &str); 4] = [
        ("192.0.2.1:56324", "198.51.100.7:5432"),
        ("[2001:db8::1]:1", "[2001:db8::2]:65535"),
        ("192.0.2.1:0", "[2001:db8::2]:5432"),
        ("[::ffff:192.0.2.1]:9", "198.51.100.7:5432"),
    ];

    #[test]
    fn what_is_written_is_read_and_not_a_byte_more() {
        for version in [Version::V1, Version::V2] {
            for (client, server) in PAIRS {
                let (client, server) = (client.parse::<SocketAddr>().unwrap(), server.parse::<SocketAddr>().unwrap());
                let header = version.named(client, server);
                let mut bytes = header.clone();
                bytes.extend(b"\x00\x00\x00\x08data\r\n");
                let (read, length) = parse(&bytes).unwrap().unwrap();
                assert_eq!(length, header.len(), "{version:?} {client}");
                let Header::Named { client: read_client, server: read_server } = read else { panic!("{read:?}") };
                let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
                assert_eq!((plain(read_client), plain(read_server)), (plain(client), plain(server)));
                assert_eq!(read_client.is_ipv4(), read_server.is_ipv4());
            }
            assert_eq!(parse(version.own()), Ok(Some((Header::Own, version.own().len()))));
        }
    }

    #[test]
    fn a_mapped_client_of_an_ipv4_server_is_told_as_ipv4() {
        let (client, server) = PAIRS[3];
        let header = Version::V1.named(client.parse().unwrap(), server.parse().unwrap());
        assert_eq!(header, b"PROXY TCP4 192.0.2.1 198.51.100.7 9 5432\r\n");
    }

    #[test]
    fn every_beginning_of_a_header_asks_for_more() {
        for version in [Version::V1, Version::V2] {
            let named = PAIRS.map(|(client, server)| version.named(client.parse().unwrap(), server.parse().unwrap()));
            for header in named.iter().map(Vec::as_slice).chain([version.own()]) {
                for end in 0..header.len() {
                    assert_eq!(parse(&header[..end]), Ok(None), "{version:?}, {end} bytes");
                }
            }
        }
    }

    #[test]
    fn other_protocols_are_told_apart_at_their_first_bytes() {
        for bytes in [&b"\x00\x00\x00\x08\x04\xd2\x16\x2f"[..], b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"PING\r\n", b"\r\nPING"] {
            assert!(parse(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn no_bytes_ask_for_more_for_ever_and_none_panic() {
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        let seeds = [Version::V1, Version::V2].map(|version| version.named(([1, 2, 3, 4], 5).into(), ([6, 7, 8, 9], 10).into()));
        for round in 0..20_000 {
            let mut bytes = seeds[round % 2].clone();
            bytes.resize(LONGEST, b'0');
            for _ in 0..3 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = usize::try_from(random % 60).unwrap();
                bytes[at] = random.to_be_bytes()[0];
            }
            match parse(&bytes) {
                Ok(Some((_, length))) => assert!(length <= LONGEST),
                Ok(None) => panic!("more than {LONGEST} bytes: {}", bytes[..60].escape_ascii()),
                Err(_) => {}
            }
        }
    }
}
