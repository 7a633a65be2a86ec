//! What a supervised pool is told: another configuration, and what another process decides.

use std::sync::Arc;

use super::{
    orders,
    settings::{Lead, Turn},
    supervisor::Supervisor,
};
use crate::failover::{Admin, Command, Event};

impl Supervisor {
    pub(super) fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Change(change) => self.configure(*change),
            Turn::Follow(lead) => self.follow(lead),
            // Whoever asked may have given up.
            Turn::Tell(reply) => _ = reply.send(self.memory.last().clone()),
        }
    }

    /// Another process decides, or no longer.
    fn follow(&mut self, lead: Option<Lead>) {
        let active = lead.as_ref().map(|lead| lead.active.clone());
        let held = self.core.suspended().then(|| orders::why_held(&self.core, &self.nodes).0);
        let ended = self.routes.follow(lead, held.as_deref());
        if let Some((backend, sessions)) = ended {
            let (pool, epoch) = (&self.config.name, self.core.epoch().0);
            tracing::info!(%pool, %backend, epoch, sessions, "followed the newer mainstay: the backend takes no more clients");
        }
        match active {
            Some(Some(active)) => self.prefer(&active),
            // Nobody is active there either.
            Some(None) => {}
            None => self.prefer_nobody(),
        }
    }

    /// Without roles nothing but a choice says who is active: it is the same here. Clients that wait here go there, too.
    fn prefer(&mut self, active: &str) {
        if self.config.check.knows_roles() {
            return;
        }
        let is_aside = self.set_aside.iter().any(|name| **name == *active);
        self.set_aside.retain(|name| **name != *active);
        if is_aside {
            self.set_admin(active, (Admin::Drain, Admin::Ready));
        }
        let others = self.nodes.iter().map(|node| Arc::clone(&node.config.name)).filter(|name| **name != *active);
        for other in others.collect::<Vec<_>>() {
            if self.set_admin(&other, (Admin::Ready, Admin::Drain)) {
                self.set_aside.push(other);
            }
        }
    }

    fn prefer_nobody(&mut self) {
        for name in std::mem::take(&mut self.set_aside) {
            self.set_admin(&name, (Admin::Drain, Admin::Ready));
        }
    }

    /// If it is as it was before; whether it was.
    fn set_admin(&mut self, name: &str, (from, to): (Admin, Admin)) -> bool {
        let id = self.core.ids().zip(&self.nodes).find(|(_, node)| *node.config.name == *name).map(|(id, _)| id);
        let Some(id) = id.filter(|id| self.core.backend(*id).is_some_and(|backend| backend.admin == from)) else { return false };
        self.step(&Event::Command(Command::SetAdmin { backend: id, to, force: true }));
        true
    }
}
