//! The house rules, as far as a program can check them: which room may know which, how long files and functions are, what
//! must not stand in the source.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

mod circles;
mod deadlines;
mod ports;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn src() -> Vec<(String, String)> {
    let root = Path::new(ROOT).join("src");
    texts(&root, sources(&root)).collect()
}

/// The sources of `lab`, as those of a room of this name.
fn lab() -> Vec<(String, String)> {
    let root = Path::new(ROOT).join("lab/src");
    let files = texts(&root, sources(&root));
    files.map(|(name, text)| (format!("lab/{name}"), text.replace("crate::", "crate::lab::"))).collect()
}

/// Files by their paths from `root`, with their texts.
fn texts(root: &Path, files: impl IntoIterator<Item = PathBuf>) -> impl Iterator<Item = (String, String)> {
    let read = move |path: PathBuf| (path.strip_prefix(root).unwrap().display().to_string(), fs::read_to_string(&path).unwrap());
    files.into_iter().map(read)
}

/// The source up to its unit tests.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap()
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("tests.rs") || name.contains("/tests/")
}

/// Which rooms a room may know, besides the standard library and other crates.
fn arrows() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("main", &["allocator", "cli"] as &[_]),
        ("allocator", &[]),
        ("lib", &[]),
        (
            "cli",
            &[
                "app",
                "admin",
                "config",
                "control",
                "failover",
                "incidents",
                "lifecycle",
                "metrics",
                "net",
                "notify",
                "reason",
                "route",
                "systemd",
                "telemetry",
                "upgrade",
                "wire",
                "labels",
            ],
        ),
        (
            "app",
            &[
                "admin",
                "config",
                "control",
                "data",
                "incidents",
                "lifecycle",
                "metrics",
                "net",
                "notify",
                "reason",
                "route",
                "state",
                "telemetry",
                "failover",
                "upgrade",
            ],
        ),
        ("data", &["config", "failover", "lifecycle", "metrics", "net", "reason", "route", "telemetry", "wire"]),
        (
            "control",
            &[
                "command",
                "config",
                "failover",
                "lifecycle",
                "metrics",
                "net",
                "reason",
                "route",
                "state",
                "telemetry",
                "wire",
                "labels",
            ],
        ),
        ("admin", &["config", "failover", "incidents", "lifecycle", "metrics", "net", "reason", "route", "telemetry", "labels"]),
        ("notify", &["command", "config", "failover", "incidents", "lifecycle", "metrics", "net", "reason", "route", "labels"]),
        ("incidents", &["failover", "lifecycle", "metrics", "route", "state", "labels"]),
        // Two processes say to each other what control decides, and what is ordered of it.
        ("upgrade", &["control", "failover", "net", "route", "labels"]),
        ("state", &["metrics"]),
        ("systemd", &["config", "failover", "incidents", "lifecycle", "metrics", "net", "route"]),
        ("command", &[]),
        ("config", &["failover", "lifecycle", "net", "wire", "labels"]),
        ("metrics", &["failover", "lifecycle", "reason"]),
        ("telemetry", &["config", "failover"]),
        // What crosses the seam names where backends and clients are.
        ("route", &["failover", "metrics", "net", "labels"]),
        ("reason", &["labels"]),
        ("lifecycle", &["labels"]),
        ("net", &[]),
        ("wire", &[]),
        ("fuzzing", &["admin", "config", "control", "data", "failover", "net", "wire"]),
        ("failover", &["labels"]),
    ])
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Every `crate::ROOM` and `mainstay::ROOM` of a source, also inside `use crate::{…}`.
fn known_rooms(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut rooms = Vec::new();
    for prefix in ["crate::", "mainstay::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            if let Some(list) = rest.strip_prefix('{') {
                let mut depth = 1;
                let mut item = String::new();
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 || (depth == 1 && c == ',') {
                        rooms.push(first_word(item.trim()));
                        item.clear();
                    } else {
                        item.push(c);
                    }
                    if depth == 0 {
                        break;
                    }
                }
            } else {
                rooms.push(first_word(rest));
            }
        }
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn no_room_knows_one_that_it_must_not() {
    let arrows = arrows();
    let mut wrong = Vec::new();
    for (file, text) in src() {
        let room = room(&file);
        let Some(allowed) = arrows.get(room) else {
            wrong.push(format!("{file}: a new room; say in this test what it may know"));
            continue;
        };
        for known in known_rooms(&text) {
            if known != room && !allowed.contains(&known.as_str()) {
                wrong.push(format!("{file}: {room} must not know {known}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_demo_knows_the_lab() {
    let names_it = |text: &str| text.match_indices("lab::").any(|(at, _)| !text[..at].ends_with(char::is_alphanumeric));
    let knows = |(file, text): &(String, String)| !file.starts_with("cli/demo/") && names_it(text);
    let wrong: Vec<String> = src().into_iter().filter(knows).map(|(file, _)| file).collect();
    assert!(wrong.is_empty(), "the product needs no servers of its own but for the demo: {wrong:?}");
}

/// Follows every arrow from `room`.
fn visit<'a>(room: &'a str, arrows: &BTreeMap<&'a str, &'a [&'a str]>, path: &mut Vec<&'a str>) {
    assert!(!path.contains(&room), "a circle: {path:?} and {room} again");
    path.push(room);
    for next in arrows.get(room).copied().unwrap_or_default() {
        visit(next, arrows, path);
    }
    path.pop();
}

#[test]
fn the_arrows_have_no_circle() {
    let arrows = arrows();
    for room in arrows.keys() {
        visit(room, &arrows, &mut Vec::new());
    }
}

#[test]
fn the_core_is_pure() {
    let mut wrong = Vec::new();
    for (file, text) in src().into_iter().filter(|(file, _)| room(file) == "failover" && !is_test_file(file)) {
        for word in [
            "tokio",
            "tracing",
            "Instant",
            "SystemTime",
            "HashMap",
            "HashSet",
            "rand",
            "std::thread",
            "std::fs",
            "std::net",
            "println!",
            "unsafe",
        ] {
            for (number, line) in without_tests(&text).lines().enumerate() {
                if line.contains(word) && !line.trim_start().starts_with("//") {
                    wrong.push(format!("{file}:{}: {word} in the pure core", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for (file, text) in src().into_iter().chain(lab()) {
        if is_test_file(&file) {
            continue;
        }
        let code = without_tests(&text);
        let lines = code.lines().count();
        if lines > 400 {
            wrong.push(format!("{file}: {lines} lines; 400 at most"));
        }
        let mut start: Option<(usize, usize, String)> = None;
        for (number, line) in code.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let words = line.trim_start();
            let is_fn = [
                "fn ",
                "pub fn ",
                "pub(super) fn ",
                "pub(crate) fn ",
                "async fn ",
                "pub async fn ",
                "pub(super) async fn ",
                "const fn ",
                "pub const fn ",
            ]
            .iter()
            .any(|form| words.starts_with(form));
            if is_fn && start.is_none() {
                start = Some((number, indent, words.to_owned()));
            }
            if let Some((from, at, name)) = &start
                && indent == *at
                && (words == "}" || words.ends_with(';'))
            {
                if number - from > 70 {
                    wrong.push(format!("{file}:{}: {} lines: {name}", from + 1, number - from));
                }
                start = None;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_runtime_thread_sleeps() {
    let runtimes = ["data", "control", "admin", "incidents", "notify", "route", "app"];
    let sleepers: Vec<String> = src()
        .into_iter()
        .filter(|(file, text)| runtimes.contains(&room(file)) && text.contains("thread::sleep"))
        .map(|(file, _)| file)
        .collect();
    assert!(sleepers.is_empty(), "a runtime's thread must await, not sleep: {sleepers:?}");
}

#[test]
fn no_gauge_decides_anything() {
    let deciders = src().into_iter().filter(|(file, _)| ["data", "control", "route", "failover"].contains(&room(file)));
    let reads = |line: &str| line.contains("metrics.") && line.contains(".get()");
    let wrong: Vec<String> = deciders
        .flat_map(|(file, text)| {
            let lines = without_tests(&text).lines().filter(|line| reads(line));
            lines.map(|line| format!("{file}: {}", line.trim())).collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "metrics are told, not asked; count in a `LiveCount` of the route:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_over_and_no_room_is_a_drawer() {
    let mut wrong = Vec::new();
    for (file, text) in src().into_iter().chain(lab()) {
        for word in ["todo!", "unimplemented!", "FIXME", "XXX", "dbg!("] {
            if text.contains(word) {
                wrong.push(format!("{file}: {word}"));
            }
        }
        let stem = Path::new(&file).file_stem().unwrap().to_str().unwrap();
        if ["utils", "util", "common", "helpers", "misc"].contains(&stem)
            || file.split('/').any(|part| ["utils", "common", "helpers", "misc"].contains(&part))
        {
            wrong.push(format!("{file}: a drawer for everything; name what it holds"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The numbers, from 1, of the lines whose code has the word `unsafe`.
fn unsafe_lines(text: &str) -> Vec<usize> {
    let is_word = |line: &str, at: usize| {
        let around = [line[..at].chars().next_back(), line[at + "unsafe".len()..].chars().next()];
        around.into_iter().flatten().all(|c| c.is_whitespace() || "(){".contains(c))
    };
    let has_it = |line: &str| {
        let code = line.split("//").next().unwrap();
        code.match_indices("unsafe").any(|(at, _)| is_word(code, at))
    };
    (1..).zip(text.lines()).filter(|(_, line)| has_it(line)).map(|(number, _)| number).collect()
}

#[test]
fn unsafe_stands_only_where_system_calls_are_made_or_memory_is_given_out_and_says_why_it_is_sound() {
    let mut wrong = Vec::new();
    let mut with_unsafe = Vec::new();
    for (file, text) in src() {
        let lines: Vec<&str> = text.lines().collect();
        for number in unsafe_lines(&text) {
            with_unsafe.push(file.clone());
            // What an `unsafe fn` of a trait asks of its callers is the trait's to say.
            let is_claim = !lines[number - 1].contains("unsafe fn ");
            if is_claim && !lines[number.saturating_sub(4)..number - 1].iter().any(|line| line.contains("// SAFETY:")) {
                wrong.push(format!("{file}:{number}: unsafe without its SAFETY line"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    with_unsafe.dedup();
    assert_eq!(with_unsafe, ["allocator.rs", "net/names.rs", "net/socket.rs"], "the files that have unsafe, and those that may");
    for (name, text) in test_sources() {
        assert!(unsafe_lines(&text).is_empty(), "{name}: unsafe outside the product");
    }
}

#[test]
fn unsafe_is_found_in_every_form() {
    for code in ["unsafe { f() };", "unsafe impl Send for T {}", "let x = unsafe{1};", "f(unsafe { 1 })", "pub unsafe fn f() {"] {
        assert_eq!(unsafe_lines(code), [1], "{code}");
    }
    for code in ["// unsafe { }", "\"style-src 'unsafe-inline'\"", "#[allow(unsafe_code)]", "\"unsafe\","] {
        assert!(unsafe_lines(code).is_empty(), "{code}");
    }
}

/// Every source that is not the product's: `lab`, tests, benches, fuzz targets; by its path from the root.
fn test_sources() -> Vec<(String, String)> {
    let root = Path::new(ROOT);
    let files = ["lab", "tests", "benches", "fuzz/fuzz_targets"].into_iter().flat_map(|dir| sources(&root.join(dir)));
    // This test and its parts name what they forbid.
    texts(root, files).filter(|(name, _)| !name.starts_with("tests/it/house")).collect()
}

#[test]
fn no_test_is_skipped() {
    let mut wrong = Vec::new();
    for (name, text) in src().into_iter().chain(test_sources()) {
        for (number, line) in text.lines().enumerate() {
            if line.contains("#[ignore") {
                wrong.push(format!("{name}:{}: a test that is skipped looks like one that passes", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
