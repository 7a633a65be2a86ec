//! Nobody answers for a name: from the start, later, or too late.

use std::time::Duration;

use super::{FOLLOWED, nothing_failed_over, pool, probes, shown, speaker, stands_for};
use crate::support::{
    dns::{Dns, NXDOMAIN, Reply, SERVFAIL, addresses},
    echo::who,
    netns::Network,
    process::Signal,
    wait::{Watch, patience, until},
};

/// Every name has an answer of this kind while the servers are well, and while one is away for a moment.
fn is_kept(reply: &Reply) {
    Network::new().inside(|| {
        let dns = Dns::start();
        let (mut first, second) = (speaker(b'1', "127.0.0.2", 0), speaker(b'2', "127.0.0.3", 0));
        let names = [("db-a.test", &first), ("db-b.test", &second)];
        for (name, backend) in names {
            dns.set(name, &[&backend.address.ip().to_string()]);
        }
        let mut settings = pool(&names.map(|(name, backend)| format!("{name}:{}", backend.address.port())));
        settings["pools"][0]["check"]["fall"] = 100.into();
        let process = dns.start_process(&settings).serving();
        let session = process.connect();
        assert_eq!(who(&session).unwrap(), b'1');
        let resolved = [first.address.to_string()];
        stands_for(&process, &resolved);

        for (name, _) in names {
            dns.reply(name, reply.clone());
        }
        // That it cannot be reached is what makes its name be looked up.
        let address = first.address;
        first.stop();
        let line = process.logged("its last good addresses are kept");
        assert_eq!((&line["name"], &line["kept"]), (&"db-a.test".into(), &format!("[{address}]").into()), "{line}");
        let before = dns.lookups("db-a.test");
        until("it was looked up once more", || (dns.lookups("db-a.test") > before + 1).then_some(()));
        assert_eq!(who(&session).unwrap(), b'1', "a session that had nothing to do with it");
        let mut again = speaker(b'1', "127.0.0.2", address.port());
        assert_eq!(who(&process.connect()).unwrap(), b'1');
        stands_for(&process, &resolved);
        nothing_failed_over(&process);
        assert_eq!(probes(&process, "db-a", "unreachable"), 0);
        assert_eq!(process.log().iter().filter(|line| line["message"].as_str().unwrap_or("").contains("are kept")).count(), 1);

        // Only a name whose backend cannot be reached is looked up now.
        again.stop();
        dns.set("db-a.test", &["127.0.0.2"]);
        process.logged("the name can be resolved again");
    });
}

#[test]
fn the_last_good_answer_is_kept_when_the_name_server_fails() {
    is_kept(&SERVFAIL);
}

#[test]
fn the_last_good_answer_is_kept_when_the_name_is_gone() {
    is_kept(&NXDOMAIN);
}

#[test]
fn the_last_good_answer_is_kept_when_the_name_server_is_silent() {
    is_kept(&Reply::Silence);
}

#[test]
fn the_last_good_answer_is_kept_over_a_reload_while_the_name_server_is_silent() {
    Network::new().inside(|| {
        let dns = Dns::start();
        let backend = speaker(b'1', "127.0.0.2", 0);
        dns.set("db-a.test", &["127.0.0.2"]);
        let mut settings = pool(&[format!("db-a.test:{}", backend.address.port())]);
        let process = dns.start_process(&settings).serving();
        let session = process.connect();
        assert_eq!(who(&session).unwrap(), b'1');
        dns.reply("db-a.test", Reply::Silence);
        settings["pools"][0]["check"]["interval"] = "100ms".into();
        process.reload(&settings.to_string());
        process.logged("its last good addresses are kept");
        let before = probes(&process, "db-a", "ok");
        until("it is probed", || (probes(&process, "db-a", "ok") > before + 5).then_some(()));
        assert_eq!(who(&process.connect()).unwrap(), b'1');
        assert_eq!(who(&session).unwrap(), b'1');
        nothing_failed_over(&process);
        assert_eq!(probes(&process, "db-a", "unreachable"), 0);
    });
}

/// It starts without an answer, holds its clients, says why, and serves them soon after there is one.
fn starts_without(reply: Reply, extra: Duration, why: &str) {
    Network::new().inside(|| {
        let dns = Dns::start();
        let backend = speaker(b'1', "127.0.0.2", 0);
        dns.reply("db-a.test", reply);
        let begun = Watch::start();
        let process = dns.start_process(&pool(&[format!("db-a.test:{}", backend.address.port())]));
        assert!(begun.unhindered() < Duration::from_secs(2), "the start took {:?}", begun.elapsed());
        assert_eq!(process.get("/livez").0, 200);
        assert_eq!(process.get("/readyz").0, 503);
        let client = process.connect();
        // It is counted a moment before it is shown.
        let probe =
            until("a probe has told", || Some(shown(&process, 0)["last_probe"].clone()).filter(serde_json::Value::is_object));
        assert!(probes(&process, "db-a", "unreachable") > 0);
        let evidence = probe["evidence"].as_str().unwrap();
        assert_eq!(probe["outcome"], "unreachable");
        assert!(evidence.contains("the name db-a.test") && evidence.contains(why), "{evidence}");
        until("the client waits", || (process.metric("mainstay_connections_held", &[]) == 1).then_some(()));

        dns.set("db-a.test", &["127.0.0.2"]);
        let there = Watch::start();
        assert_eq!(who(&client).unwrap(), b'1');
        assert!(there.unhindered() < FOLLOWED + extra, "served after {:?}", there.elapsed());
        stands_for(&process, &[backend.address.to_string()]);
        assert_eq!(process.metric("mainstay_pool_epoch", &[]), 1);
    });
}

#[test]
fn a_name_that_comes_into_being_is_used_a_second_later() {
    starts_without(NXDOMAIN, Duration::ZERO, "has no address");
}

#[test]
fn a_start_without_a_name_server_neither_fails_nor_waits() {
    // The last question that nobody answers takes a second or two.
    starts_without(Reply::Silence, Duration::from_secs(2), "was not resolved within");
}

#[test]
fn a_slow_name_server_delays_nobody_else_and_not_the_end() {
    const LONGEST: Duration = Duration::from_millis(500);
    Network::new().inside(|| {
        let dns = Dns::with_patience(Duration::from_secs(20));
        let backend = speaker(b'1', "127.0.0.2", 0);
        let port = backend.address.port();
        dns.reply("db-b.test", Reply::Late(Duration::from_secs(3), addresses(&["127.0.0.2"])));
        dns.reply("db-c.test", Reply::Silence);
        let mut process =
            dns.start_process(&pool(&[format!("127.0.0.2:{port}"), format!("db-b.test:{port}"), format!("db-c.test:{port}")]));
        let begun = Watch::start();
        process = process.serving();
        let probed = probes(&process, "127", "ok");
        let mut slowest = Duration::ZERO;
        while shown(&process, 1)["health"] != "up" {
            let since = Watch::start();
            assert_eq!(who(&process.connect()).unwrap(), b'1');
            assert_eq!(process.get("/livez").0, 200);
            slowest = slowest.max(since.unhindered());
            assert!(begun.elapsed() < 2 * patience(), "a late answer is an answer all the same");
            // A pace for those who ask: nothing is waited for.
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = begun.elapsed();
        assert!(took > Duration::from_secs(2), "the name server was not slow: {took:?}");
        assert!(slowest < LONGEST, "somebody waited for {slowest:?}");
        // One every 200 ms; half of that is enough.
        let (made, own) = (probes(&process, "127", "ok") - probed, begun.unhindered());
        assert!(u128::from(made) >= own.as_millis() / 400, "{made} probes in {own:?}");
        assert_eq!(shown(&process, 2)["health"], "down");
        assert_eq!(process.metric("mainstay_pool_epoch", &[]), 1);

        // A lookup is still under way.
        process.signal(Signal::TERM);
        let (status, took) = process.ends_within(Duration::from_secs(10));
        assert!(status.success() && took < Duration::from_secs(2), "{status} after {took:?}");
    });
}
