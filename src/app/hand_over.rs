//! What an upgrade needs of the planes: to lend them to another process, and to take them back.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Weak,
};

use tokio::{
    runtime::Runtime,
    time::{Instant, timeout_at},
};

use super::{
    bind::{self, NewSockets},
    planes::{Planes, SHOWN},
};
use crate::{
    config::Config,
    control::{Lead, Remembered},
    net::{
        inherited::{self, Inherited},
        listener::{FileOwner, Twin},
    },
    route::{OlderBackend, OlderPool, OlderProcess},
    upgrade::message::SocketUse,
};

impl Planes {
    /// Another process gets ready to decide: this one no longer does by itself, and keeps nothing on disk.
    pub(super) fn lend(&mut self, quiet: &Config) {
        self.is_lent = true;
        self.apply_quietly(quiet);
        if let Some(state) = &self.state {
            state.lend();
        }
    }

    /// Whether another process accepts and answers instead; every socket stays open.
    pub(super) fn leave(&mut self, leave: bool) {
        self.listeners.accept(!leave);
        self.listeners.leave_files(leave);
        self.admin.iter().filter_map(Weak::upgrade).for_each(|socket| socket.leave_file(leave));
        self.answers.send_replace(!leave);
    }

    /// This process decides, accepts and answers again.
    pub(super) fn take_back(&mut self, config: &Config) {
        self.is_lent = false;
        self.pools.values().for_each(|pool| pool.control.follow(None));
        if let Some(state) = &self.state {
            state.take_back();
        }
        match bind::bind_pools(config, &self.bound, &mut Inherited::default()) {
            Ok(fresh) => match self.series(config) {
                Ok(series) => self.apply(config, series, fresh, self.budget),
                Err(error) => tracing::error!(%error, "the pools do not change"),
            },
            Err(error) => tracing::error!(%error, "what the newer mainstay had closed stays closed"),
        }
        self.leave(false);
        self.leader.resume();
    }

    /// As [`Planes::apply`], with sockets that exist.
    pub(super) fn apply_quietly(&mut self, config: &Config) {
        match self.series(config) {
            Ok(series) => self.apply(config, series, NewSockets::new(), self.budget),
            Err(error) => tracing::error!(%error, "the pools do not change"),
        }
    }

    /// What a process that takes over must know of each pool; of one that does not answer in time, nothing.
    pub(super) fn remembered(&self, runtime: &Runtime) -> BTreeMap<String, Remembered> {
        let told: Vec<_> = self.pools.iter().map(|(name, pool)| (name.to_string(), pool.control.remembered())).collect();
        runtime.block_on(async {
            let deadline = Instant::now() + SHOWN;
            let mut known = BTreeMap::new();
            for (name, told) in told {
                if let Ok(Ok(remembered)) = timeout_at(deadline, told).await {
                    known.insert(name, remembered);
                }
            }
            known
        })
    }

    /// Every listening socket, and what it is for.
    pub(super) fn open_sockets(&self) -> io::Result<Vec<(SocketUse, Twin)>> {
        let listeners =
            self.pools.values().flat_map(|pool| pool.config.listeners.iter().map(move |listener| (&pool.config, listener)));
        let names: HashMap<_, _> = listeners
            .flat_map(|(pool, listener)| bind::keys(pool, listener).map(|key| (key, inherited::name(&pool.name, &listener.name))))
            .collect();
        let mut sockets = Vec::new();
        for (key, socket) in self.listeners.sockets() {
            let name = names.get(key).cloned().unwrap_or_default();
            sockets.push((name, socket.twin()?));
        }
        for socket in self.admin.iter().filter_map(Weak::upgrade) {
            sockets.push((inherited::ADMIN.to_owned(), socket.again()?));
        }
        let purpose = |name, socket: &Twin| match socket.owner() {
            FileOwner::Mainstay => SocketUse::Listener(name),
            FileOwner::Other => SocketUse::ListenerOfOther(name),
        };
        Ok(sockets.into_iter().map(|(name, socket)| (purpose(name, &socket), socket)).collect())
    }

    /// Clients, with a session or without one yet.
    pub(super) fn connections(&self) -> usize {
        self.admission.used()
    }

    /// What is still served here.
    pub(super) fn left(&self) -> OlderProcess {
        let pools = self.pools.values().map(|pool| OlderPool {
            name: pool.config.name.to_string(),
            backends: pool
                .config
                .backends
                .iter()
                .zip(&pool.series.backends)
                .map(|(backend, metrics)| OlderBackend {
                    name: backend.name.to_string(),
                    sessions: metrics.connections_active.get(),
                })
                .filter(|backend| backend.sessions > 0)
                .collect(),
        });
        let mut pools: Vec<_> = pools.filter(|pool| !pool.backends.is_empty()).collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        OlderProcess {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connections: self.connections() as u64,
            pools,
        }
    }

    /// The process that decides says so.
    pub(super) fn follow(&self, pool: &str, lead: Lead) {
        if let Some(pool) = self.pools.get(pool) {
            pool.control.follow(Some(lead));
        }
    }
}
