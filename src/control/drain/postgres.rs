//! What `PostgreSQL` shows of its sessions in `pg_stat_activity`, and how it ends one.

use std::{collections::HashMap, fmt::Write, net::IpAddr};

use async_trait::async_trait;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::server::{Doing, End, Opened, Server, Shown, Target};
use crate::{
    config::PostgresCheck,
    control::probe::{
        Deadline, Failure,
        postgres::{Login, Standing},
        standing::Standing as _,
    },
    failover::Printable,
    net::{addr::BackendAddr, addresses::Addresses},
    route::Leg,
};

/// A session takes less than this in the answer; so does the frame around them.
const ROW_BYTES: usize = 512;

/// What the role may do, and where the server sees it.
const RIGHTS: &str = "SELECT pg_catalog.quote_ident(current_user) AS who,
  pg_catalog.host(pg_catalog.inet_client_addr()) AS address, pg_catalog.inet_client_port() AS port,
  coalesce((SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user), false) AS super,
  pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS sees,
  pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS ends";

/// When the state of a session last changed: the same number for the same moment.
const STAMP: &str = "(pg_catalog.date_part('epoch', a.state_change) * 1000000)::bigint";

/// A login.
#[derive(Debug)]
struct Postgres {
    standing: Standing,
    way: Way,
    /// Whether the role is a superuser, and whether it may end sessions of other roles.
    is_super: bool,
    ends: bool,
}

/// How the server sees the addresses of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As they are.
    Direct,
    /// All as this one, with the ports as they are.
    Translated(IpAddr),
}

impl Way {
    /// The login shows it: its own near end, and what the server sees of it.
    fn of(near: Option<(IpAddr, u16)>, seen: Option<(IpAddr, u16)>) -> Result<Self, &'static str> {
        match (near, seen) {
            (Some((near, own)), Some((seen, port))) if own == port => {
                let is_same = near.to_canonical() == seen.to_canonical();
                Ok(if is_same { Self::Direct } else { Self::Translated(seen) })
            }
            (Some(_), Some(_)) => Err("the server sees another port than this machine uses: a pooler or NAT stands in between"),
            _ => Err("over a unix socket the server sees no port"),
        }
    }

    fn leads(self, leg: Leg, to: IpAddr) -> bool {
        match self {
            Self::Direct => leg.is_at(to),
            Self::Translated(seen) => seen == to,
        }
    }
}

/// Logs in, and says what is missing.
pub(super) async fn open(check: &PostgresCheck, address: &BackendAddr, addresses: &Addresses, deadline: Deadline) -> Opened {
    let opened = async {
        let (mut standing, near) =
            Login::new(address, check).session(addresses, deadline).await.map_err(|failure| match failure {
                Failure::Backend(finding) => finding.evidence,
                Failure::Local(evidence) => evidence,
            })?;
        let rights = standing.sql(RIGHTS, ROW_BYTES, deadline).await.map_err(|refusal| refusal.why)?;
        Ok((standing, near, rights))
    };
    let (standing, near, rights) = match opened.await {
        Ok(opened) => opened,
        Err(why) => return (None, vec![left(&Printable::to_string(&why))]),
    };
    let Some(row) = rows(&rights).next() else { return (None, vec![left("the server told nothing of the check's role")]) };
    let is = |name| row.try_get(name).ok().flatten() == Some("t");
    let seen = row.try_get("address").ok().flatten().and_then(|address| address.parse().ok());
    let seen = seen.zip(row.try_get("port").ok().flatten().and_then(|port| port.parse().ok()));
    let who = Printable::word(row.try_get("who").ok().flatten().unwrap_or("?"));
    let mut notes = missing(&who, is("sees"), is("ends"));
    match Way::of(near.map(|near| (near.ip(), near.port())), seen) {
        Ok(way) => (Some(Box::new(Postgres { standing, way, is_super: is("super"), ends: is("ends") })), notes),
        Err(why) => {
            Box::new(standing).close().await;
            notes.push(left(&format!("{why}, so no session can be found there")));
            (None, notes)
        }
    }
}

fn left(why: &str) -> Printable {
    format!("the sessions are left to end by themselves until the drain's timeout: {why}").into()
}

/// What the role lacks, what that costs, and what to grant.
fn missing(who: &Printable, sees: bool, ends: bool) -> Vec<Printable> {
    let mut notes = Vec::new();
    if !sees {
        notes.push(
            format!(
                "{who} may not see what the sessions of other roles do: they are left to end by themselves until the drain's timeout; \
                 as a superuser on the primary: GRANT pg_monitor TO {who}"
            )
            .into(),
        );
    }
    if !ends {
        notes.push(
            format!(
                "{who} may not end the sessions of other roles: they are left to end by themselves until the drain's timeout; as a \
                 superuser on the primary: GRANT pg_signal_backend TO {who}"
            )
            .into(),
        );
    }
    notes
}

#[async_trait]
impl Server for Postgres {
    async fn look(&mut self, targets: &[Target], deadline: Deadline) -> Result<Vec<Option<Shown>>, Printable> {
        let question = question(targets, self.is_super, self.ends);
        let answer = self.standing.sql(&question, ROW_BYTES * (targets.len() + 1), deadline).await;
        let answer = answer.map_err(|refusal| refusal.why)?;
        let mut found: HashMap<u16, Vec<(IpAddr, Shown)>> = HashMap::new();
        for row in rows(&answer) {
            if let Some((port, address, shown)) = read(row) {
                found.entry(port).or_default().push((address, shown));
            }
        }
        let find = |target: &Target| {
            let mut at_port = found.get(&target.leg.port)?.iter();
            at_port.find(|(address, _)| self.way.leads(target.leg, *address)).map(|(_, shown)| *shown)
        };
        Ok(targets.iter().map(find).collect())
    }

    async fn close(self: Box<Self>) {
        Box::new(self.standing).close().await;
    }
}

/// Reads and ends in one statement: there is no time between, in which a session could begin something.
fn question(targets: &[Target], is_super: bool, ends: bool) -> String {
    // No session has these numbers.
    let (mut ports, mut idle, mut now) = ("-2".to_owned(), "(0, 0)".to_owned(), "0".to_owned());
    for target in targets {
        // A string takes everything.
        let _ = match target.end {
            End::No => Ok(()),
            End::IfIdle(id, stamp) => write!(idle, ", ({id}, {stamp})"),
            End::Now(id) => write!(now, ", {id}"),
        };
        let _ = write!(ports, ", {}", target.leg.port);
    }
    let may_end =
        format!("({is_super} OR NOT coalesce(r.rolsuper, true) AND ({ends} OR pg_catalog.pg_has_role(a.usesysid, 'USAGE')))");
    format!(
        "SELECT a.pid AS id, pg_catalog.host(a.client_addr) AS address, a.client_port AS port, a.state, a.wait_event AS waits,
  coalesce({STAMP}, 0) AS stamp, a.xact_start IS NOT NULL AS open, {may_end} AS may,
  CASE WHEN {may_end} AND (a.state = 'idle' AND (a.pid, {STAMP}) IN ({idle}) OR a.pid IN ({now}))
       THEN pg_catalog.pg_terminate_backend(a.pid) END AS ended
FROM pg_catalog.pg_stat_activity a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
WHERE a.client_port IN ({ports}) AND a.pid <> pg_catalog.pg_backend_pid()"
    )
}

fn rows(answer: &[SimpleQueryMessage]) -> impl Iterator<Item = &SimpleQueryRow> {
    answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

fn read(row: &SimpleQueryRow) -> Option<(u16, IpAddr, Shown)> {
    let column = |name| row.try_get(name).ok().flatten();
    let is = |name| column(name) == Some("t");
    let shown = Shown {
        id: column("id")?.parse().ok()?,
        doing: doing(column("state"), column("waits")),
        stamp: column("stamp")?.parse().ok()?,
        is_open: is("open"),
        may_end: is("may"),
        was_ended: is("ended"),
    };
    Some((column("port")?.parse().ok()?, column("address")?.parse().ok()?, shown))
}

fn doing(state: Option<&str>, waits: Option<&str>) -> Doing {
    match state {
        Some("idle") => Doing::Idle,
        Some("active" | "fastpath function call") if waits != Some("ClientRead") => Doing::Works,
        // `track_activities` is off.
        Some("disabled") => Doing::Hidden,
        // Within a transaction; a statement that reads from its client (COPY), or whose end the client has yet to send; a login.
        _ => Doing::Waits,
    }
}
