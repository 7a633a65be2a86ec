//! Buttons: each asks once, and shows what the dry run says before.

use serde_json::{Value, json};

use super::{Scene, TOKEN, chromium::Page, is_accessible};

fn events(scene: &Scene) -> Vec<Value> {
    let list: Value = serde_json::from_str(&scene.process.get("/api/v1/events").1).unwrap();
    list["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "order").cloned().collect()
}

fn give_token(page: &Page<'_>, token: &str) {
    page.until("the token is asked for", "document.activeElement?.name === 'token'");
    page.type_in(token);
    page.key("Enter");
}

#[test]
fn a_switchover_is_asked_with_what_its_dry_run_says() {
    let scene = Scene::writable();
    let page = scene.page();
    page.press("Switch over…");
    is_accessible(&page);
    assert!(events(&scene).is_empty(), "nothing is asked without a token");
    give_token(&page, TOKEN);
    page.shows("What would be done:");
    is_accessible(&page);
    let said = page.text("document.querySelector('#dialog .done').innerText");
    assert!(said.contains("db-b"), "{said}");
    assert_eq!(scene.process.status()["pools"][0]["active"], "db-a", "nothing has been done");
    page.ask("document.querySelector('#dialog input[type=text]').focus(); 0");
    page.type_in("a new kernel");
    page.press("Yes, switch over");
    page.shows("Done:");
    page.press("Close");
    page.until("db-b is active", "document.querySelector('.brief').innerText.includes('db-b')");
    page.shows("switchover 1");
    page.until(
        "its steps",
        "document.querySelectorAll('.operation li.good').length > 0 && !document.querySelector('.operation li.bad')",
    );
    let orders = events(&scene);
    assert!(orders[0]["to"] == "dry_run" && orders.last().unwrap()["to"] != "dry_run", "{orders:?}");
    assert!(orders.last().unwrap()["evidence"].as_str().unwrap().contains("a new kernel"), "{orders:?}");
    // The token is nowhere but in memory.
    let kept = page.text("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])");
    assert!(!kept.contains(TOKEN), "{kept}");
    assert!(!page.text("document.documentElement.outerHTML").contains(TOKEN));
    // It is not asked for again, and a refusal is told, with nothing left to press.
    page.ask("document.querySelector('[aria-label=\"Drain… orders/db-b\"]').focus(); 0");
    page.key("Enter");
    page.shows("What would be done:");
    page.press("No, leave it");
    page.until("the dialog is closed", "!document.getElementById('dialog').open");
    assert_eq!(page.ask("document.activeElement.getAttribute('aria-label')"), "Drain… orders/db-b", "the focus is back");
    assert_eq!(page.console(), Vec::<String>::new());
}

#[test]
fn a_wrong_token_and_a_refusal_are_told() {
    let scene = Scene::writable();
    let page = scene.page();
    page.press("Roll back…");
    give_token(&page, "wrong-wrong-wrong-wrong");
    page.shows("the token is not the one");
    give_token(&page, TOKEN);
    page.shows("Refused:");
    is_accessible(&page);
    assert_eq!(page.ask("document.querySelector('#dialog button.strong').disabled"), true);
    page.key("Escape");
    page.until("the dialog is closed", "!document.getElementById('dialog').open");
    page.press("Pause…");
    page.shows("What would be done:");
    page.press("Yes, pause");
    page.press("Close");
    page.until("it is paused", "document.querySelector('.badge').innerText.includes('PAUSED')");
    assert_eq!(scene.process.status()["pools"][0]["paused"], json!(true));
    page.press("Resume…");
    page.press("Yes, resume");
    page.until("it is not", "document.querySelector('.badge').innerText.includes('OK')");
    // A browser tells of each 4xx by itself.
    let said: Vec<_> = page.console().into_iter().filter(|line| !line.contains("Failed to load resource")).collect();
    assert_eq!(said, Vec::<String>::new());
}
