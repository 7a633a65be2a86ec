//! What the check's role needs for a switchover: no more than the documentation says, which the switchovers show, and no less. A drill
//! names what is missing and what to grant; what makes a switchover impossible refuses it, and nothing is changed.

use lab::pairs::{self, NAMES, Pair, mysql::MariaDbPair, postgres::PostgresPair, redis::RedisPair};
use mainstay::{app::Running, route::RefusalCode};
use serde_json::json;

use super::{active, give, start, to};
use crate::support::{front::end, wait::until};

/// What a right is for.
pub(crate) enum Need {
    /// Nothing is possible without it.
    Switchover,
    /// It would take longer, or break more.
    Comfort,
}

use Need::{Comfort, Switchover};

/// A right, how it is taken away and given back, and what mainstay says without it.
pub(crate) struct Right {
    pub(crate) take: &'static str,
    pub(crate) give: &'static str,
    pub(crate) says: &'static str,
    pub(crate) need: Need,
}

pub(crate) fn each_is_named<P: Pair>(rights: &[Right]) {
    let pair = P::start();
    let running = start(&pairs::pool(&pair, "127.0.0.1:0", &json!({})));
    let whole = || missing(&running).filter(Vec::is_empty);
    until("nothing is missing", whole);
    for Right { take, give, says, need } in rights {
        pair.administer(pair.primary(), take);
        let said = until("it is missed", || missing(&running).filter(|said| said.iter().any(|line| line.contains(says))));
        println!("{take}: {said:?}");
        let forbids = matches!(need, Switchover);
        let refusal = super::give(&running, to(NAMES[1]), true).err().map(|refusal| refusal.code);
        assert_eq!(refusal, forbids.then_some(RefusalCode::NotPrepared), "{take}: {said:?}");
        assert_eq!(said.len(), 1, "{take}: {said:?}");
        pair.administer(pair.primary(), give);
        until("nothing is missing any more", whole);
    }
    assert_eq!(active(&running), (Some(NAMES[0].into()), 1));
    end(running);
}

/// What a dry run says; `None` when it is refused for another reason.
fn missing(running: &Running) -> Option<Vec<String>> {
    match give(running, to(NAMES[1]), true) {
        Ok(done) => Some(done.lines.into_iter().filter(|line| line.starts_with("missing")).collect()),
        Err(refusal) if refusal.code == RefusalCode::NotPrepared => Some(vec![refusal.message]),
        Err(refusal) => {
            println!("{}", refusal.message);
            None
        }
    }
}

#[test]
fn each_right_of_postgresql_is_needed_and_named() {
    each_is_named::<PostgresPair>(&[
        Right {
            take: "REVOKE pg_monitor FROM mainstay",
            give: "GRANT pg_monitor TO mainstay",
            says: "GRANT pg_monitor TO mainstay",
            need: Comfort,
        },
        Right {
            take: "REVOKE pg_signal_backend FROM mainstay",
            give: "GRANT pg_signal_backend TO mainstay",
            says: "GRANT pg_signal_backend TO mainstay",
            need: Comfort,
        },
        Right {
            take: "REVOKE pg_checkpoint FROM mainstay",
            give: "GRANT pg_checkpoint TO mainstay",
            says: "GRANT pg_checkpoint TO",
            need: Comfort,
        },
        Right {
            take: "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) FROM mainstay",
            give: "GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO mainstay",
            says: "GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO",
            need: Switchover,
        },
    ]);
}

#[test]
fn each_right_of_mariadb_is_needed_and_named() {
    each_is_named::<MariaDbPair>(&[
        Right {
            take: "REVOKE PROCESS ON *.* FROM mainstay@'%'",
            give: "GRANT PROCESS ON *.* TO mainstay@'%'",
            says: "GRANT PROCESS ON *.* TO 'mainstay'@'%'",
            need: Comfort,
        },
        Right {
            take: "REVOKE CONNECTION ADMIN ON *.* FROM mainstay@'%'",
            give: "GRANT CONNECTION ADMIN ON *.* TO mainstay@'%'",
            says: "GRANT CONNECTION ADMIN ON *.* TO 'mainstay'@'%'",
            need: Comfort,
        },
        Right {
            take: "REVOKE READ_ONLY ADMIN ON *.* FROM mainstay@'%'",
            give: "GRANT READ_ONLY ADMIN ON *.* TO mainstay@'%'",
            says: "GRANT READ_ONLY ADMIN ON *.* TO 'mainstay'@'%'",
            need: Switchover,
        },
        Right {
            take: "REVOKE REPLICATION SLAVE ADMIN ON *.* FROM mainstay@'%'",
            give: "GRANT REPLICATION SLAVE ADMIN ON *.* TO mainstay@'%'",
            says: "GRANT REPLICATION SLAVE ADMIN ON *.* TO 'mainstay'@'%'",
            need: Switchover,
        },
        Right {
            take: "REVOKE RELOAD ON *.* FROM mainstay@'%'",
            give: "GRANT RELOAD ON *.* TO mainstay@'%'",
            says: "GRANT RELOAD ON *.* TO 'mainstay'@'%'",
            need: Switchover,
        },
    ]);
}

#[test]
fn each_right_of_redis_is_needed_and_named() {
    each_is_named::<RedisPair>(&[
        Right {
            take: "ACL SETUSER mainstay -client|pause",
            give: "ACL SETUSER mainstay +client|pause",
            says: "ACL SETUSER mainstay +client|pause +client|unpause",
            need: Comfort,
        },
        Right {
            take: "ACL SETUSER mainstay -failover",
            give: "ACL SETUSER mainstay +failover",
            says: "ACL SETUSER mainstay +failover",
            need: Switchover,
        },
    ]);
}
