//! A post-mortem of an incident in Markdown. What strangers have said stands only in code, where nothing is interpreted.

use std::fmt::Write as _;

use super::sentences::{felt, seconds, span, steps, title, unknown};
use crate::{
    failover::{escaped, label::Label as _},
    incidents::{Incident, Moment, Summary},
};

/// The document.
pub(super) fn markdown(incident: &Incident) -> String {
    let summary = &incident.summary;
    let Summary { number, kind, cause, evidence, epoch, .. } = summary;
    let mut text = format!("# Incident {number}: {}\n\n{}. {}\n", title(incident, code), span(summary), felt(incident).join(" "));
    text.push_str("\n## What clients felt\n\n");
    table(&mut text, ["figure", "value"], &figures(incident));
    text.push_str("\n## What mainstay saw\n\n");
    let _ = writeln!(text, "Cause: {} (kind `{}`, epoch {epoch}). Evidence:\n", code(cause), kind.as_str());
    block(&mut text, &escaped(evidence));
    text.push_str("\n## What mainstay did\n\n");
    let steps = steps(incident).into_iter().map(|(step, at, after)| {
        let after = after.map_or_else(String::new, |after| format!(", +{}", seconds(after.as_secs_f64())));
        [step.to_owned(), at.map_or_else(|| "–".to_owned(), |at| format!("{at}{after}"))]
    });
    table(&mut text, ["step", "when (UTC), and how long after the first sign"], &steps.collect::<Vec<_>>());
    text.push_str("\n## Timeline\n\n");
    block(&mut text, &timeline(incident));
    text.push_str(
        "\n## For people to complete\n\nmainstay knows what it saw, not why it happened.\n\n- Root cause:\n- What was changed so that it \
         does not happen again:\n- Data: ",
    );
    let _ = writeln!(text, "{}.", unknown(incident));
    text
}

fn figures(incident: &Incident) -> Vec<[String; 2]> {
    let Summary { felt_seconds, gap_seconds, sessions_aborted, clients, interrupted, .. } = &incident.summary;
    let least = if *interrupted { "at least " } else { "" };
    [
        ("Felt by clients", format!("{least}{}", seconds(*felt_seconds))),
        ("Without an active backend", format!("{least}{}", seconds(*gap_seconds))),
        ("Sessions lost", format!("{least}{sessions_aborted}")),
        ("Clients that waited", format!("{least}{}", clients.held)),
        ("Served late", format!("{least}{}", clients.served_late)),
        ("Turned away", format!("{least}{}", clients.turned_away)),
        ("Longest wait", format!("{least}{}", seconds(clients.longest_wait_seconds))),
        ("Transactions whose fate is unknown", unknown(incident)),
    ]
    .map(|(figure, value)| [figure.to_owned(), value])
    .to_vec()
}

fn timeline(incident: &Incident) -> String {
    let first = incident.first_sign.unwrap_or(incident.summary.began);
    let after = |at: Moment| match at.since(first) {
        _ if at < first => format!("-{}", seconds(first.since(at).as_secs_f64())),
        after => format!("+{}", seconds(after.as_secs_f64())),
    };
    let lines = incident.timeline.iter().map(|line| format!("{}  {:>9}  {}", line.at, after(line.at), escaped(&line.text)));
    lines.collect::<Vec<_>>().join("\n")
}

fn table(text: &mut String, head: [&str; 2], rows: &[[String; 2]]) {
    let _ = writeln!(text, "| {} | {} |\n|---|---|", head[0], head[1]);
    for [name, value] in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
}

/// A name as code within a line: a run of backticks longer than any in it is around it.
fn code(name: &str) -> String {
    let (name, fence) = (escaped(name), "`".repeat(longest_run(name) + 1));
    let edge = if name.starts_with('`') || name.ends_with('`') { " " } else { "" };
    format!("{fence}{edge}{name}{edge}{fence}")
}

/// Lines as a block of code.
fn block(text: &mut String, lines: &str) {
    let fence = "`".repeat((longest_run(lines) + 1).max(3));
    let _ = writeln!(text, "{fence}text\n{lines}\n{fence}");
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "``` \n# gone\n| a | b |\u{1b}[31m<script>alert(1)</script> [x](http://evil) @everyone \u{202e}````";

    fn incident(evidence: &str) -> Incident {
        let json = serde_json::json!({
            "number": 7, "pool": "ord`ers", "kind": "failover", "began": "2026-11-28T02:00:00.123Z",
            "ended": "2026-11-28T02:00:00.190Z", "open": false, "interrupted": false, "cause": "down", "evidence": evidence,
            "from": "db-a", "to": "db-b", "epoch": 3, "felt_seconds": 0.067, "gap_seconds": 0.051, "sessions_aborted": 97,
            "clients": {"held": 12, "served_late": 12, "turned_away": 0, "longest_wait_seconds": 0.062},
            "first_sign": "2026-11-28T02:00:00.123Z", "detected": "2026-11-28T02:00:00.127Z",
            "revoked": "2026-11-28T02:00:00.127Z", "activated": "2026-11-28T02:00:00.178Z",
            "first_session": "2026-11-28T02:00:00.190Z", "unknown_bytes": 4096,
            "timeline": [{"at": "2026-11-28T02:00:00.127Z", "text": evidence}],
        });
        serde_json::from_value(json).unwrap()
    }

    /// The document without what stands in blocks of code.
    fn outside(text: &str) -> String {
        let mut fence = None;
        let mut rest = Vec::new();
        for line in text.lines() {
            match &fence {
                None if line.starts_with("```") => fence = Some(line.trim_end_matches("text").to_owned()),
                Some(end) if line == end => fence = None,
                None => rest.push(line),
                Some(_) => {}
            }
        }
        assert_eq!(fence, None, "every block ends");
        rest.join("\n")
    }

    #[test]
    fn it_says_what_happened() {
        let text = markdown(&incident("connect refused"));
        for part in [
            "# Incident 7: pool ``ord`ers`` failed over from `db-a` to `db-b`\n",
            "From 2026-11-28T02:00:00.123Z to 2026-11-28T02:00:00.190Z. Clients felt it for 0.067 s. 97 sessions were lost. 12 clients waited",
            "| Longest wait | 0.062 s |",
            "| activated | 2026-11-28T02:00:00.178Z, +0.055 s |",
            "at least 4096 bytes that the old backend had written are not on the new one",
            "```text\n2026-11-28T02:00:00.127Z   +0.004 s  connect refused\n```\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn what_strangers_say_is_shown_and_does_nothing() {
        // A line of backticks alone would end a block.
        for fence in ["```", "````", "`````````"] {
            assert_eq!(outside(&markdown(&incident(fence))), outside(&markdown(&incident("plain"))), "{fence}");
        }
        let text = markdown(&incident(NASTY));
        assert!(text.contains("alert(1)") && text.contains("````"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || crate::failover::is_printable(c)), "{text:?}");
        let rest = outside(&text);
        for harm in ["script", "evil", "everyone", "gone", "[31m"] {
            assert!(!rest.contains(harm), "{harm} is outside of code:\n{rest}");
        }
        assert_eq!(rest, outside(&markdown(&incident("plain"))), "the rest is as always");
        let shown = super::super::text::one(&incident(NASTY));
        assert!(shown.chars().all(|c| c == '\n' || crate::failover::is_printable(c)), "{shown:?}");
        assert_eq!(shown.lines().count(), super::super::text::one(&incident("plain")).lines().count());
    }
}
