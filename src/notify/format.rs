//! A notice as each kind of receiver wants it.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::notice::{Felt, Notice, Severity, Stage};
use crate::{config::NotificationKind, failover::label::Label as _, route::rfc3339};

/// `PagerDuty` takes no longer summary (Events API v2).
const LONGEST_SUMMARY: usize = 1000;

/// A notice on its way to a receiver.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) notice: std::sync::Arc<Notice>,
    pub(super) at: SystemTime,
    /// The machine.
    pub(super) host: std::sync::Arc<str>,
    /// Unique, and the same with every try, so that a receiver can tell a second one of the same.
    pub(super) id: String,
    /// How many before it this receiver was not told.
    pub(super) left_out: u64,
}

impl Message {
    fn moment(&self) -> String {
        rfc3339::format(self.at)
    }

    fn left_out(&self) -> Option<String> {
        (self.left_out > 0).then(|| format!("{} earlier messages were left out: there were too many.", self.left_out))
    }
}

/// For a webhook, and for a program.
pub(super) fn generic(message: &Message) -> Value {
    let notice = &*message.notice;
    let (status, lasted) = match notice.stage {
        Stage::Begun => ("firing", None),
        Stage::Happened => ("event", None),
        Stage::Over(lasted) => ("resolved", Some(lasted.as_secs_f64())),
    };
    json!({
        "version": 1,
        "id": message.id,
        "kind": notice.kind().map_or("test", NotificationKind::as_str),
        "alert": notice.alert.as_str(),
        "status": status,
        "severity": notice.severity().as_str(),
        "key": notice.key(),
        "pool": &*notice.pool,
        "at": message.moment(),
        "host": &*message.host,
        "summary": notice.summary,
        "why": notice.why,
        "did": notice.did,
        "now": notice.now,
        "runbook": notice.runbook(),
        "lasted_seconds": lasted,
        "clients": notice.felt.map(clients),
        "left_out": message.left_out,
    })
}

fn clients(felt: Felt) -> Value {
    let Felt { held, late, turned_away, waited } = felt;
    json!({"held": held, "served_late": late, "turned_away": turned_away, "waited_seconds": waited})
}

/// Slack's incoming webhooks, with the one field that all that copy them take.
pub(super) fn slack(message: &Message) -> Value {
    let notice = &*message.notice;
    let mark = match (notice.stage, notice.severity()) {
        (Stage::Over(_), _) => ":white_check_mark:",
        (_, Severity::Critical) => ":rotating_light:",
        (_, Severity::Warning) => ":warning:",
        (_, Severity::Info) => ":information_source:",
    };
    let lines = [
        format!("{mark} *{}*", plain(&notice.summary)),
        format!("*Why:* {}", plain(&notice.why)),
        format!("*mainstay:* {}", plain(&notice.did)),
        format!("*Now:* {}", plain(&notice.now)),
        format!("*Runbook:* {}", notice.runbook()),
        format!("_mainstay on {}, {}_", plain(&message.host), message.moment()),
    ];
    let lines: Vec<String> = lines.into_iter().chain(message.left_out()).collect();
    json!({ "text": lines.join("\n") })
}

/// Text of strangers makes no links, and calls nobody (`<!channel>`, `@here`).
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('@', "@\u{200b}")
}

/// `PagerDuty`'s Events API v2: an end resolves what its beginning has triggered. A test is resolved by a second one, `is_end`.
pub(super) fn pager_duty(message: &Message, routing_key: &str, ends: bool) -> Value {
    let notice = &*message.notice;
    if ends {
        return json!({"routing_key": routing_key, "event_action": "resolve", "dedup_key": notice.key()});
    }
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": notice.key(),
        "client": "mainstay",
        "payload": {
            "summary": notice.summary.chars().take(LONGEST_SUMMARY).collect::<String>(),
            "source": &*message.host,
            "severity": notice.severity().as_str(),
            "timestamp": message.moment(),
            "component": &*notice.pool,
            "class": notice.alert.as_str(),
            "custom_details": {
                "why": notice.why,
                "did": notice.did,
                "now": notice.now,
                "runbook": notice.runbook(),
                "clients": notice.felt.map(clients),
                "left_out": message.left_out,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{failover::Time, notify::words};

    fn message(summary: &str, stage: Stage) -> Message {
        let notice = Notice { pool: "orders".into(), summary: summary.into(), stage, ..words::test(Time::ZERO) };
        Message { notice: Arc::new(notice), at: SystemTime::UNIX_EPOCH, host: "db1".into(), id: "1".into(), left_out: 3 }
    }

    #[test]
    fn the_page_shows_every_field_and_every_kind() {
        let page = include_str!("../../docs/notifications.md");
        let example: Value =
            serde_json::from_str(page.split("```").find_map(|part| part.strip_prefix("json\n")).unwrap()).unwrap();
        let mut over = message("x", Stage::Over(Duration::from_secs(1)));
        over.notice = Arc::new(Notice { felt: Some(Felt::default()), ..Notice::clone(&over.notice) });
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let made = generic(&over);
        assert_eq!((keys(&example), keys(&example["clients"])), (keys(&made), keys(&made["clients"])));
        let rows: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(rows[1..], NotificationKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    }

    #[test]
    fn nobody_is_called_by_what_a_server_said() {
        let text = slack(&message("<!channel> @here <http://evil|ok> & more", Stage::Begun))["text"].to_string();
        assert!(text.contains("&lt;!channel&gt; @\u{200b}here &lt;http://evil|ok&gt; &amp; more"), "{text}");
        assert!(text.contains("3 earlier messages were left out"), "{text}");
    }

    #[test]
    fn pager_duty_resolves_by_the_key_of_the_trigger() {
        let begun = pager_duty(&message(&"é".repeat(3000), Stage::Begun), "key", false);
        let over = pager_duty(&message("x", Stage::Over(Duration::ZERO)), "key", true);
        assert_eq!((&begun["event_action"], &over["event_action"]), (&json!("trigger"), &json!("resolve")));
        assert_eq!(begun["dedup_key"], over["dedup_key"]);
        assert!(begun["payload"]["summary"].as_str().unwrap().chars().count() <= 1024);
    }
}
