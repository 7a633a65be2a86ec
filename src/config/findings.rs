//! Collects the errors while a configuration is read, and decides which lines of the file may be shown.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    ops::RangeInclusive,
    sync::Arc,
};

use super::diagnostic::{Diagnostic, Errors, Excerpt, Location, Severity};
use crate::failover::{escaped, is_printable};

/// More errors than anybody reads; it bounds the output for a hostile file.
const MAX_FINDINGS: usize = 200;

/// Longer lines are cut around the marked place.
const MAX_EXCERPT_CHARS: usize = 120;

/// A longer line is not searched for secrets, and not shown.
const MAX_SEARCHED_BYTES: usize = 4096;

/// Everything found so far. Readers share it, so one fault never hides another.
#[derive(Debug)]
pub(super) struct Findings {
    origin: Arc<str>,
    found: RefCell<Vec<Diagnostic>>,
    hidden_lines: RefCell<Vec<RangeInclusive<usize>>>,
    narrow_lines: RefCell<Vec<RangeInclusive<usize>>>,
    omitted: Cell<usize>,
}

impl Findings {
    pub(super) fn new(origin: &str) -> Self {
        Self {
            origin: origin.into(),
            found: RefCell::default(),
            hidden_lines: RefCell::default(),
            narrow_lines: RefCell::default(),
            omitted: Cell::new(0),
        }
    }

    pub(super) fn error(&self, place: Location, path: &dyn Display, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Error, place, path.to_string(), message.into(), help);
    }

    pub(super) fn warning(&self, place: Location, path: &dyn Display, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Warning, place, path.to_string(), message.into(), help);
    }

    /// Never shows these lines of the file.
    pub(super) fn hide(&self, lines: RangeInclusive<usize>) {
        self.hidden_lines.borrow_mut().push(lines);
    }

    /// Shows only the marked part of these lines: they have an unknown key, whose value may be a secret.
    pub(super) fn narrow(&self, lines: RangeInclusive<usize>) {
        self.narrow_lines.borrow_mut().push(lines);
    }

    fn push(&self, severity: Severity, place: Location, path: String, message: String, help: Option<String>) {
        let mut found = self.found.borrow_mut();
        // `defaults` is read once for itself and once under every pool.
        if matches!(place, Location::At { .. }) && found.iter().any(|d| d.place == place && d.message == message) {
            return;
        }
        // Many warnings must not push out an error.
        if found.len() >= MAX_FINDINGS && (severity == Severity::Warning || found.iter().any(|d| d.severity == Severity::Error)) {
            self.omitted.set(self.omitted.get() + 1);
            return;
        }
        let path = if matches!(place, Location::Flag(_)) { String::new() } else { path };
        found.push(Diagnostic { severity, message, help, origin: Arc::clone(&self.origin), place, path, excerpt: Excerpt::None });
    }

    /// The warnings of a valid configuration, or all errors.
    pub(super) fn finish(self, text: &str) -> Result<Vec<Diagnostic>, Errors> {
        let failed = self.found.borrow().iter().any(|d| d.severity == Severity::Error);
        let Errors { diagnostics } = self.into_errors(text);
        if failed { Err(Errors { diagnostics }) } else { Ok(diagnostics) }
    }

    /// All that was found, errors first, each with the line it is about.
    pub(super) fn into_errors(self, text: &str) -> Errors {
        let lines: Vec<&str> = text.lines().collect();
        let (hidden, narrow) = (self.hidden_lines.into_inner(), self.narrow_lines.into_inner());
        let mut diagnostics = self.found.into_inner();
        for diagnostic in &mut diagnostics {
            diagnostic.excerpt = excerpt(diagnostic.place, &lines, &hidden, &narrow);
            // Names and values of the file are in them.
            for text in [&mut diagnostic.message, &mut diagnostic.path].into_iter().chain(&mut diagnostic.help) {
                *text = escaped(text);
            }
        }
        diagnostics.sort_by_key(|d| (d.severity, d.place));
        if self.omitted.get() > 0 {
            diagnostics.push(Diagnostic {
                severity: Severity::Error,
                message: format!("{} more findings are not shown", self.omitted.get()),
                help: Some("correct the ones above first".into()),
                origin: self.origin,
                place: Location::File,
                path: String::new(),
                excerpt: Excerpt::None,
            });
        }
        Errors { diagnostics }
    }
}

fn excerpt(place: Location, lines: &[&str], hidden: &[RangeInclusive<usize>], narrow: &[RangeInclusive<usize>]) -> Excerpt {
    let Location::At { line, column, width } = place else { return Excerpt::None };
    let Some(text) = line.checked_sub(1).and_then(|index| lines.get(index)) else { return Excerpt::None };
    let is_in = |ranges: &[RangeInclusive<usize>]| ranges.iter().any(|lines| lines.contains(&line));
    if is_in(hidden) || line_may_hold_secret(text) {
        return Excerpt::Hidden;
    }
    let clean = text.chars().map(|c| if is_printable(c) { c } else { ' ' });
    if is_in(narrow) {
        let before: String = clean.clone().take(column - 1).collect();
        let meant: String = clean.skip(column - 1).take(width).collect();
        let blank = before.trim().is_empty();
        return if blank {
            Excerpt::Text(format!("{before}{meant} …"), 1)
        } else {
            Excerpt::Text(format!("… {meant} …"), column - 2)
        };
    }
    if text.chars().count() <= MAX_EXCERPT_CHARS {
        return Excerpt::Text(clean.collect::<String>().trim_end().to_owned(), 1);
    }
    let skip = column.saturating_sub(MAX_EXCERPT_CHARS / 2);
    Excerpt::Text(clean.skip(skip).take(MAX_EXCERPT_CHARS).collect(), skip + 1)
}

/// Whether a key is the name of a secret, also when it is misspelt.
pub(super) fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let told = ["pass", "pwd", "secret", "token", "credential"].iter().any(|word| key.contains(word));
    let meant = ["password", "passwd", "secret", "passphrase"].iter().any(|word| distance(&key, word) <= 2);
    told || meant || key == "pw"
}

/// Whether a line may contain a secret: by the name of a key in it, by a variable, or by a URL with a login.
fn line_may_hold_secret(line: &str) -> bool {
    line.len() > MAX_SEARCHED_BYTES
        || line.contains('$')
        || line.contains("://")
        || line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).any(names_secret)
}

/// Whether a file that is no YAML may contain a secret anywhere; then none of it is shown.
pub(super) fn file_may_hold_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["pas", "pwd", "pw:", "secret", "token", "credential", "${"].iter().any(|word| text.contains(word))
}

/// The nearest of `known`, if it is near enough to be meant.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (written.chars().count() / 3).clamp(1, 3);
    let written = written.to_ascii_lowercase().replace('-', "_");
    known.into_iter().map(|word| (distance(&written, word), word)).filter(|(d, _)| *d <= allowed).min().map(|(_, word)| word)
}

/// Edit distance with transpositions of neighbours (optimal string alignment); long texts count as far.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_key_that_was_meant() {
        let known = ["interval", "fast_interval", "timeout", "fall", "rise"];
        for (written, meant) in
            [("intervall", "interval"), ("itnerval", "interval"), ("fast-interval", "fast_interval"), ("Fall", "fall")]
        {
            assert_eq!(nearest(written, known), Some(meant), "{written}");
        }
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("kitten", "sittin", 2), ("abc", "abc", 0)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn misspelt_names_of_secrets_are_names_of_secrets() {
        for key in ["password", "PGPASSWORD", "pasword", "psasword", "passwort", "secrets", "api_token", "pw", "pwd"] {
            assert!(names_secret(key), "{key}");
        }
        for key in ["user", "database", "interval", "name", "address", "listen", "tls", "port"] {
            assert!(!names_secret(key), "{key}");
        }
    }
}
