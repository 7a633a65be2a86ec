//! What `MySQL` and `MariaDB` show of their sessions, and how they end one.
//!
//! The process list tells who sleeps. Whether a sleeping session has a transaction open tells `SHOW ENGINE INNODB STATUS`:
//! `information_schema.innodb_trx` has the same, but answers from a cache that is renewed only after nobody has asked for 0.1 seconds
//! (`MySQL` manual, "Persistence and Consistency of `InnoDB` Transaction and Locking Information"). A transaction that has touched no
//! table yet is seen in neither.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;

use super::server::{Doing, End, Opened, Server, Shown, Target};
use crate::{
    config::MysqlCheck,
    control::probe::{
        Deadline, Failure,
        mysql::{Login, Refused, Standing, answer::Table},
        standing::Standing as _,
    },
    failover::Printable,
    net::{addr::BackendAddr, addresses::Addresses},
};

/// The status has a megabyte at most (`SHOW ENGINE` in the manual), the process list of a portion less.
const ANSWER_BYTES: usize = 4 << 20;

/// Sessions in one process list.
const PORTION: usize = 500;

/// `ER_KILL_DENIED_ERROR`; `ER_SPECIFIC_ACCESS_DENIED_ERROR` for an account that has `SYSTEM_USER`.
const KILL_DENIED: [u16; 2] = [1095, 1227];

const STATUS: &str = "SHOW ENGINE INNODB STATUS";

/// The process list of `MySQL` from 8.0.22 on. The other one is deprecated there, and locks out whoever logs in or out meanwhile.
const LIST: &str = "performance_schema.processlist";

/// The process list of everybody else.
const OLD_LIST: &str = "information_schema.processlist";

/// Who the role is, where the server sees it, and which of its privileges matter.
fn rights(list: &str) -> String {
    format!(
        "SELECT CURRENT_USER() AS who, (SELECT HOST FROM {list} WHERE ID = CONNECTION_ID()) AS host,
  (SELECT COUNT(*) FROM information_schema.user_privileges WHERE PRIVILEGE_TYPE IN ('SUPER', 'CONNECTION ADMIN', 'CONNECTION_ADMIN')
     AND GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')) AS ends"
    )
}

/// A login.
#[derive(Debug)]
struct Mysql {
    standing: Standing,
    /// Where it shows its sessions.
    list: &'static str,
    /// What the server calls this machine: its address, or its name.
    host: String,
    /// Sessions that it did not let the role end.
    denied: HashSet<i64>,
}

/// Logs in, and says what is missing.
pub(super) async fn open(check: &MysqlCheck, address: &BackendAddr, addresses: &Addresses, deadline: Deadline) -> Opened {
    let opened = async {
        let (mut standing, near) =
            Login::new(address, check).session(addresses, deadline).await.map_err(|failure| match failure {
                Failure::Backend(finding) => finding.evidence,
                Failure::Local(evidence) => evidence,
            })?;
        let list = list(&mut standing, deadline).await;
        let rights = standing.sql(&rights(list), ANSWER_BYTES, deadline).await.map_err(|refused| refused.finding.evidence)?;
        let status = standing.sql(STATUS, ANSWER_BYTES, deadline).await;
        Ok((standing, near, list, rights, status))
    };
    let (standing, near, list, rights, status) = match opened.await {
        Ok(opened) => opened,
        Err(why) => return (None, vec![left(&Printable::to_string(&why))]),
    };
    let who = account(rights.get(0, "who").unwrap_or("?"));
    let host = rights.get(0, "host").and_then(|host| host.rsplit_once(':'));
    let host = host.filter(|(_, port)| near.is_some_and(|near| *port == near.port().to_string()));
    let mut notes = Vec::new();
    match (status, host) {
        (Err(Refused { code: Some(_), .. }), _) => {
            notes.push(left(&format!("{who} may not see transactions; grant: GRANT PROCESS ON *.* TO {who};")));
        }
        (Err(Refused { finding, .. }), _) => notes.push(left(&finding.evidence)),
        (Ok(_), None) => notes.push(left(
            "the server sees another port than this machine uses (a pooler, NAT or a unix socket stands in between), so no session \
             can be found there",
        )),
        (Ok(_), Some((host, _))) => {
            if rights.get(0, "ends") == Some("0") {
                notes.push(
                    format!(
                        "{who} has not the privilege to end the sessions of other accounts (unless a role has it): they are left to \
                         end by themselves until the drain's timeout; grant: GRANT CONNECTION ADMIN ON *.* TO {who}; (MariaDB from \
                         10.5) or GRANT CONNECTION_ADMIN ON *.* TO {who}; (MySQL 8)"
                    )
                    .into(),
                );
            }
            return (Some(Box::new(Mysql { standing, list, host: host.to_owned(), denied: HashSet::new() })), notes);
        }
    }
    Box::new(standing).close().await;
    (None, notes)
}

/// Which list this server has. The new one is there, and empty, where `performance_schema` is off.
async fn list(standing: &mut Standing, deadline: Deadline) -> &'static str {
    if standing.dialect().is_mariadb {
        return OLD_LIST;
    }
    let own = standing.sql(&format!("SELECT ID FROM {LIST} WHERE ID = CONNECTION_ID()"), ANSWER_BYTES, deadline).await;
    if own.is_ok_and(|own| !own.rows.is_empty()) { LIST } else { OLD_LIST }
}

fn left(why: &str) -> Printable {
    format!("the sessions are left to end by themselves until the drain's timeout: {why}").into()
}

/// As SQL names it.
fn account(current: &str) -> Printable {
    let (user, host) = current.rsplit_once('@').unwrap_or((current, "%"));
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    Printable::word(&format!("'{}'@'{}'", quoted(user), quoted(host)))
}

#[async_trait]
impl Server for Mysql {
    async fn look(&mut self, targets: &[Target], deadline: Deadline) -> Result<Vec<Option<Shown>>, Printable> {
        let mut found = HashMap::new();
        for portion in targets.chunks(PORTION) {
            let list = self.ask(&question(self.list, portion), deadline).await?;
            found.extend((0..list.rows.len()).filter_map(|row| self.read(&list, row)));
        }
        // Afterwards: nobody who was seen asleep, and is held, can have begun anything since.
        let status = self.ask(STATUS, deadline).await?;
        let open = open_transactions(status.get(0, "Status").unwrap_or_default());
        let mut shown = Vec::with_capacity(targets.len());
        for target in targets {
            let mut one = found.get(&target.leg.port).copied();
            if let Some(session) = &mut one {
                match &open {
                    Some(open) => session.is_open |= open.contains(&session.id),
                    None => session.doing = Doing::Hidden,
                }
                if session.doing == Doing::Idle && session.is_open {
                    session.doing = Doing::Waits;
                }
                let ends = match target.end {
                    End::No => false,
                    End::IfIdle(id, _) => id == session.id && session.doing == Doing::Idle,
                    End::Now(id) => id == session.id,
                };
                session.was_ended = ends && self.end(session.id, deadline).await?;
            }
            shown.push(one);
        }
        Ok(shown)
    }

    fn shows_late(&self) -> bool {
        true
    }

    async fn close(self: Box<Self>) {
        Box::new(self.standing).close().await;
    }
}

impl Mysql {
    async fn ask(&mut self, question: &str, deadline: Deadline) -> Result<Table, Printable> {
        self.standing.sql(question, ANSWER_BYTES, deadline).await.map_err(|refused| refused.finding.evidence)
    }

    /// Whether that was done: the session may be gone, or not the role's to end.
    async fn end(&mut self, id: i64, deadline: Deadline) -> Result<bool, Printable> {
        match self.standing.sql(&format!("KILL CONNECTION {id}"), ANSWER_BYTES, deadline).await {
            Ok(_) => Ok(true),
            Err(Refused { code: Some(code), .. }) => {
                if KILL_DENIED.contains(&code) {
                    self.denied.insert(id);
                }
                Ok(false)
            }
            Err(Refused { code: None, finding }) => Err(finding.evidence),
        }
    }

    fn read(&self, list: &Table, row: usize) -> Option<(u16, Shown)> {
        let id = list.get(row, "ID")?.parse().ok()?;
        let (host, port) = list.get(row, "HOST")?.rsplit_once(':')?;
        let doing = doing(list.get(row, "COMMAND")?);
        let shown =
            Shown { id, doing, stamp: 0, is_open: doing == Doing::Works, may_end: !self.denied.contains(&id), was_ended: false };
        Some((port.parse().ok()?, shown)).filter(|_| host == self.host)
    }
}

fn question(list: &str, targets: &[Target]) -> String {
    let ports: Vec<_> = targets.iter().map(|target| format!("'{}'", target.leg.port)).collect();
    format!(
        "SELECT ID, HOST, COMMAND FROM {list} WHERE SUBSTRING_INDEX(HOST, ':', -1) IN ({}) AND ID <> CONNECTION_ID()",
        ports.join(", ")
    )
}

fn doing(command: &str) -> Doing {
    match command {
        "Sleep" => Doing::Idle,
        // A login.
        "Connect" => Doing::Waits,
        _ => Doing::Works,
    }
}

/// The sessions with an open transaction, from the text of the status; `None` when that was cut off.
fn open_transactions(status: &str) -> Option<HashSet<i64>> {
    const HEAD: &str = "---TRANSACTION ";
    if status.contains("... truncated...") || !status.contains("LIST OF TRANSACTIONS FOR EACH SESSION") {
        return None;
    }
    let mut open = HashSet::new();
    let mut is_open = false;
    for line in status.lines() {
        if let Some(head) = line.strip_prefix(HEAD) {
            is_open = !head.contains("not started");
        } else if is_open
            && let Some((_, rest)) = line.split_once(" thread id ")
            && let Some(id) = rest.split(',').next().and_then(|id| id.trim().parse().ok())
        {
            open.insert(id);
        }
    }
    Some(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_transactions_are_those_that_have_started() {
        let status = "TRANSACTIONS\n------------\nTrx id counter 57\nLIST OF TRANSACTIONS FOR EACH SESSION:\n\
            ---TRANSACTION (0x7f2c5a3f7d80), not started\n0 lock struct(s), heap size 1128, 0 row lock(s)\n\
            ---TRANSACTION 56, ACTIVE 3 sec\n1 lock struct(s), heap size 1128, 0 row lock(s), undo log entries 1\n\
            MariaDB thread id 12, OS thread handle 139827, query id 99 127.0.0.1 root \n\
            ---TRANSACTION 421, ACTIVE 0 sec\nMySQL thread id 7, OS thread handle 1, query id 5 localhost root\n--------\n";
        assert_eq!(open_transactions(status), Some(HashSet::from([12, 7])));
        assert_eq!(open_transactions(&format!("{status}... truncated...\n")), None);
        assert_eq!(open_transactions(""), None);
    }

    #[test]
    fn an_account_is_quoted_as_sql_wants_it() {
        assert_eq!(&*account("mainstay@10.0.0.%"), "'mainstay'@'10.0.0.%'");
        assert_eq!(&*account("it's@home@h"), "'it\\'s@home'@'h'");
    }
}
