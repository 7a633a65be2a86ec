//! The queries of the configuration.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    login::open,
    result::{ProofResult, Verdict},
    server::{Answer, Server, Unanswered, role},
};
use crate::{
    config::{RowOrder, Slowdown, SqlProof},
    control::{guard::Subject, probe::Deadline},
};

/// So often it is asked, on both, to see how long it takes.
const TIMES: usize = 5;
/// Before it is called too slow, it is asked in so many rounds.
const ROUNDS: usize = 3;
/// A difference of less is none.
const SLOWER_BY: Duration = Duration::from_millis(1);
/// An answer is called different after so many comparisons, with a pause between them: a commit may be seen before it is sent.
const COMPARISONS: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// A standby may cancel a query that is in the way of what it applies.
const TRIES: usize = 3;
/// To log in.
const LOGIN: Duration = Duration::from_secs(5);

/// A server, and a login to it while there is one.
struct Side<'a> {
    subject: &'a Subject,
    server: Option<Box<dyn Server>>,
    limit: Duration,
    until: Option<Deadline>,
}

/// Runs the proof on the first server, and compares with the second, where there is one.
pub(super) async fn run(
    proof: &SqlProof,
    (subject, active): (&Subject, Option<&Subject>),
    limit: Duration,
    until: Option<Deadline>,
) -> Verdict {
    let side = |subject| Side { subject, server: None, limit, until };
    let (mut here, mut there) = (side(subject), active.map(side));
    let verdict = judge(proof, &mut here, there.as_mut()).await;
    for side in [Some(here), there].into_iter().flatten() {
        if let Some(server) = side.server {
            server.close().await;
        }
    }
    verdict
}

async fn judge(proof: &SqlProof, here: &mut Side<'_>, there: Option<&mut Side<'_>>) -> Verdict {
    let answer = match here.ask(&proof.sql).await {
        Ok(answer) => answer,
        Err(why) => return failed(proof, &why, here, there).await,
    };
    let words = shown(&answer);
    if proof.same_as_active.is_none() && proof.slower_at_most.is_none() {
        return (ProofResult::Passed, words);
    }
    let Some(there) = there else {
        return (ProofResult::Skipped, format!("{words}; there is no other one to compare with"));
    };
    let mut evidence = words;
    if let Some(order) = proof.same_as_active {
        let (result, words) = compared(&proof.sql, order, here, there).await;
        if result != ProofResult::Passed {
            return (result, words);
        }
        evidence = words;
    }
    match proof.slower_at_most {
        None => (ProofResult::Passed, evidence),
        Some(factor) => {
            let (result, words) = timed(&proof.sql, factor, here, there).await;
            (result, format!("{evidence}; {words}"))
        }
    }
}

/// It has no answer: does the active one answer?
async fn failed(proof: &SqlProof, why: &Unanswered, here: &Side<'_>, there: Option<&mut Side<'_>>) -> Verdict {
    let why = match why {
        Unanswered::Denied(why) => {
            return (ProofResult::Unanswered, format!("{why}; on the primary: {}", here.grant()));
        }
        Unanswered::Disturbed(why) | Unanswered::Lost(why) => return (ProofResult::Unanswered, why.clone()),
        // Its own time was not over.
        Unanswered::Late(why) if here.until.is_some() => return (ProofResult::Unanswered, format!("there was no time: {why}")),
        Unanswered::Refused(why) | Unanswered::Late(why) => why,
    };
    let Some(there) = there else { return (ProofResult::Failed, why.clone()) };
    match there.ask(&proof.sql).await {
        Ok(answer) => (ProofResult::Failed, format!("{why}; the active one: {}", shown(&answer))),
        Err(also @ (Unanswered::Refused(_) | Unanswered::Late(_))) => {
            (ProofResult::Inconclusive, format!("{why}; the active one: {also}"))
        }
        Err(also) => (ProofResult::Failed, format!("{why}; the active one: {also}")),
    }
}

/// Whether both answer the same. Clients write meanwhile, and a standby is behind: it has applied what the active one had when that
/// was asked before, and the active one is asked once more afterwards.
async fn compared(sql: &str, order: RowOrder, here: &mut Side<'_>, there: &mut Side<'_>) -> Verdict {
    let mut differences = 0;
    for round in 0..2 * COMPARISONS {
        if round > 0 {
            sleep(PAUSE).await;
        }
        let before = match there.ask(sql).await {
            Ok(before) => before,
            Err(why) => return (ProofResult::Inconclusive, format!("the active one does not answer: {why}")),
        };
        if let Some(position) = there.position().await
            && !here.reach(&position).await
        {
            return (ProofResult::Unanswered, format!("it has not applied what the active one had ({position})"));
        }
        let answer = match here.ask(sql).await {
            Ok(answer) => answer,
            Err(why) => return (ProofResult::Unanswered, format!("it answered once, and then not: {why}")),
        };
        if answer.is_cut && before.is_cut {
            let why = "the answer has too many rows to be compared: count them in the query, or make a sum of them (md5)";
            return (ProofResult::Unanswered, why.into());
        }
        if same(&answer, &before, order) {
            return (ProofResult::Passed, format!("{}, as the active one", shown(&answer)));
        }
        let after = match there.ask(sql).await {
            Ok(after) => after,
            Err(why) => return (ProofResult::Inconclusive, format!("the active one does not answer: {why}")),
        };
        if same(&answer, &after, order) {
            return (ProofResult::Passed, format!("{}, as the active one", shown(&answer)));
        }
        if same(&before, &after, order) {
            differences += 1;
        }
        if differences == COMPARISONS {
            return (ProofResult::Failed, different(&answer, &before, order));
        }
    }
    (ProofResult::Inconclusive, "the answer of the active one changes from one moment to the next: ask what stands still".into())
}

/// Whether it takes not much longer here. Both are asked in turn, so that what slows the machine slows both.
async fn timed(sql: &str, factor: Slowdown, here: &mut Side<'_>, there: &mut Side<'_>) -> Verdict {
    let end = Instant::now() + here.limit;
    let (mut own, mut other) = (Duration::MAX, Duration::MAX);
    let mut asked = 0;
    for round in 0..ROUNDS * TIMES {
        if asked > 0 && Instant::now() >= end {
            break;
        }
        match (here.ask(sql).await, there.ask(sql).await) {
            (Ok(here), Ok(there)) => (own, other) = (own.min(here.took), other.min(there.took)),
            (Err(why), _) | (_, Err(why)) => {
                return (ProofResult::Unanswered, format!("it was to be timed, and there was no answer: {why}"));
            }
        }
        asked += 1;
        if round % TIMES == TIMES - 1 && own <= most(factor, other) {
            break;
        }
    }
    let words = format!("{own:.1?} at best of {asked}, on the active one {other:.1?}");
    if own <= most(factor, other) {
        return (ProofResult::Passed, words);
    }
    (ProofResult::Failed, format!("{words}: more than {factor}"))
}

fn most(factor: Slowdown, other: Duration) -> Duration {
    factor.of(other).max(other + SLOWER_BY)
}

impl Side<'_> {
    fn limit(&self) -> Duration {
        self.until.map_or(self.limit, |until| self.limit.min(until.at().saturating_duration_since(Instant::now())))
    }

    /// Asks, with a new login where there is none.
    async fn ask(&mut self, sql: &str) -> Result<Answer, Unanswered> {
        let mut tries = 0;
        loop {
            let mut server = if let Some(server) = self.server.take() {
                server
            } else {
                let deadline = Deadline::after(LOGIN.min(self.limit().max(Duration::from_millis(1))));
                open(self.subject, deadline).await.map_err(|why| Unanswered::Lost(format!("cannot log in: {why}")))?
            };
            let answer = server.ask(sql, self.limit()).await;
            // A session may be over after an error.
            match answer {
                Ok(_) => self.server = Some(server),
                Err(_) => server.close().await,
            }
            tries += 1;
            if tries == TRIES || !matches!(answer, Err(Unanswered::Disturbed(_))) {
                return answer;
            }
        }
    }

    async fn position(&mut self) -> Option<String> {
        let deadline = Deadline::after(self.limit());
        self.server.as_mut()?.position(deadline).await
    }

    async fn reach(&mut self, position: &str) -> bool {
        let deadline = Deadline::after(self.limit());
        match self.server.as_mut() {
            Some(server) => server.reach(position, deadline).await,
            None => false,
        }
    }

    /// What the role needs, as far as the server's words do not say it.
    fn grant(&self) -> String {
        let role = role(&self.subject.check.kind);
        format!("GRANT SELECT (or EXECUTE) on what the message names TO {role}")
    }
}

fn same(one: &Answer, other: &Answer, order: RowOrder) -> bool {
    let alike = match order {
        RowOrder::List => one.rows == other.rows,
        RowOrder::Set => counted(&one.rows) == counted(&other.rows),
    };
    alike && one.is_cut == other.is_cut
}

type Rows = [Vec<Option<String>>];

fn counted(rows: &Rows) -> BTreeMap<&[Option<String>], usize> {
    let mut counted = BTreeMap::new();
    for row in rows {
        *counted.entry(row.as_slice()).or_default() += 1;
    }
    counted
}

/// The first row that only one of them has.
fn different(here: &Answer, active: &Answer, order: RowOrder) -> String {
    let [own, other] = match order {
        RowOrder::List => {
            let place = here.rows.iter().zip(&active.rows).position(|(own, other)| own != other);
            let place = place.unwrap_or(here.rows.len().min(active.rows.len()));
            [here.rows.get(place), active.rows.get(place)].map(|row| row.map(Vec::as_slice))
        }
        RowOrder::Set => {
            let (own, other) = (counted(&here.rows), counted(&active.rows));
            let first = |these: &BTreeMap<&[Option<String>], usize>, those: &BTreeMap<&[Option<String>], usize>| {
                let mut rows = these.iter();
                rows.find(|(row, count)| those.get(*row).copied().unwrap_or(0) < **count).map(|(row, _)| row.to_vec())
            };
            let (one, two) = (first(&own, &other), first(&other, &own));
            return words(here, active, one.as_deref(), two.as_deref());
        }
    };
    words(here, active, own, other)
}

fn words(here: &Answer, active: &Answer, own: Option<&[Option<String>]>, other: Option<&[Option<String>]>) -> String {
    let row = |row: Option<&[Option<String>]>| row.map_or_else(|| "no such row".to_owned(), shown_row);
    format!("{} here, {} on the active one; here {}, there {}", count(here), count(active), row(own), row(other))
}

fn count(answer: &Answer) -> String {
    let more = if answer.is_cut { "more than " } else { "" };
    let ending = if answer.rows.len() == 1 { "" } else { "s" };
    format!("{more}{} row{ending}", answer.rows.len())
}

/// An answer as evidence may show it.
fn shown(answer: &Answer) -> String {
    let first = answer.rows.first().filter(|_| answer.rows.len() == 1).map(|row| format!(": {}", shown_row(row)));
    format!("{} in {:.1?}{}", count(answer), answer.took, first.unwrap_or_default())
}

fn shown_row(row: &[Option<String>]) -> String {
    const LONGEST: usize = 120;
    let all: Vec<&str> = row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
    let mut all = format!("({})", all.join(", "));
    if let Some((end, _)) = all.char_indices().nth(LONGEST) {
        all.truncate(end);
        all.push('…');
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &[&[&str]]) -> Answer {
        let rows = rows.iter().map(|row| row.iter().map(|value| Some((*value).to_owned())).collect()).collect();
        Answer { rows, ..Answer::default() }
    }

    #[test]
    fn a_set_has_no_order_and_counts_its_rows() {
        let (one, other) = (answer(&[&["1"], &["2"], &["2"]]), answer(&[&["2"], &["1"], &["2"]]));
        assert!(same(&one, &other, RowOrder::Set) && !same(&one, &other, RowOrder::List));
        assert!(!same(&one, &answer(&[&["1"], &["2"], &["1"]]), RowOrder::Set));
        assert!(!same(&one, &Answer { is_cut: true, ..one.clone() }, RowOrder::Set));
        assert_ne!(vec![None], vec![Some("NULL".to_owned())]);
    }

    #[test]
    fn the_difference_is_shown_and_no_more() {
        let (one, other) = (answer(&[&["1", "a"], &["2", "b"]]), answer(&[&["2", "b"], &["1", "x"]]));
        assert_eq!(different(&one, &other, RowOrder::Set), "2 rows here, 2 rows on the active one; here (1, a), there (1, x)");
        assert_eq!(different(&one, &other, RowOrder::List), "2 rows here, 2 rows on the active one; here (1, a), there (2, b)");
        let less = answer(&[&["1", "a"]]);
        assert_eq!(
            different(&less, &one, RowOrder::List),
            "1 row here, 2 rows on the active one; here no such row, there (2, b)"
        );
        assert!(shown(&answer(&[&["x".repeat(9000).as_str()]])).chars().count() < 200);
    }
}
