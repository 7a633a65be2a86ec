//! Addresses to listen on, and those of backends.

use std::{net::SocketAddr, str::FromStr};

use super::claims::Claims;
use crate::{
    config::raw::{
        node::{Source, shorten},
        reader::Field,
    },
    net::{
        addr::BackendAddr,
        endpoint::{Endpoint, unix_path},
    },
};

pub(in crate::config) const MAX_ADDRESSES: usize = 64;

const WANTED: &str = "an address such as 127.0.0.1:5432, [::1]:5432 or unix:/run/mainstay/db.sock";

const BACKEND: &str = "an address such as db-a:5432, [2001:db8::1]:5432 or unix:/run/db/db.sock";

/// The address of a backend, or of another server.
pub(in crate::config) fn backend_address(field: Field<'_>) -> Option<BackendAddr> {
    let scalar = field.scalar(BACKEND)?;
    match BackendAddr::from_str(&scalar.text) {
        Ok(address) => Some(address),
        Err(_) if scalar.text.contains("://") => {
            field.wrong(BACKEND, Some("a URL is not understood here: write host:port only; logins belong under `check`".into()))
        }
        Err(error) => field.wrong(BACKEND, Some(error)),
    }
}

/// One address or many, each with its place.
pub(in crate::config) fn addresses<'a>(field: Field<'a>, claims: &mut Claims) -> (Vec<Endpoint>, Vec<Field<'a>>) {
    let fields = field.one_or_many(&format!("{WANTED}, or a list of them"), MAX_ADDRESSES).unwrap_or_default();
    let mut found = (Vec::new(), Vec::new());
    for field in fields {
        if let Some(endpoint) = endpoint(field, WANTED) {
            claims.listen(field, &endpoint);
            found.0.push(endpoint);
            found.1.push(field);
        }
    }
    found
}

/// The listening address in `field`.
pub(in crate::config) fn endpoint(field: Field<'_>, wanted: &str) -> Option<Endpoint> {
    let scalar = field.scalar(wanted)?;
    let text = scalar.text.as_str();
    match unix_path(text) {
        Some(Ok(path)) => return Some(Endpoint::Unix(path)),
        Some(Err(right)) => return field.wrong(&right, None),
        None => {}
    }
    let port = text.rsplit(':').next().unwrap_or_default();
    match text.parse::<SocketAddr>() {
        Ok(address) if port == address.port().to_string() => match impossible(address) {
            Some((what, advice)) => {
                field.error(what, advice);
                None
            }
            None => Some(address.into()),
        },
        Ok(_) => field.wrong(wanted, Some("a leading zero may mean an octal number; remove it".into())),
        Err(_) if scalar.source == Source::Literal => field.wrong(wanted, advice(text)),
        Err(_) => field.wrong(wanted, None),
    }
}

/// An address that bind(2) would refuse with EINVAL on any machine: what is wrong, and what would be right.
fn impossible(address: SocketAddr) -> Option<(&'static str, String)> {
    let SocketAddr::V6(v6) = address else { return None };
    if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 {
        let advice = format!("{INTERFACE_NUMBER}: [{}%2]:{}", v6.ip(), v6.port());
        return Some(("a link-local IPv6 address needs its interface", advice));
    }
    // An IPv6 socket of mainstay accepts only IPv6, so that a port may have a listener of each family.
    let advice = v6.ip().to_ipv4_mapped().map(|v4| format!("write {v4}:{}", v6.port()))?;
    Some(("this is an IPv4 address written as an IPv6 address", advice))
}

const INTERFACE_NUMBER: &str = "write the number of the interface, which `ip link` shows, behind the address";

/// What was probably meant.
fn advice(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if is_port && port.parse::<u16>().is_err() {
        return Some("a port is a number from 0 to 65535".into());
    }
    if host.starts_with('[') && host.contains('%') {
        return Some(format!("{INTERFACE_NUMBER}, not its name: [fe80::1%2]:{port}"));
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() || host.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some("write an IPv6 address in brackets and a port behind it: [::1]:5432".into());
    }
    if is_port && ["", "*"].contains(&host) {
        return Some(format!("write 127.0.0.1:{port} for this machine only, or 0.0.0.0:{port} for every address it has"));
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Some("the port is missing".into());
    }
    if is_port && host.eq_ignore_ascii_case("localhost") {
        return Some(format!("listen on an IP address, not on a name: 127.0.0.1:{port}"));
    }
    is_port.then(|| format!("\"{}\" is not an IP address; to listen on all, write 0.0.0.0:{port}", shorten(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_what_was_meant() {
        for (text, part) in [
            ("5432", "127.0.0.1:5432"),
            (":5432", "0.0.0.0:5432"),
            ("*:5432", "0.0.0.0:5432"),
            ("::1:5432", "brackets"),
            ("127.0.0.1", "port is missing"),
            ("localhost:5432", "127.0.0.1:5432"),
            ("db-a:5432", "not an IP address"),
            ("127.0.0.1:65536", "65535"),
            ("[fe80::1%eth0]:5432", "[fe80::1%2]:5432"),
        ] {
            assert!(advice(text).unwrap().contains(part), "{text}: {:?}", advice(text));
        }
    }

    #[test]
    fn what_no_machine_can_listen_on_is_known_before() {
        for (text, part) in [("[fe80::1]:5432", "[fe80::1%2]:5432"), ("[::ffff:127.0.0.1]:5432", "write 127.0.0.1:5432")] {
            assert!(impossible(text.parse().unwrap()).unwrap().1.contains(part), "{text}");
        }
        for text in ["[fe80::1%2]:5432", "[::1]:5432", "[::]:5432", "[fd00::1]:5432", "127.0.0.1:5432", "0.0.0.0:5432"] {
            assert!(impossible(text.parse().unwrap()).is_none(), "{text}");
        }
    }
}
