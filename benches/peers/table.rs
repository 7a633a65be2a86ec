//! How results are shown: rows of cells, aligned for a terminal or as Markdown.

use std::{collections::BTreeSet, fmt::Write as _};

use lab::stats::{ends, median};
use serde_json::{Value, json};

use crate::{
    contestant::Contestant,
    figure::{Book, Figure, Verdict},
    syscalls::{Calls, Seen},
};

/// A head and rows of as many cells.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 99.95 => format!("{value:.0}"),
        large if large >= 9.995 => format!("{value:.1}"),
        large if large >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

impl Table {
    fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|word| (*word).to_owned()).collect(), rows: Vec::new() }
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let lines: Vec<&Vec<String>> = [&self.head].into_iter().chain(&self.rows).collect();
        let width = |column: usize| lines.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut out = String::new();
        for row in lines {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a String cannot fail.
                let _ = write!(line, "  {cell:<width$}");
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out
    }

    /// For a document.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("| {} |\n|{}\n", self.head.join(" | "), "---|".repeat(self.head.len()));
        for row in &self.rows {
            let _ = writeln!(out, "| {} |", row.join(" | "));
        }
        out
    }
}

/// Every figure with a bound.
pub(crate) fn ratios(books: &[Book]) -> Table {
    let mut table = Table::new(&["measure", "figure", "bound", "mainstay", "best peer", "ratio", "by round", "verdict"]);
    for book in books {
        for figure in book.figures.iter().filter(|figure| !figure.bound().is_empty()) {
            table.rows.push(ratio_row(book, figure));
        }
    }
    table
}

fn ratio_row(book: &Book, figure: &Figure) -> Vec<String> {
    let Verdict { ours, rival, best, ratio, spread, holds } = match book.verdict(figure) {
        Some(verdict) if book.failed.is_none() => verdict,
        _ => {
            let why = if book.failed.is_some() { "NOT MEASURED" } else { "nobody to compare with" };
            let mut row = vec![book.name.to_owned(), figure.what.to_owned(), figure.bound()];
            row.extend(["", "", "", "", why].map(str::to_owned));
            return row;
        }
    };
    let unit = figure.unit;
    vec![
        book.name.to_owned(),
        figure.what.to_owned(),
        figure.bound(),
        format!("{} {unit}", number(ours)),
        format!("{} {unit} ({})", number(best), rival.name()),
        format!("{ratio:.2}"),
        format!("{:.2} to {:.2}", spread.0, spread.1),
        if holds { "held" } else { "MISSED" }.to_owned(),
    ]
}

/// Every figure of every contestant: the median, and the smallest and largest of the rounds.
pub(crate) fn medians(books: &[Book], contestants: &[Contestant]) -> Table {
    let names: Vec<&str> = contestants.iter().map(|contestant| contestant.name()).collect();
    let mut table = Table::new(&[&["measure", "figure", "unit"], names.as_slice()].concat());
    for book in books {
        for figure in book.figures {
            let mut row = vec![book.name.to_owned(), figure.what.to_owned(), figure.unit.to_owned()];
            row.extend(contestants.iter().map(|contestant| {
                let values = book.values(figure, *contestant);
                let (Some(middle), Some((least, most))) = (median(&values), ends(&values)) else { return String::new() };
                format!("{} ({} to {})", number(middle), number(least), number(most))
            }));
            table.rows.push(row);
        }
    }
    table
}

/// System calls by name, one column a proxy.
pub(crate) fn calls(seen: &[Seen], per: &str, of: impl Fn(&Seen) -> &Calls) -> Table {
    const SMALLEST: f64 = 0.005;
    let names: Vec<&str> = seen.iter().map(|seen| seen.contestant.name()).collect();
    let mut table = Table::new(&[&[per], names.as_slice()].concat());
    let row = |what: &str, value: &dyn Fn(&Calls) -> f64| {
        let cell = |seen: &Seen| {
            Some(value(of(seen))).filter(|value| *value >= SMALLEST).map_or_else(String::new, |v| format!("{v:.2}"))
        };
        [what.to_owned()].into_iter().chain(seen.iter().map(cell)).collect::<Vec<_>>()
    };
    let often = |calls: &&String| seen.iter().any(|seen| of(seen).get(*calls).is_some_and(|count| *count >= SMALLEST));
    let names: BTreeSet<&String> = seen.iter().flat_map(|seen| of(seen).keys()).filter(often).collect();
    for name in names {
        table.rows.push(row(name, &|calls| calls.get(name).copied().unwrap_or(0.0)));
    }
    table.rows.push(row("all together", &|calls| calls.values().sum()));
    table
}

/// Everything, for programs.
pub(crate) fn json(books: &[Book], seen: &[Seen]) -> Value {
    let sample =
        |sample: &Vec<(&str, f64)>| sample.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect::<Value>();
    let figure = |book: &Book, figure: &Figure| {
        let verdict = book.verdict(figure).map(|verdict| {
            json!({"ours": verdict.ours, "best": verdict.best, "rival": verdict.rival.name(), "ratio": verdict.ratio,
                   "by_round": [verdict.spread.0, verdict.spread.1], "held": verdict.holds})
        });
        json!({"key": figure.key, "what": figure.what, "unit": figure.unit, "bound": figure.bound(), "verdict": verdict})
    };
    let book = |book: &Book| {
        let samples: Value = book
            .samples
            .iter()
            .map(|(of, samples)| (of.name().to_owned(), samples.iter().map(sample).collect::<Value>()))
            .collect();
        let figures: Value = book.figures.iter().map(|one| figure(book, one)).collect();
        json!({"measure": book.name, "held": book.holds(), "error": book.failed, "figures": figures, "rounds": samples})
    };
    let calls =
        |seen: &Seen| json!({"contestant": seen.contestant.name(), "connection": seen.connection, "round_trip": seen.trip});
    json!({"measures": books.iter().map(book).collect::<Value>(), "syscalls": seen.iter().map(calls).collect::<Value>()})
}
