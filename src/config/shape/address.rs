//! Addresses, networks and host names. An IPv6 address is only known by its characters.

use serde_json::Value as Json;

use super::{matching, number::numbers};

const HOST: &str = "[A-Za-z0-9._-]{1,253}";
const IPV6: &str = "[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*";
const UNIX: &str = r"unix:/(?:[^$]|\$\$)*[^$/]";

/// An address to listen on.
pub(in crate::config) fn listen() -> Json {
    let port = numbers(0, u16::MAX.into());
    matching(&format!(r"(?:{}|\[{IPV6}(?:%[0-9]+)?\]):{port}|{UNIX}", ipv4()))
}

/// The address of another server.
pub(in crate::config) fn server() -> Json {
    let port = numbers(1, u16::MAX.into());
    matching(&format!(r"(?:{HOST}|\[{IPV6}\]):{port}|{UNIX}"))
}

/// A network, or an address.
pub(in crate::config) fn network() -> Json {
    matching(&format!("{}(?:/{})?|{IPV6}(?:/{})?", ipv4(), numbers(0, 32), numbers(0, 128)))
}

/// A host name without a port.
pub(in crate::config) fn host() -> Json {
    matching(HOST)
}

fn ipv4() -> String {
    let part = numbers(0, 255);
    format!(r"{part}(?:\.{part}){{3}}")
}
