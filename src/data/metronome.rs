//! A timer that is nearer than the deadlines of connections, for as long as connections come.
//!
//! Each connection sets deadlines that hardly ever fire: of its dial, of what is left to say once one side has finished. A timer
//! that becomes the nearest of its runtime makes the runtime wake itself through its eventfd, in case it sleeps (tokio,
//! `runtime/time`): two system calls and a turn in vain, also when it is the runtime's own thread that sets the timer. With one
//! nearer timer always there, the others are only put into the wheel.

use std::{cell::Cell, time::Duration};

/// Shorter than the usual deadlines; a worker that does nothing else wakes so often for at most one period after its last
/// connection.
const PERIOD: Duration = Duration::from_millis(500);

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Still) };
}

/// Of this worker's metronome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Still,
    /// It beats, and somebody came since the last beat.
    Wanted,
    /// It beats for the last time, unless somebody comes.
    Idle,
}

/// A connection begins on this thread, which a runtime must run.
pub(super) fn start() {
    if STATE.replace(State::Wanted) == State::Still {
        tokio::spawn(beat());
    }
}

async fn beat() {
    while STATE.replace(State::Idle) == State::Wanted {
        tokio::time::sleep(PERIOD).await;
    }
    STATE.set(State::Still);
}
