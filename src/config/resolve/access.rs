//! Who may connect to a listener, and which proxies are trusted to name clients.

use crate::{
    config::raw::{
        node::Source,
        reader::{Field, Section},
    },
    net::cidr::Cidr,
};

/// Each client is compared with all of them.
pub(in crate::config) const MAX_NETWORKS: usize = 1024;

const WANTED: &str = "a network such as 10.0.0.0/8, or an address";

/// `allow` and `deny` of a listener.
pub(in crate::config) fn access(section: Section<'_>) -> (Vec<Cidr>, Vec<Cidr>) {
    let [allow, deny] = ["allow", "deny"].map(|key| section.get(key).map(networks).unwrap_or_default());
    let nobody = if allow.is_empty() {
        let mut whole = deny.iter().filter(|(cidr, _)| cidr.is_everything());
        // Both address families.
        whole.next().and_then(|(first, _)| whole.find(|(cidr, _)| cidr != first))
    } else {
        warn_of_dead_entries(&allow, &deny)
    };
    if let Some((_, field)) = nobody {
        field.error("nobody could connect: every address is denied", "`deny` wins over `allow`: name fewer networks in it");
    }
    (bare(&allow), bare(&deny))
}

type Networks<'a> = Vec<(Cidr, Field<'a>)>;

/// Warns of entries of `allow` that `deny` covers; returns the first one when it covers all.
fn warn_of_dead_entries<'f, 'a>(allow: &'f Networks<'a>, deny: &Networks<'_>) -> Option<&'f (Cidr, Field<'a>)> {
    let winner = |cidr: &Cidr| deny.iter().map(|(denied, _)| denied).find(|denied| denied.covers(cidr));
    if allow.iter().all(|(cidr, _)| winner(cidr).is_some()) {
        return allow.first();
    }
    for (cidr, field) in allow {
        if let Some(denied) = winner(cidr) {
            field.warning(
                format!("no client of {cidr} may connect: `deny` has {denied}, which wins"),
                "remove one of the two entries",
            );
        }
    }
    None
}

/// `accept_from` of `proxy_protocol`.
pub(in crate::config) fn proxies(field: Field<'_>) -> Vec<Cidr> {
    let accept_from = networks(field);
    for (_, field) in accept_from.iter().filter(|(cidr, _)| cidr.is_everything()) {
        field.warning(
            "every client could claim the address of another",
            "list only the addresses of the proxies in front of mainstay",
        );
    }
    bare(&accept_from)
}

fn networks(field: Field<'_>) -> Networks<'_> {
    let fields = field.one_or_many(&format!("{WANTED}, or a list of them"), MAX_NETWORKS).unwrap_or_default();
    let mut found: Networks<'_> = Vec::new();
    for field in fields {
        let Some(cidr) = network(field) else { continue };
        if found.iter().any(|(known, _)| *known == cidr) {
            field.warning(format!("{cidr} stands in this list already"), "remove one of the two entries");
        }
        found.push((cidr, field));
    }
    found
}

fn network(field: Field<'_>) -> Option<Cidr> {
    let scalar = field.scalar(WANTED)?;
    match scalar.text.parse() {
        Ok(cidr) => Some(cidr),
        Err(error) if scalar.source == Source::Literal => field.wrong(WANTED, Some(format!("{error}"))),
        Err(_) => field.wrong(WANTED, None),
    }
}

fn bare(networks: &Networks<'_>) -> Vec<Cidr> {
    networks.iter().map(|(cidr, _)| *cidr).collect()
}
