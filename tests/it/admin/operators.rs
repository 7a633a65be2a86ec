//! The whole program, ordered by users of this machine and by tokens: who is let in, and that no output has a token.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::support::{
    child::Bounded,
    echo::Backend,
    process::{Process, settings},
    scratch::Scratch,
    wait::{patience, until},
};

const TOKEN: &str = "S3cr3t-0123456789abcdef-S3cr3t";

/// A directory that every user can look into, and one mainstay whose admin socket is in it.
struct Site {
    scratch: Scratch,
    process: Process,
    settings: Value,
    _backend: Backend,
}

impl Site {
    fn new(admin: &Value) -> Self {
        let (scratch, backend) = (Scratch::new(), Backend::echo());
        fs::set_permissions(scratch.directory(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut settings = settings(&[backend.address]);
        settings["admin"]["listen"] = json!(["127.0.0.1:0", format!("unix:{}", scratch.path("admin.sock").display())]);
        for (key, value) in admin.as_object().unwrap() {
            settings["admin"][key] = value.clone();
        }
        let process = Process::start(&settings).serving();
        Self { scratch, process, settings, _backend: backend }
    }

    /// Runs mainstay's command as this user, with this primary group and these others, over the unix socket.
    fn as_user(&self, uid: &str, gid: &str, groups: &str, words: &[&str]) -> Output {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", uid, "--regid", gid]);
        match groups {
            "" => command.arg("--clear-groups"),
            groups => command.args(["--groups", groups]),
        };
        command.arg(env!("CARGO_BIN_EXE_mainstay")).args(words);
        command.args(["--admin", &format!("unix:{}", self.scratch.path("admin.sock").display())]);
        command.bounded_output().unwrap()
    }

    fn by_token(&self, file: &str, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.args(words).args(["--admin", &self.process.admin.to_string()]);
        command.env("MAINSTAY_TOKEN_FILE", file).bounded_output().unwrap()
    }
}

fn told(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[track_caller]
fn assert_told(output: &Output, code: i32, part: &str) {
    let (found, text) = told(output);
    assert!(found == Some(code) && text.contains(part), "{found:?}: {text}");
}

#[test]
fn without_operators_only_root_and_its_own_user_reach_the_socket() {
    let site = Site::new(&json!({}));
    let mode = fs::metadata(site.scratch.path("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_told(&site.as_user("nobody", "nogroup", "", &["reload"]), 1, "Permission denied");
    // Somebody has opened the socket by hand: reading is theirs to give, orders are not.
    fs::set_permissions(site.scratch.path("admin.sock"), fs::Permissions::from_mode(0o666)).unwrap();
    assert_told(&site.as_user("nobody", "nogroup", "", &["status"]), 0, "Clients go to db-a");
    assert_told(&site.as_user("nobody", "nogroup", "", &["reload"]), 1, "this user may not order");
    assert_told(&site.as_user("root", "root", "", &["reload"]), 0, "the configuration was loaded again (no differences)");
}

#[test]
fn operators_may_order_and_others_may_not_even_read() {
    let site = Site::new(&json!({"operators": ["daemon", "@nogroup"]}));
    let mode = fs::metadata(site.scratch.path("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    let reload = |uid, gid, groups| site.as_user(uid, gid, groups, &["reload", "--reason", "a test"]);
    assert_told(&reload("daemon", "daemon", ""), 0, "loaded again");
    assert_told(&reload("nobody", "nogroup", ""), 0, "loaded again");
    assert_told(&reload("0", "0", ""), 0, "loaded again");
    let logged = site.process.logged("a reload was ordered");
    assert_eq!(logged["reason"], "a test");
    assert_eq!(logged["by"], format!("uid 1 (daemon) over unix:{}", site.scratch.path("admin.sock").display()));
    // A group that is only the process's own claim, and no entry of /etc/group, is none.
    assert_told(&reload("4711", "4711", "65534"), 1, "this user may not order");
    assert_told(&reload("4711", "65534", ""), 0, "loaded again");
    assert_told(&site.as_user("4711", "4711", "", &["status"]), 1, "HTTP status 403");
    assert_told(&site.as_user("daemon", "daemon", "", &["status"]), 0, "Clients go to db-a");
    let ordered = site.process.log().iter().filter(|line| line["message"] == "a reload was ordered").count();
    assert_eq!(ordered, 4);
}

#[test]
fn a_token_orders_over_tcp_and_is_in_no_output() {
    let scratch = Scratch::new();
    let file = scratch.file("token", format!("{TOKEN}\n"), 0o600);
    let wrong = scratch.file("wrong", format!("{TOKEN}-wrong\n"), 0o600);
    let site = Site::new(&json!({"write": {"token_file": file.to_str().unwrap()}}));
    let with = |file: &str, words: &[&str]| site.by_token(file, words);
    let file = file.to_str().unwrap();
    let outputs = [
        with(file, &["reload", "--reason", "rotation"]),
        with(file, &["reload", "--dry-run", "--json"]),
        with(wrong.to_str().unwrap(), &["reload"]),
        with("", &["reload"]),
        with("/nonexistent", &["reload"]),
        with(file, &["drain", "orders/db-z", "--json"]),
        with(file, &["--help"]),
        with(file, &["shutdown", "--dry-run"]),
        with(file, &["status", "--json"]),
    ];
    assert_told(&outputs[0], 0, "the configuration was loaded again (no differences)");
    assert_told(&outputs[1], 0, "would be loaded again");
    assert_told(&outputs[2], 1, "the token is not the one");
    assert_told(&outputs[3], 1, "--token-file FILE");
    assert_told(&outputs[4], 1, "no such file");
    assert_told(&outputs[5], 1, "unknown_backend");
    assert_told(&outputs[7], 0, "mainstay would stop: it takes no new clients, then");
    let by = site.process.logged("a reload was ordered");
    assert!(by["by"].as_str().unwrap().starts_with("token over 127.0.0.1:"), "{by}");
    let counted = site.process.logged("orders with a wrong token were refused");
    assert_eq!(counted["count"], 1);
    fs::write(file, "rotated-token-0123456789").unwrap();
    assert_told(&with(file, &["reload"]), 0, "loaded again");
    let old = scratch.file("old", TOKEN, 0o600);
    assert_told(&with(old.to_str().unwrap(), &["reload"]), 1, "the token is not the one");
    fs::write(file, "short").unwrap();
    assert_told(&with(old.to_str().unwrap(), &["reload"]), 1, "mainstay cannot read the token file");
    let shown: String = outputs.iter().map(|output| told(output).1).collect();
    let log = site.process.log().iter().map(Value::to_string).collect::<String>();
    let read = ["/api/v1/config", "/api/v1/status", "/metrics", "/api/v1/events"].map(|path| site.process.get(path).1).concat();
    for (what, text) in [("outputs", shown), ("the log", log), ("answers", read)] {
        assert!(!text.contains("S3cr3t") && !text.contains("rotated-token"), "{what}: {text}");
    }
}

#[test]
fn a_reload_is_that_of_sighup_and_tells_what_is_wrong() {
    let site = Site::new(&json!({}));
    let ask = |words: &[&str]| site.as_user("root", "root", "", words);
    let mut changed = site.settings.clone();
    changed["pools"][0]["hold"] = json!({"timeout": "9s"});
    site.process.replace(&changed.to_string());
    let attempts = || site.process.metric("mainstay_config_reloads_total", &[]);
    assert_told(
        &ask(&["reload", "--dry-run"]),
        0,
        "nothing was changed (--dry-run)\nthe configuration would be loaded again (changed: orders)",
    );
    assert_eq!(attempts(), 0, "a rehearsal is no attempt");
    assert_told(&ask(&["reload"]), 0, "the configuration was loaded again (changed: orders)");
    assert_eq!(attempts(), 1);
    let mut fixed = changed.clone();
    fixed["workers"] = json!(1);
    site.process.replace(&fixed.to_string());
    assert_told(&ask(&["reload", "--dry-run"]), 1, "not done: workers cannot change while mainstay runs");
    assert_told(&ask(&["reload"]), 1, "not done: workers cannot change while mainstay runs");
    site.process.replace("pools:\n  - name: orders\n    listen: here\n    holdd: 1\n    backends: [\"127.0.0.1:1\"]\n");
    let (code, text) = told(&ask(&["reload"]));
    assert_eq!(code, Some(1));
    assert!(text.starts_with("not done: the configuration has 2 errors: mainstay keeps the one in use\n"), "{text}");
    assert!(text.contains(":3:13 (pools[0].listen): ") && text.contains(":4:5 (pools[0].holdd): "), "{text}");
    let json = ask(&["reload", "--json"]);
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&answer["error"]["code"], &answer["error"]["diagnostics"][0]["line"]), (&json!("bad_configuration"), &json!(3)));
    assert_eq!(attempts(), 4);
}

#[test]
fn a_shutdown_is_that_of_sigterm_and_only_force_cuts_sessions() {
    let mut site = Site::new(&json!({}));
    let session = site.process.connect();
    until("the session is counted", || {
        (site.process.metric("mainstay_connections_active", &[("pool", "orders")]) == 1).then_some(())
    });
    let ask = |site: &Site, words: &[&str]| site.as_user("root", "root", "", words);
    assert_told(
        &ask(&site, &["shutdown", "--dry-run"]),
        0,
        "mainstay would stop: it takes no new clients, then sessions may go on for 5s (open: 1)",
    );
    assert_eq!(site.process.get("/readyz").0, 200);
    assert_told(&ask(&site, &["shutdown", "--reason", "new kernel"]), 0, "mainstay stops");
    until("the reason is in the log", || site.process.log().into_iter().find(|line| line["reason"] == "new kernel"));
    assert_told(&ask(&site, &["shutdown"]), 0, "mainstay is stopping already (open sessions: 1)");
    assert_told(&ask(&site, &["shutdown", "--force"]), 0, "mainstay stops at once");
    assert_eq!(site.process.ends_within(patience()).0.code(), Some(1), "a session was cut");
    drop(session);
}
