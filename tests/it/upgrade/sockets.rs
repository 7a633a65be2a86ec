//! Which sockets go over, and which do not.

use serde_json::json;

use super::{Succession, is_gone};
use crate::support::{
    echo::{Backend, who},
    front::unix_client,
    process::settings,
    scratch::Scratch,
    wait::until,
};

#[test]
fn unix_sockets_stay_where_they_are_and_go_with_the_last_process() {
    let (scratch, backend) = (Scratch::new(), Backend::speaker(b'a', crate::support::config::LOOPBACK));
    let path = scratch.path("db.sock");
    let mut configured = settings(&[backend.address]);
    configured["pools"][0]["listeners"] = json!([{"name": "rw", "listen": ["127.0.0.1:0", format!("unix:{}", path.display())]}]);
    configured["pools"][0].as_object_mut().unwrap().remove("listen");
    let mut succession = Succession::start(&mut configured);
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    let before = inode();
    let first = succession.answers();
    succession.upgrade();
    is_gone(first);
    assert_eq!(inode(), before, "the same socket");
    drop(unix_client(&path));
    succession.site.run(&["status"]).is_done("orders");
    succession.site.run(&["shutdown"]).is_done("mainstay stops");
    until("the file has gone", || (!path.exists()).then_some(()));
    let (status, _) = succession.site.process.ends_within(std::time::Duration::from_secs(20));
    assert!(status.success());
}

#[test]
fn what_the_new_configuration_does_not_have_is_closed_and_what_it_adds_is_open() {
    let backend = Backend::speaker(b'a', crate::support::config::LOOPBACK);
    let pool = |name: &str| {
        json!({"name": name, "listen": "127.0.0.1:0", "check": {"tcp": {}, "interval": "200ms"},
               "backends": [{"name": "db-a", "address": backend.address.to_string()}]})
    };
    let mut configured = settings(&[backend.address]);
    configured["shutdown"] = json!({"delay": "0s", "timeout": "60s"});
    configured["pools"].as_array_mut().unwrap().push(pool("users"));
    let succession = Succession::start(&mut configured);
    let listens = |pool: usize| -> Option<std::net::SocketAddr> {
        succession.process().status()["pools"][pool]["listeners"][0]["listen"][0].as_str()?.parse().ok()
    };
    let users = until("both listen", || listens(1));
    let session = until("it is served", || {
        let session = crate::support::front::client(users);
        (who(&session).ok()? == b'a').then_some(session)
    });
    configured["pools"][1] = pool("stock");
    succession.process().replace(&configured.to_string());
    succession.upgrade();
    let stock = until("the new one listens", || listens(1));
    assert_ne!(stock, users);
    assert_eq!(who(&crate::support::front::client(stock)).unwrap(), b'a');
    until("the removed one is closed", || std::net::TcpStream::connect(users).is_err().then_some(()));
    assert_eq!(who(&session).unwrap(), b'a', "it goes on for shutdown.timeout");
}

#[test]
fn only_the_newest_looks_at_its_file() {
    let backend = Backend::speaker(b'a', crate::support::config::LOOPBACK);
    let mut configured = settings(&[backend.address]);
    configured["reload"] = json!({"watch": "1s"});
    let succession = Succession::start(&mut configured);
    let session = succession.process().connect();
    assert_eq!(who(&session).unwrap(), b'a');
    succession.upgrade();
    configured["pools"][0]["connect_timeout"] = json!("1500ms");
    succession.process().replace(&configured.to_string());
    until("it is loaded", || (succession.process().metric("mainstay_config_reloads_total", &[]) == 1).then_some(()));
    let uptime = || succession.process().status()["uptime_seconds"].as_u64().unwrap();
    let now = uptime();
    until("both have looked again", || (uptime() >= now + 3).then_some(()));
    let lines = succession.process().log();
    let told = |text: &str| lines.iter().filter(|line| line["message"].as_str().is_some_and(|line| line.contains(text))).count();
    assert_eq!((told("was loaded again"), told("not loaded again")), (1, 0));
}
