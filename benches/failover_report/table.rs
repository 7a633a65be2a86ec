//! Results: what was measured, the bound it is judged by, and how they are shown.

use std::fmt::Write as _;

use lab::stats::median;
use serde_json::{Value, json};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Millis,
    Count,
    Kibibytes,
    Percent,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Millis if value < 9.95 => format!("{value:.1} ms"),
            Self::Millis => format!("{value:.0} ms"),
            Self::Count => format!("{value:.0}"),
            Self::Kibibytes => format!("{value:.2} KiB"),
            Self::Percent => format!("{value:.3} %"),
        }
    }
}

/// What the numbers of a row must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// Nothing: the row is for information.
    Told,
    /// No number is larger.
    Worst(f64),
    /// The median is no larger.
    Median(f64),
    /// The median and every number are no larger.
    MedianAndWorst(f64, f64),
    /// Every number is this one.
    Exactly(f64),
    /// At least nine of ten numbers are 0.
    ZeroInNineOfTen,
}

impl Bound {
    fn holds(self, values: &[f64]) -> bool {
        let all_at_most = |most: f64| values.iter().all(|value| *value <= most);
        match self {
            Self::Told => true,
            Self::Worst(most) => all_at_most(most),
            Self::Median(most) => median(values).is_some_and(|median| median <= most),
            Self::MedianAndWorst(middle, most) => median(values).is_some_and(|median| median <= middle) && all_at_most(most),
            Self::Exactly(wanted) => values.iter().all(|value| (value - wanted).abs() < f64::EPSILON),
            Self::ZeroInNineOfTen => {
                let zeros = values.iter().filter(|value| **value < f64::EPSILON).count();
                zeros * 10 >= values.len() * 9
            }
        }
    }

    fn show(self, unit: Unit) -> String {
        match self {
            Self::Told => String::new(),
            Self::Worst(most) => format!("worst ≤ {}", unit.show(most)),
            Self::Median(most) => format!("median ≤ {}", unit.show(most)),
            Self::MedianAndWorst(middle, most) => format!("median ≤ {}, worst ≤ {}", unit.show(middle), unit.show(most)),
            Self::Exactly(wanted) => format!("always {}", unit.show(wanted)),
            Self::ZeroInNineOfTen => "0 in at least 9 of 10 runs".to_owned(),
        }
    }

    /// The number that is farthest from what is wanted.
    fn worst(self, values: &[f64]) -> Option<f64> {
        let distance = |value: &f64| match self {
            Self::Exactly(wanted) => (value - wanted).abs(),
            _ => *value,
        };
        values.iter().copied().max_by(|left, right| distance(left).total_cmp(&distance(right)))
    }
}

/// One measure of a case over its runs.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    what: &'static str,
    unit: Unit,
    bound: Bound,
    values: Vec<f64>,
}

impl Row {
    pub(crate) fn new(what: &'static str, unit: Unit, bound: Bound, values: impl IntoIterator<Item = f64>) -> Self {
        Self { what, unit, bound, values: values.into_iter().collect() }
    }

    /// Whether there are numbers and they are as they must be.
    fn holds(&self) -> bool {
        matches!(self.bound, Bound::Told) || (!self.values.is_empty() && self.bound.holds(&self.values))
    }

    fn verdict(&self) -> &'static str {
        match self.bound {
            Bound::Told => "",
            _ if self.holds() => "held",
            _ => "MISSED",
        }
    }

    fn cells(&self) -> [String; 6] {
        let show = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| self.unit.show(value));
        [
            self.what.to_owned(),
            self.bound.show(self.unit),
            show(median(&self.values)),
            show(self.bound.worst(&self.values)),
            self.values.len().to_string(),
            self.verdict().to_owned(),
        ]
    }
}

/// A case's result.
#[derive(Clone, Debug)]
pub(crate) struct CaseResult {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Its rows, or why it could not be measured.
    pub(crate) rows: Result<Vec<Row>, String>,
}

impl CaseResult {
    pub(crate) fn holds(&self) -> bool {
        self.rows.as_ref().is_ok_and(|rows| rows.iter().all(Row::holds))
    }
}

const HEAD: [&str; 6] = ["measure", "bound", "median", "worst", "runs", "verdict"];

/// What others publish; kept apart from what is measured.
pub(crate) const ELSEWHERE: &str = "\
Published elsewhere, not measured here: with HAProxy in front of the same kind of failover, the proxy's share of the gap is
775 ms (median) and 20 connects fail a run; libpq alone, with both hosts in its connection string, reconnects in 1.6 ms.";

/// The results for a terminal.
pub(crate) fn text(results: &[CaseResult]) -> String {
    let mut out = String::new();
    for result in results {
        let _ = writeln!(out, "\n{}: {}", result.name, result.title);
        match &result.rows {
            Ok(rows) => out.push_str(&aligned(rows)),
            Err(why) => {
                let _ = writeln!(out, "  MISSED: it could not be measured: {why}");
            }
        }
    }
    let _ = write!(out, "\n{ELSEWHERE}\n");
    out
}

fn aligned(rows: &[Row]) -> String {
    let cells: Vec<[String; 6]> = [HEAD.map(str::to_owned)].into_iter().chain(rows.iter().map(Row::cells)).collect();
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in &cells {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "  {cell:<width$}");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// The results for the document.
pub(crate) fn markdown(results: &[CaseResult]) -> String {
    let mut out = String::new();
    for result in results {
        let _ = writeln!(out, "\n### {}\n\n{}\n", result.name, result.title);
        match &result.rows {
            Ok(rows) => {
                let _ = writeln!(out, "| {} |\n|---|---|---|---|---|---|", HEAD.join(" | "));
                for row in rows {
                    let _ = writeln!(out, "| {} |", row.cells().join(" | "));
                }
            }
            Err(why) => {
                let _ = writeln!(out, "MISSED: it could not be measured: {why}");
            }
        }
    }
    out
}

/// The results for programs, with every number.
pub(crate) fn json(results: &[CaseResult]) -> Value {
    let row =
        |row: &Row| json!({"measure": row.what, "bound": row.bound.show(row.unit), "held": row.holds(), "values": row.values});
    let case = |result: &CaseResult| match &result.rows {
        Ok(rows) => json!({"case": result.name, "held": result.holds(), "rows": rows.iter().map(row).collect::<Vec<_>>()}),
        Err(why) => json!({"case": result.name, "held": false, "error": why}),
    };
    results.iter().map(case).collect()
}
