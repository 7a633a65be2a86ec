//! `promotion`: what does not go together.

use super::check::Scope;
use crate::config::{
    check::{CheckConfig, CheckKind},
    promotion::{PROMOTION, PromotionConfig, PromotionHow, plain},
    raw::reader::{Field, Section},
};

/// `promotion` of a pool, whose check is `check`.
pub(super) fn promotion(pool: Section<'_>, check: &CheckConfig, scope: Scope) -> PromotionConfig {
    let mut promotion = plain();
    let Some(section) = pool.get("promotion").and_then(|field| field.map(PROMOTION.keys())) else { return promotion };
    PROMOTION.read(section, &mut promotion);
    if scope == Scope::Pool {
        // `defaults` are for other pools as well: then the pool itself is to blame.
        let place = |key: &str| section.own(key).filter(|_| pool.own("promotion").is_some()).unwrap_or_else(|| pool.field());
        if let Some((field, (message, help))) = place_of_how(section, &place).zip(unfit(&promotion.how, check)) {
            field.error(message, help);
        }
        unserved(section, &promotion, &place);
        automatic(&promotion, &place);
        if promotion.max_lag > 0 && matches!(check.kind, CheckKind::Mysql(_)) {
            place("max_lag").error(
                "`max_lag` of a promotion counts bytes, and MariaDB and MySQL number transactions: no size can be compared with them",
                "remove the key; a candidate must then have every transaction that the dead primary was seen to have",
            );
        }
        without_effect(section, &promotion, check);
    }
    promotion
}

fn place_of_how<'a>(section: Section<'a>, place: &impl Fn(&str) -> Field<'a>) -> Option<Field<'a>> {
    section.get("how").map(|_| place("how"))
}

/// Why a pool with this check cannot be promoted in this way, and what to write.
fn unfit(how: &PromotionHow, check: &CheckConfig) -> Option<(String, &'static str)> {
    let has_http = check.second.is_some() || matches!(check.kind, CheckKind::Http(_));
    match (how, &check.kind) {
        (PromotionHow::Sql, CheckKind::Redis(redis)) if redis.sentinels.is_some() => Some((
            "`how: sql` cannot be combined with `sentinels`: they promote by themselves".into(),
            "let them, and remove `how`; or write {exec: […]} with a command that sends SENTINEL FAILOVER",
        )),
        (PromotionHow::Sql, CheckKind::Postgres(_) | CheckKind::Mysql(_) | CheckKind::Redis(_)) => None,
        (PromotionHow::Sql, kind) => Some((
            format!("`how: sql` needs a check that logs in to the database; `{}` does not", kind.name()),
            "write `check: postgres`, `mysql` or `redis`, or promote by a command: how: {exec: [/usr/local/bin/promote]}",
        )),
        (PromotionHow::Patroni, _) if !has_http => Some((
            "`how: patroni` needs Patroni's API, and this pool has no `http` check".into(),
            "write for example check: {postgres: {user: postgres}, http: {port: 8008}}",
        )),
        _ => None,
    }
}

/// A section that promotes nothing, although more than `how` is written.
fn unserved<'a>(section: Section<'a>, promotion: &PromotionConfig, place: &impl Fn(&str) -> Field<'a>) {
    let written = ["automatic", "demote", "fence", "rejoin"].into_iter().find(|key| section.get(key).is_some());
    if let Some(key) = written.filter(|_| section.get("how").is_none()) {
        place(key).error(
            format!("`{key}` is written, but not who promotes: `how` is missing"),
            "add `how: sql`, `how: patroni` or `how: {exec: […]}`; or `how: none` to keep the rest for later",
        );
    } else if promotion.automatic && promotion.how == PromotionHow::None {
        place("automatic").error(
            "`automatic: true` needs somebody who promotes: `how` is `none`",
            "write `how: sql` or `how: {exec: […]}`, or `automatic: false`",
        );
    }
}

fn automatic<'a>(promotion: &PromotionConfig, place: &impl Fn(&str) -> Field<'a>) {
    if !promotion.automatic || promotion.how == PromotionHow::None {
        return;
    }
    if promotion.how == PromotionHow::Patroni {
        place("automatic").error(
            "`automatic: true` cannot be combined with `how: patroni`: Patroni promotes by itself when the primary has died",
            "remove `automatic`; mainstay follows Patroni, and asks it for switchovers",
        );
        return;
    }
    if !promotion.single {
        place("automatic").error(
            "`automatic: true` needs `single: true`: two mainstays that promote could make two primaries",
            "write `single: true` if no other mainstay promotes in this pool, or `automatic: false`",
        );
    }
    if promotion.fence.is_none() {
        place("automatic").warning(
            "without `fence` a primary that has only gone silent is never replaced: it may still take writes",
            "add a `fence` that powers it off; without one, mainstay promotes only when its host refuses connections",
        );
    }
}

fn without_effect(section: Section<'_>, promotion: &PromotionConfig, check: &CheckConfig) {
    let stops_by_itself = match (&promotion.how, &check.kind) {
        (PromotionHow::Sql, CheckKind::Mysql(_)) => "`read_only` is set over the check's login",
        (PromotionHow::Sql, CheckKind::Redis(_)) => "`FAILOVER` does both",
        (PromotionHow::Patroni, _) => "Patroni stops the old primary itself",
        _ => return,
    };
    if let Some(field) = section.own("demote") {
        field.warning(format!("`demote` has no effect here: {stops_by_itself}"), "remove the key");
    }
}
