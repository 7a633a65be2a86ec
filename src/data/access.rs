//! Access rules of a listener: allowed and denied networks, connections per address, and proxies in front that name the client.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::per_ip::{PerIpLimiter, Permit};
use crate::{
    config::ListenerConfig,
    failover::{Time, label::Label},
    net::cidr::Cidr,
    reason::RejectReason,
};

/// Metadata kept only for clients with a PROXY header or a per-address limit.
#[derive(Debug)]
pub(super) struct ClientMeta {
    /// The address to which the client connected, as the proxy reports it.
    pub(super) server: Option<SocketAddr>,
    /// Its place among the connections of its address, where they are counted.
    pub(super) _permit: Option<Permit>,
}

impl ClientMeta {
    /// `None` when there is nothing to keep.
    pub(super) fn of(server: Option<SocketAddr>, permit: Option<Permit>) -> Option<Box<Self>> {
        (server.is_some() || permit.is_some()).then(|| Box::new(Self { server, _permit: permit }))
    }
}

/// The access rules of a listener.
#[derive(Debug)]
pub(super) struct AccessRules {
    /// Allowed networks; empty allows everybody.
    allow: Vec<Cidr>,
    /// Denied networks.
    deny: Vec<Cidr>,
    /// Proxies that name their clients.
    accept_from: Vec<Cidr>,
    /// `max_connections_per_ip`.
    per_ip: Option<usize>,
    limiter: Arc<PerIpLimiter>,
}

impl AccessRules {
    /// `None` when the listener has no rules. `limiter` survives a change of the configuration.
    pub(super) fn of(config: &ListenerConfig, limiter: Arc<PerIpLimiter>) -> Option<Box<Self>> {
        let accept_from = &config.proxy_protocol.accept_from;
        let per_ip = config.max_connections_per_ip;
        if config.allow.is_empty() && config.deny.is_empty() && accept_from.is_empty() && per_ip.is_none() {
            return None;
        }
        Some(Box::new(Self {
            allow: config.allow.clone(),
            deny: config.deny.clone(),
            accept_from: accept_from.clone(),
            per_ip,
            limiter,
        }))
    }

    /// Whether a proxy in front has connected that has not sent its header yet: the proxy itself is not checked.
    pub(super) fn is_proxy(&self, sender: IpAddr) -> bool {
        holds(&self.accept_from, sender)
    }

    /// Admits a client, for as long as the permit is kept if there is one.
    ///
    /// # Errors
    /// Why it is rejected.
    pub(super) fn judge(&self, client: IpAddr) -> Result<Option<Permit>, RejectReason> {
        let is_allowed = self.allow.is_empty() || holds(&self.allow, client);
        if !is_allowed || holds(&self.deny, client) {
            return Err(RejectReason::Denied);
        }
        let Some(limit) = self.per_ip else { return Ok(None) };
        self.limiter.permit(client, limit).map(Some).ok_or(RejectReason::MaxConnectionsPerIp)
    }
}

fn holds(networks: &[Cidr], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// Limits the log to one line a second for each reason: a rejected client may try again as fast as it likes.
#[derive(Debug, Default)]
pub(super) struct RejectLog([Pause; RejectReason::ALL.len()]);

impl RejectLog {
    /// Whether a line may be written about a client rejected for this reason, and how many were not logged since the last line.
    pub(super) fn may_log(&self, reason: RejectReason, now: Time) -> Option<u64> {
        self.0[reason.index()].may_log(now)
    }
}

#[derive(Debug, Default)]
struct Pause {
    /// Milliseconds on the clock.
    next_at: AtomicU64,
    passed_over: AtomicU64,
}

impl Pause {
    const LENGTH: Duration = Duration::from_secs(1);

    fn may_log(&self, now: Time) -> Option<u64> {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let (now, next_at) = (now.since_origin(), self.next_at.load(Ordering::Relaxed));
        let after = millis(now + Self::LENGTH);
        let is_time =
            millis(now) >= next_at && self.next_at.compare_exchange(next_at, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_time {
            return Some(self.passed_over.swap(0, Ordering::Relaxed));
        }
        self.passed_over.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn rules(allow: &[&str], deny: &[&str], accept_from: &[&str]) -> AccessRules {
        AccessRules {
            allow: networks(allow),
            deny: networks(deny),
            accept_from: networks(accept_from),
            per_ip: None,
            limiter: Arc::default(),
        }
    }

    fn is_in(rules: &AccessRules, client: &str) -> bool {
        rules.judge(client.parse().unwrap()).is_ok()
    }

    #[test]
    fn deny_wins_and_an_allow_list_is_for_those_on_it() {
        let both = rules(&["10.0.0.0/8", "::1"], &["10.1.0.0/16"], &[]);
        for (client, expected) in
            [("10.0.0.1", true), ("::ffff:10.0.0.1", true), ("::1", true), ("10.1.0.1", false), ("::ffff:10.1.0.1", false)]
        {
            assert_eq!(is_in(&both, client), expected, "{client}");
        }
        assert!(!is_in(&both, "192.0.2.1") && !is_in(&both, "::2"));
        let denying = rules(&[], &["192.0.2.0/24"], &[]);
        assert!(is_in(&denying, "10.0.0.1") && is_in(&denying, "::1") && !is_in(&denying, "192.0.2.255"));
    }

    #[test]
    fn a_proxy_in_front_is_known_by_its_address() {
        let rules = rules(&["10.0.0.0/8"], &[], &["192.0.2.1"]);
        for (sender, expected) in [("192.0.2.1", true), ("::ffff:192.0.2.1", true), ("192.0.2.2", false), ("10.0.0.1", false)] {
            assert_eq!(rules.is_proxy(sender.parse().unwrap()), expected, "{sender}");
        }
        assert!(!is_in(&rules, "192.0.2.1"), "speaking for others is no leave to come in");
    }

    #[test]
    fn a_line_a_second_tells_how_many_were_passed_over() {
        let log = RejectLog::default();
        let at = Time::from_millis;
        assert_eq!(log.may_log(RejectReason::Denied, at(0)), Some(0));
        for millis in [0, 1, 999] {
            assert_eq!(log.may_log(RejectReason::Denied, at(millis)), None, "{millis}");
        }
        assert_eq!(log.may_log(RejectReason::HoldFull, at(999)), Some(0), "another reason has its own");
        assert_eq!(log.may_log(RejectReason::Denied, at(1000)), Some(3));
        assert_eq!(log.may_log(RejectReason::Denied, at(1001)), None);
        assert_eq!(log.may_log(RejectReason::Denied, at(9000)), Some(1));
    }
}
