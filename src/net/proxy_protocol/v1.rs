//! Version 1: a line of text (2.1).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::{Header, agrees};

/// With its CR and LF.
const LONGEST_LINE: usize = 107;

const BEGINNING: &[u8] = b"PROXY ";

pub(super) const OWN: &[u8] = b"PROXY UNKNOWN\r\n";

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, &'static str> {
    if !agrees(bytes, BEGINNING) {
        return Err("it begins like version 1, but not with \"PROXY \"");
    }
    let head = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
        return if head.len() == LONGEST_LINE { Err("its line is longer than 107 bytes") } else { Ok(None) };
    };
    let Some(line) = head[..end].strip_suffix(b"\r") else {
        return Err("its line does not end in CR and LF");
    };
    let line = line.strip_prefix(BEGINNING).ok_or("its line is too short")?;
    Ok(Some((header(line)?, end + 1)))
}

/// The part between `PROXY ` and the end of the line.
fn header(line: &[u8]) -> Result<Header, &'static str> {
    // "The receiver must ignore anything presented before the CRLF is found."
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Header::Own);
    }
    let line = std::str::from_utf8(line).map_err(|_| "its line is not ASCII")?;
    let words: Vec<&str> = line.split(' ').collect();
    let &[family, client, server, client_port, server_port] = words.as_slice() else {
        return Err("its line does not have six words");
    };
    let address = |ip: &str, port: &str| {
        let ip = match family {
            "TCP4" => Ipv4Addr::from_str(ip).map(IpAddr::V4),
            "TCP6" => Ipv6Addr::from_str(ip).map(IpAddr::V6),
            _ => return Err("its protocol is not TCP4, TCP6 or UNKNOWN"),
        };
        let ip = ip.map_err(|_| "an address is not one of its protocol")?;
        Ok(SocketAddr::new(ip, self::port(port)?))
    };
    Ok(Header::Named { client: address(client, client_port)?, server: address(server, server_port)? })
}

fn port(text: &str) -> Result<u16, &'static str> {
    let plain = text.parse::<u16>().ok().filter(|port| port.to_string() == text);
    plain.ok_or("a port is not a number from 0 to 65535")
}

pub(super) fn named(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", client.ip(), server.ip(), client.port(), server.port()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        let longest =
            b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        let (header, length) = parse(longest).unwrap().unwrap();
        assert_eq!(length, 104);
        assert!(matches!(header, Header::Named { client, .. } if client.port() == 65535));
        let unknown =
            b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(parse(unknown), Ok(Some((Header::Own, 107))));
        let (header, length) = parse(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\nnext").unwrap().unwrap();
        assert_eq!((header, length), (Header::Named { client: ([255; 4], 65535).into(), server: ([255; 4], 65535).into() }, 56));
    }

    #[test]
    fn a_line_is_taken_literally() {
        for line in [
            "PROXY  TCP4 1.2.3.4 5.6.7.8 9 10\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 9\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 9 10 11\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 9 10 \r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 9 65536\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 09 10\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +9 10\r\n",
            "PROXY TCP4 1.2.3.04 5.6.7.8 9 10\r\n",
            "PROXY TCP4 1.2.3 5.6.7.8 9 10\r\n",
            "PROXY TCP4 ::1 ::1 9 10\r\n",
            "PROXY TCP6 1.2.3.4 ::1 9 10\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 9 10\r\n",
            "PROXY tcp4 1.2.3.4 5.6.7.8 9 10\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            "PROXY\r\n",
            "proxy TCP4 1.2.3.4 5.6.7.8 9 10\r\n",
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
        assert!(parse(b"PROXY TCP4 1.2.3.4 5.6.7.\xff 9 10\r\n").is_err());
    }

    #[test]
    fn a_line_without_an_end_is_given_up_at_its_longest() {
        let endless = [BEGINNING, &[b'1'; 200]].concat();
        assert_eq!(parse(&endless[..106]), Ok(None));
        assert!(parse(&endless[..107]).is_err());
        let one_too_long = [OWN.strip_suffix(b"\r\n").unwrap(), b" ", &[b'x'; 92], b"\r\n"].concat();
        assert_eq!(one_too_long.len(), 108);
        assert!(parse(&one_too_long).is_err());
    }
}
