//! Incidents on a terminal. Every text of the answer is escaped.

use std::fmt::Write as _;

use super::sentences::{felt, seconds, span, state, steps, title, unknown};
use crate::{
    failover::{escaped, label::Label as _},
    incidents::{Incident, Place, Summary},
};

const HEAD: [&str; 10] = ["no", "began", "state", "pool", "kind", "from → to", "felt", "gap", "sessions", "clients"];

/// All of them as a table, newest first.
pub(super) fn list(incidents: &[Summary], kept: Place) -> String {
    let mut text = String::new();
    if incidents.is_empty() {
        text.push_str("no incident\n");
    } else {
        let rows: Vec<[String; 10]> = std::iter::once(HEAD.map(str::to_owned)).chain(incidents.iter().map(row)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 10] = std::array::from_fn(width);
        for row in &rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
    text.push_str(match kept {
        Place::StateDir => "",
        Place::Memory => "kept in memory only: a restart forgets them (set state_dir to keep them)\n",
        Place::Reading => "the disk under state_dir has not answered yet: earlier ones are not shown, and none is written\n",
    });
    text
}

fn row(summary: &Summary) -> [String; 10] {
    let Summary { number, pool, kind, began, from, to, felt_seconds, gap_seconds, sessions_aborted, clients, .. } = summary;
    // No wait is over yet.
    let is_known = clients.longest_wait_seconds > 0.0;
    let longest = if is_known { format!(" (max {})", seconds(clients.longest_wait_seconds)) } else { String::new() };
    let name = |name: &Option<String>| name.as_deref().map_or_else(|| "–".to_owned(), escaped);
    [
        number.to_string(),
        began.to_string(),
        state(summary).to_owned(),
        escaped(pool),
        kind.as_str().to_owned(),
        format!("{} → {}", name(from), name(to)),
        seconds(*felt_seconds),
        seconds(*gap_seconds),
        format!("{sessions_aborted} lost"),
        format!("{} held{longest}, {} late, {} turned away", clients.held, clients.served_late, clients.turned_away),
    ]
}

/// One of them, with its timeline.
pub(super) fn one(incident: &Incident) -> String {
    let summary = &incident.summary;
    let mut text = format!("incident {}: {}\n", summary.number, title(incident, escaped));
    let _ = writeln!(text, "{}.", span(summary));
    for sentence in felt(incident) {
        let _ = writeln!(text, "{sentence}");
    }
    let _ = writeln!(text, "\ncause      {}", escaped(&summary.cause));
    let _ = writeln!(text, "evidence   {}", escaped(&summary.evidence));
    let _ = writeln!(text, "gap        {} without an active backend", seconds(summary.gap_seconds));
    let _ = writeln!(text, "data       {}", unknown(incident));
    text.push('\n');
    for (step, at, after) in steps(incident) {
        let at = at.map_or_else(|| "–".to_owned(), |at| at.to_string());
        let after = after.map_or_else(String::new, |after| format!("  +{}", seconds(after.as_secs_f64())));
        let _ = writeln!(text, "{step:13}  {at}{after}");
    }
    text.push('\n');
    for line in &incident.timeline {
        let _ = writeln!(text, "{}  {}", line.at, escaped(&line.text));
    }
    text
}
