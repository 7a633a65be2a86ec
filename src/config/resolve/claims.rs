//! Names and addresses that must be unique, and loops of mainstay into itself.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path,
    sync::Arc,
};

use crate::{
    config::{
        diagnostic::Location,
        findings::Findings,
        raw::{node::Path, reader::Field},
    },
    net::{addr::BackendAddr, endpoint::Endpoint},
};

pub(in crate::config) const MAX_NAME_BYTES: usize = 63;

/// Whether a name can be used in a metric label, a URL and a shell without quotes.
pub(in crate::config) fn is_legal_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(legal)
}

/// The names of one kind in one place.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<Arc<str>, Location>);

impl Names {
    /// The name in `field`, if it is valid; reports when it is taken.
    pub(super) fn read(&mut self, field: Field<'_>) -> Option<Arc<str>> {
        let wanted = "a name of up to 63 letters, digits, dots, dashes and underscores";
        let name: Arc<str> = field.text(wanted)?.into();
        if !is_legal_name(&name) {
            return field.wrong(wanted, None);
        }
        if let Some(first) = self.0.get(&name) {
            field.error(format!("the name {} is taken already", field.shown()), already(*first));
        } else {
            self.0.insert(Arc::clone(&name), field.place());
        }
        Some(name)
    }
}

/// The backends of one pool, by address.
#[derive(Debug, Default)]
pub(super) struct Targets(HashMap<BackendAddr, Location>);

impl Targets {
    /// Claims an address; reports when another backend of the pool has it.
    pub(super) fn claim(&mut self, field: Field<'_>, address: &BackendAddr) {
        if let Some(first) = self.0.get(address) {
            field.error(format!("another backend of this pool has the address {}", field.shown()), already(*first));
        } else {
            self.0.insert(address.clone(), field.place());
        }
    }
}

/// Addresses of the whole configuration.
#[derive(Debug, Default)]
pub(in crate::config) struct Claims<'a> {
    listens: HashMap<SocketAddr, Location>,
    first_of_port: HashMap<(bool, u16), Location>,
    unix_sockets: HashMap<Arc<path::Path>, Location>,
    backends: Vec<(&'a Path, Location, BackendAddr)>,
    findings: Option<&'a Findings>,
}

impl<'a> Claims<'a> {
    /// Claims a listening address. Port 0 lets the kernel choose, so it never collides.
    pub(in crate::config) fn listen(&mut self, field: Field<'_>, endpoint: &Endpoint) {
        let address = match endpoint {
            Endpoint::Tcp(address) if address.port() == 0 => return,
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(path) => return self.unix_socket(field, path),
        };
        let family = (address.is_ipv6(), address.port());
        let any = wildcard(address.is_ipv6(), address.port());
        let same = self.listens.get(&address);
        let wider = self.listens.get(&any);
        let narrower = if address == any { self.first_of_port.get(&family) } else { None };
        if let Some(first) = same {
            field.error(format!("mainstay listens on {} already", field.shown()), already(*first));
        } else if let Some(first) = wider.or(narrower) {
            let message =
                format!("port {} is taken already: one address and all addresses cannot be listened on together", address.port());
            field.error(message, already(*first));
        }
        self.listens.entry(address).or_insert(field.place());
        self.first_of_port.entry(family).or_insert(field.place());
    }

    fn unix_socket(&mut self, field: Field<'_>, path: &Arc<path::Path>) {
        if let Some(first) = self.unix_sockets.insert(Arc::clone(path), field.place()) {
            field.error(format!("mainstay listens on {} already", field.shown()), already(first));
        }
    }

    /// Remembers a backend for [`Claims::check_loops`].
    pub(super) fn backend(&mut self, field: Field<'a>, address: BackendAddr) {
        self.findings = Some(field.findings());
        self.backends.push((field.path(), field.place(), address));
    }

    /// Reports backends that are mainstay's own listeners: each client would become a new client of mainstay, for ever.
    pub(super) fn check_loops(&self) {
        let Some(findings) = self.findings else { return };
        for (path, place, address) in &self.backends {
            let listen = match (address.unix(), address.port()) {
                (Some(path), _) => self.unix_sockets.get(path).copied(),
                (None, Some(port)) => ips_of(address).into_iter().find_map(|ip| self.listener_at(ip, port)),
                (None, None) => None,
            };
            if let Some(listen) = listen {
                let help = format!("give the address of the database; mainstay itself listens there (see {})", describe(listen));
                findings.error(*place, path, "this backend is mainstay's own listener: every client would loop", Some(help));
            }
        }
    }

    fn listener_at(&self, ip: IpAddr, port: u16) -> Option<Location> {
        let all = self.listens.get(&wildcard(ip.is_ipv6(), port)).filter(|_| ip.is_loopback() || ip.is_unspecified());
        self.listens.get(&SocketAddr::new(ip, port)).or(all).copied()
    }
}

/// What a backend's address is known to be, without a lookup.
fn ips_of(address: &BackendAddr) -> Vec<IpAddr> {
    match address.ip() {
        Some(ip) => vec![ip],
        None if address.host().eq_ignore_ascii_case("localhost") => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        None => vec![],
    }
}

fn wildcard(is_ipv6: bool, port: u16) -> SocketAddr {
    let ip = if is_ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    SocketAddr::new(ip, port)
}

fn already(first: Location) -> String {
    format!("{} has it already", describe(first))
}

fn describe(place: Location) -> String {
    match place {
        Location::File => "the file".into(),
        Location::Flag(flag) => flag.into(),
        Location::At { line, .. } => format!("line {line}"),
    }
}
