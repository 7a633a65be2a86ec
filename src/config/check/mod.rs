//! How backends are checked. A kind of check has a file of its own here, and a row in the table [`check_kinds`].

pub mod exchange;
pub mod exec;
mod http;
pub(super) mod kind;
mod mysql;
mod postgres;
mod redis;
mod tcp;

use std::{ops::RangeInclusive, time::Duration};

use serde_json::{Map, Value as Json, json};

use self::kind::{Kind, KindKeys as _};
pub use self::{
    exchange::ExchangeCheck,
    exec::{ExecCheck, Word},
    http::{HttpCheck, HttpLogin},
    mysql::{MysqlCheck, WritableReplica},
    postgres::{AuthMethod, PostgresCheck},
    redis::{RedisCheck, Sentinels},
    tcp::TcpCheck,
};
use super::{
    raw::{
        quantity::{DAY, MILLISECOND},
        reader::{Field, KnownKeys},
    },
    shape::{
        self,
        rule::{Rule, Scope},
    },
    table::{Row, durations, names, set, table},
    tree::{Tree, duration},
};
use crate::{
    failover::{MaxLag, Policy},
    net::proxy_protocol,
    wire::Protocol,
};

/// The table of the kinds of check: its name in the configuration, its type, and what it is. `config`, `control::probe` and
/// `cli::probe` make what they need of a row: each has a trait that the type implements.
macro_rules! check_kinds {
    ($make:ident) => {
        $make! {
            "tcp": Tcp(TcpCheck), "A connect. The first healthy backend of the list serves.";
            "postgres": Postgres(PostgresCheck), "A session with PostgreSQL, which is asked for its role.";
            "mysql": Mysql(MysqlCheck), "A session with MySQL, MariaDB or a node of a Galera cluster, which is asked for its role.";
            "redis": Redis(RedisCheck), "A session with Redis or Valkey, which is asked for its role.";
            "http": Http(HttpCheck), "A GET of a health endpoint such as Patroni's; beside another kind, a second opinion.";
            "exec": Exec(ExecCheck), "A command of your own.";
            "exchange": Exchange(ExchangeCheck), "Bytes to send, and bytes to expect.";
        }
    };
}
pub(crate) use check_kinds;

macro_rules! config {
    ($($name:literal: $kind:ident($check:ident), $meaning:literal;)+) => {
        /// The protocol of a check.
        #[derive(Clone, Debug, PartialEq)]
        pub enum CheckKind {
            $(#[doc = concat!("The check `", $name, "`.")] $kind($check)),+
        }

        impl CheckKind {
            /// The names of all kinds.
            pub const NAMES: &[&str] = &[$($name),+];

            /// Its name in the configuration.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$kind(_) => $name),+ }
            }

            /// The section of `--print`.
            fn print(&self) -> Tree {
                match self { $(Self::$kind(check) => $check::KEYS.print(check)),+ }
            }

            fn kind(&self) -> &dyn Kind {
                match self { $(Self::$kind(check) => check),+ }
            }

            /// The names of those that keep a session between two probes.
            pub(super) fn with_login() -> impl Iterator<Item = &'static str> {
                [$(($name, $check::LOGS_IN)),+].into_iter().filter_map(|(name, logs_in)| logs_in.then_some(name))
            }

            /// The names of those that cannot do without their section.
            fn with_section() -> impl Iterator<Item = &'static str> {
                [$(($name, $check::NEEDS_SECTION)),+].into_iter().filter_map(|(name, needs)| needs.then_some(name))
            }

            /// The check of this name. `check` is what is to blame when its section is missing.
            pub(super) fn read(name: &str, section: Option<Field<'_>>, check: Field<'_>) -> Self {
                match name {
                    $($name => Self::$kind($check::read(section, check)),)+
                    _ => Self::Tcp(TcpCheck),
                }
            }
        }

        table! {
            /// A section for each kind.
            KINDS: Check;
            $($name: elsewhere(
                if $check::KEYS.rows().is_empty() { "`{}`" } else { concat!("[a map](#", $name, ")") },
                "none",
                |check| check.config.print($name)
            ) is $check::schema(), $meaning;)+
        }

        /// The sections of the kinds in the reference.
        pub(super) fn references() -> impl Iterator<Item = (&'static str, Vec<Row>)> {
            [$((concat!("`", $name, "`"), $check::KEYS.reference(&$check::default()))),+].into_iter().filter(|(_, rows)| !rows.is_empty())
        }
    };
}
check_kinds!(config);

impl CheckKind {
    /// Whether it asks for the role, so that the primary serves.
    pub fn knows_roles(&self) -> bool {
        self.kind().knows_roles()
    }

    /// It keeps a session between two probes.
    pub(super) fn logs_in(&self) -> bool {
        Self::with_login().any(|name| name == self.name())
    }

    /// What the clients of such a database speak.
    pub fn protocol(&self) -> Protocol {
        self.kind().protocol()
    }

    /// How somebody on the way to this backend could learn its password or prove that it has it, and what to write.
    pub(super) fn exposed_password(&self, backend: &str) -> Option<(String, &'static str)> {
        self.kind().exposed_password(backend)
    }
}

/// How backends are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckConfig {
    /// The kind, with its keys.
    pub kind: CheckKind,
    /// A second opinion beside a check that is not HTTP itself: an HTTP endpoint of the cluster manager that tells which backend is
    /// the primary.
    pub second: Option<HttpCheck>,
    /// Interval between probes.
    pub interval: Duration,
    /// Interval between probes while a change of health is pending.
    pub fast_interval: Duration,
    /// Deadline of a whole probe.
    pub timeout: Duration,
    /// Interval between new logins, besides the open session.
    pub fresh_login: Duration,
    /// The PROXY header that the checks send first, as the listeners of the pool do.
    pub proxy_header: Option<proxy_protocol::Version>,
}

impl CheckConfig {
    /// What it asks for, in the words of the configuration.
    pub fn name(&self) -> String {
        let second = self.second.as_ref().map_or("", |_| " and http");
        format!("{}{second}", self.kind.name())
    }

    /// Whether it asks for the role, so that the primary serves.
    pub fn knows_roles(&self) -> bool {
        self.kind.knows_roles() || self.second.is_some()
    }

    /// A standby with a greater lag is not ready to take over.
    pub fn max_lag(&self) -> Option<MaxLag> {
        self.kinds().find_map(Kind::max_lag)
    }

    /// How far above all that a pool has shown a database epoch may be.
    pub fn max_epoch_step(&self) -> Option<u64> {
        self.kind.kind().max_epoch_step()
    }

    /// Why a backend cannot be given by a unix socket, and what to write.
    pub(super) fn needs_address(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.kinds().filter_map(Kind::needs_address)
    }

    fn kinds(&self) -> impl Iterator<Item = &dyn Kind> {
        let second = self.second.as_ref().map(|http| http as &dyn Kind);
        [self.kind.kind()].into_iter().chain(second)
    }

    /// The section of the kind of this name.
    fn print(&self, name: &str) -> Option<Tree> {
        let second = self.second.as_ref().filter(|_| name == HTTP).map(|second| HttpCheck::KEYS.print(second));
        if self.kind.name() == name { Some(self.kind.print()) } else { second }
    }
}

/// The kind that may stand beside another.
pub(super) const HTTP: &str = "http";

/// A check, with the two numbers that belong to the decision.
pub(super) struct Check {
    pub(super) config: CheckConfig,
    pub(super) rise: u32,
    pub(super) fall: u32,
}

impl Check {
    /// The default TCP check.
    pub(super) fn plain() -> Self {
        let config = CheckConfig {
            kind: CheckKind::Tcp(TcpCheck),
            second: None,
            interval: Duration::from_secs(1),
            fast_interval: Duration::from_millis(100),
            timeout: Duration::from_secs(1),
            fresh_login: Duration::from_secs(5),
            // Follows from the listeners of the pool.
            proxy_header: None,
        };
        let Policy { rise, fall, .. } = Policy::default();
        Self { config, rise, fall }
    }
}

const PAUSE: RangeInclusive<Duration> = MILLISECOND..=DAY;
const STREAK: RangeInclusive<u32> = 1..=100;

/// The keys of `check`.
pub(super) const CHECK_KEYS: KnownKeys =
    KnownKeys { known: &names::<_, { KINDS.rows().len() + CHECK.rows().len() }>(&[KINDS.rows(), CHECK.rows()]), planned: &[] };

table! {
    /// What every check has.
    CHECK: Check;
    "interval": custom(
        |_| durations(&PAUSE), "",
        |field, check| {
            set(&mut check.config.interval, field.duration(PAUSE));
            check.config.fast_interval = check.config.interval.min(check.config.fast_interval);
        },
        |check| Some(duration(check.config.interval))
    ) is shape::number::duration(&PAUSE), "Between two checks of a backend.";
    "fast_interval": duration(config.fast_interval, PAUSE), "The same while a verdict is pending; never longer than `interval`.";
    "timeout": duration(config.timeout, PAUSE), "Deadline of a whole check, from the connect to the answer.";
    "fall": count(fall, STREAK), "Failures in a row until a backend is down.";
    "rise": count(rise, STREAK), "Successes in a row until it is up again.";
    "fresh_login": duration(config.fresh_login, PAUSE) if |check| check.config.kind.logs_in(),
        "Besides the standing session, a whole new login this often.";
}

/// `check` of a pool.
pub(super) fn print(check: &Check) -> Tree {
    Tree::Map(KINDS.entries(check).chain(CHECK.entries(check)).collect())
}

/// Which keys of `check` go together.
const RULES: &[Rule] = &[
    Rule::Other(Scope::Everywhere, || Rule::at_most_one(CheckKind::NAMES.iter().copied().filter(|name| *name != HTTP))),
    Rule::Other(Scope::Everywhere, || {
        let with_login: Vec<&str> = CheckKind::with_login().collect();
        Rule::excludes("fresh_login", CheckKind::NAMES.iter().copied().filter(|name| !with_login.contains(name)))
    }),
    Rule::Other(Scope::AboveDefaults, || {
        let sections = CheckKind::with_section().map(|name| (name.to_owned(), json!({"not": {"type": "null"}})));
        let sections: Map<String, Json> = sections.collect();
        json!({"not": {"enum": CheckKind::with_section().collect::<Vec<_>>()}, "properties": sections})
    }),
    Rule::Other(Scope::Pool, || shape::any_of(CheckKind::NAMES.iter().map(|name| json!({"required": [name]})))),
];

/// `check` in the schema.
pub(super) fn schema() -> Json {
    let plain = Check::plain();
    let properties = KINDS.properties(&plain).into_iter().chain(CHECK.properties(&plain)).collect();
    shape::map_or_words(shape::map(properties, &[], RULES), CheckKind::NAMES)
}

/// The rows of `check` in the reference.
pub(super) fn reference() -> Vec<Row> {
    let plain = Check::plain();
    [KINDS.reference(&plain), CHECK.reference(&plain)].concat()
}
