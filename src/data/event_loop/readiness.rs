//! What the kernel has reported for each socket.

use std::{
    cell::{Cell, RefCell},
    ops::{BitAnd, BitOr},
    rc::Rc,
};

use rustix::event::epoll::{Event, EventFlags};
use slab::Slab;

use super::task::Key;

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// A read returns data, the end, or an error.
    Readable,
    /// A write finds room, or an error.
    Writable,
}

impl Interest {
    pub(super) const fn mask(self) -> Ready {
        match self {
            Self::Readable => Ready(Ready::READABLE.0 | Ready::READ_CLOSED.0),
            Self::Writable => Ready(Ready::WRITABLE.0 | Ready::WRITE_CLOSED.0),
        }
    }
}

/// The kernel's reports, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready(u8);

impl Ready {
    pub(super) const NOTHING: Self = Self(0);
    pub(super) const READABLE: Self = Self(1);
    pub(super) const WRITABLE: Self = Self(2);
    /// The peer has finished: from here on a read never blocks.
    pub(super) const READ_CLOSED: Self = Self(4);
    /// Nothing more can be sent.
    pub(super) const WRITE_CLOSED: Self = Self(8);
    pub(super) const FAILED: Self = Self(16);
    /// Assumed, not reported: the kernel was not yet asked to report room.
    pub(super) const ROOM_NOT_ASKED: Self = Self(32);
    /// There was urgent data, at which a read stops short: from here on a short read does not mean that the socket is empty.
    pub(super) const URGENT: Self = Self(64);

    fn of(flags: EventFlags) -> Self {
        let mut ready = Self::NOTHING;
        for (flag, told) in [
            (EventFlags::IN, Self::READABLE),
            (EventFlags::OUT, Self::WRITABLE),
            (EventFlags::PRI, Self::READABLE | Self::URGENT),
            (EventFlags::RDHUP, Self::READABLE | Self::READ_CLOSED),
            (EventFlags::HUP, Self::READABLE | Self::READ_CLOSED | Self::WRITABLE | Self::WRITE_CLOSED),
            (EventFlags::ERR, Self::READABLE | Self::WRITABLE | Self::FAILED),
        ] {
            if flags.intersects(flag) {
                ready = ready | told;
            }
        }
        ready
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn is_nothing(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Ready {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Ready {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

pub(super) struct Slot {
    pub(super) number: u32,
    pub(super) ready: Cell<Ready>,
    /// The task that owns the socket, if it has ever waited.
    pub(super) waiter: Cell<Option<Key>>,
}

/// All sockets of a loop.
#[derive(Default)]
pub(super) struct Registry {
    places: RefCell<Slab<Rc<Slot>>>,
    /// Of the next socket.
    number: Cell<u32>,
}

impl Registry {
    pub(super) fn add(&self, ready: Ready) -> (Rc<Slot>, usize) {
        let number = self.number.get();
        self.number.set(number.wrapping_add(1));
        let slot = Rc::new(Slot { number, ready: Cell::new(ready), waiter: Cell::new(None) });
        let place = self.places.borrow_mut().insert(Rc::clone(&slot));
        (slot, place)
    }

    pub(super) fn remove(&self, slot: &Rc<Slot>, place: usize) {
        let mut places = self.places.borrow_mut();
        if places.get(place).is_some_and(|known| Rc::ptr_eq(known, slot)) {
            places.remove(place);
        }
    }

    /// A report of the kernel. Returns the task to wake, if the report is new to it.
    pub(super) fn tell(&self, event: &Event) -> Option<Key> {
        let (data, flags) = (event.data.u64(), event.flags);
        let places = self.places.borrow();
        let slot = usize::try_from(data & u64::from(u32::MAX)).ok().and_then(|place| places.get(place));
        let slot = slot.filter(|slot| u64::from(slot.number) == data >> u32::BITS)?;
        let known = slot.ready.get();
        let told = Ready::of(flags);
        if told.without(known).is_nothing() {
            return None;
        }
        slot.ready.set(known | told);
        slot.waiter.get()
    }
}
