//! What `mainstay demo --update` ends with, for people and for programs.

use std::{fmt::Write, time::Duration};

use lab::clients::Tally;
use serde::Serialize;

use super::story::{Updated, millis};

/// In the place of a state where the guard is off.
pub(super) const NOT_ASKED: &str = "not asked";

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct UpdateOutcome {
    /// Every promise was kept.
    pub(super) kept: bool,
    /// What was broken, a sentence each.
    pub(super) broken: Vec<String>,
    pub(super) updates: Vec<Updated>,
    /// Sessions of clients on a node with a bad update.
    pub(super) sessions_on_bad_updates: u64,
    pub(super) acknowledged_writes: u64,
    pub(super) lost_acknowledged_writes: usize,
    /// Writes the database answered with an error.
    pub(super) rejected_writes: u64,
    /// Sessions that were ended, as a switchover does between two transactions.
    pub(super) ended_sessions: u64,
    pub(super) refused_connects: u64,
    /// The longest any client waited from one acknowledgement to the next.
    pub(super) longest_pause_ms: f64,
    pub(super) took_ms: f64,
}

impl UpdateOutcome {
    /// Judges a run: how many acknowledged writes are lost, and how long it took. `failure` is what ended it before its time.
    pub(super) fn new(updates: Vec<Updated>, tally: &Tally, (lost, took): (usize, Duration), failure: Option<String>) -> Self {
        let mut broken: Vec<String> = failure.into_iter().collect();
        broken.extend(updates.iter().flat_map(broken_promises));
        if tally.refused > 0 {
            let told = tally.last_refusal.as_deref().unwrap_or("nothing");
            broken.push(format!("{} connects were refused; the last client was told: {told}", tally.refused));
        }
        if tally.rejected > 0 {
            let told = tally.last_rejection.as_deref().unwrap_or("nothing");
            broken.push(format!("{} writes were rejected; the last client was told: {told}", tally.rejected));
        }
        if lost > 0 {
            broken.push(format!("{lost} acknowledged writes are lost"));
        }
        let on_bad = updates.iter().filter(|update| update.is_bad).map(|update| update.sessions_unproven).sum();
        Self {
            kept: broken.is_empty(),
            broken,
            updates,
            sessions_on_bad_updates: on_bad,
            acknowledged_writes: tally.acknowledged,
            lost_acknowledged_writes: lost,
            rejected_writes: tally.rejected,
            ended_sessions: tally.lost_sessions,
            refused_connects: tally.refused,
            longest_pause_ms: millis(tally.longest_pause),
            took_ms: millis(took),
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
        for line in updates_table(&self.updates) {
            let _ = writeln!(text, "{line}");
        }
        text.push('\n');
        for update in self.updates.iter().filter(|update| !update.proof_what.is_empty()) {
            let _ = writeln!(text, "{}: {}", update.update, update.proof_what);
        }
        let facts = [
            ("sessions on a bad update", self.sessions_on_bad_updates.to_string()),
            ("acknowledged writes", self.acknowledged_writes.to_string()),
            ("acknowledged writes lost", format!("{} (every one was read back in the end)", self.lost_acknowledged_writes)),
            ("connects refused", self.refused_connects.to_string()),
            ("sessions ended", format!("{} (by the switchover, between two transactions)", self.ended_sessions)),
            ("longest pause of a client", format!("{} ms", self.longest_pause_ms)),
        ];
        text.push('\n');
        for (name, value) in facts {
            let _ = writeln!(text, "{name:<27}{value}");
        }
        text.push('\n');
        if self.kept && !self.updates.is_empty() {
            text.push_str("Every promise was kept: what was good was proven and serves, what was bad served nobody.\n");
            text.push_str(
                "Next: --update --guard off shows who is served when nobody looks; docs/updates.md is about your own nodes.\n",
            );
        }
        for broken in &self.broken {
            let _ = writeln!(text, "BROKEN: {broken}");
        }
        text
    }
}

fn broken_promises(update: &Updated) -> Vec<String> {
    let Updated { node, update: what, proof, .. } = update;
    let mut broken = Vec::new();
    if update.sessions_unproven > 0 {
        broken.push(format!(
            "{} sessions of clients were served by {node} with an update that was not proven: {what}",
            update.sessions_unproven
        ));
    }
    match (update.is_bad, *proof) {
        (false, "proven") | (true, "failed") | (_, NOT_ASKED) => {}
        (false, _) => broken.push(format!("a good update of {node} is {proof}, not proven: {}", update.proof_what)),
        (true, _) => broken.push(format!("the bad update of {node} is {proof}, not failed: {what}")),
    }
    let named = update.proof_what.split(':').next().unwrap_or_default();
    match (update.is_bad, &*update.switchover) {
        (true, "done") => broken.push(format!("the clients were moved to {node}, whose update is bad: {what}")),
        (true, why) if named.is_empty() || !why.contains(named) => {
            broken.push(format!("the switchover to {node} was refused, and the proof that failed was not named: {why}"));
        }
        (true, _) | (false, "" | "done") => {}
        (false, why) => broken.push(format!("the switchover to {node}, whose update is good, was not done: {why}")),
    }
    broken
}

/// The updates, one a line, under a heading.
pub(super) fn updates_table(updates: &[Updated]) -> Vec<String> {
    let heading = "node  update                          proof      decided after  switchover       sessions on it unproven";
    let row = |update: &Updated| {
        let switchover = match (&*update.switchover, update.switchover_ms) {
            ("done", Some(took)) => format!("done in {took:.0} ms"),
            ("", _) => "-".to_owned(),
            _ => "refused".to_owned(),
        };
        format!(
            "{:<4}  {:<30}  {:<9}  {:>13}  {:<15}  {:>23}",
            update.node,
            update.update,
            update.proof,
            update.decided_ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.1} s", ms / 1000.0)),
            switchover,
            update.sessions_unproven,
        )
    };
    [heading.to_owned()].into_iter().chain(updates.iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(is_bad: bool) -> Updated {
        let (proof, what, switchover) = if is_bad {
            ("failed", "report: 1 row here", "db-a has not proven itself: report: 1 row here")
        } else {
            ("proven", "", "done")
        };
        Updated {
            node: "db-a",
            update: "15.2 > 15.3",
            is_bad,
            proof,
            proof_what: what.to_owned(),
            decided_ms: Some(2100.0),
            switchover: switchover.to_owned(),
            switchover_ms: (!is_bad).then_some(60.0),
            sessions_unproven: 0,
        }
    }

    fn judge(update: Updated, tally: &Tally) -> UpdateOutcome {
        UpdateOutcome::new(vec![update], tally, (0, Duration::from_secs(20)), None)
    }

    #[test]
    fn a_good_run_keeps_its_promises() {
        for is_bad in [false, true] {
            let outcome = judge(update(is_bad), &Tally::default());
            assert!(outcome.exit_code() == 0 && outcome.table().contains("Every promise was kept"), "{outcome:?}");
            let json: serde_json::Value = serde_json::from_str(&outcome.json()).unwrap();
            assert_eq!((&json["kept"], &json["updates"][0]["node"]), (&true.into(), &"db-a".into()));
        }
    }

    #[test]
    fn each_broken_promise_alone_is_told_and_fails_the_run() {
        let good = Tally::default();
        let cases = [
            (Updated { sessions_unproven: 1, ..update(true) }, good.clone()),
            (Updated { sessions_unproven: 1, ..update(false) }, good.clone()),
            (Updated { proof: "unproven", ..update(false) }, good.clone()),
            (Updated { proof: "proven", ..update(true) }, good.clone()),
            (Updated { switchover: "done".into(), ..update(true) }, good.clone()),
            (Updated { switchover: "done".into(), proof: NOT_ASKED, ..update(true) }, good.clone()),
            (Updated { switchover: "another operation runs".into(), ..update(true) }, good.clone()),
            (Updated { switchover: "unproven".into(), ..update(false) }, good.clone()),
            (update(false), Tally { refused: 1, ..good.clone() }),
            (update(false), Tally { rejected: 1, ..good.clone() }),
        ];
        for (update, tally) in cases {
            let outcome = judge(update, &tally);
            assert!(outcome.exit_code() == 1 && outcome.broken.len() == 1, "{outcome:?}");
            assert!(outcome.table().contains("BROKEN: ") && !outcome.table().contains("kept"), "{}", outcome.table());
        }
        let lost = UpdateOutcome::new(Vec::new(), &good, (1, Duration::ZERO), Some("no update".into()));
        assert_eq!((lost.kept, lost.broken.len()), (false, 2));
    }
}
