//! `mainstay diff`: what differs between the backends of a pool, for people at night.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{
    client::{self, Admin, plain_json},
    exit,
};
use crate::failover::escaped;

/// A longer value has a line of its own.
const WIDEST: usize = 40;

/// Show what differs between the backends of a pool.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: Admin,
    /// Name of the pool, as `mainstay status` shows it
    #[arg(value_name = "POOL")]
    pool: String,
    /// Two backends; by default each one is compared with the active one
    #[arg(value_name = "BACKEND", num_args = 2)]
    backends: Vec<String>,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Diff {
    pool: String,
    active: Option<String>,
    backends: Vec<Backend>,
    comparisons: Vec<Comparison>,
}

#[derive(Deserialize)]
struct Backend {
    name: String,
    read_at: Option<String>,
    age_seconds: Option<u64>,
    unread: Option<String>,
    unseen: Vec<String>,
}

#[derive(Deserialize)]
struct Comparison {
    a: String,
    b: String,
    compared: BTreeMap<String, usize>,
    differences: Vec<Difference>,
    omitted: usize,
}

#[derive(Deserialize)]
struct Difference {
    group: String,
    name: String,
    a: Option<String>,
    b: Option<String>,
    needs_restart: bool,
}

/// The groups of a print as people call them: for one, and for several.
const GROUPS: &[(&str, &str, &str)] = &[
    ("version", "version", "versions"),
    ("setting", "setting", "settings"),
    ("extension", "installed extension", "installed extensions"),
    ("extension_file", "extension on disk", "extensions on disk"),
    ("collation_recorded", "recorded collation version", "recorded collation versions"),
    ("collation_actual", "collation version of the system", "collation versions of the system"),
    ("plugin", "plugin", "plugins"),
];

/// Prints the differences. The exit code is 0 when everything was compared, whether it differs or not, and else 1.
pub fn run(args: &Args) -> u8 {
    run_to(args, &mut io::stdout().lock(), &mut io::stderr().lock())
}

/// [`run`] with given outputs.
pub fn run_to(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let encoded = |name: &str| utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
    let query = match &*args.backends {
        [a, b] => format!("?a={}&b={}", encoded(a), encoded(b)),
        _ => String::new(),
    };
    let path = format!("/api/v1/pools/{}/diff{query}", encoded(&args.pool));
    let answer = match client::get(&args.admin.address, &path, client::TIMEOUT) {
        Ok(answer) => answer,
        Err(error) => {
            let _ = writeln!(err, "{error}");
            return exit::FAILED;
        }
    };
    let text = String::from_utf8_lossy(&answer.body);
    let diff = serde_json::from_str::<Diff>(&text).ok().filter(|_| answer.status == 200);
    // A reader that closed the pipe early has seen enough; the exit code still tells.
    let _ = match &diff {
        _ if args.json => write!(out, "{}", plain_json(&text)),
        Some(diff) => write!(out, "{}", diff.render()),
        None => write!(err, "not compared: {}", super::order::refused(&text, answer.status)),
    };
    if diff.is_some_and(|diff| diff.is_whole()) { exit::DONE } else { exit::FAILED }
}

impl Diff {
    /// Everything that was to be compared was.
    fn is_whole(&self) -> bool {
        self.comparisons.len() + 1 >= self.backends.len()
    }

    fn render(&self) -> String {
        let mut text = String::new();
        for comparison in &self.comparisons {
            self.comparison(&mut text, comparison);
            text.push('\n');
        }
        for backend in &self.backends {
            let name = escaped(&backend.name);
            let _ = match (&backend.read_at, &backend.unread) {
                (Some(at), None) => writeln!(text, "{name} was read {}, at {}", ago(backend.age_seconds), escaped(at)),
                (Some(at), Some(why)) => writeln!(
                    text,
                    "{name} was read {}, at {}, and could not be read since: {}",
                    ago(backend.age_seconds),
                    escaped(at),
                    escaped(why)
                ),
                (None, why) => {
                    let why = why.as_deref().unwrap_or("nobody knows why");
                    writeln!(text, "{name} cannot be compared: {}", escaped(why))
                }
            };
            for unseen in &backend.unseen {
                let _ = writeln!(text, "  {}", escaped(unseen));
            }
        }
        if self.backends.len() < 2 {
            let _ = writeln!(text, "pool {} has no two backends to compare", escaped(&self.pool));
        }
        text
    }

    fn called(&self, name: &str) -> String {
        let active = if self.active.as_deref() == Some(name) { " (active)" } else { "" };
        escaped(name) + active
    }

    fn comparison(&self, text: &mut String, comparison: &Comparison) {
        let (a, b) = (self.called(&comparison.a), self.called(&comparison.b));
        let compared = counts(&comparison.compared);
        if comparison.differences.is_empty() {
            let _ = writeln!(text, "nothing differs between {a} and {b}: {compared}");
            return;
        }
        let rows: Vec<_> = comparison.differences.iter().map(Row::new).collect();
        let columns = rows.iter().filter(|row| row.fits());
        let width =
            |of: fn(&Row) -> &str, least: usize| columns.clone().map(|row| of(row).chars().count()).fold(least, usize::max);
        let widths = [width(|row| &row.name, 0), width(|row| &row.a, a.chars().count()), width(|row| &row.b, b.chars().count())];
        let [name, first, second] = widths;
        let _ = writeln!(text, "  {:name$}  {a:first$}  {b}", "");
        for (key, _, several) in GROUPS {
            let group: Vec<_> = rows.iter().filter(|row| row.group == *key).collect();
            if !group.is_empty() {
                let _ = writeln!(text, "{several}");
            }
            for row in group {
                let line = if row.fits() {
                    format!("  {:name$}  {:first$}  {:second$}  {}", row.name, row.a, row.b, row.note)
                } else {
                    format!("  {}  {}\n    {a}: {}\n    {b}: {}", row.name, row.note, row.a, row.b)
                };
                for line in line.lines() {
                    let _ = writeln!(text, "{}", line.trim_end());
                }
            }
        }
        let count = rows.len() + comparison.omitted;
        let omitted = if comparison.omitted > 0 { format!(", {} of them not shown", comparison.omitted) } else { String::new() };
        let verb = if count == 1 { "differs" } else { "differ" };
        let _ = writeln!(text, "{count} {verb}{omitted}, of {compared}");
    }
}

/// A difference as it is shown.
struct Row {
    group: String,
    name: String,
    a: String,
    b: String,
    note: &'static str,
}

impl Row {
    fn new(difference: &Difference) -> Self {
        let Difference { group, name, a, b, needs_restart } = difference;
        let shown = |value: &Option<String>| match value.as_deref() {
            None => "absent".to_owned(),
            Some("") => "(empty)".to_owned(),
            Some(value) => escaped(value),
        };
        let note = if *needs_restart { "a change needs a restart" } else { "" };
        Self { group: group.clone(), name: escaped(name), a: shown(a), b: shown(b), note }
    }

    fn fits(&self) -> bool {
        [&self.a, &self.b].iter().all(|value| value.chars().count() <= WIDEST)
    }
}

fn counts(compared: &BTreeMap<String, usize>) -> String {
    let known = GROUPS.iter().filter_map(|(key, one, several)| {
        let count = *compared.get(*key)?;
        Some(format!("{count} {}", if count == 1 { one } else { several }))
    });
    let words: Vec<_> = known.collect();
    match &*words {
        [] => "nothing was compared".to_owned(),
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        words => words.concat(),
    }
}

fn ago(seconds: Option<u64>) -> String {
    match seconds.unwrap_or(0) {
        0 => "just now".to_owned(),
        seconds @ 1..120 => format!("{seconds} s ago"),
        seconds @ 120..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
