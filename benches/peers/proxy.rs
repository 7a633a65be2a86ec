//! A running proxy: started on its core, ready when a client got an answer through it, ended when dropped.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use lab::{failure::Failure, port::ReservedPort, process::tail, procfs, stop::Stop};

use crate::{
    configuration::{self, Route, Setting},
    contestant::{self, Contestant, Programs},
    process::{self, Guarded},
    wire::{Direction, Order, REQUEST, RESPONSE},
};

/// Longest wait until a client gets an answer through a proxy that was just started.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What stands behind a port, so that it can be asked whether it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    RoundTrip,
    Bulk,
    Postgres,
}

impl Backend {
    const fn name(self) -> &'static str {
        match self {
            Self::RoundTrip => "trips",
            Self::Bulk => "streams",
            Self::Postgres => "orders",
        }
    }

    /// One round trip.
    fn answers(self, address: SocketAddr) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            let (question, answer) = match self {
                Self::RoundTrip => (vec![b'q'; REQUEST], RESPONSE),
                Self::Bulk => (Order { direction: Direction::Down, bytes: 1, rate: 0 }.encode().to_vec(), 1),
                // SSLRequest, which every server answers with one byte.
                Self::Postgres => (vec![0, 0, 0, 8, 4, 210, 22, 47], 1),
            };
            stream.write_all(&question)?;
            stream.read_exact(&mut vec![0; answer])
        };
        ask().is_ok()
    }
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Guarded,
    addresses: Vec<SocketAddr>,
    /// Reserved, so that nobody takes a port between our choice and the proxy's bind.
    _ports: Vec<ReservedPort>,
}

/// Where and what to start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) stop: &'a Stop,
    pub(crate) programs: &'a Programs,
    /// For configurations and logs.
    pub(crate) folder: &'a Path,
    pub(crate) core: usize,
}

impl Proxy {
    /// Starts it in front of these servers, one port each, and waits until every one answers through it.
    pub(crate) fn start(place: Place<'_>, contestant: Contestant, servers: &[(Backend, SocketAddr)]) -> Result<Self, Failure> {
        let ports = (0..=servers.len()).map(|_| ReservedPort::new()).collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<SocketAddr> = ports.iter().skip(1).map(ReservedPort::address).collect();
        let program = place.programs.path(contestant)?;
        let setting = Setting {
            routes: routes(servers, &addresses),
            admin: ports[0].address().to_string(),
            folder: place.folder.display().to_string(),
            modules: if contestant.program() == Contestant::Nginx { contestant::nginx_modules(&program)? } else { None },
        };
        let file = place.folder.join(contestant.name()).with_extension(configuration::ending(contestant));
        fs::write(&file, configuration::text(contestant, &setting))?;
        let log = file.with_extension("log");
        let mut command = process::on_core(place.core, &program);
        command.args(configuration::arguments(contestant, &file.display().to_string()));
        command.stdin(Stdio::null()).stdout(File::create(&log)?).stderr(File::options().append(true).open(&log)?);
        let child = Guarded::spawn(contestant.name(), &mut command)?;
        let mut proxy = Self { child, addresses, _ports: ports };
        proxy.wait_ready(place.stop, servers, &log)?;
        Ok(proxy)
    }

    fn wait_ready(&mut self, stop: &Stop, servers: &[(Backend, SocketAddr)], log: &Path) -> Result<(), Failure> {
        for ((backend, _), address) in servers.iter().zip(self.addresses.clone()) {
            let looked = stop.wait("an answer through the proxy", READY_TIMEOUT, || match self.child.ended() {
                Some(why) => Some(Err(Failure::Said(why))),
                None => backend.answers(address).then_some(Ok(())),
            });
            looked.and_then(|ready| ready).map_err(|failure| match failure {
                Failure::Interrupted => Failure::Interrupted,
                other => Failure::Said(format!("{other}; its log ends with\n{}", tail(log))),
            })?;
        }
        Ok(())
    }

    /// Where its clients connect, in the order of the servers.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The processes that it is.
    pub(crate) fn family(&self) -> Vec<u32> {
        procfs::family(self.child.pid())
    }

    pub(crate) fn cpu_nanos(&self) -> Result<u64, Failure> {
        Ok(procfs::cpu_nanos(self.child.pid())?)
    }

    pub(crate) fn resident_kib(&self) -> Result<u64, Failure> {
        Ok(procfs::resident_bytes(self.child.pid())? / 1024)
    }
}

fn routes(servers: &[(Backend, SocketAddr)], addresses: &[SocketAddr]) -> Vec<Route> {
    let route = |((backend, server), listen): (&(Backend, SocketAddr), &SocketAddr)| Route {
        name: backend.name(),
        listen: listen.to_string(),
        server: server.to_string(),
    };
    servers.iter().zip(addresses).map(route).collect()
}
