//! End to end: a real mainstay before real `PostgreSQL` servers, a real Prometheus that scrapes it every 5 s, a real Alertmanager, and a
//! webhook. `make alerts` runs these.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use super::{dashboard, prometheus::Monitoring, shop::Shop};

/// What was told but for an end.
fn firing(monitoring: &Monitoring) -> Vec<(String, String)> {
    monitoring.told().into_iter().filter(|one| one.status == "firing").map(|one| (one.way, one.alert)).collect()
}

#[test]
fn a_killed_primary_without_a_standby_pages_within_30_seconds_and_its_return_ends_it() {
    let mut shop = Shop::open(false);
    let monitoring = Monitoring::of(shop.site.process.admin);
    assert_eq!(firing(&monitoring), []);
    let killed = Instant::now();
    shop.primary.signal_all("-KILL");
    let page = monitoring.tells(Duration::from_mins(2), "DatabaseOutage", "firing");
    let took = page.at.duration_since(killed);
    println!("the page was there {took:.1?} after the kill: {page:?}");
    assert_eq!((&*page.way, &*page.summary), ("page", "Pool orders: no database serves."));
    assert!(took <= Duration::from_secs(30), "{took:?}");
    shop.primary.restart(&[]);
    shop.site.serves("db-a");
    monitoring.tells(Duration::from_mins(2), "DatabaseOutage", "resolved");
    assert_eq!(firing(&monitoring), [("page".to_owned(), "DatabaseOutage".to_owned())]);
}

#[test]
fn a_failover_within_a_second_is_one_ticket_and_no_page_and_the_dashboard_shows_all_of_it() {
    let shop = Shop::open(true);
    let monitoring = Monitoring::of(shop.site.process.admin);
    shop.serves_a_client();
    shop.fails_over();
    shop.serves_a_client();
    let gap = shop.site.process.status()["pools"][0]["last_failover"]["gap_ms"].as_f64().unwrap();
    let ticket = monitoring.tells(Duration::from_mins(2), "FailoverHappened", "firing");
    println!("nobody was active for {gap} ms; {ticket:?}");
    assert_eq!(&*ticket.way, "ticket");
    assert!(gap < 10_000.0, "the machine was too busy for a failover without an outage: {gap} ms");
    // Any page but ServingUnproven, which waits for five minutes, would come in half of this time.
    let end = Instant::now() + Duration::from_mins(2);
    while Instant::now() < end {
        let empty = dashboard::empty(&monitoring.prometheus);
        assert!(empty.is_empty(), "empty panels after a failover: {empty:#?}");
        // The pages that must not come have their time.
        thread::sleep(Duration::from_secs(10));
    }
    assert_eq!(firing(&monitoring), [("ticket".to_owned(), "FailoverHappened".to_owned())]);
}

#[test]
fn nothing_is_told_in_ten_quiet_minutes_with_a_reload_and_a_planned_switchover() {
    let minutes = env::var("MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut shop = Shop::open(true);
    let monitoring = Monitoring::of(shop.site.process.admin);
    let begin = Instant::now();
    let reaches = |part: u32| begin.elapsed() >= Duration::from_mins(minutes) * part / 10;
    let (mut reloaded, mut switched) = (false, false);
    while !reaches(10) {
        shop.serves_a_client();
        if reaches(2) && !reloaded {
            shop.site.run(&["reload"]).is_done("");
            reloaded = true;
        }
        if reaches(4) && !switched {
            shop.site.run(&["switchover", "orders", "--to", "db-b", "--reason", "planned"]).is_done("");
            shop.site.serves("db-b");
            // The old primary is made a standby, as a person or a hook does after a planned change.
            shop.primary.file("data/standby.signal", b"");
            let port = shop.standby.as_ref().unwrap().port;
            shop.primary.restart(&[&format!("primary_conninfo=host=127.0.0.1 port={port} user=postgres")]);
            switched = true;
        }
        // Time itself is what this is about.
        thread::sleep(Duration::from_secs(1));
    }
    assert!(reloaded && switched);
    assert_eq!(firing(&monitoring), []);
    for event in dashboard::queries().into_iter().filter(|query| ["Switchovers", "Configuration loaded"].contains(&&*query.panel))
    {
        assert!(monitoring.prometheus.shows(&event), "{} is not on the dashboard", event.panel);
    }
}
