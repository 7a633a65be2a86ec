//! What the demo ends with: the promises, kept or broken, as a table for people or one JSON object for programs.

use std::fmt::Write;

use lab::clients::Tally;
use serde::Serialize;

use super::story::{Round, millis};

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    /// Every promise was kept.
    pub(super) kept: bool,
    /// What was broken, a sentence each.
    pub(super) broken: Vec<String>,
    /// Real servers, or the embedded ones.
    pub(super) postgres: bool,
    pub(super) rounds: Vec<Round>,
    pub(super) acknowledged_writes: u64,
    pub(super) lost_acknowledged_writes: u64,
    /// Writes whose session was lost before the answer came: stored or not, nobody was told either.
    pub(super) indeterminate_writes: u64,
    /// Writes the database answered with an error.
    pub(super) rejected_writes: u64,
    pub(super) refused_connects: u64,
    /// The longest any client waited from one acknowledgement to the next.
    pub(super) longest_pause_ms: f64,
}

impl Outcome {
    /// Judges a run. `failure` is what ended it before its time.
    pub(super) fn new(rounds: Vec<Round>, tally: &Tally, postgres: Nodes, failure: Option<String>) -> Self {
        let lost = rounds.iter().map(|round| round.lost_acknowledged_writes).max().unwrap_or(0);
        let mut broken: Vec<String> = failure.into_iter().collect();
        if tally.refused > 0 {
            let told = tally.last_refusal.as_deref().unwrap_or("nothing");
            broken.push(format!("{} connects were refused; the last client was told: {told}", tally.refused));
        }
        for round in &rounds {
            broken.extend(broken_promises(round));
        }
        Self {
            kept: broken.is_empty(),
            broken,
            postgres: postgres == Nodes::Real,
            rounds,
            acknowledged_writes: tally.acknowledged,
            lost_acknowledged_writes: lost,
            indeterminate_writes: tally.indeterminate,
            rejected_writes: tally.rejected,
            refused_connects: tally.refused,
            longest_pause_ms: millis(tally.longest_pause),
        }
    }

    /// The process's exit code.
    pub(super) const fn exit_code(&self) -> u8 {
        if self.kept { 0 } else { 1 }
    }

    /// One JSON object on one line.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"kept\":false,\"broken\":[\"{error}\"]}}"))
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        for line in rounds_table(&self.rounds) {
            let _ = writeln!(text, "{line}");
        }
        let facts = [
            ("acknowledged writes", self.acknowledged_writes.to_string()),
            (
                "acknowledged writes lost",
                format!("{} (every one was read back from the surviving node)", self.lost_acknowledged_writes),
            ),
            ("connects refused", self.refused_connects.to_string()),
            (
                "writes without an answer",
                format!("{} (cut off by the kill; stored or not, nobody was told either)", self.indeterminate_writes),
            ),
            ("longest pause of a client", format!("{} ms", self.longest_pause_ms)),
        ];
        text.push('\n');
        for (name, value) in facts {
            let _ = writeln!(text, "{name:<27}{value}");
        }
        text.push('\n');
        if self.kept && !self.rounds.is_empty() {
            text.push_str(
                "Every promise was kept: no client was refused, no acknowledged write was lost, one writer at a time.\n",
            );
        }
        for broken in &self.broken {
            let _ = writeln!(text, "BROKEN: {broken}");
        }
        text
    }
}

/// Which nodes the demo ran on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nodes {
    /// In this process.
    Embedded,
    /// Real servers.
    Real,
}

fn broken_promises(round: &Round) -> Vec<String> {
    let Round { number, from, to, .. } = round;
    let mut broken = Vec::new();
    if round.lost_acknowledged_writes > 0 {
        broken.push(format!("round {number}: {to} does not hold {} acknowledged writes", round.lost_acknowledged_writes));
    }
    if round.old_primary_active {
        broken.push(format!("round {number}: {from} was active although its timeline was over"));
    }
    if round.writes_to_old_primary > 0 {
        broken.push(format!("round {number}: {} writes reached {from} after {to} took over", round.writes_to_old_primary));
    }
    if round.old_primary_fenced == Some(false) {
        broken.push(format!("round {number}: {from} came back as a primary and mainstay did not say that it is fenced"));
    }
    broken
}

/// The rounds, one a line, under a heading.
pub(super) fn rounds_table(rounds: &[Round]) -> Vec<String> {
    let heading = "round  failover      detected  nobody active  served after promotion  refused  lost  old primary";
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} ms"));
    let row = |round: &Round| {
        format!(
            "{:>5}  {:<12}  {:>8}  {:>13}  {:>22}  {:>7}  {:>4}  {}",
            round.number,
            format!("{} > {}", round.from, round.to),
            ms(round.detected_ms),
            ms(round.gap_ms),
            ms(round.serving_after_promotion_ms),
            round.refused_connects,
            round.lost_acknowledged_writes,
            match (round.old_primary_active, round.old_primary_fenced) {
                (true, _) => "ACTIVE",
                (_, Some(true)) => "fenced",
                (_, Some(false)) => "not active, reason not told",
                (_, None) => "",
            },
        )
    };
    [heading.to_owned()].into_iter().chain(rounds.iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round() -> Round {
        Round {
            number: 1,
            from: "db-a",
            to: "db-b",
            detected_ms: Some(4.2),
            gap_ms: Some(510.0),
            serving_after_promotion_ms: Some(21.0),
            refused_connects: 0,
            lost_acknowledged_writes: 0,
            old_primary_fenced: Some(true),
            old_primary_active: false,
            writes_to_old_primary: 0,
        }
    }

    fn judge(round: Round, tally: &Tally) -> Outcome {
        Outcome::new(vec![round], tally, Nodes::Embedded, None)
    }

    #[test]
    fn a_good_run_keeps_its_promises() {
        let outcome = judge(round(), &Tally { acknowledged: 9, indeterminate: 8, ..Tally::default() });
        assert_eq!((outcome.kept, outcome.exit_code()), (true, 0));
        assert!(outcome.table().contains("Every promise was kept"));
        let json: serde_json::Value = serde_json::from_str(&outcome.json()).unwrap();
        assert_eq!((&json["kept"], &json["rounds"][0]["gap_ms"]), (&true.into(), &510.0.into()));
    }

    #[test]
    fn each_broken_promise_alone_is_told_and_fails_the_run() {
        let good = Tally::default();
        let cases = [
            (Round { lost_acknowledged_writes: 1, ..round() }, good.clone()),
            (Round { old_primary_active: true, ..round() }, good.clone()),
            (Round { writes_to_old_primary: 1, ..round() }, good.clone()),
            (Round { old_primary_fenced: Some(false), ..round() }, good.clone()),
            (round(), Tally { refused: 1, ..good.clone() }),
        ];
        for (round, tally) in cases {
            let outcome = judge(round, &tally);
            assert_eq!((outcome.kept, outcome.exit_code(), outcome.broken.len()), (false, 1, 1), "{outcome:?}");
            assert!(outcome.table().contains("BROKEN: ") && !outcome.table().contains("kept"), "{}", outcome.table());
        }
        let failed = Outcome::new(Vec::new(), &good, Nodes::Real, Some("no failover".into()));
        assert_eq!((failed.exit_code(), failed.broken.as_slice()), (1, &["no failover".to_owned()][..]));
    }
}
