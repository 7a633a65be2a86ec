//! A new configuration of a pool that goes on.

use std::sync::Arc;

use super::{
    guard::Distrust,
    node::Node,
    promotion::Promoter,
    settings::{Change, max_staleness, ramp_rate},
    supervisor::Supervisor,
};
use crate::{
    config::BackendConfig,
    failover::{Configuration, Event},
};

impl Supervisor {
    /// Goes on with a new configuration of the same pool.
    pub(super) fn configure(&mut self, change: Change) {
        let Change { config, series, shown } = change;
        let now = self.clock.now();
        let was = |backend: &BackendConfig| self.nodes.iter().position(|node| node.config.is_same(backend));
        let kept: Vec<Option<usize>> = config.backends.iter().map(was).collect();
        let backends = self.core.ids().collect::<Vec<_>>();
        let backends = kept.iter().map(|was| was.map(|index| backends[index])).collect();
        let admin = config.backends.iter().map(|backend| self.memory.admin(&backend.name)).collect();
        let event = Event::Configure(Box::new(Configuration { policy: config.policy.clone(), backends, admin }));
        let effects = self.core.step(now, &event);
        let mut before: Vec<Option<Node>> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        let check_changed = self.probers.check != config.check;
        let ramp_changed = self.config.connect_ramp != config.connect_ramp;
        self.probers.check = config.check.clone();
        for ((backend, metrics), was) in config.backends.iter().zip(series.backends).zip(kept) {
            let node = match was.and_then(|index| before[index].take()) {
                Some(mut node) => {
                    node.configure(backend.clone());
                    if ramp_changed {
                        node.places.change_ramp(ramp_rate(&config));
                    }
                    if check_changed {
                        self.probers.renew(&mut node);
                    }
                    node
                }
                None => self.probers.node(backend.clone(), metrics),
            };
            self.nodes.push(node);
        }
        self.readers.part(before.into_iter().flatten());
        self.routes.publisher().max_staleness(max_staleness(&config));
        self.operations.promoter = Promoter::new(&config);
        let distrust = Distrust::of(config.guard.mode);
        self.keeper.seat(&config.backends, distrust);
        if distrust == Distrust::Never {
            self.keeper.trust();
        }
        let (was, is) = (&self.config.guard, &config.guard);
        if check_changed || (&was.proofs, &was.ignore) != (&is.proofs, &is.ignore) {
            self.keeper.start_again();
        }
        let names: Vec<_> = config.backends.iter().map(|backend| Arc::clone(&backend.name)).collect();
        self.guards.keep(&config.name, &names);
        self.guard_is_due = true;
        self.config = config;
        // The mode may be another than when they went.
        let gone: Vec<_> = self.core.ids().filter(|id| self.is_gone(*id)).collect();
        for id in gone {
            self.on_absence(id);
        }
        // What is ignored may be another.
        for name in &names {
            self.show_guard(name);
        }
        self.carry_out(now, &effects);
        self.offer_readers();
        self.set_paces();
        self.publish();
        drop(shown);
    }
}
