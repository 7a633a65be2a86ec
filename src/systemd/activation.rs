//! Listening sockets that the service manager has opened (`sd_listen_fds(3)`), with the names that it gives them.

use std::os::fd::OwnedFd;

use super::environment::{Variable, set};
use crate::{
    config::Config,
    failover::escaped,
    net::{
        endpoint::Endpoint,
        inherited::{self, Inherited},
        listener::FileOwner,
        socket::take_passed,
    },
};

/// A listening socket that the service manager has opened.
#[derive(Debug)]
pub struct PassedSocket {
    /// `FileDescriptorName=` of its socket unit; the unit's own name if it has none.
    pub name: String,
    /// The socket.
    pub socket: OwnedFd,
}

/// The sockets that `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` tell of. The second call in a process finds none.
///
/// # Errors
/// What is wrong with the variables, or with what they tell of, in words.
pub fn passed(variable: Variable<'_>) -> Result<Vec<PassedSocket>, String> {
    let Some(count) = count(variable)? else { return Ok(Vec::new()) };
    let names = set(variable, "LISTEN_FDNAMES").unwrap_or_default().into_string();
    let names = names.map_err(|_| "LISTEN_FDNAMES is no UTF-8".to_owned())?;
    let names = names.split(':').filter(|name| !name.is_empty()).map(str::to_owned);
    let sockets =
        take_passed(count).map_err(|error| format!("LISTEN_FDS={count}, but not so many sockets were passed: {error}"))?;
    let names = names.chain(std::iter::repeat("unknown".to_owned()));
    Ok(sockets.into_iter().zip(names).map(|(socket, name)| PassedSocket { name, socket }).collect())
}

/// Gives each socket to the listener that it is for. The name of a socket is that of a listener (`POOL.LISTENER`, `LISTENER` if only
/// one pool has it, `POOL` if it has one listener) or `admin`; one with another name is known by its address.
///
/// # Errors
/// A socket that nobody would accept from, in words: its clients would wait for ever.
pub fn inherit(passed: Vec<PassedSocket>, config: &Config, inherited: &mut Inherited) -> Result<(), String> {
    let places = places(config);
    for PassedSocket { name, socket } in passed {
        let named = find(&places, &name);
        let shown = escaped(&name);
        let endpoint = inherited
            .add(named.map_or(&name, |place| &place.name), socket, FileOwner::Other)
            .map_err(|error| format!("systemd passed a socket {shown} that cannot be used: {error}; {}", known(&places)))?;
        match named {
            Some(place) if !place.listens_on(&endpoint) => {
                let Place { name, listen, .. } = place;
                return Err(format!(
                    "systemd passed the socket {shown} at {endpoint}, and {name} listens on {}: write the same address in both",
                    list(listen)
                ));
            }
            None if !places.iter().any(|place| place.listen.contains(&endpoint)) => {
                return Err(format!(
                    "systemd passed a socket {shown} at {endpoint}, and nothing is configured for it; {}",
                    known(&places)
                ));
            }
            _ => tracing::info!(name = %shown, address = %endpoint, "systemd has opened this socket"),
        }
    }
    Ok(())
}

/// Where mainstay listens.
struct Place<'a> {
    /// As [`Inherited`] knows it.
    name: String,
    /// Its other names.
    short: Vec<&'a str>,
    listen: &'a [Endpoint],
}

impl Place<'_> {
    /// The port of a socket that systemd has opened may be any, where the configured one is.
    fn listens_on(&self, endpoint: &Endpoint) -> bool {
        let fits = |own: &Endpoint| match (own.tcp(), endpoint.tcp()) {
            (Some(own), Some(given)) if own.port() == 0 => own.ip() == given.ip(),
            _ => own == endpoint,
        };
        self.listen.iter().any(fits)
    }
}

fn places(config: &Config) -> Vec<Place<'_>> {
    let with_listener =
        |name: &str| config.pools.iter().filter(|pool| pool.listeners.iter().any(|own| &*own.name == name)).count();
    let mut places = vec![Place { name: inherited::ADMIN.to_owned(), short: Vec::new(), listen: &config.admin.listen }];
    for pool in &config.pools {
        for listener in &pool.listeners {
            let of_pool = (pool.listeners.len() == 1).then_some(&*pool.name);
            let of_listener = (with_listener(&listener.name) == 1).then_some(&*listener.name);
            let short = of_pool.into_iter().chain(of_listener).collect();
            places.push(Place { name: inherited::name(&pool.name, &listener.name), short, listen: &listener.listen });
        }
    }
    places
}

/// The place of this name: a whole one counts before a short one.
fn find<'a, 'b>(places: &'a [Place<'b>], name: &str) -> Option<&'a Place<'b>> {
    let whole = places.iter().find(|place| place.name == name);
    let is_first = |place: &&Place<'_>| place.short.first().is_some_and(|short| *short == name);
    whole.or_else(|| places.iter().find(is_first)).or_else(|| places.iter().find(|place| place.short.contains(&name)))
}

/// What a socket may be called, for whoever gave it another name.
fn known(places: &[Place<'_>]) -> String {
    let known = places.iter().map(|place| format!("{} ({})", place.name, list(place.listen)));
    format!("FileDescriptorName= may be {}", known.collect::<Vec<_>>().join(", "))
}

fn list(endpoints: &[Endpoint]) -> String {
    endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(", ")
}

/// How many descriptors were passed to this process.
fn count(variable: Variable<'_>) -> Result<Option<u16>, String> {
    let number = |name: &str| match set(variable, name) {
        None => Ok(None),
        Some(text) => match text.to_str().and_then(|text| text.parse::<u32>().ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{name} is no number")),
        },
    };
    let (Some(pid), Some(count)) = (number("LISTEN_PID")?, number("LISTEN_FDS")?) else { return Ok(None) };
    if pid != std::process::id() || count == 0 {
        return Ok(None);
    }
    u16::try_from(count).map(Some).map_err(|_| format!("LISTEN_FDS={count} is too many"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<u16>, String> {
        count(&|name: &str| variables.iter().find(|(is, _)| *is == name).map(|(_, value)| (*value).into()))
    }

    #[test]
    fn descriptors_are_for_one_process_only() {
        let own = std::process::id().to_string();
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("LISTEN_PID", &own), ("LISTEN_FDS", "2")]), Ok(Some(2)));
        assert_eq!(of(&[("LISTEN_PID", "1"), ("LISTEN_FDS", "2")]), Ok(None), "of another process");
        assert_eq!(of(&[("LISTEN_FDS", "2")]), Ok(None), "of nobody");
        assert_eq!(of(&[("LISTEN_PID", &own), ("LISTEN_FDS", "0")]), Ok(None));
        assert_eq!(of(&[("LISTEN_PID", &own), ("LISTEN_FDS", "-1")]), Err("LISTEN_FDS is no number".to_owned()));
        assert_eq!(of(&[("LISTEN_PID", &own), ("LISTEN_FDS", "70000")]), Err("LISTEN_FDS=70000 is too many".to_owned()));
    }
}
