//! `PostgreSQL`, protocol 3 (`PostgreSQL` manual, "Message Formats").

/// Asks to cancel a query. A request has its code where a `StartupMessage` has its protocol version.
pub const CANCEL_REQUEST: u32 = 80_877_102;
/// Asks for TLS.
pub const SSL_REQUEST: u32 = 80_877_103;
/// Asks for GSSAPI encryption.
pub const GSSENC_REQUEST: u32 = 80_877_104;

/// The version that a `StartupMessage` asks for: the major number in the upper half.
pub const PROTOCOL_3: u32 = 3 << 16;
/// A `StartupMessage` is at most this long (`MAX_STARTUP_PACKET_LENGTH` in the server).
pub const STARTUP_MAX: usize = 10_000;
/// Length and code, the beginning of every first packet of a client.
pub const STARTUP_HEADER: usize = 8;
/// A `CancelRequest` is at most this long: its header, the process, and a key of 256 bytes (protocol 3.2).
pub const CANCEL_MAX: usize = STARTUP_HEADER + 4 + 256;
/// A complete `SSLRequest`.
pub const SSL: [u8; STARTUP_HEADER] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A message's type byte and its length.
pub const HEADER: usize = 5;

/// The first packet of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Startup {
    /// Asks for TLS or GSSAPI encryption; answered with one byte.
    Encryption,
    /// Asks to cancel a query of another session; never answered.
    Cancel,
    /// Wants to log in.
    Login,
    /// Speaks another protocol version.
    Unsupported(u32),
}

impl Startup {
    /// What the code of a first packet means.
    pub const fn of(code: u32) -> Self {
        match code {
            SSL_REQUEST | GSSENC_REQUEST => Self::Encryption,
            CANCEL_REQUEST => Self::Cancel,
            code if code >> 16 == PROTOCOL_3 >> 16 => Self::Login,
            code => Self::Unsupported(code),
        }
    }
}

/// Whether the server's answer to a `StartupMessage` may begin like this: with an authentication request, an error, a notice or a
/// protocol negotiation ("Message Flow: Start-up"). None of these is long.
pub fn is_plausible(greeting: &[u8]) -> bool {
    // A postmaster that cannot start a process says so in protocol 2: a text without a length.
    if greeting.len() == HEADER && greeting[0] == b'E' && greeting[1..].iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return true;
    }
    let length = greeting.get(1..HEADER).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    greeting.first().is_none_or(|kind| b"RENv".contains(kind)) && length.is_none_or(|length| (4..=30_000).contains(&length))
}

/// `ErrorResponse` ("Error and Notice Message Fields"); without the NULs that would end a field.
pub fn error_response(severity: &str, code: &str, message: &str) -> Vec<u8> {
    let mut packet = vec![b'E', 0, 0, 0, 0];
    for (kind, value) in [(b'S', severity), (b'V', severity), (b'C', code), (b'M', message)] {
        packet.push(kind);
        packet.extend(value.bytes().filter(|byte| *byte != 0));
        packet.push(0);
    }
    packet.push(0);
    let length = u32::try_from(packet.len() - 1).unwrap_or(u32::MAX);
    packet[1..HEADER].copy_from_slice(&length.to_be_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_judged_by_its_first_bytes() {
        for good in [&b""[..], b"R", b"R\0\0", b"R\0\0\0\x08", b"E\0\0\0\x50", b"Ecoul", b"v\0\0\0\x0c"] {
            assert!(is_plausible(good), "{good:?}");
        }
        for bad in [&b"H"[..], b"HTTP/", b"R\xff\xff\xff\xff", b"R\0\0\0\x03", b"E\0\x01\0\0"] {
            assert!(!is_plausible(bad), "{bad:?}");
        }
    }
}
