//! `check`: which kind, and what holds for every kind.

use std::time::Duration;

use crate::config::{
    check::{CHECK, CHECK_KEYS, Check, CheckConfig, CheckKind, HTTP, HttpCheck, kind::KindKeys as _},
    findings::nearest,
    raw::{
        node::Value,
        quantity::format_duration,
        reader::{Field, Section, one_of},
    },
};

/// Whether a check must be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Part of `defaults`: the kind may be missing.
    Defaults,
    Pool,
}

pub(super) fn check(pool: Section<'_>, scope: Scope) -> Check {
    let mut check = Check::plain();
    let Some(field) = pool.get("check") else { return check };
    let section = match field.value() {
        Value::Map(_) => field.map(CHECK_KEYS).inspect(|section| kinds(*section, scope, &mut check.config)),
        _ => word(field, &mut check.config),
    };
    if let Some(section) = section {
        CHECK.read(section, &mut check);
        check_times(section, &check.config);
    }
    check
}

fn check_times(section: Section<'_>, config: &CheckConfig) {
    let show = format_duration;
    if let Some(field) = section.get("fast_interval").filter(|_| config.fast_interval > config.interval) {
        field.error(
            format!("`fast_interval` is longer than `interval` ({})", show(config.interval)),
            "it is the interval while a change of health is pending; make it shorter, or remove it",
        );
    }
    let without_login = |name: &&&str| CheckKind::with_login().all(|other| other != **name);
    let without = CheckKind::NAMES.iter().filter(without_login).find(|name| section.own(name).is_some());
    if let Some((field, name)) = section.own("fresh_login").zip(without) {
        let article = if *name == "tcp" { "a" } else { "an" };
        let message = format!("`fresh_login` cannot be combined with {article} {name} check, which has no login");
        field.error(message, "remove the key, or use `postgres`");
    }
    let sluggish = config.timeout > 10 * config.interval.max(Duration::from_millis(100));
    if let Some(field) = section.get("timeout").filter(|_| sluggish) {
        field.warning(
            format!("`timeout` is more than ten times `interval` ({})", show(config.interval)),
            "a backend that hangs is detected only after `fall` times `timeout`; a second is usual",
        );
    }
}

/// `check: postgres`; the rest may stand in `defaults`.
fn word<'a>(field: Field<'a>, config: &mut CheckConfig) -> Option<Section<'a>> {
    let section = field.beneath().filter(|under| matches!(under.value(), Value::Map(_))).and_then(|under| under.map(CHECK_KEYS));
    if let Some(name) = name(field) {
        config.kind = CheckKind::read(name, section.and_then(|section| section.own(name)), field);
    } else {
        let wanted = one_of(CheckKind::NAMES);
        let meant = field.scalar(&wanted).and_then(|scalar| nearest(&scalar.text, CheckKind::NAMES.iter().copied()));
        field.wrong::<()>(&wanted, meant.map(|kind| format!("did you mean `{kind}`?")));
    }
    section
}

/// The kind that a word names.
fn name(field: Field<'_>) -> Option<&'static str> {
    CheckKind::NAMES.iter().copied().find(|kind| field.is_word(kind))
}

/// The kind in a map, and `http` beside it: its own, else those of `defaults`.
fn kinds(section: Section<'_>, scope: Scope, config: &mut CheckConfig) {
    let field = section.field();
    let own: Vec<&str> = CheckKind::NAMES.iter().copied().filter(|kind| section.own(kind).is_some()).collect();
    let direct: Vec<&str> = own.iter().copied().filter(|kind| *kind != HTTP).collect();
    if let [first, second, ..] = direct[..] {
        field.error("a check can have one kind only", format!("keep one of `{first}` and `{second}`"));
    }
    if !own.is_empty() {
        return pair(section, &own, config);
    }
    if let Some(name) = field.beneath().and_then(name) {
        config.kind = CheckKind::read(name, None, field);
        return;
    }
    let inherited: Vec<&str> = CheckKind::NAMES.iter().copied().filter(|kind| section.get(kind).is_some()).collect();
    if inherited.is_empty() && scope == Scope::Pool {
        field.error(
            "the check does not say which kind it is",
            "add `tcp: {}`, `postgres: {}`, `mysql: {}`, `redis: {}` or `http: {}`",
        );
    }
    pair(section, &inherited, config);
}

/// `http` is a check of its own when it stands alone, and a second opinion beside another kind.
fn pair(section: Section<'_>, names: &[&str], config: &mut CheckConfig) {
    let field = section.field();
    let direct = names.iter().rfind(|name| **name != HTTP);
    if let Some(name) = direct.or(names.first()) {
        config.kind = CheckKind::read(name, section.get(name), field);
    }
    config.second = (direct.is_some() && names.contains(&HTTP)).then(|| HttpCheck::read(section.get(HTTP), field));
}
