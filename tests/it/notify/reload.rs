//! A reload adds, changes and removes receivers.

use serde_json::json;

use super::{Receiver, telling, webhook};
use crate::support::{echo::Backend, process::Process, scratch::Scratch};

#[test]
fn receivers_are_added_changed_and_removed() {
    let (scratch, first, second, third) = (Scratch::new(), Receiver::start(), Receiver::start(), Receiver::start());
    let (mut a, mut b, mut c) = (Backend::echo(), Backend::echo(), Backend::echo());
    let mut settings = telling(&scratch, &first, &[a.address, b.address, c.address]);
    settings["notify"] = json!([]);
    let process = Process::start(&settings).serving();
    // None: nothing is told, and a failover is not told later.
    a.stop();
    crate::support::wait::until("db-b serves", || (process.status()["pools"][0]["active"] == "db-b").then_some(()));
    let one = webhook(&scratch, &first.url());
    settings["notify"] = json!([one]);
    process.reload(&settings.to_string());
    let changes = process.logged("the configuration was loaded again");
    assert_eq!(changes["changes"], "keys changed: notify");
    b.stop();
    let told = first.nth(1).json();
    assert!(told["summary"].as_str().unwrap().contains("from db-b to db-c"), "{told}");
    // One stays and one comes; then the first goes, and another one is told less.
    let mut other = webhook(&scratch, &second.url());
    settings["notify"] = json!([one, other]);
    process.reload(&settings.to_string());
    c.stop();
    assert_eq!((first.nth(2).kind(), second.nth(1).kind()), ("outage".to_owned(), "outage".to_owned()));
    other["on"] = json!(["failover"]);
    let last = webhook(&scratch, &third.url());
    settings["notify"] = json!([one, other, last]);
    process.reload(&settings.to_string());
    let mut again = Backend::start_first(a.address, drop);
    assert_eq!(first.nth(3).kind(), "over");
    // Who came, or was changed, during the outage was not told of it, nor of its end.
    assert_eq!((second.all().len(), third.all().len()), (1, 0));
    again.stop();
    assert_eq!((first.nth(4).kind(), third.nth(1).kind()), ("outage".to_owned(), "outage".to_owned()));
    settings["notify"] = json!([last]);
    process.reload(&settings.to_string());
    let _again = Backend::start_first(a.address, drop);
    assert_eq!(third.nth(2).kind(), "over");
    assert_eq!((first.all().len(), second.all().len()), (4, 1));
}
