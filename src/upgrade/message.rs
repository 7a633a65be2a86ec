//! What two mainstays say to each other.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    control::{Lead, Remembered},
    failover::{Admin, RevokeMode, label::Label as _},
    net::endpoint::Peer,
    route::{OlderProcess, Verb},
};

/// Raised when an older version would misunderstand a newer one. Two that differ do not take over from each other.
pub const PROTOCOL: u32 = 1;

/// What the newer process says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToOlder {
    /// It has started.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Its version.
        version: String,
    },
    /// Its configuration is valid, and it has every address.
    Prepared,
    /// It cannot take over.
    Failed {
        /// In words.
        why: String,
    },
    /// It accepts clients.
    Serving {
        /// Names of the pools that it has.
        pools: Vec<String>,
    },
    /// Who leads from now on.
    Newest {
        /// Its process.
        pid: u32,
    },
    /// Which backend of a pool is active.
    Lead {
        /// The pool.
        pool: String,
        /// Its backend.
        active: Option<String>,
        /// What happens to sessions with others, a word of [`RevokeMode`].
        sessions_end: String,
    },
    /// An operator ordered this of a pool.
    Order {
        /// The pool.
        pool: String,
        /// The order.
        order: PassedOrder,
    },
    /// It was told to stop: so are older ones.
    Stop {
        /// At once.
        force: bool,
    },
}

/// What the older process says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToNewer {
    /// Sockets, whose descriptors come with this line, in this order.
    Sockets {
        /// What they are for.
        uses: Vec<SocketUse>,
        /// More lines follow.
        more: bool,
    },
    /// What it knows of each pool. From now on it decides nothing by itself.
    Known {
        /// By name.
        pools: BTreeMap<String, Remembered>,
    },
    /// It accepts no more: everything is the newer one's.
    Yours,
    /// What its clients still use.
    Left(OlderProcess),
}

/// What a socket is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketUse {
    /// Clients, or operators: a name of [`crate::net::inherited`].
    Listener(String),
    /// The same; its file is not mainstay's.
    ListenerOfOther(String),
    /// Leads to a still older process.
    Older,
}

/// An order that concerns sessions, wherever they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassedOrder {
    /// [`Verb::SetAdmin`].
    State {
        /// Of this backend.
        backend: String,
        /// A word of [`Admin`].
        to: String,
    },
    /// [`Verb::Kill`].
    Kill {
        /// Only those with this backend.
        backend: Option<String>,
        /// Only that of this client.
        client: Option<std::net::SocketAddr>,
    },
    /// [`Verb::Pause`].
    Pause {
        /// Milliseconds, at most.
        max: u64,
    },
    /// [`Verb::Resume`].
    Resume,
}

impl ToOlder {
    /// Says who is active.
    pub fn lead(pool: &str, lead: &Lead) -> Self {
        Self::Lead {
            pool: pool.to_owned(),
            active: lead.active.as_deref().map(str::to_owned),
            sessions_end: lead.sessions_end.to_string(),
        }
    }
}

/// What a newer process says of a pool. Sessions end at once by a word that this version does not know.
pub fn lead(active: Option<&str>, sessions_end: &str) -> Lead {
    let known = RevokeMode::ALL.iter().copied().find(|mode| mode.as_str() == sessions_end);
    Lead { active: active.map(Into::into), sessions_end: known.unwrap_or(RevokeMode::Abort) }
}

impl PassedOrder {
    /// The same order for older processes, if it concerns their sessions.
    pub fn of(verb: &Verb) -> Option<Self> {
        Some(match verb {
            Verb::SetAdmin { backend, to, .. } => Self::State { backend: backend.to_string(), to: to.to_string() },
            // A client of a unix socket has no name of its own.
            Verb::Kill { backend, client } => Self::Kill {
                backend: backend.as_deref().map(str::to_owned),
                client: match client {
                    Some(Peer::Tcp(address)) => Some(*address),
                    Some(Peer::Unix) => return None,
                    None => None,
                },
            },
            Verb::Pause { max } => Self::Pause { max: u64::try_from(max.as_millis()).unwrap_or(u64::MAX) },
            Verb::Resume => Self::Resume,
            _ => return None,
        })
    }

    /// What it orders; nothing by a word that this version does not know.
    pub fn verb(self) -> Option<Verb> {
        Some(match self {
            Self::State { backend, to } => {
                let to = Admin::ALL.iter().copied().find(|admin| admin.as_str() == to)?;
                Verb::SetAdmin { backend: backend.into(), to, force: true }
            }
            Self::Kill { backend, client } => Verb::Kill { backend: backend.map(Into::into), client: client.map(Peer::Tcp) },
            Self::Pause { max } => Verb::Pause { max: Duration::from_millis(max) },
            Self::Resume => Verb::Resume,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_and_orders_are_the_same_there() {
        let verbs = [
            Verb::SetAdmin { backend: "db-a".into(), to: Admin::Maint, force: true },
            Verb::Kill { backend: Some("db-a".into()), client: Some(Peer::Tcp("[::1]:5".parse().unwrap())) },
            Verb::Kill { backend: None, client: None },
            Verb::Pause { max: Duration::from_millis(1500) },
            Verb::Resume,
        ];
        for verb in verbs {
            let order = PassedOrder::of(&verb).unwrap();
            let said = ToOlder::Order { pool: "orders".into(), order };
            let line = serde_json::to_string(&said).unwrap();
            let ToOlder::Order { order, .. } = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
            assert_eq!(order.verb(), Some(verb), "{line}");
        }
        assert_eq!(PassedOrder::of(&Verb::Drill), None);
        assert_eq!(PassedOrder::of(&Verb::Kill { backend: None, client: Some(Peer::Unix) }), None, "it must not end all");
    }

    #[test]
    fn a_later_version_may_say_more() {
        let known = r#"{"hello":{"protocol":1,"version":"9","colour":"red"}}"#;
        assert_eq!(serde_json::from_str::<ToOlder>(known).unwrap(), ToOlder::Hello { protocol: 1, version: "9".into() });
        assert_eq!(lead(Some("db-b"), "gently").sessions_end, RevokeMode::Abort);
        assert_eq!(lead(None, "last_words"), Lead { active: None, sessions_end: RevokeMode::LastWords });
        assert_eq!(PassedOrder::State { backend: "db-a".into(), to: "asleep".into() }.verb(), None);
    }
}
