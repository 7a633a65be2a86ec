//! The page in a real browser: what it shows, of real failovers too, what it costs, and that no page of somebody else orders anything.
//!
//! `make browser` runs these, and installs the browser and the checker of accessibility. `make test` does not: the browser has a hundred
//! megabytes.

mod attack;
mod chromium;
mod cost;
mod ordering;
mod page;
mod pictures;
mod strangers;

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{
    echo::Backend,
    process::{Process, settings},
    scratch::Scratch,
};
use chromium::{Browser, Page};

const TOKEN: &str = "a-token-that-is-long-enough-for-everybody-1234567890";

/// An hour, and incidents, for pages of a mainstay that has just begun.
const FIXTURES: &str = include_str!("browser/fixtures.js");

/// A mainstay before two embedded servers, and a browser that looks at it.
struct Scene {
    scratch: Scratch,
    browser: Browser,
    backends: [Backend; 2],
    settings: Value,
    process: Process,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_, _| {})
    }

    fn with(change: impl FnOnce(&mut Value, &Scratch)) -> Self {
        let scratch = Scratch::new();
        let backends = [b'a', b'b'].map(|name| Backend::speaker(name, ([127, 0, 0, 1], 0).into()));
        let mut settings = settings(&backends.each_ref().map(|backend| backend.address));
        change(&mut settings, &scratch);
        let process = Process::start(&settings).serving();
        let browser = Browser::start(&scratch, &[]);
        Self { scratch, browser, backends, settings, process }
    }

    /// Orders are taken over TCP.
    fn writable() -> Self {
        Self::with(|settings, scratch| {
            settings["admin"]["write"] = json!({"token_file": scratch.file("token", TOKEN, 0o600)});
        })
    }

    fn url(&self) -> String {
        format!("http://{}/", self.process.admin)
    }

    fn page(&self) -> Page<'_> {
        look(&self.browser, &self.process)
    }
}

/// The page, once it shows something. Its last hour is made up.
fn look<'a>(browser: &'a Browser, process: &Process) -> Page<'a> {
    let page = browser.page();
    page.prepare(FIXTURES);
    page.open(&format!("http://{}/", process.admin));
    page.until("the page shows pools", "document.querySelectorAll('[data-pool]').length > 0");
    page
}

/// axe-core, which `tests/install-deps browser` has unpacked.
fn axe() -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/browser/axe.min.js");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}; `make browser` fetches it", file.display()))
}

/// What axe-core finds wrong with a page as it is now.
fn violations(page: &Page<'_>) -> Vec<String> {
    if page.ask("typeof axe") != "object" {
        page.ask(&format!("{}\n;0", axe()));
    }
    let found = page.ask(
        "axe.run({resultTypes: ['violations']}).then(all => all.violations.map(one => \
         one.id + ': ' + one.help + ': ' + one.nodes.map(node => node.html.slice(0, 150) + ' ' + node.failureSummary).join(' | ')))",
    );
    serde_json::from_value(found).unwrap()
}

#[track_caller]
fn is_accessible(page: &Page<'_>) {
    for theme in ["light", "dark"] {
        page.theme(theme);
        let found = violations(page);
        assert!(found.is_empty(), "{theme}:\n{}", found.join("\n"));
    }
    page.theme("light");
}
