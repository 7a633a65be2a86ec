//! `guard`: what does not go together.

use super::{check::Scope, claims::Names};
use crate::config::{
    check::{CheckConfig, CheckKind},
    guard::{
        GUARD, GuardConfig, MAX_PROOFS, OnCommitStuck, PROOF, ProofConfig, ProofHow, Written, has_print, is_built_in, plain,
    },
    raw::reader::{Field, Section},
};
use crate::failover::GuardMode;

/// `guard` of a pool, whose check is `check`.
pub(super) fn guard(pool: Section<'_>, check: &CheckConfig, scope: Scope) -> GuardConfig {
    let mut guard = plain();
    let Some(section) = pool.get("guard").and_then(|field| field.map(GUARD.keys())) else { return guard };
    GUARD.read(section, &mut guard);
    let fields = section.get("proofs").and_then(|field| field.list("a list of proofs", MAX_PROOFS)).unwrap_or_default();
    let mut names = Names::default();
    let mut proofs: Vec<_> = fields.into_iter().filter_map(|field| Some((field, proof(field, &mut names)?))).collect();
    if scope == Scope::Pool {
        // `defaults` are for other pools as well: then the pool itself is to blame.
        let own = |key: &str| section.own(key).filter(|_| pool.own("guard").is_some());
        if has_print(&check.kind) {
            asked(&proofs, check, |field| own("proofs").map_or_else(|| pool.field(), |_| field));
        } else {
            unseen(pool, &guard, check, &own);
            // What `defaults` have for other pools.
            (guard.ignore, guard.on_unproven) = (Vec::new(), None);
            proofs.clear();
        }
    }
    guard.proofs = proofs.into_iter().map(|(_, proof)| proof).collect();
    guard
}

/// Proofs that the check of the pool cannot ask.
fn asked<'a>(proofs: &[(Field<'a>, ProofConfig)], check: &CheckConfig, place: impl Fn(Field<'a>) -> Field<'a>) {
    let CheckKind::Redis(_) = check.kind else { return };
    for (field, proof) in proofs.iter().filter(|(_, proof)| matches!(proof.how, ProofHow::Sql(_))) {
        place(*field).error(
            format!("the proof `{}` is a query, and the check of this pool (redis) cannot ask SQL", proof.name),
            "write a command: {name: smoke, exec: [/etc/mainstay/smoke.sh]}",
        );
    }
}

/// What needs a check that sees what a server is made of, in a pool without one.
fn unseen<'a>(pool: Section<'a>, guard: &GuardConfig, check: &CheckConfig, own: &impl Fn(&str) -> Option<Field<'a>>) {
    let name = check.kind.name();
    let place = |key: &str| own(key).unwrap_or_else(|| pool.field());
    if guard.mode == GuardMode::Enforce {
        place("mode").error(
            format!("`mode: enforce` needs a check that sees when a server has changed; `{name}` does not"),
            "write `check: postgres`, `mysql` or `redis`; or guard: {mode: off} in this pool",
        );
    }
    if guard.on_commit_stuck == OnCommitStuck::Failover {
        place("on_commit_stuck").error(
            format!("`on_commit_stuck: failover` needs a check that can see a commit; `{name}` cannot"),
            "write `check: postgres`, or `on_commit_stuck: warn`",
        );
    }
    let useless = ["proofs", "on_unproven", "ignore"].into_iter().find_map(|key| Some((key, own(key)?)));
    if let Some((key, field)) = useless {
        field.error(
            format!("`{key}` needs a check that sees when a server has changed; `{name}` does not"),
            "write `check: postgres`, `mysql` or `redis`, or remove the key",
        );
    }
}

fn proof(field: Field<'_>, names: &mut Names) -> Option<ProofConfig> {
    let section = field.map(PROOF.keys())?;
    let name = section.require("name", "smoke").and_then(|field| Some((field, names.read(field)?)));
    if let Some((field, name)) = &name
        && is_built_in(name)
    {
        field.error(format!("`{name}` is the name of a built-in proof"), "choose another, such as my_replication");
    }
    let mut written = Written::plain();
    PROOF.read(section, &mut written);
    match (section.get("sql"), section.get("exec")) {
        (None, None) => field.error("a proof needs `sql` or `exec`", "write {name: rows, sql: \"SELECT count(*) FROM orders\"}"),
        (Some(_), Some(exec)) => exec.error("a proof has `sql` or `exec`, not both", "write two proofs"),
        (None, Some(_)) => {
            for field in ["same_as", "order", "slower_at_most"].into_iter().filter_map(|key| section.get(key)) {
                let key = field.path().leaf();
                field.error(
                    format!("`{key}` is for a query: what a command writes is not compared"),
                    format!(
                        "remove `{key}`; the command can compare by itself, it finds the active one in MAINSTAY_PEER_ADDRESS"
                    ),
                );
            }
        }
        (Some(_), None) => {
            if let Some(order) = section.get("order").filter(|_| !written.same_as_active) {
                order.error("`order` says how two answers are compared, and `same_as` is missing", "add `same_as: active`");
            }
        }
    }
    let (_, name) = name?;
    Written { name: name.to_string(), ..written }.into_proof()
}
