//! `docs/failover.md`, `docs/replicas.md` and the code say the same: every drawn edge exists, every edge is drawn.

use std::collections::BTreeSet;

use super::{
    model::{HEALTH_EDGES, READER_EDGES, REVOKE_EDGES, VERDICT_EDGES},
    *,
};

const BOOK: &str = concat!(include_str!("../../../docs/failover.md"), include_str!("../../../docs/replicas.md"));

/// The lines between `<!-- begin NAME -->` and `<!-- end NAME -->`.
fn section(name: &str) -> impl Iterator<Item = &'static str> {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let after = BOOK.split_once(&begin).unwrap_or_else(|| panic!("the book has no {begin}")).1;
    after.split_once(&end).unwrap_or_else(|| panic!("the book has no {end}")).0.lines().map(str::trim)
}

/// `from --> to` or `from --> to: rule` of a diagram, as words.
fn edges(name: &str) -> BTreeSet<String> {
    section(name)
        .filter(|line| line.contains("-->") && !line.contains("[*]"))
        .map(|line| line.replace(" --> ", " ").replace(':', ""))
        .collect()
}

/// The first `columns` cells of each row, as words, without the heading.
fn rows(name: &str, columns: usize) -> BTreeSet<String> {
    let cells =
        |line: &str| line.split('|').skip(1).take(columns).map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>().join(" ");
    section(name).filter(|line| line.starts_with('|') && !line.starts_with("|--")).skip(1).map(cells).collect()
}

#[test]
fn the_diagram_of_health_is_the_table_of_edges() {
    let code: BTreeSet<_> = HEALTH_EDGES.iter().map(|(from, to, cause)| format!("{from} {to} {cause}")).collect();
    assert_eq!(edges("health"), code);
}

#[test]
fn the_diagram_of_verdicts_is_the_table_of_edges() {
    let code: BTreeSet<_> = VERDICT_EDGES.iter().map(|(from, to)| format!("{from} {to}")).collect();
    // What stands after a switch is that the new one stays.
    assert_eq!(edges("verdicts"), code.into_iter().chain(["switch keep".into()]).collect());
}

#[test]
fn the_table_of_revocations_is_the_table_of_edges() {
    let code: BTreeSet<_> = REVOKE_EDGES.iter().map(|(cause, mode)| format!("{cause} {mode}")).collect();
    assert_eq!(rows("revocations", 2), code);
}

#[test]
fn the_table_of_readings_is_the_table_of_edges() {
    let code: BTreeSet<_> = READER_EDGES.iter().map(|(reading, mode)| format!("{reading} {mode}")).collect();
    assert_eq!(rows("readings", 2), code);
    let named = |line: &'static str| line.split('`').nth(1).unwrap();
    let mut told: Vec<_> = section("readings").filter(|line| line.starts_with("| `")).map(named).collect();
    // `down` has three rows.
    told.dedup();
    let words: Vec<_> = ReadEligibility::ALL.iter().map(|reading| reading.as_str()).collect();
    assert_eq!(told, words, "the order is the order of precedence");
}

#[test]
fn the_table_of_outcomes_names_each_with_its_class() {
    let class = |outcome: &Outcome| match outcome.class() {
        Class::Success => "success",
        Class::Failure => "failure",
        Class::NotServing => "not serving",
        Class::Neutral => "neutral",
    };
    let code: BTreeSet<_> = Outcome::ALL.iter().map(|outcome| format!("{outcome} {}", class(outcome))).collect();
    assert_eq!(rows("outcomes", 2), code);
}

#[test]
fn the_table_of_eligibility_names_each_reason_in_order() {
    let told: Vec<_> =
        section("eligibility").filter(|line| line.starts_with("| `")).map(|line| line.split('`').nth(1).unwrap()).collect();
    let mut code: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    code.rotate_left(1);
    assert_eq!(told, code, "the order is the order of precedence, with `eligible` last");
}

#[test]
fn the_table_of_proofs_names_each_and_whether_it_is_good() {
    let code: BTreeSet<_> = Proof::ALL.iter().map(|of| format!("{of} {}", if of.is_good() { "yes" } else { "no" })).collect();
    assert_eq!(rows("proofs", 2), code);
}

#[test]
fn every_story_that_the_book_cites_exists() {
    let cited: Vec<_> = BOOK.split("(story `").skip(1).map(|rest| rest.split('`').next().unwrap()).collect();
    assert!(cited.len() >= 15, "the book cites {} stories", cited.len());
    for story in cited {
        let path = format!("{}/../stories/{story}.story", env!("CARGO_MANIFEST_DIR"));
        assert!(std::path::Path::new(&path).is_file(), "the book cites {story}");
    }
}
