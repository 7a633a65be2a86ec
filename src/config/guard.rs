//! `guard` of a pool: what a backend that has changed must prove before it serves.

use std::{fmt, time::Duration};

use super::{
    check::{CheckKind, exec, exec::Word},
    promotion::{HookConfig, ON_UNPROVEN, ON_UNPROVEN_TIMEOUT, argv, hook, plain_hook},
    raw::{
        node::Value,
        quantity::{DAY, MILLISECOND, parse_count},
        reader::Field,
    },
    shape::{self, rule::Rule},
    table::{schema_of, set, table},
    tree::{Tree, text},
};
use crate::{
    failover::{Guard, GuardMode, LastResort, label::Label as _},
    labels,
};

labels! {
    /// What follows the proofs.
    #[derive(Default)]
    pub enum Approval {
        /// A backend whose proofs hold, and that has lasted, is proven.
        #[default]
        Automatic = "automatic",
        /// A person has to approve it.
        Manual = "manual",
    }
}

labels! {
    /// What follows from an active backend that accepts logins and cannot commit.
    #[derive(Default)]
    pub enum OnCommitStuck {
        /// It is told.
        #[default]
        Warn = "warn",
        /// It is down.
        Failover = "failover",
    }
}

labels! {
    /// How the rows of two answers are compared.
    #[derive(Default)]
    pub enum RowOrder {
        /// Whatever their order: the same rows, each as often.
        #[default]
        Set = "set",
        /// In their order.
        List = "list",
    }
}

labels! {
    /// A proof that needs no configuration. Its name is taken.
    pub enum BuiltIn {
        /// A standby receives what its primary writes.
        Replication = "replication",
        /// The collations that a database records are those of the operating system.
        Collations = "collations",
        /// The files of the installed extensions are on disk, in the installed version.
        Extensions = "extensions",
        /// No setting waits for a restart, and none would be lost by one.
        PendingRestart = "pending_restart",
        /// The configuration file has no error, so that the next restart would succeed.
        ConfigFile = "config_file",
        /// The file of client authentication has no error.
        HbaFile = "hba_file",
        /// It has room for the sessions of the active one.
        MaxConnections = "max_connections",
        /// A primary is not newer than its standbys.
        VersionOrder = "version_order",
        /// Its probes are not much slower than those of the active one.
        ProbeLatency = "probe_latency",
        /// It has loaded its data, and its last attempt to save them succeeded.
        Persistence = "persistence",
        /// It has memory for the data of the active one.
        Memory = "memory",
    }
}

/// What a backend that has changed must prove before it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// What follows from one that has not proven itself.
    pub mode: GuardMode,
    /// Settings that may change without a proof.
    pub ignore: Vec<String>,
    /// It must be up, replicate and have no failed probe for this long.
    pub soak: Duration,
    /// What follows the proofs.
    pub approve: Approval,
    /// When only unproven ones are left.
    pub last_resort: LastResort,
    /// Of a hundred new sessions of a replica listener, how many a proving backend gets.
    pub canary: u32,
    /// Further proofs, in order.
    pub proofs: Vec<ProofConfig>,
    /// Run when a backend becomes unproven.
    pub on_unproven: Option<HookConfig>,
    /// When the active one cannot commit.
    pub on_commit_stuck: OnCommitStuck,
}

/// A proof of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofConfig {
    /// Its name, unique in the pool.
    pub name: String,
    /// How it is asked.
    pub how: ProofHow,
    /// A query, or the command, may take this long.
    pub timeout: Duration,
}

/// How a proof is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofHow {
    /// By a query.
    Sql(SqlProof),
    /// By a command: the program, by an absolute path, and its arguments.
    Exec(Vec<Word>),
}

/// A query that must succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlProof {
    /// One query. It cannot write.
    pub sql: String,
    /// How its answer is compared with that of the active backend; `None`: it is not.
    pub same_as_active: Option<RowOrder>,
    /// How much slower than on the active one it may be.
    pub slower_at_most: Option<Slowdown>,
}

/// A factor, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slowdown(u32);

impl Slowdown {
    const LEAST: Self = Self(110);
    const MOST: Self = Self(10_000);

    fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('x')?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let hundredths = match fraction.len() {
            1 => parse_digits(fraction)? * 10,
            2 => parse_digits(fraction)?,
            _ => return None,
        };
        let whole = u32::try_from(parse_count(whole).ok()?).ok()?;
        whole.checked_mul(100)?.checked_add(hundredths).map(Self)
    }

    /// So many times `time`.
    pub fn of(self, time: Duration) -> Duration {
        time * self.0 / 100
    }
}

fn parse_digits(digits: &str) -> Option<u32> {
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

impl fmt::Display for Slowdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, hundredths) = (self.0 / 100, self.0 % 100);
        match (hundredths, hundredths % 10) {
            (0, _) => write!(f, "{whole}x"),
            (_, 0) => write!(f, "{whole}.{}x", hundredths / 10),
            _ => write!(f, "{whole}.{hundredths:02}x"),
        }
    }
}

/// Whether mainstay can read what a server is made of.
pub const fn has_print(kind: &CheckKind) -> bool {
    matches!(kind, CheckKind::Postgres(_) | CheckKind::Mysql(_) | CheckKind::Redis(_))
}

/// The rules for the core.
pub fn core_guard(guard: &GuardConfig) -> Guard {
    Guard { mode: guard.mode, last_resort: guard.last_resort, canary: guard.canary > 0, ..Guard::default() }
}

pub(super) const fn plain() -> GuardConfig {
    GuardConfig {
        mode: GuardMode::Warn,
        ignore: Vec::new(),
        soak: Duration::from_mins(10),
        approve: Approval::Automatic,
        last_resort: LastResort::Serve,
        canary: 5,
        proofs: Vec::new(),
        on_unproven: None,
        on_commit_stuck: OnCommitStuck::Warn,
    }
}

const SQL_TIMEOUT: Duration = Duration::from_secs(10);
const EXEC_TIMEOUT: Duration = Duration::from_mins(1);
/// Bytes of a query.
pub(super) const MAX_SQL: usize = 64 * 1024;
pub(super) const MAX_PROOFS: usize = 100;
const MAX_IGNORED: usize = 1000;
/// How a query begins.
const QUERIES: [&str; 4] = ["SELECT", "WITH", "VALUES", "TABLE"];
const PERCENTAGE: &str = "a percentage from 1% to 100%, or `off`";
const SLOWDOWN: &str = "a factor from 1.1x to 100x, such as 2x";

table! {
    GUARD: GuardConfig;
    "mode": word(mode), "A backend that has changed and not proven itself: not looked for, told, or kept from serving.";
    "ignore": custom(
        |_| "a list of settings, such as [work_mem]".into(), "none",
        |field, guard| guard.ignore = ignored(field),
        |guard| (!guard.ignore.is_empty()).then(|| guard.ignore.iter().map(|name| text(name)).collect())
    ) is shape::list(shape::text(), MAX_IGNORED), "They may change without a proof.";
    "soak": duration(soak, Duration::ZERO..=DAY), "A backend that has changed must be up, replicate and have no failed probe for this long.";
    "approve": word(approve), "After that it is proven by itself, or a person says so with `mainstay approve`.";
    "last_resort": word(last_resort), "With `enforce`, when only backends that have not proven themselves are left.";
    "canary": custom(
        |_| PERCENTAGE.into(), "",
        |field, guard| set(&mut guard.canary, percentage(field)),
        |guard| Some(if guard.canary == 0 { text(&"off") } else { Tree::Text(format!("{}%", guard.canary)) })
    ) is shape::or_words(shape::matching("100%|[1-9][0-9]?%"), &["off"]),
        "With `enforce`: the share of a replica listener's new sessions for a backend that proves itself.";
    "proofs": elsewhere("a list of [maps](#proofs)", "none", |guard| {
        (!guard.proofs.is_empty()).then(|| guard.proofs.iter().map(|proof| PROOF.print(&Written::from(proof))).collect())
    }) is shape::list(schema_of(&PROOF, &Written::plain()), MAX_PROOFS),
        "What must hold of it, besides the built-in proofs; see [proofs.md](proofs.md).";
    "on_unproven": custom(
        |_| "[a map](#on_unproven)".into(), "none",
        |field, guard| guard.on_unproven = hook(field, &ON_UNPROVEN, ON_UNPROVEN_TIMEOUT),
        |guard| guard.on_unproven.as_ref().map(|hook| ON_UNPROVEN.print(hook))
    ) is schema_of(&ON_UNPROVEN, &plain_hook(ON_UNPROVEN_TIMEOUT)),
        "Run for a backend that has changed: tells the promoter not to choose it.";
    "on_commit_stuck": word(on_commit_stuck), "The active backend accepts logins and cannot commit: that is told, or it is down.";
}

/// A proof as it is written.
pub(super) struct Written {
    pub(super) name: String,
    pub(super) sql: Option<String>,
    pub(super) exec: Option<Vec<Word>>,
    pub(super) same_as_active: bool,
    pub(super) order: RowOrder,
    pub(super) slower_at_most: Option<Slowdown>,
    pub(super) timeout: Option<Duration>,
}

impl Written {
    /// A proof of which nothing is said.
    pub(super) const fn plain() -> Self {
        Self {
            name: String::new(),
            sql: None,
            exec: None,
            same_as_active: false,
            order: RowOrder::Set,
            slower_at_most: None,
            timeout: None,
        }
    }

    /// The proof, if it is one.
    pub(super) fn into_proof(self) -> Option<ProofConfig> {
        let (how, default) = match (self.sql, self.exec) {
            (Some(sql), None) => {
                let same_as_active = self.same_as_active.then_some(self.order);
                (ProofHow::Sql(SqlProof { sql, same_as_active, slower_at_most: self.slower_at_most }), SQL_TIMEOUT)
            }
            (None, Some(command)) => (ProofHow::Exec(command), EXEC_TIMEOUT),
            _ => return None,
        };
        Some(ProofConfig { name: self.name, how, timeout: self.timeout.unwrap_or(default) })
    }
}

impl From<&ProofConfig> for Written {
    fn from(proof: &ProofConfig) -> Self {
        let written = Self { name: proof.name.clone(), timeout: Some(proof.timeout), ..Self::plain() };
        match &proof.how {
            ProofHow::Exec(command) => Self { exec: Some(command.clone()), ..written },
            ProofHow::Sql(SqlProof { sql, same_as_active, slower_at_most }) => Self {
                sql: Some(sql.clone()),
                same_as_active: same_as_active.is_some(),
                order: same_as_active.unwrap_or_default(),
                slower_at_most: *slower_at_most,
                ..written
            },
        }
    }
}

table! {
    PROOF: Written, rules &[
        Rule::OneOf(&["sql", "exec"]),
        Rule::Excludes("exec", &["same_as", "order", "slower_at_most"]),
        Rule::Needs("order", &["same_as"]),
    ];
    "name": elsewhere("letters, digits, `.`, `_` and `-`, at most 63", "required", |proof| Some(text(&proof.name))) is shape::name(),
        "Its name in the status and in metrics.";
    "sql": custom(
        |_| "one query; write this or `exec`".into(), "none",
        |field, proof| proof.sql = query(field),
        |proof| proof.sql.as_ref().map(|sql| text(sql))
    ) is shape::beginning_with(&QUERIES), "It must succeed, in a transaction that cannot write.";
    "same_as": custom(
        |_| "`active`".into(), "none",
        |field, proof| proof.same_as_active = field.is_word("active") || field.wrong::<()>("`active`", None).is_some(),
        |proof| proof.same_as_active.then(|| text(&"active"))
    ) is shape::words(&["active"]), "Its answer must be that of the active backend.";
    "order": word(order) if |proof| proof.same_as_active,
        "Compare the rows whatever their order, or in it (then the query needs an ORDER BY).";
    "slower_at_most": custom(
        |_| SLOWDOWN.into(), "none",
        |field, proof| proof.slower_at_most = slowdown(field),
        |proof| proof.slower_at_most.map(|factor| text(&factor))
    ) is shape::matching(r"1\.[1-9][0-9]?x|(?:[2-9]|[1-9][0-9])(?:\.[0-9][0-9]?)?x|100(?:\.00?)?x"),
        "How much slower than on the active one it may be, by the best of five on both.";
    "exec": custom(
        |_| "a list: the program by its absolute path, and its arguments".into(), "none",
        |field, proof| proof.exec = Some(argv(field, "proof", "until then the proof fails")),
        |proof| proof.exec.as_ref().map(|command| command.iter().map(exec::shown).collect())
    ) is shape::program(1..=exec::MAX_WORDS), "A command that must end with exit code 0. It runs without a shell.";
    "timeout": custom(
        |_| super::table::durations(&(MILLISECOND..=DAY)), "10s; 1m for `exec`",
        |field, proof| proof.timeout = field.duration(MILLISECOND..=DAY),
        |proof| proof.timeout.map(super::tree::duration)
    ) is shape::number::duration(&(MILLISECOND..=DAY)), "A query, or the command, may take this long.";
}

fn ignored(field: Field<'_>) -> Vec<String> {
    const WANTED: &str = "a list of names of settings, such as [work_mem]";
    let items = field.list(WANTED, MAX_IGNORED).unwrap_or_default();
    items.into_iter().filter_map(|item| item.text("the name of a setting").map(str::to_owned)).collect()
}

/// Of a hundred.
fn percentage(field: Field<'_>) -> Option<u32> {
    if field.is_word("off") {
        return Some(0);
    }
    let written = &field.scalar(PERCENTAGE)?.text;
    let number = written.strip_suffix('%').map(|number| parse_count(number).map_err(str::to_owned));
    match number {
        Some(Ok(percent @ 1..=100)) => u32::try_from(percent).ok(),
        Some(Ok(_)) => field.wrong(PERCENTAGE, None),
        Some(Err(fault)) => field.wrong(PERCENTAGE, Some(fault)),
        None => field.wrong(PERCENTAGE, Some("the sign % is missing; write for example 5%".into())),
    }
}

fn slowdown(field: Field<'_>) -> Option<Slowdown> {
    let written = &field.scalar(SLOWDOWN)?.text;
    match Slowdown::parse(written) {
        Some(factor) if (Slowdown::LEAST..=Slowdown::MOST).contains(&factor) => Some(factor),
        Some(_) => field.wrong(SLOWDOWN, None),
        None if written.ends_with('%') => field.wrong(SLOWDOWN, Some("a percentage is no factor: 2x is 200%".into())),
        None => field.wrong(SLOWDOWN, Some("write a number with at most two decimals, and x".into())),
    }
}

/// One query. Whether it is one, the server says; what certainly is not, is said here.
fn query(field: Field<'_>) -> Option<String> {
    const WANTED: &str = "a query, such as SELECT count(*) FROM orders";
    if matches!(field.value(), Value::List(_)) {
        return field.wrong(WANTED, Some("write one proof for each query".into()));
    }
    let written = field.text(WANTED)?;
    let sql = written.trim().trim_end_matches(';').trim_end();
    let first = sql.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| !word.is_empty()).unwrap_or_default();
    if sql.len() > MAX_SQL || sql.contains('\0') {
        field.error(format!("a query has at most {MAX_SQL} bytes, and no NUL"), "put it into a view or a function");
        return None;
    }
    if !QUERIES.iter().any(|word| word.eq_ignore_ascii_case(first)) && !sql.starts_with(['(', '-', '/']) {
        let help = "a proof reads; what else it must do, a function that the query calls can do, or a command: exec: […]";
        return field.wrong("a query that begins with SELECT, WITH, VALUES or TABLE", Some(help.into()));
    }
    Some(sql.to_owned())
}

/// Whether a built-in proof has this name.
pub(super) fn is_built_in(name: &str) -> bool {
    BuiltIn::ALL.iter().any(|built_in| built_in.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_comes_back_as_it_was_written() {
        for (text, shown) in [("2x", "2x"), ("1.5x", "1.5x"), ("1.25x", "1.25x"), ("2.0x", "2x"), ("1.05x", "1.05x")] {
            assert_eq!(Slowdown::parse(text).unwrap().to_string(), shown);
        }
        for text in ["2", "x", "", "2.x", ".5x", "2.125x", "-2x", "2 x", "1e3x", "2x3x", "2.+1x", "99999999999x"] {
            assert_eq!(Slowdown::parse(text), None, "{text}");
        }
        assert_eq!(Slowdown::parse("1.5x").unwrap().of(Duration::from_millis(10)), Duration::from_millis(15));
    }

    #[test]
    fn the_page_names_every_built_in_proof() {
        let page = include_str!("../../docs/proofs.md");
        let table = page.split_once("## Built-in proofs").and_then(|(_, rest)| rest.split("\n\nSettings").next()).unwrap();
        let named: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(named, BuiltIn::ALL.iter().map(|proof| proof.as_str()).collect::<Vec<_>>());
    }
}
