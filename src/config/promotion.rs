//! How another node becomes the primary: `promotion` and `switchover` of a pool.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{
    check::{exec, exec::Word},
    raw::{
        node::Value,
        quantity::{DAY, MILLISECOND, SECOND},
        reader::{Field, KnownKeys},
    },
    shape::{
        self,
        rule::{Rule, Scope},
    },
    table::{Table, schema_of, set, table},
    tree::{Tree, size, text},
};

/// How a node is promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromotionConfig {
    /// By whom.
    pub how: PromotionHow,
    /// Also when the primary has died.
    pub automatic: bool,
    /// A person has written that no other mainstay promotes in this pool.
    pub single: bool,
    /// Automatic only after the pool had no active backend for this long.
    pub after: Duration,
    /// How many bytes a candidate may lack of what the dead primary was last seen to have.
    pub max_lag: u64,
    /// Stops the old primary in order.
    pub demote: Option<HookConfig>,
    /// Makes sure that the dead primary cannot write.
    pub fence: Option<HookConfig>,
    /// Makes the old primary a standby again.
    pub rejoin: Option<HookConfig>,
}

/// By whom a node is promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromotionHow {
    /// By nobody: mainstay follows the promotions of others.
    None,
    /// By mainstay, in the database's own words, over the check's login.
    Sql,
    /// By Patroni, over its API.
    Patroni,
    /// By a command: the program, by an absolute path, and its arguments.
    Exec(Vec<Word>),
}

/// A command of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConfig {
    /// The program, by an absolute path, and its arguments.
    pub command: Vec<Word>,
    /// It is killed after this long.
    pub timeout: Duration,
    /// Nothing is promoted when it fails.
    pub required: bool,
}

/// How clients are moved to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchoverConfig {
    /// How long sessions may go on to the end of their transactions; zero is for ever.
    pub drain_timeout: Duration,
    /// How long the old node may take to stop and the new one to be promoted.
    pub timeout: Duration,
}

const HOW: &str = "`none`, `sql`, `patroni` or {exec: [/usr/local/bin/promote]}";
const EXEC_KEYS: KnownKeys = KnownKeys { known: &["exec"], planned: &[] };

/// A hook of which nothing is written, with this time.
pub(super) const fn plain_hook(timeout: Duration) -> HookConfig {
    HookConfig { command: Vec::new(), timeout, required: true }
}

pub(super) const DEMOTE_TIMEOUT: Duration = Duration::from_mins(1);
pub(super) const FENCE_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const REJOIN_TIMEOUT: Duration = Duration::from_mins(10);
pub(super) const ON_UNPROVEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Nothing is promoted.
pub(super) const fn plain() -> PromotionConfig {
    PromotionConfig {
        how: PromotionHow::None,
        automatic: false,
        single: false,
        after: Duration::from_secs(3),
        max_lag: 0,
        demote: None,
        fence: None,
        rejoin: None,
    }
}

pub(super) const fn plain_switchover() -> SwitchoverConfig {
    SwitchoverConfig { drain_timeout: SECOND, timeout: Duration::from_secs(5) }
}

/// What a section that promotes must say.
const RULES: &[Rule] = &[
    Rule::Other(
        Scope::Pool,
        || json!({"dependencies": {"automatic": ["how"], "demote": ["how"], "fence": ["how"], "rejoin": ["how"]}}),
    ),
    Rule::Other(Scope::Pool, || {
        let (somebody, single) = (json!({"not": {"enum": ["none", "patroni"]}}), json!({"not": {"enum": [false, "false"]}}));
        let then = json!({"required": ["single"], "properties": {"how": somebody, "single": single}});
        shape::rule::when("automatic", &json!(true), &then)
    }),
];

fn how_shape() -> Json {
    shape::map_or_words(
        shape::map_of("exec", "What to run, without a shell.", shape::program(1..=exec::MAX_WORDS)),
        &["none", "sql", "patroni"],
    )
}

table! {
    PROMOTION: PromotionConfig, rules RULES;
    "how": custom(
        |_| HOW.into(), "none",
        |field, promotion| set(&mut promotion.how, how(field)),
        |promotion| Some(match &promotion.how {
            PromotionHow::None => text(&"none"),
            PromotionHow::Sql => text(&"sql"),
            PromotionHow::Patroni => text(&"patroni"),
            PromotionHow::Exec(command) => Tree::Map(vec![("exec", command.iter().map(exec::shown).collect())]),
        })
    ) is how_shape(),
        "Who promotes a node: nobody here, mainstay over the check's login, Patroni, or a command; see [promotion.md](promotion.md).";
    "automatic": flag(automatic), "Promote also when the primary has died; needs `single: true`.";
    "single": flag(single), "With `true` you say that no other mainstay promotes in this pool.";
    "after": duration(after, SECOND..=DAY), "Automatic only after the pool had no active backend for this long.";
    "max_lag": custom(
        |_| "a size such as 16MiB".into(), "0B",
        |field, promotion| set(&mut promotion.max_lag, field.size()),
        |promotion| Some(size(promotion.max_lag))
    ) is shape::number::size(), "What a candidate may lack of what the dead primary was last seen to have.";
    "demote": custom(
        |_| "[a map](#demote)".into(), "none",
        |field, promotion| promotion.demote = hook(field, &DEMOTE, DEMOTE_TIMEOUT),
        |promotion| promotion.demote.as_ref().map(|hook| DEMOTE.print(hook))
    ) is schema_of(&DEMOTE, &plain_hook(DEMOTE_TIMEOUT)), "In a switchover: stops the old primary in order. PostgreSQL needs it.";
    "fence": custom(
        |_| "[a map](#fence)".into(), "none",
        |field, promotion| promotion.fence = hook(field, &FENCE, FENCE_TIMEOUT),
        |promotion| promotion.fence.as_ref().map(|hook| FENCE.print(hook))
    ) is schema_of(&FENCE, &plain_hook(FENCE_TIMEOUT)),
        "In a failover: makes sure that the dead primary cannot write, before another is promoted.";
    "rejoin": custom(
        |_| "[a map](#rejoin)".into(), "none",
        |field, promotion| promotion.rejoin = hook(field, &REJOIN, REJOIN_TIMEOUT),
        |promotion| promotion.rejoin.as_ref().map(|hook| REJOIN.print(hook))
    ) is schema_of(&REJOIN, &plain_hook(REJOIN_TIMEOUT)), "Afterwards: makes the old primary a standby again.";
}

macro_rules! hook_tables {
    ($($name:ident { $($required:tt)* })+) => {
        $(table! {
            $name: HookConfig;
            "exec": custom(
                |_| "a list: the program by its absolute path, and its arguments".into(), "required",
                |field, hook| hook.command = hook_argv(field),
                |hook| Some(hook.command.iter().map(exec::shown).collect())
            ) is shape::program(1..=exec::MAX_WORDS), "What to run, without a shell.";
            "timeout": duration(timeout, MILLISECOND..=DAY), "It is killed after this long, with its children.";
            $($required)*
        })+
    };
}
hook_tables! {
    DEMOTE {}
    FENCE { "required": flag(required), "With `true` nothing is promoted when it fails."; }
    REJOIN {}
    ON_UNPROVEN {}
}

table! {
    SWITCHOVER: SwitchoverConfig;
    "drain_timeout": duration(drain_timeout, Duration::ZERO..=DAY),
        "Sessions may finish their transactions for this long; `0s` is for ever.";
    "timeout": duration(timeout, MILLISECOND..=DAY), "The old node may take this long to stop, and the new one to be promoted.";
}

fn how(field: Field<'_>) -> Option<PromotionHow> {
    if let Value::Map(_) = field.value() {
        let command = field.map(EXEC_KEYS)?.require("exec", "[/usr/local/bin/promote]").map(hook_argv)?;
        return Some(PromotionHow::Exec(command));
    }
    match field.scalar(HOW)?.text.as_str() {
        "none" => Some(PromotionHow::None),
        "sql" => Some(PromotionHow::Sql),
        "patroni" => Some(PromotionHow::Patroni),
        "exec" => field.wrong(HOW, Some("a command is a map: {exec: [/usr/local/bin/promote]}".into())),
        _ => field.wrong(HOW, None),
    }
}

pub(super) fn hook(field: Field<'_>, keys: &Table<HookConfig>, timeout: Duration) -> Option<HookConfig> {
    if matches!(field.value(), Value::List(_)) {
        let key = field.path().leaf();
        return field.wrong("a map (key: value)", Some(format!("write `{key}: {{exec: [/usr/local/bin/{key}]}}`")));
    }
    let section = field.map(keys.keys())?;
    section.require("exec", "[/usr/local/bin/the-hook, --quick]")?;
    let mut hook = plain_hook(timeout);
    keys.read(section, &mut hook);
    Some(hook)
}

fn hook_argv(field: Field<'_>) -> Vec<Word> {
    argv(field, "hook", "until then nothing that needs it is promoted")
}

/// The words of a hook or the like. A missing program is only a warning.
pub(super) fn argv(field: Field<'_>, what: &str, until_then: &str) -> Vec<Word> {
    let words = exec::words(field);
    let Some(program) = words.first().map(Word::expose) else { return words };
    if !program.starts_with('/') {
        field.error(
            format!("the program of a {what} must be given by its absolute path"),
            "no shell runs it and no PATH is searched; write for example [/usr/local/bin/fence, --now]",
        );
    } else if let Some(fault) = exec::fault(program) {
        field.warning(format!("this {what} cannot be run: {fault}"), format!("{until_then} (chmod +x makes a file executable)"));
    }
    words
}
