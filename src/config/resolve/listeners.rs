//! The listeners of a pool: rules for more than one key, or more than one listener.

use super::{
    access::access,
    claims::{Claims, Names},
    endpoint::addresses,
};
use crate::{
    config::{
        listener::{LISTENER, ListenerConfig, ListenerRoute, MAX_LISTENERS, SHORT_NAME, by_tcp, plain},
        raw::reader::{Field, Section},
        table::set,
    },
    net::endpoint::Endpoint,
};

/// The listeners of a pool, with the places of their addresses.
pub(super) fn listeners<'a>(pool: Section<'a>, claims: &mut Claims) -> Vec<(ListenerConfig, Vec<Field<'a>>)> {
    match (pool.own("listen"), pool.own("listeners")) {
        (Some(_), Some(both)) => {
            both.error(
                "`listen` and `listeners` cannot stand together",
                "`listen: ADDRESS` is short for one listener; keep one of them",
            );
            Vec::new()
        }
        (Some(short), None) => {
            let (listen, fields) = addresses(short, claims);
            vec![(ListenerConfig { listen, ..plain() }, fields)]
        }
        (None, Some(long)) => {
            let mut names = Names::default();
            let fields = long.list("a list of listeners", MAX_LISTENERS).unwrap_or_default();
            fields.into_iter().filter_map(|field| listener(field, &mut names, claims)).collect()
        }
        (None, None) => {
            pool.require("listen", "127.0.0.1:5432");
            Vec::new()
        }
    }
}

fn listener<'a>(field: Field<'a>, names: &mut Names, claims: &mut Claims) -> Option<(ListenerConfig, Vec<Field<'a>>)> {
    let section = field.map(LISTENER.keys())?;
    let mut config = plain();
    set(&mut config.name, section.require("name", SHORT_NAME).and_then(|field| names.read(field)));
    let found = section.require("listen", "127.0.0.1:5432").map(|field| addresses(field, claims));
    let (listen, fields) = found.unwrap_or_default();
    config.listen = listen;
    (config.allow, config.deny) = access(section);
    LISTENER.read(section, &mut config);
    warn_of_idle_keys(section, config.route);
    if let (Some(all), Some(of_one), Some(field)) =
        (config.max_connections, config.max_connections_per_ip, section.get("max_connections_per_ip"))
        && of_one > all
    {
        field.warning("`max_connections_per_ip` has no effect", format!("`max_connections` is lower already ({all})"));
    }
    warn_of_keys_for_addresses(section, &config.listen);
    Some((config, fields))
}

/// A key that the route does not use is harmless, but not what was meant.
fn warn_of_idle_keys(section: Section<'_>, route: ListenerRoute) {
    if let Some(field) = section.get("balance").filter(|_| route == ListenerRoute::Primary) {
        field.warning(
            "`balance` has no effect here: this listener leads to one backend, the primary",
            "write `route: replica` or `route: any`, or remove the key",
        );
    }
    let idle = match route {
        ListenerRoute::Replica => return,
        ListenerRoute::Primary => "`fallback` has no effect here: this listener leads to the primary",
        ListenerRoute::Any => "`fallback` has no effect here: the primary is among those that `route: any` leads to",
    };
    if let Some(field) = section.get("fallback") {
        field.warning(idle, "write `route: replica`, or remove the key");
    }
}

/// Rules for addresses do not apply to clients without one.
fn warn_of_keys_for_addresses(section: Section<'_>, listen: &[Endpoint]) {
    if listen.is_empty() || by_tcp(listen) {
        return;
    }
    for key in ["allow", "deny", "max_connections_per_ip"] {
        if let Some(field) = section.get(key) {
            field.warning(
                format!("`{key}` has no effect here: the clients of a unix socket have no address"),
                "the permissions of its directory decide who may connect",
            );
        }
    }
    if let Some(field) = section.get("freebind") {
        field.warning("`freebind` has no effect here: a unix socket is bound to a path", "remove the key");
    }
}
