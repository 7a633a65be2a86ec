//! What an order means while older processes of an upgrade have sessions.

use crate::route::{Done, OlderLog, Refusal, RefusalCode, Verb};

/// Why it is refused: nobody sees where the transactions of such sessions end.
pub(super) fn refusal(older: &OlderLog, pool: &str, verb: &Verb) -> Option<Refusal> {
    let is_planned = matches!(verb, Verb::Switchover { force: false, .. } | Verb::Trial { force: false, .. } | Verb::Rehearse);
    let sessions = older.sessions(pool);
    let message = format!(
        "an older mainstay still has {sessions} sessions of this pool (`mainstay status`), whose transactions cannot be waited for: wait \
         until they have ended, or order with `force`"
    );
    (is_planned && sessions > 0).then_some(Refusal { code: RefusalCode::OlderSessions, message })
}

/// It has been carried out here: what concerns sessions is told to older processes.
pub(super) fn passed(older: &OlderLog, pool: &str, verb: &Verb, mut done: Done) -> Done {
    let sessions = older.sessions(pool);
    let concerns_sessions = matches!(verb, Verb::SetAdmin { .. } | Verb::Kill { .. } | Verb::Pause { .. } | Verb::Resume);
    if concerns_sessions && older.pass(pool, verb) {
        done.lines.push(format!("an older mainstay is told the same (sessions of this pool there: {sessions})"));
    }
    done
}
