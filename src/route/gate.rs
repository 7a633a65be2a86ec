//! Where a session stands while its route is gated: its own task tells, control reads it and lets single sessions pass.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
};

/// One closing of a route's gate. What a session told of an earlier one does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gating(u8);

impl Gating {
    /// Numbers come again after 256.
    pub(super) const fn number(number: u32) -> Self {
        let [lowest, ..] = number.to_le_bytes();
        Self(lowest)
    }
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Something of the client is under way, or its answer is: the last byte that moved was the client's, or somebody has not taken
    /// all that was read for him, or one side has finished. The client is read.
    UnderWay,
    /// The last byte was the server's. The client is silent.
    Silent,
    /// The last byte was the server's. The client has sent more, which is unread.
    Unread,
    /// Control lets the client go on: what it sends is passed on, up to the next boundary.
    LetPass,
}

/// The near end of a session's connection to its server, as far as it is needed to find the session on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Its port; 0 when it has none.
    pub port: u16,
    address: u32,
}

impl Leg {
    /// Whether it may be at this address. (Only an IPv4 address is known for certain.)
    pub fn is_at(self, address: IpAddr) -> bool {
        self.address == fold(address)
    }
}

/// What a session told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand(u64);

/// Where a session stands at the gate. It is written only while the gate is closed. Eight bytes, because every session has one: the
/// position, the number of the closing, the port and the address of the near end of the server leg.
#[derive(Debug, Default)]
pub struct SessionGate(AtomicU64);

const POSITION: u64 = 0b111;
const GATING_AT: u32 = 8;
const PORT_AT: u32 = 16;
const ADDRESS_AT: u32 = 32;

impl SessionGate {
    /// The session's task tells its position at this closing. `local` is asked once for each. A session that was let pass in the same
    /// moment has been: its task is woken for that.
    pub fn tell(&self, gating: Gating, position: Position, local: impl FnOnce() -> Option<SocketAddr>) {
        let known = self.0.load(Ordering::Acquire);
        let leg = if Stand(known).is_of(gating) { known & (u64::MAX << PORT_AT) } else { leg(local()) };
        let told = leg | u64::from(gating.0) << GATING_AT | position.bits();
        if told != known {
            let _ = self.0.compare_exchange(known, told, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// What it told at this closing, if it did already.
    pub fn stand(&self, gating: Gating) -> Option<Stand> {
        Some(Stand(self.0.load(Ordering::Acquire))).filter(|stand| stand.is_of(gating))
    }

    /// Control has let it pass, and it has not used that yet.
    pub fn may_pass(&self, gating: Gating) -> bool {
        self.stand(gating).is_some_and(|stand| stand.position() == Position::LetPass)
    }

    /// Control sends it there, if it still stands as it was seen. Its task must be woken.
    pub(super) fn send(&self, stand: Stand, to: Position) -> bool {
        let sent = (stand.0 & !POSITION) | to.bits();
        self.0.compare_exchange(stand.0, sent, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Stand {
    const fn is_of(self, gating: Gating) -> bool {
        // The lowest bits of a session that has told nothing are 0, which is no position.
        self.0 & POSITION != 0 && (self.0 >> GATING_AT).to_le_bytes()[0] == gating.0
    }

    /// Where.
    pub const fn position(self) -> Position {
        match self.0 & POSITION {
            2 => Position::Silent,
            3 => Position::Unread,
            4 => Position::LetPass,
            _ => Position::UnderWay,
        }
    }

    /// The near end of its server leg.
    pub fn leg(self) -> Leg {
        let [_, _, low, high, address @ ..] = self.0.to_le_bytes();
        Leg { port: u16::from_le_bytes([low, high]), address: u32::from_le_bytes(address) }
    }
}

impl Position {
    const fn bits(self) -> u64 {
        match self {
            Self::UnderWay => 1,
            Self::Silent => 2,
            Self::Unread => 3,
            Self::LetPass => 4,
        }
    }
}

fn leg(local: Option<SocketAddr>) -> u64 {
    let Some(local) = local else { return 0 };
    u64::from(local.port()) << PORT_AT | u64::from(fold(local.ip())) << ADDRESS_AT
}

/// Four bytes of an address: all of them, if it has no more.
fn fold(address: IpAddr) -> u32 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            address.segments().iter().fold(0_u32, |folded, segment| folded.rotate_left(5) ^ u32::from(*segment))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Gating = Gating(1);
    const SECOND: Gating = Gating(2);

    #[test]
    fn what_was_told_of_an_earlier_closing_does_not_count() {
        let gate = SessionGate::default();
        assert!([Gating(0), FIRST].iter().all(|gating| gate.stand(*gating).is_none()));
        let local: SocketAddr = "10.1.2.3:54321".parse().unwrap();
        gate.tell(FIRST, Position::Silent, || Some(local));
        gate.tell(FIRST, Position::Unread, || panic!("asked once for each closing"));
        let stand = gate.stand(FIRST).unwrap();
        assert_eq!((stand.position(), stand.leg().port), (Position::Unread, 54321));
        assert!(stand.leg().is_at(local.ip()) && stand.leg().is_at("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!stand.leg().is_at("10.1.2.4".parse().unwrap()));
        assert_eq!(gate.stand(SECOND), None);
        gate.tell(SECOND, Position::UnderWay, || None);
        assert_eq!((gate.stand(FIRST), gate.stand(SECOND).unwrap().leg().port), (None, 0));
        assert!(!gate.send(stand, Position::LetPass), "it does not stand there any more");
    }

    #[test]
    fn who_was_let_pass_may_until_it_tells_otherwise() {
        let gate = SessionGate::default();
        for position in [Position::Silent, Position::Unread] {
            gate.tell(FIRST, position, || None);
            let stand = gate.stand(FIRST).unwrap();
            assert!(!gate.may_pass(FIRST) && gate.send(stand, Position::LetPass) && gate.may_pass(FIRST));
            assert!(!gate.may_pass(SECOND) && !gate.send(stand, Position::LetPass));
            gate.tell(FIRST, Position::UnderWay, || None);
            assert!(!gate.may_pass(FIRST));
        }
    }
}
