//! No files of a room `use` each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::{is_test_file, lab, src, without_tests};

/// `a/b.rs` and `a/b/mod.rs` are the module `a::b`.
fn module(file: &str) -> String {
    let path = file.trim_end_matches(".rs");
    path.strip_suffix("/mod").unwrap_or(path).replace('/', "::")
}

/// Every path that the `use` lines of a source name: `use a::{b, c::{self, d as e}};` names `a::b`, `a::c::self` and `a::c::d`.
fn used_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut in_use = false;
    let (mut groups, mut path) = (Vec::new(), String::new());
    for line in code.lines() {
        let mut line = line.split("//").next().unwrap().trim();
        if !in_use {
            let anybody = line.strip_prefix("pub").map_or(line, |rest| rest.split_once(") ").map_or(rest, |(_, rest)| rest));
            let Some(tree) = anybody.trim_start().strip_prefix("use ") else { continue };
            (in_use, line) = (true, tree);
        }
        for c in line.chars() {
            let outer = groups.last().map_or("", String::as_str);
            let full = || format!("{outer}{}", path.split(" as ").next().unwrap().trim());
            match c {
                '{' => groups.push(full()),
                ',' | '}' | ';' if !path.trim().is_empty() => paths.push(full()),
                _ => {}
            }
            match c {
                '{' | ',' | '}' | ';' => path.clear(),
                _ => path.push(c),
            }
            if c == '}' {
                groups.pop();
            }
            in_use &= c != ';';
        }
    }
    paths
}

/// The module that a path leads to, or into, as it is read in `from`; `None` for another crate's.
fn target(from: &str, path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let steps: Vec<&str> = path.split("::").collect();
    let mut at: Vec<&str> = from.split("::").collect();
    if !["crate", "self", "super"].contains(&steps[0]) && !modules.contains(&format!("{from}::{}", steps[0])) {
        return None;
    }
    for step in steps {
        match step {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()),
            step => at.push(step),
        }
    }
    (1..=at.len()).rev().map(|length| at[..length].join("::")).find(|module| modules.contains(module))
}

/// The circles among these files and their texts.
fn circles(files: &[(String, String)]) -> BTreeSet<Vec<String>> {
    let files = files.iter().filter(|(file, _)| !is_test_file(file));
    let files: Vec<(String, &str)> = files.map(|(file, text)| (module(file), without_tests(text))).collect();
    let modules: BTreeSet<String> = files.iter().map(|(module, _)| module.clone()).collect();
    let mut reached: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (from, text) in &files {
        let targets = used_paths(text).into_iter().filter_map(|path| target(from, &path, &modules));
        reached.insert(from, targets.filter(|target| target != from && room(target) == room(from)).collect());
    }
    // Warshall: ever longer ways, through one more file with each round.
    for between in &modules {
        let beyond = reached[between.as_str()].clone();
        for targets in reached.values_mut().filter(|targets| targets.contains(between)) {
            targets.extend(beyond.iter().cloned());
        }
    }
    let in_circles = reached.iter().filter(|(from, targets)| targets.contains(**from));
    in_circles
        .map(|(from, targets)| targets.iter().filter(|target| reached[target.as_str()].contains(*from)).cloned().collect())
        .collect()
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap()
}

#[test]
fn no_files_of_a_room_use_each_other_in_a_circle() {
    let circles: Vec<String> = circles(&[src(), lab()].concat()).into_iter().map(|circle| circle.join(", ")).collect();
    assert!(circles.is_empty(), "these use each other; let both use a third file that uses neither:\n{}", circles.join("\n"));
}

#[test]
fn every_form_of_use_is_read() {
    for (code, paths) in [
        ("use super::b;", &["super::b"] as &[_]),
        ("pub use b::C as D;", &["b::C"]),
        ("pub(in crate::a) use b::*; // all of it", &["b::*"]),
        ("    use self::b::{c, d as e,};", &["self::b::c", "self::b::d"]),
        (
            "use crate::{\n    a::{self, b::{c, d}, e},\n    // use f;\n    g,\n};\nuse h;",
            &["crate::a::self", "crate::a::b::c", "crate::a::b::d", "crate::a::e", "crate::g", "h"],
        ),
        ("//! use a::b;\nfn f() -> impl Sized + use<> { reuse(a::b) }", &[]),
    ] {
        assert_eq!(used_paths(code), paths, "{code}");
    }
}

#[test]
fn a_path_leads_to_the_file_that_it_names_or_whose_item_it_names() {
    let modules = ["a", "a::b", "a::b::c", "d"].map(str::to_owned).into();
    for (from, path, to) in [
        ("a::b", "super::Thing", Some("a")),
        ("a::b::c", "super::super::b::Thing", Some("a::b")),
        ("a", "b::c::Thing", Some("a::b::c")),
        ("a", "self::b::self", Some("a::b")),
        ("a::b", "c::*", Some("a::b::c")),
        ("d", "crate::a::b", Some("a::b")),
        ("d", "crate::labels", None),
        ("d", "std::fmt", None),
        ("d", "a::b", None),
    ] {
        assert_eq!(target(from, path, &modules).as_deref(), to, "{path} in {from}");
    }
}

#[test]
fn a_circle_is_found_whatever_its_length_and_test_code_makes_none() {
    let found = |files: &[(&str, &str)]| {
        let files: Vec<_> = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
        circles(&files).into_iter().collect::<Vec<_>>()
    };
    let mut long = vec![("a/mod.rs", "mod b;\npub use b::B;"), ("a/b.rs", "use super::c::C;"), ("a/c.rs", "use crate::a::A;")];
    long.push(("a/d.rs", "use super::b::B;"));
    assert_eq!(found(&long), [["a", "a::b", "a::c"]], "who only uses the circle is not of it");
    let two =
        [("a/b.rs", "use super::c::C;"), ("a/c.rs", "use super::b::B;"), ("a/d.rs", "use super::{b, c, e};"), ("a/e.rs", "")];
    assert_eq!(found(&two), [["a::b", "a::c"]]);
    long[2].1 = "\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}";
    assert!(found(&long).is_empty());
    assert!(found(&[("a/mod.rs", "use crate::b::B;"), ("b.rs", "use crate::a::A;")]).is_empty(), "two rooms: `arrows` says");
    assert!(found(&[("a.rs", "use a::b;"), ("a/tests.rs", "use super::*;")]).is_empty());
}
