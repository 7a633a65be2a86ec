//! The demo as a whole, in this process. What it is made of has its tests in `lab`.

use std::time::Duration;

use mainstay::cli::demo;

use crate::support::wait::Watch;

/// mainstay itself, two embedded nodes, the clients, one round.
#[test]
fn demo_once_keeps_every_promise() {
    let started = Watch::start();
    let code = demo::run(demo::Args { once: true, json: true, postgres: false });
    assert_eq!(code, 0, "a promise was broken; the JSON above says which");
    assert!(started.unhindered() < Duration::from_secs(12), "one round took {:?}", started.elapsed());
}

#[test]
fn demo_once_on_a_real_primary_and_standby_keeps_every_promise() {
    let code = demo::run(demo::Args { once: true, json: true, postgres: true });
    assert_eq!(code, 0, "a promise was broken; the JSON above says which");
}
