//! The tables of docs/configuration.md.

use super::{
    check,
    guard::{self, GUARD, PROOF, Written},
    listener::{self, KEEPALIVE, LISTENER},
    notify::{self, PAGER_DUTY, RECEIVER, SLACK, WEBHOOK},
    pool,
    process::{ADMIN, Config, FILE, LOG, METRICS, RELOAD, SHUTDOWN},
    promotion::{self, DEMOTE, FENCE, ON_UNPROVEN, PROMOTION, REJOIN, SWITCHOVER, plain_hook},
    proxy_protocol::{PROXY_PROTOCOL, ProxyProtocolConfig, ProxySend},
    table::Row,
};
use crate::net::socket::Keepalive;

/// Every section that is a table, with its title in the reference.
pub fn reference() -> Vec<(&'static str, Vec<Row>)> {
    let plain = Config::plain();
    let pool = pool::plain();
    let no_header = ProxyProtocolConfig { accept_from: Vec::new(), send: ProxySend::Off };
    let mut sections = vec![
        ("The file", FILE.reference(&plain)),
        ("`admin`", ADMIN.reference(&plain.admin)),
        ("`log`", LOG.reference(&plain.log)),
        ("`metrics`", METRICS.reference(&plain.metrics)),
        ("`reload`", RELOAD.reference(&plain.reload)),
        ("`shutdown`", SHUTDOWN.reference(&plain.shutdown)),
        ("`notify[]`", RECEIVER.reference(&notify::plain())),
        ("`slack`", SLACK.reference(&super::Slack::default())),
        ("`pagerduty`", PAGER_DUTY.reference(&super::PagerDuty::default())),
        ("`webhook`", WEBHOOK.reference(&super::Webhook::default())),
        ("`pools[]`", pool::OWN.reference(&pool)),
        ("`pools[]` and `defaults`", pool::SHARED.reference(&pool)),
        ("`hold`", pool::HOLD.reference(&pool.hold)),
        ("`connect_ramp`", pool::RAMP.reference(&pool.connect_ramp)),
        ("`failover_budget`", pool::BUDGET.reference(&pool.policy)),
        ("`switchover`", SWITCHOVER.reference(&pool.switchover)),
        ("`promotion`", PROMOTION.reference(&pool.promotion)),
        ("`demote`", DEMOTE.reference(&plain_hook(promotion::DEMOTE_TIMEOUT))),
        ("`fence`", FENCE.reference(&plain_hook(promotion::FENCE_TIMEOUT))),
        ("`rejoin`", REJOIN.reference(&plain_hook(promotion::REJOIN_TIMEOUT))),
        ("`guard`", GUARD.reference(&guard::plain())),
        ("`proofs`", PROOF.reference(&Written::plain())),
        ("`on_unproven`", ON_UNPROVEN.reference(&plain_hook(promotion::ON_UNPROVEN_TIMEOUT))),
        ("`backends[]`", pool::BACKEND.reference(&pool::BackendLimits::default())),
        ("`listeners[]`", LISTENER.reference(&listener::plain())),
        ("`proxy_protocol`", PROXY_PROTOCOL.reference(&no_header)),
        ("`keepalive`", KEEPALIVE.reference(&Keepalive::default())),
        ("`check`", check::reference()),
    ];
    sections.extend(check::references());
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section of the page as the table of keys has it.
    fn section(title: &str, rows: &[Row]) -> String {
        let line = |row: &Row| format!("| `{}` | {} | {} | {} |\n", row.key, row.values, row.default, row.meaning);
        let lines: String = rows.iter().map(line).collect();
        format!("## {title}\n\n| key | values | default | meaning |\n|---|---|---|---|\n{lines}")
    }

    #[test]
    fn the_page_has_every_key_as_the_tables_have_it() {
        let page = include_str!("../../docs/configuration.md");
        let tables: Vec<String> = reference().iter().map(|(title, rows)| section(title, rows)).collect();
        let missing: Vec<&str> = tables.iter().filter(|table| !page.contains(*table)).map(String::as_str).collect();
        assert!(missing.is_empty(), "docs/configuration.md must hold:\n\n{}", missing.join("\n"));
        let rows = |text: &str| text.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows(page), tables.iter().map(|table| rows(table)).sum::<usize>(), "a key on the page is no key");
    }
}
