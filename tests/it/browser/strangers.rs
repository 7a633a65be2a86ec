//! Names and evidence that would like to be markup.

use serde_json::json;

use super::{FIXTURES, Scene};

const NASTY: [&str; 5] = [
    "<img src=x onerror=\"window.hit = 1\">",
    "</script><script>window.hit = 1</script>",
    "\"><svg onload=window.hit=1>",
    "javascript:window.hit=1//${window.hit=1}",
    // Would turn what follows around.
    "\u{202e}evil\u{2066} لا",
];

/// Puts `text` into every field that may come from a server, a client or an operator.
const NASTY_ANSWERS: &str = include_str!("nasty.js");

#[test]
fn no_text_of_a_server_becomes_more_than_text() {
    let scene = Scene::new();
    for nasty in NASTY {
        let page = scene.browser.page();
        page.prepare(FIXTURES);
        page.prepare(&format!("window.text = {};{NASTY_ANSWERS}", json!(nasty)));
        page.open(&scene.url());
        page.until("its backends", "document.querySelectorAll('.backends tbody tr').length === 2");
        page.until("its hour", "document.querySelectorAll('.plot').length > 0");
        page.press("Switch over…");
        page.until("the dialog", "document.getElementById('dialog').open");
        assert_eq!(page.ask("window.hit"), json!(null), "{nasty}");
        assert_eq!(page.ask("document.querySelectorAll('img, iframe, object, [onerror], [onload]').length"), 0, "{nasty}");
        assert_eq!(page.ask("document.querySelectorAll('script').length"), 1, "{nasty}");
        let shown = page.text("document.body.innerText");
        // Only what turns text around is written in another way.
        let seen = nasty.replace('\u{202e}', "\\u{202e}").replace('\u{2066}', "\\u{2066}");
        assert!(shown.contains(&seen), "{seen}: {shown}");
        assert!(!shown.contains(['\u{202e}', '\u{2066}']));
        assert_eq!(page.console(), Vec::<String>::new());
    }
}

#[test]
fn a_script_that_somebody_adds_does_not_run() {
    let scene = Scene::new();
    let page = scene.page();
    // By which a mistake of the page's own script would make markup of a text.
    let refused =
        page.ask("(() => { try { document.body.innerHTML = '<p>'; return 'taken' } catch (error) { return error.name } })()");
    assert_eq!(refused, "TypeError");
    page.ask(
        "const script = document.createElement('script'); script.append('window.hit = 1'); \
         try { document.body.append(script) } catch (error) {} \
         const style = document.createElement('style'); style.append('body { display: none }'); document.head.append(style); 0",
    );
    assert_eq!(page.ask("window.hit"), json!(null));
    assert_ne!(page.text("getComputedStyle(document.body).display"), "none");
}
