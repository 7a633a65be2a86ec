//! splice(2) that fails: bytes are copied from then on, none is lost and none moves.

use std::{io::Write, net::Shutdown, thread};

use crate::support::{
    echo::Backend,
    injection::Injection,
    noise::Noise,
    process::{Process, relay_by, settings},
    random::Random,
};

const LEN: u64 = 32 << 20;

/// A stream there and back while the kernel refuses to splice as `what` says; how many bytes were spliced all the same.
fn spliced_while(what: &str) -> u64 {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["workers"] = 1.into();
    relay_by(&mut settings, "splice");
    let mut process = Process::start(&settings).serving();
    let injection = Injection::into(&process, "mainstay-data-0", what);
    let client = process.connect();
    let mut noise = Noise::new(8);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(9);
            Noise::new(8).send(&client, LEN, &mut random).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        noise.receive(&client, &mut Random::new(10)).unwrap_or_else(|error| panic!("{what}: {error}"));
    });
    assert_eq!(noise.bytes, LEN, "{what}");
    drop(injection);
    assert!(process.is_running());
    let spliced = process.metric("mainstay_relay_spliced_bytes_total", &[]);
    // A new session is served as if nothing had been.
    let mut next = process.connect();
    next.write_all(b"x").unwrap();
    std::io::Read::read_exact(&mut next, &mut [0; 1]).unwrap();
    spliced
}

#[test]
fn a_kernel_that_refuses_every_splice() {
    for error in ["EINVAL", "ENOSYS", "EPERM", "ENOMEM"] {
        assert_eq!(spliced_while(&format!("splice:error={error}")), 0, "{error}");
    }
}

#[test]
fn a_splice_that_fails_once_in_mid_stream_with_bytes_in_the_pipe() {
    // Calls alternate between filling a pipe and emptying it, so that both kinds of number hit both kinds of call.
    for error in ["EINVAL", "ENOMEM"] {
        for number in [1, 2, 3, 4, 7, 10] {
            let spliced = spliced_while(&format!("splice:error={error}:when={number}"));
            assert!(spliced < 2 * LEN, "{error} at call {number} changed nothing");
        }
    }
}

#[test]
fn a_splice_that_would_block_although_it_would_not() {
    for when in ["when=1", "when=2", "when=3", "when=3+2", "when=2+3", "when=5+"] {
        spliced_while(&format!("splice:error=EAGAIN:{when}"));
    }
}

#[test]
fn pipes_that_cannot_be_made() {
    for error in ["EMFILE", "ENFILE", "ENOMEM"] {
        assert_eq!(spliced_while(&format!("pipe2:error={error}")), 0, "{error}");
    }
}
