//! `MySQL` (its documentation, "Client/Server Protocol", "`MySQL` Packets").

/// Length in three bytes, and the sequence number.
pub const HEADER: usize = 4;
/// First byte of an error, which a server may send in place of its greeting.
pub const ERROR: u8 = 0xff;

/// `ER_CON_COUNT_ERROR`: there are too many clients.
pub const TOO_MANY: u16 = 1040;
/// `ER_SERVER_SHUTDOWN`.
pub const SHUTDOWN: u16 = 1053;

/// The header of a packet: payload length, sequence number, and what follows. `None` when it is incomplete.
pub fn header(received: &[u8]) -> Option<(usize, u8, &[u8])> {
    let (&[a, b, c, sequence], rest) = received.split_first_chunk::<HEADER>()?;
    Some((usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16, sequence, rest))
}

/// A packet as it goes over the wire; the payload fits in one.
pub fn frame(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, ..] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = vec![a, b, c, sequence];
    bytes.extend(payload);
    bytes
}
