//! What servers are made of, read from real ones: a primary and a standby that are configured alike have the same print, and
//! whatever changes shows.

mod hostile;
mod mariadb;
mod postgres;
mod redis;

use std::{net::SocketAddr, sync::LazyLock, time::Duration};

use mainstay::{
    config,
    control::{
        guard::{
            Subject,
            print::{self, Fingerprints},
        },
        probe::Deadline,
    },
    failover::Printable,
    net::addresses::Addresses,
    route::{Print, PrintGroup, PrintItem},
};
use serde_json::{Value, json};

use crate::support::wait::{patience, until};

/// Those of one pool.
static FINGERPRINTS: LazyLock<Fingerprints> = LazyLock::new(Fingerprints::random);

/// As the check of a pool is configured.
fn check(check: &Value) -> config::CheckConfig {
    let pool = json!({"name": "orders", "listen": "127.0.0.1:0", "backends": ["db-a:5432"], "check": check});
    let loaded = config::parse(&json!({ "pools": [pool] }).to_string(), "mainstay.yaml", &|name| {
        (name == "SECRET").then(|| "hunter22".to_owned())
    });
    loaded.unwrap_or_else(|errors| panic!("{errors}")).config.pools[0].check.clone()
}

fn subject(of: &Value, address: SocketAddr) -> Subject {
    // As before the first probe: the name was not looked up yet.
    Subject { check: check(of), address: address.to_string().parse().unwrap(), addresses: Addresses::default() }
}

fn ask_within(limit: Duration, of: &Value, address: SocketAddr) -> Result<Option<Print>, Printable> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(print::read(&subject(of, address), &FINGERPRINTS, Deadline::after(limit)))
}

#[track_caller]
pub(crate) fn read(of: &Value, address: SocketAddr) -> Print {
    ask_within(patience(), of, address).unwrap_or_else(|why| panic!("{why}")).unwrap()
}

/// What is different, one line each.
pub(crate) fn changes(before: &Print, after: &Print) -> Vec<String> {
    before.differences(after, &[]).iter().map(ToString::to_string).collect()
}

#[track_caller]
pub(crate) fn alike(what: &str, one: &Print, other: &Print) {
    assert_eq!(changes(one, other), <[String; 0]>::default(), "{what}");
    assert_eq!(one.digest(&[]), other.digest(&[]), "{what}");
}

/// The value that a server shows from some moment on.
#[track_caller]
pub(crate) fn becomes(of: &Value, address: SocketAddr, name: &str, value: &str) -> Print {
    until(name, || Some(read(of, address)).filter(|print| setting(print, name).is_some_and(|item| item.value == value)))
}

pub(crate) fn setting<'a>(print: &'a Print, name: &str) -> Option<&'a PrintItem> {
    print.items.get(&PrintGroup::Setting)?.get(name)
}

#[test]
fn checks_that_do_not_log_in_have_no_print() {
    let nobody = ([127, 0, 0, 1], 1).into();
    for of in [json!("tcp"), json!("http"), json!({"exec": ["/bin/true"]}), json!({"exchange": {"steps": [{"expect": "x"}]}})] {
        assert_eq!(ask_within(patience(), &of, nobody), Ok(None), "{of}");
    }
}
