//! What `mainstay incidents` and `mainstay incident` print, also of what strangers say.

use std::fs;

use serde_json::{Value, json};

use super::{are_over, newest};
use crate::support::{echo::Backend, process::settings, scratch::Scratch, site::Site};

/// A health check that says what a file says.
const SAYS: &str = "cat $DIR/$MAINSTAY_BACKEND_PORT; exit $(cat $DIR/code.$MAINSTAY_BACKEND_PORT)";

const NASTY: &str = "``` | a | b | <script>alert(1)</script> [x](http://evil) \u{1b}[31m\u{202e} # gone @everyone ````";

fn say(scratch: &Scratch, backend: &Backend, what: &str, code: u8) {
    let port = backend.address.port();
    for (name, text) in [(format!("{port}"), what.to_owned()), (format!("code.{port}"), code.to_string())] {
        fs::write(scratch.path("new"), format!("{text}\n")).unwrap();
        fs::rename(scratch.path("new"), scratch.path(&name)).unwrap();
    }
}

#[test]
fn the_commands_tell_what_happened_and_strangers_words_do_nothing() {
    let (scratch, a, b) = (Scratch::new(), Backend::echo(), Backend::echo());
    say(&scratch, &a, "well", 0);
    say(&scratch, &b, "well", 0);
    let mut settings = settings(&[a.address, b.address]);
    let check =
        json!({"exec": {"command": [scratch.script(SAYS)]}, "interval": "200ms", "fast_interval": "50ms", "timeout": "5s"});
    settings["pools"][0]["check"] = check;
    let site = Site::start(&mut settings, &scratch.path("admin.sock"));
    let empty = site.run(&["incidents"]);
    empty.is_done("no incident");
    empty.is_done("kept in memory only");
    site.run(&["incident", "1"]).is_refused("no incident of this number");
    say(&scratch, &a, NASTY, 1);
    site.serves("db-b");
    let incident = are_over(&site.process, 1).remove(0);
    assert!(incident["evidence"].as_str().unwrap().contains("<script>"), "{incident}");
    let list = site.run(&["incidents"]);
    for part in ["failover", "db-a → db-b", "0 lost", "over"] {
        list.is_done(part);
    }
    let json: Value = serde_json::from_str(&site.run(&["incidents", "--json"]).out).unwrap();
    assert_eq!(json["incidents"][0]["number"], 1);
    let one: Value = serde_json::from_str(&site.run(&["incident", "1", "--json"]).out).unwrap();
    assert_eq!(one, incident);
    let (text, markdown) = (site.run(&["incident", "1"]), site.run(&["incident", "1", "--markdown"]));
    text.is_done("incident 1: pool orders failed over from db-a to db-b");
    markdown.is_done("# Incident 1: pool `orders` failed over from `db-a` to `db-b`");
    for said in [&list, &text, &markdown] {
        assert!(said.out.chars().all(|c| c == '\n' || mainstay::failover::is_printable(c)), "{:?}", said.out);
    }
    // Outside of blocks of code nothing is said by strangers.
    let mut fence: Option<String> = None;
    for line in markdown.out.lines() {
        match &fence {
            None if line.starts_with("```") => fence = Some(line.trim_end_matches("text").to_owned()),
            Some(end) if line == end => fence = None,
            Some(_) => {}
            None => assert!(!["script", "evil", "everyone"].iter().any(|harm| line.contains(harm)), "{line}"),
        }
    }
    assert_eq!(fence, None);
    assert_eq!(site.run(&["incident", "x"]).code, mainstay::cli::exit::USAGE);
    newest(&site.process, "it is still there", |incident| incident["number"] == 1);
}
