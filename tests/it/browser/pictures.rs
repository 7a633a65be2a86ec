//! Pictures of the page before a real `PostgreSQL` primary and its standby, for people to look at: `target/page/`. One of them is
//! docs/page.png.

use std::{fs, path::PathBuf};

use lab::pairs::{Pair as _, postgres::PostgresPair};
use serde_json::json;

use super::{
    FIXTURES, Scene, TOKEN,
    chromium::{Browser, Page},
    look,
};
use crate::support::{process::Process, scratch::Scratch, wait::until};

fn directory() -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/page");
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// In both themes, wide and narrow.
fn take(page: &Page<'_>, name: &str) {
    for theme in ["light", "dark"] {
        page.theme(theme);
        for (width, height, size) in [(1280, 900, "wide"), (390, 1400, "narrow")] {
            page.size(width, height);
            page.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))");
            page.picture(&directory().join(format!("{name}-{theme}-{size}.png")));
        }
    }
    page.theme("light");
    page.size(1280, 900);
}

#[test]
fn the_page_of_a_real_pair() {
    let (mut pair, scratch) = (PostgresPair::start(), Scratch::new());
    let pool = lab::pairs::pool(&pair, "127.0.0.1:0", &json!({}));
    let settings = json!({
        "log": {"level": "info", "format": "json"}, "workers": 2, "pools": [pool],
        "admin": {"listen": "127.0.0.1:0", "write": {"token_file": scratch.file("token", TOKEN, 0o600)}},
    });
    let process = Process::start(&settings).serving();
    until("db-b may take over", || (process.status()["pools"][0]["failover_ready"] == true).then_some(()));
    let browser = Browser::start(&scratch, &["--hide-scrollbars"]);
    let page = look(&browser, &process);
    page.until("an hour is drawn", "document.querySelectorAll('.plot .line').length >= 5");
    take(&page, "calm");
    page.press("Switch over…");
    page.until("the token is asked for", "document.activeElement?.name === 'token'");
    take(&page, "token");
    page.type_in(TOKEN);
    page.key("Enter");
    page.shows("What would be done");
    take(&page, "order");
    page.press("Yes, switch over");
    page.press("Close");
    page.shows("switchover done");
    take(&page, "operation");
    pair.rejoined(0, 1);
    until("db-a may take over", || (process.status()["pools"][0]["failover_ready"] == true).then_some(()));
    pair.cluster.node(1).kill9().unwrap();
    page.until("the outage", "document.querySelector('.badge').innerText.trim() === 'OUTAGE'");
    let waiting: Vec<_> = (0..12).map(|_| process.connect()).collect();
    page.shows("12 clients wait");
    // As it looks a few minutes later.
    page.ask("(real => { Date.now = () => real() + 187000; })(Date.now.bind(Date)); Object.assign(window, { fallen: 19, primary: 1 }); 0");
    page.ask("read.clear(); loadHistories(); 0");
    page.until("the hour is drawn anew", "document.querySelectorAll('.run.D').length >= 2");
    page.shows("for 3 min");
    take(&page, "outage");
    page.size(1180, 800);
    let readme = directory().join("readme.png");
    page.picture(&readme);
    let size = fs::metadata(readme).unwrap().len();
    assert!(size <= 150 * 1024, "{size} bytes");
    drop(waiting);
}

#[test]
fn of_many_pools_and_of_a_lost_connection() {
    let scene = Scene::with(|settings, _| {
        let backends = settings["pools"][0]["backends"].clone();
        let pool =
            |number: usize| json!({"name": format!("pool-{number:03}"), "listen": "127.0.0.1:0", "backends": backends.clone()});
        settings["pools"].as_array_mut().unwrap().extend((1..200).map(pool));
    });
    let page = scene.browser.page();
    page.prepare(FIXTURES);
    page.prepare(include_str!("troubles.js"));
    page.open(&scene.url());
    page.shows("pool-001");
    page.until("the tally", "document.getElementById('tally').innerText.includes('2 critical')");
    take(&page, "many");
    page.click("[data-pool=pool-017] .fold");
    page.until("its hour is drawn", "document.querySelectorAll('.plot').length > 0");
    take(&page, "many-one");
    page.ask("window.isCut = true; 0");
    page.shows("Connection to mainstay lost");
    take(&page, "lost");
}
