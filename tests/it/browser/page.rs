//! What the page shows, and that it goes on showing it.

use std::time::Duration;

use serde_json::json;

use super::{Scene, is_accessible, look, violations};
use crate::support::{
    echo::refusing,
    process::Process,
    wait::{wait_until, within},
};

/// What stands on the badge of the first pool.
const VERDICT: &str = "document.querySelector('[data-pool] .badge')?.innerText.trim()";

/// Silent, but for what the browser itself says of a mainstay that is not there.
fn complaints(said: Vec<String>) -> Vec<String> {
    said.into_iter().filter(|line| !line.contains("net::ERR_")).collect()
}

#[test]
fn it_loads_at_once_without_a_word_on_the_console_and_is_accessible() {
    let scene = Scene::new();
    let page = scene.page();
    page.shows("db-a");
    assert_eq!(page.text(VERDICT), "OK");
    page.until("an hour is drawn", "document.querySelectorAll('.plot .line').length >= 5");
    page.click(".incidents summary");
    page.shows("the check's session broke");
    is_accessible(&page);
    page.size(390, 844);
    is_accessible(&page);
    let width = page.ask("document.documentElement.scrollWidth").as_u64().unwrap();
    assert!(width <= 390, "a phone need not scroll sideways: {width}");
    page.size(1280, 900);
    // Where no orders are taken nothing can be pressed that would order.
    assert_eq!(page.ask("document.querySelectorAll('.orders, .buttons').length"), 0);
    assert_eq!(page.console(), Vec::<String>::new());
    // What axe-core is worth: it finds what is wrong.
    page.ask("document.querySelector('h1').style.color = '#bbb'; document.body.append(document.createElement('img')); 0");
    let found = violations(&page).join("\n");
    assert!(found.contains("color-contrast") && found.contains("image-alt"), "{found}");
}

#[test]
fn it_is_painted_within_a_fifth_of_a_second() {
    let scene = Scene::new();
    // The best of a few: what is measured is the page, and not what else the machine has to do.
    let paint = (0..5).map(|_| {
        let page = scene.page();
        page.until("it has been painted", "performance.getEntriesByName('first-contentful-paint').length > 0");
        let at = |name: &str| page.ask(&format!("performance.getEntriesByName('{name}')[0].startTime")).as_f64().unwrap();
        (at("first-contentful-paint"), at("shown"))
    });
    let paints: Vec<_> = paint.collect();
    println!("first contentful paint and first pools shown, ms: {paints:?}");
    let best = paints.iter().map(|(first, shown)| first.max(*shown)).fold(f64::MAX, f64::min);
    assert!(best <= 200.0, "{best} ms");
}

#[test]
fn a_failover_and_an_outage_are_seen_while_it_is_open() {
    let mut scene = Scene::new();
    let [a, b] = scene.backends.each_ref().map(|backend| backend.address);
    let (process, browser) = (&scene.process, &scene.browser);
    let page = look(browser, process);
    page.ask("window.kept = document.querySelector('[data-pool]'); 0");
    let clients: Vec<_> = (0..3).map(|_| process.connect()).collect();
    page.until("its sessions", "document.querySelector('.brief').innerText.includes('3 sessions')");
    scene.backends[0].stop();
    page.until("db-b is active", "document.querySelector('.brief').innerText.includes('db-b')");
    page.until("the event", "document.querySelector('#events').innerText.includes('activate')");
    page.shows("because of down");
    assert_eq!(page.text(VERDICT), "NOT READY");
    assert_eq!(page.ask("window.kept.isConnected"), true, "what stays is not built anew");
    scene.backends[1].stop();
    page.until("the outage", &format!("{VERDICT} === 'OUTAGE'"));
    // Which pool, since when, why, and what to do.
    let told = page.text("document.querySelector('.pool.bad').innerText");
    for part in ["orders", "since ", "NO BACKEND MAY SERVE", "refused the connection", "What to do: Start one of them."] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(page.text("document.title").contains("orders"), "{}", page.text("document.title"));
    let waiting = process.connect();
    page.shows("1 client waits");
    is_accessible(&page);
    // The servers come back.
    scene.backends = [(b'a', a), (b'b', b)].map(|(name, address)| crate::support::echo::Backend::speaker(name, address));
    page.until("no outage", &format!("{VERDICT} === 'OK'"));
    assert_eq!(complaints(page.console()), Vec::<String>::new());
    drop((clients, waiting));
}

/// Nothing is made up here.
#[test]
fn the_hour_and_the_incident_are_those_of_mainstay() {
    let mut scene = Scene::new();
    let page = scene.browser.page();
    page.open(&scene.url());
    page.until("the page shows pools", "document.querySelectorAll('[data-pool]').length > 0");
    page.shows("None is known.");
    let client = scene.process.connect();
    scene.backends[0].stop();
    page.until("the incident", "document.querySelectorAll('.incidents summary').length === 1");
    page.click(".incidents summary");
    page.shows("mainstay incident 1 --markdown");
    page.until("its hour", "document.querySelectorAll('.plot .line').length >= 1");
    let told = page.text("document.querySelector('.incidents').innerText");
    for part in ["orders", "db-a", "db-b"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    is_accessible(&page);
    assert_eq!(complaints(page.console()), Vec::<String>::new());
    drop(client);
}

#[test]
fn it_says_that_the_connection_is_lost_and_goes_on_after_a_restart() {
    let Scene { scratch, browser, backends, mut settings, process } = Scene::new();
    let page = look(&browser, &process);
    settings["admin"]["listen"] = json!(process.admin.to_string());
    drop(process);
    page.shows("Connection to mainstay lost for");
    assert!(page.text("document.title").starts_with('?'), "{}", page.text("document.title"));
    is_accessible(&page);
    let process = Process::start(&settings).serving();
    page.shows("mainstay was started anew meanwhile");
    page.until("the old warning is gone", "!document.body.classList.contains('lost')");
    // Its events come by the new stream, and not those of before.
    let newest = json!(process.status()["pools"][0]["epoch"]);
    assert_eq!(newest, 1);
    page.until("its own events", "document.querySelectorAll('#events tr').length > 0");
    process.freeze();
    within(Duration::from_mins(1), "a mainstay that does not answer", || {
        page.text("document.getElementById('connection').innerText").contains("does not answer").then_some(())
    });
    process.signal(crate::support::process::Signal::CONT);
    page.until("it answers", "!document.body.classList.contains('lost')");
    assert_eq!(complaints(page.console()), Vec::<String>::new());
    drop((backends, scratch));
}

#[test]
fn of_two_hundred_pools_those_in_trouble_come_first_and_the_others_can_be_found() {
    let (_nobody, refused) = refusing();
    let scene = Scene::with(|settings, _| {
        let [one, two] = [0, 1].map(|index| settings["pools"][0]["backends"][index]["address"].clone());
        let pool = |number: usize| {
            let (first, second) =
                if number == 137 { (json!(refused.to_string()), None) } else { (one.clone(), Some(two.clone())) };
            let mut backends = vec![json!({"name": "db-a", "address": first})];
            backends.extend(second.map(|address| json!({"name": "db-b", "address": address})));
            let name = format!("pool-{number:03}");
            json!({"name": name, "listen": "127.0.0.1:0", "check": {"tcp": {}, "interval": "2s"}, "backends": backends})
        };
        settings["pools"].as_array_mut().unwrap().extend((1..200).map(pool));
    });
    let page = scene.page();
    let shown = |selector: &str| page.ask(&format!("document.querySelectorAll('{selector}').length"));
    page.until(
        "the tally",
        "document.getElementById('tally').innerText.replace(/\\s+/g, ' ').trim() === '1 critical 0 warnings 199 OK'",
    );
    assert_eq!(shown("[data-pool]"), 200);
    let first = page.text("document.querySelector('[data-pool]').innerText");
    assert!(first.contains("pool-137") && first.contains("OUTAGE"), "{first}");
    assert_eq!(shown("[aria-expanded=true]"), 1, "only what is in trouble is unfolded");
    is_accessible(&page);
    page.ask("document.getElementById('search').focus(); 0");
    page.type_in("pool-042");
    page.until("one is found", "document.querySelectorAll('[data-pool]').length === 1");
    page.click("[data-pool] .fold");
    page.until("it is unfolded", "document.querySelectorAll('.backends tbody tr').length === 2");
    page.until("its hour", "document.querySelectorAll('.plot').length > 0");
    page.ask("(field => { field.value = ''; field.dispatchEvent(new Event('input')); })(document.getElementById('search'))");
    page.click("#tally .bad");
    page.until("only what is down", "document.querySelectorAll('[data-pool]').length === 1");
    page.click("#tally .bad");
    page.until("all", "document.querySelectorAll('[data-pool]').length === 200");
    assert_eq!(shown("[aria-expanded=true]"), 2, "what somebody has unfolded stays so");
    // Nobody asks for hours that nobody sees.
    assert_eq!(page.ask("[...new Set(window.hours)].sort().join()"), "pool-042,pool-137");
    assert_eq!(page.console(), Vec::<String>::new());
}

#[test]
fn the_keyboard_is_enough() {
    let scene = Scene::new();
    let page = scene.page();
    page.until("an hour is drawn", "document.querySelectorAll('.marks').length > 0");
    let focus = |what: &str| {
        let is_there = wait_until(Duration::from_secs(20), || {
            page.key("Tab");
            page.ask(&format!("document.activeElement.matches('{what}')")) == true
        });
        assert!(is_there, "Tab comes to {what}");
        let outline = page.text("getComputedStyle(document.activeElement).outlineStyle");
        assert_eq!(outline, "solid", "it is seen that {what} has the focus");
    };
    focus(".fold");
    page.key("Enter");
    page.until("it is folded", "document.activeElement.getAttribute('aria-expanded') === 'false'");
    // What is asked every two seconds does not take the focus away.
    page.until(
        "it was asked again",
        "performance.getEntriesByType('resource').filter(one => one.name.endsWith('/status')).length >= 3",
    );
    assert_eq!(page.ask("document.activeElement.matches('.fold')"), true);
    page.key("Enter");
    page.until("it is unfolded", "document.querySelectorAll('.marks').length > 0");
    focus(".marks");
    page.key("ArrowLeft");
    page.key("ArrowLeft");
    page.until("it reads a moment", "document.activeElement.getAttribute('aria-valuenow') === '357'");
    let read = page.text("document.activeElement.getAttribute('aria-valuetext')");
    assert!(read.contains("sessions") && read.contains("db-a active"), "{read}");
    focus(".incidents summary");
    page.key("Enter");
    page.shows("the check's session broke");
    assert_eq!(page.console(), Vec::<String>::new());
}

#[test]
fn a_pool_that_a_reload_takes_away_is_gone() {
    let scene = Scene::with(|settings, _| {
        let mut other = settings["pools"][0].clone();
        other["name"] = json!("other");
        settings["pools"].as_array_mut().unwrap().push(other);
    });
    let page = scene.page();
    page.until("both", "document.querySelectorAll('[data-pool] .plot').length >= 6");
    scene.process.reload(&{
        let mut settings = scene.settings.clone();
        settings["pools"].as_array_mut().unwrap().pop();
        settings.to_string()
    });
    page.until("one", "document.querySelectorAll('[data-pool]').length === 1");
    assert_eq!(page.ask("document.querySelector('[data-pool] .plot') !== null && document.getElementById('find').hidden"), true);
    assert_eq!(page.console(), Vec::<String>::new());
}
