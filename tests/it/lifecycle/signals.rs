//! Signals that mean nothing here must not end the process without a word.

use std::{
    io::{Read, Write},
    time::Duration,
};

use crate::support::{
    echo::Backend,
    process::{Process, Signal, settings},
    wait::until,
};

#[test]
fn signals_without_a_meaning_change_nothing() {
    let backend = Backend::echo();
    let mut process = Process::start(&settings(&[backend.address])).serving();
    let mut client = process.connect();
    for signal in [Signal::USR1, Signal::USR2, Signal::PIPE, Signal::WINCH, Signal::CHILD] {
        process.signal(signal);
        // What must not happen has had its time.
        std::thread::sleep(Duration::from_millis(30));
        assert!(process.is_running(), "{signal:?} ended it");
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
    }
    assert_eq!(process.get("/readyz").0, 200);
    // Who sends one of these expects something to happen, and is told that nothing did.
    for signal in ["SIGUSR1", "SIGUSR2"] {
        until(signal, || process.log().iter().any(|line| line["signal"] == signal).then_some(()));
    }
}
