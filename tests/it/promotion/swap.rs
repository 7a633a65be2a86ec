//! Two servers that change roles at one instant, as Redis' `FAILOVER` nearly does. mainstay asks one after the other, so it holds the new
//! word of one beside the old word of the other: that is no conflict.

use std::{
    io::{BufRead, BufReader, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::json;

use super::{pools, reason, serves};
use crate::support::{echo::Backend, wait::until};

/// Answers a Redis check; it is the primary while `swapped` is not what `first` is.
fn server(first: bool, swapped: &Arc<AtomicBool>) -> Backend {
    let swapped = Arc::clone(swapped);
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    Backend::start(move |stream| {
        let mut answers = stream.try_clone().unwrap();
        for word in BufReader::new(stream).lines().map_while(Result::ok) {
            let answer = match word.as_str() {
                "PING" => "+PONG\r\n".to_owned(),
                "server" => bulk("redis_version:7.0.15"),
                "replication" if swapped.load(Ordering::SeqCst) == first => bulk("role:slave"),
                "replication" => bulk("role:master"),
                _ => continue,
            };
            if answers.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn two_servers_that_change_roles_at_one_instant_are_no_split_brain() {
    let swapped = Arc::new(AtomicBool::new(false));
    let (old, new) = (server(true, &swapped), server(false, &swapped));
    let process = pools(&json!("redis"), old.address, &[new.address]);
    for _ in 0..12 {
        let (serving, standby) = if swapped.fetch_xor(true, Ordering::SeqCst) { ("old", 1) } else { ("new", 0) };
        serves(&process, 0, serving);
        until("the other is known as a standby", || (reason(&process, 0, standby) == "standby").then_some(()));
    }
    let errors: Vec<_> = process.log().into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
