//! The first packets (`MySQL` documentation, "Connection Phase Packets"; `MariaDB` documentation, "Connecting").

use super::{
    super::bounded::quote,
    wire::{self, Cursor},
};

/// Version 10 is the only one that servers of this century speak.
const PROTOCOL_VERSION: u8 = 10;

const LONG_PASSWORD: u32 = 1;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const CONNECT_ATTRS: u32 = 1 << 20;
/// Without these a server is older than 4.1, and has no login that is safe.
const NEEDED: u32 = PROTOCOL_41 | SECURE_CONNECTION;

/// `utf8mb4_general_ci`, which every server knows that has utf8mb4.
const CHARACTER_SET: u8 = 45;
const PACKET_MAX: u32 = 1 << 16;

/// The method of servers that name none.
pub(super) const NATIVE: &str = "mysql_native_password";

/// What a server says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// As it names itself.
    pub version: String,
    /// The question that the password has to answer.
    pub nonce: Vec<u8>,
    /// How it asks for the password.
    pub plugin: String,
    capabilities: u32,
}

impl Greeting {
    /// Reads the payload of the first packet.
    ///
    /// # Errors
    /// What is wrong, in words, when this is no greeting.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        if payload.first() != Some(&PROTOCOL_VERSION) {
            let begin = quote(&payload[..payload.len().min(8)]);
            return Err(format!("it does not speak MySQL: its greeting begins with {begin}"));
        }
        Self::fields(payload).ok_or_else(|| "its greeting is cut off".into())
    }

    fn fields(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(payload);
        cursor.byte()?;
        let version = String::from_utf8_lossy(cursor.until_nul()).into_owned();
        cursor.take(4)?;
        let mut nonce = cursor.take(8)?.to_vec();
        cursor.byte()?;
        let lower = cursor.u16()?;
        let (mut upper, mut nonce_length) = (0, 0);
        // Character set and status; old servers end here.
        if cursor.take(3).is_some() {
            upper = cursor.u16()?;
            nonce_length = usize::from(cursor.byte()?);
            cursor.take(10)?;
        }
        let capabilities = u32::from(lower) | u32::from(upper) << 16;
        if capabilities & SECURE_CONNECTION != 0 {
            let rest = cursor.take(nonce_length.saturating_sub(8).max(13))?;
            // The last byte is a NUL.
            nonce.extend(&rest[..rest.len() - 1]);
        }
        let plugin = match capabilities & PLUGIN_AUTH {
            0 => NATIVE.into(),
            _ => String::from_utf8_lossy(cursor.until_nul()).into_owned(),
        };
        Some(Self { version, nonce, plugin, capabilities })
    }

    /// A login that is safe in clear text is possible.
    pub(super) const fn is_usable(&self) -> bool {
        self.capabilities & NEEDED == NEEDED
    }

    pub(super) const fn offers_tls(&self) -> bool {
        self.capabilities & SSL != 0
    }

    const fn capabilities(&self, tls: bool) -> u32 {
        let wanted = LONG_PASSWORD | TRANSACTIONS | NEEDED | PLUGIN_AUTH | CONNECT_ATTRS;
        (wanted & self.capabilities) | if tls { SSL } else { 0 }
    }

    fn head(&self, tls: bool) -> Vec<u8> {
        let mut head = self.capabilities(tls).to_le_bytes().to_vec();
        head.extend(PACKET_MAX.to_le_bytes());
        head.push(CHARACTER_SET);
        head.extend([0; 23]);
        head
    }

    pub(super) fn tls_request(&self) -> Vec<u8> {
        self.head(true)
    }

    /// The login. `proof` is at most 255 bytes long, as all are that are sent unasked.
    pub(super) fn response(&self, user: &str, plugin: &str, proof: &[u8], tls: bool) -> Vec<u8> {
        let mut packet = self.head(tls);
        packet.extend(user.bytes().filter(|byte| *byte != 0));
        packet.push(0);
        packet.push(u8::try_from(proof.len()).unwrap_or(0));
        packet.extend(proof);
        if self.capabilities & PLUGIN_AUTH != 0 {
            packet.extend(plugin.as_bytes());
            packet.push(0);
        }
        if self.capabilities & CONNECT_ATTRS != 0 {
            // Shown in performance_schema.session_connect_attrs.
            let attributes = [wire::string(b"program_name"), wire::string(b"mainstay")].concat();
            packet.extend(wire::string(&attributes));
        }
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `MariaDB` 10.11 greets.
    fn greeting(plugin: &str) -> Vec<u8> {
        let mut bytes = vec![10];
        bytes.extend(b"5.5.5-10.11.6-MariaDB\0\x08\0\0\0abcdefgh\0\xfe\xf7\x2d\x02\0\xff\x81\x15");
        bytes.extend([0; 10]);
        bytes.extend(b"ijklmnopqrst\0");
        bytes.extend(plugin.as_bytes());
        bytes.push(0);
        bytes
    }

    #[test]
    fn a_greeting_is_read_whole_and_no_cut_of_it_is_one() {
        let whole = greeting(NATIVE);
        let read = Greeting::read(&whole).unwrap();
        assert_eq!((read.version.as_str(), read.plugin.as_str()), ("5.5.5-10.11.6-MariaDB", NATIVE));
        assert_eq!(read.nonce, b"abcdefghijklmnopqrst");
        assert!(read.is_usable() && !read.offers_tls());
        // The name of the plugin may end without its NUL.
        for cut in 1..whole.len() - NATIVE.len() - 1 {
            if let Ok(read) = Greeting::read(&whole[..cut]) {
                assert!(!read.is_usable(), "{cut}");
            }
        }
    }

    #[test]
    fn a_login_names_user_proof_method_and_us() {
        let read = Greeting::read(&greeting(NATIVE)).unwrap();
        let packet = read.response("probe\0x", NATIVE, &[7; 20], false);
        assert_eq!(packet[..4], read.capabilities(false).to_le_bytes());
        let rest = &packet[32..];
        assert!(rest.starts_with(b"probex\0\x14\x07"), "{rest:?}");
        assert!(rest[28..].starts_with(b"mysql_native_password\0"), "{rest:?}");
        assert!(rest.ends_with(b"\x0cprogram_name\x08mainstay"), "{rest:?}");
        assert_eq!(read.tls_request().len(), 32);
        assert_eq!(read.tls_request()[1] & 0x08, 0x08);
    }

    #[test]
    fn another_protocol_is_named() {
        let error = Greeting::read(b"SSH-2.0-x").unwrap_err();
        assert!(error.contains("does not speak MySQL") && error.contains("SSH-2.0-"), "{error}");
        assert!(Greeting::read(b"").is_err());
    }
}
