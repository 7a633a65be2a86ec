//! Networks in CIDR notation (RFC 4632, RFC 4291 section 2.3).

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// A network, or one address as the smallest of them. No bit is set behind its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr(IpNet);

impl Cidr {
    /// The network of this prefix that the address is in.
    fn of(address: IpAddr, length: u8) -> Result<Self, CidrError> {
        let network = IpNet::new(address, length).map_err(|_| CidrError::Length(bits(address)))?;
        Ok(Self(network.trunc()))
    }

    /// Whether the address is in this network. An IPv4 client of an IPv6 socket (`::ffff:a.b.c.d`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether every address of `other` is in this network.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether it holds every address of its family.
    pub fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }
}

const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is wrong with a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CidrError {
    /// It does not begin with an IP address.
    Address,
    /// The prefix is no number from 0 to the number of bits, which this holds.
    Length(u8),
    /// Bits behind the prefix are set: the network that is probably meant, and the single address.
    HostBits(Cidr, IpAddr),
    /// IPv4-mapped IPv6: the IPv4 network that is meant.
    Mapped(Cidr),
}

impl fmt::Display for CidrError {
    /// What would be right.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("write an IP address, or a network as address/prefix: 10.0.0.0/8"),
            Self::Length(bits) => write!(f, "the prefix is a number from 0 to {bits}"),
            Self::HostBits(network, address) => {
                write!(f, "bits behind the prefix are set: the network is {network}, this one address is {address}")
            }
            Self::Mapped(network) => write!(f, "an IPv4 client is judged by its IPv4 address: write {network}"),
        }
    }
}

impl std::error::Error for CidrError {}

impl FromStr for Cidr {
    type Err = CidrError;

    /// Parses `address/prefix`, or an address alone.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        let bits = bits(address);
        let length = match prefix {
            None => bits,
            // `parse` also accepts a plus sign and leading zeros.
            Some(prefix) => {
                prefix.parse().ok().filter(|length: &u8| length.to_string() == prefix).ok_or(CidrError::Length(bits))?
            }
        };
        let cidr = Self::of(address, length)?;
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
            && length >= 96
        {
            return Err(CidrError::Mapped(Self::of(v4.into(), length - 96)?));
        }
        if cidr.0.addr() == address { Ok(cidr) } else { Err(CidrError::HostBits(cidr, address)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_alone_is_the_smallest_network() {
        assert_eq!(cidr("10.1.2.3"), cidr("10.1.2.3/32"));
        assert_eq!(cidr("2001:db8::1"), cidr("2001:db8::1/128"));
        for text in ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "2001:db8::/32", "::1/128"] {
            assert_eq!(cidr(text).to_string(), text);
        }
    }

    #[test]
    fn the_edges_of_a_network_are_in_it_and_their_neighbours_are_not() {
        let network = cidr("10.1.128.0/17");
        assert!(network.contains(ip("10.1.128.0")) && network.contains(ip("10.1.255.255")));
        assert!(!network.contains(ip("10.1.127.255")) && !network.contains(ip("10.2.0.0")));
        let network = cidr("2001:db8:8000::/33");
        assert!(network.contains(ip("2001:db8:8000::")) && network.contains(ip("2001:db8:ffff:ffff::1")));
        assert!(!network.contains(ip("2001:db8:7fff:ffff::")));
        assert!(cidr("0.0.0.0/0").contains(ip("255.255.255.255")) && cidr("::/0").contains(ip("::")));
    }

    #[test]
    fn a_mapped_client_is_an_ipv4_client() {
        assert!(cidr("127.0.0.0/8").contains(ip("::ffff:127.0.0.1")));
        assert!(!cidr("::/0").contains(ip("::ffff:127.0.0.1")) && !cidr("::/0").contains(ip("127.0.0.1")));
        assert!(!cidr("0.0.0.0/0").contains(ip("::1")));
    }

    #[test]
    fn a_network_covers_its_parts() {
        assert!(cidr("10.0.0.0/8").covers(&cidr("10.1.0.0/16")) && cidr("10.0.0.0/8").covers(&cidr("10.0.0.0/8")));
        assert!(!cidr("10.1.0.0/16").covers(&cidr("10.0.0.0/8")) && !cidr("::/0").covers(&cidr("10.0.0.0/8")));
        assert!(cidr("::/0").is_everything() && !cidr("10.0.0.0/8").is_everything());
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        let error = |text: &str| text.parse::<Cidr>().unwrap_err();
        for text in ["", "10.0.0", "db-a", "010.0.0.1", "10.0.0.0 /8", "[::1]", "10.0.0.1:5432"] {
            assert_eq!(error(text), CidrError::Address, "{text}");
        }
        for text in ["10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/08", "10.0.0.0/8/8", "10.0.0.0/-1"] {
            assert_eq!(error(text), CidrError::Length(32), "{text}");
        }
        assert_eq!(error("::/129"), CidrError::Length(128));
        assert_eq!(error("10.0.0.1/8"), CidrError::HostBits(cidr("10.0.0.0/8"), ip("10.0.0.1")));
        assert!(error("10.0.0.1/8").to_string().contains("the network is 10.0.0.0/8, this one address is 10.0.0.1"));
        assert_eq!(error("::ffff:10.0.0.0/104"), CidrError::Mapped(cidr("10.0.0.0/8")));
        assert_eq!(error("::ffff:10.0.0.1"), CidrError::Mapped(cidr("10.0.0.1")));
    }
}
