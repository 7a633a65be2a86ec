//! What happens in `mainstay demo --update`: a good update goes from the standby over a switchover to the old primary; then bad ones
//! come to the standby, one after the other, and end there.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Runtime;

use super::{
    nodes::{Nodes, Update},
    story::{PATIENCE, Stop, Story, Updated, millis},
    update_outcome::NOT_ASKED,
};
use crate::{
    failover::{GuardMode, Health, OperationResult, Proof, Reason, label::Label as _},
    route::{Done, Refusal, Verb},
};

/// Normal work before anything happens.
const NORMAL: Duration = Duration::from_millis(1500);
/// How long clients are watched after something has happened.
const WATCH: Duration = Duration::from_millis(500);
/// How long who gets a bad update is watched.
const BAD: Duration = Duration::from_secs(1);

/// The story, and what it needs besides.
pub(super) struct Updates<'a> {
    pub(super) plot: Story<'a>,
    pub(super) guard: GuardMode,
    pub(super) runtime: Runtime,
}

impl Updates<'_> {
    /// Plays it once.
    pub(super) fn play(&self) -> Result<(), Stop> {
        match self.story() {
            Err(Stop::Asked) => Ok(()),
            end => end,
        }
    }

    fn story(&self) -> Result<(), Stop> {
        let (plot, mut last) = (&self.plot, 0);
        plot.notes.tell("db-a is the primary, db-b its synchronous standby; the clients write through mainstay");
        plot.watch(NORMAL, &mut last, || false)?;
        if !plot.watch(PATIENCE, &mut last, || (0..2).all(|node| self.is_known(node)))? {
            return Err(Stop::Failed(format!("mainstay did not read what the nodes are made of within {PATIENCE:?}.")));
        }
        plot.notes.tell("a good update comes to the standby first");
        self.updated(1, 0, Update::Good, &mut last)?;
        self.switch(1, &mut last)?;
        plot.notes.tell("db-b serves; now the old primary is updated, and is its standby");
        self.updated(0, 1, Update::Good, &mut last)?;
        plot.watch(WATCH, &mut last, || false)?;
        for fault in plot.nodes.faults() {
            let update = Update::Bad(*fault);
            plot.notes.tell(format!(
                "the next update comes to the standby, and nobody knows that it is bad: {}",
                plot.nodes.words(update)
            ));
            let before = self.updated(0, 1, update, &mut last)?;
            let is_served = self.switch(0, &mut last)?;
            plot.watch(BAD, &mut last, || false)?;
            if let Some(row) = plot.notes.lock().updates.last_mut() {
                row.sessions_unproven = plot.nodes.sessions(0) - before;
            }
            if is_served {
                return Ok(());
            }
            if Some(fault) != plot.nodes.faults().last() {
                self.install(0, 1, Update::Good, &mut last)?;
                plot.notes.tell("the update is taken back");
                plot.watch(PATIENCE, &mut last, || self.is_back(0) && self.proof(0) == Proof::Proven)?;
            }
        }
        plot.watch(WATCH, &mut last, || false)?;
        Ok(())
    }

    /// Updates a node, and waits until mainstay has decided about it. Returns how many sessions of clients it had before.
    fn updated(&self, node: usize, primary: usize, update: Update, last: &mut u64) -> Result<u64, Stop> {
        let (plot, name) = (&self.plot, Nodes::name(node));
        let before = plot.nodes.sessions(node);
        self.install(node, primary, update, last)?;
        let back = plot.notes.elapsed();
        plot.notes.tell(format!("{name} is updated ({}), and back as a standby", plot.nodes.words(update)));
        if self.guard == GuardMode::Off {
            plot.watch(PATIENCE, last, || self.is_back(node))?;
        } else {
            plot.watch(PATIENCE, last, || self.proof(node) != Proof::Proven)?;
            let wanted = if update == Update::Good { Proof::Proven } else { Proof::Failed };
            plot.watch(PATIENCE, last, || self.proof(node) == wanted && self.is_back(node))?;
        }
        let decided = plot.notes.elapsed().saturating_sub(back);
        let view = &plot.snapshot().backends[node];
        plot.notes.lock().updates.push(Updated {
            node: name,
            update: plot.nodes.words(update),
            is_bad: update != Update::Good,
            proof: if self.guard == GuardMode::Off { NOT_ASKED } else { view.proof.as_str() },
            proof_what: view.proof_what.to_string(),
            decided_ms: (self.guard != GuardMode::Off).then(|| millis(decided)),
            switchover: String::new(),
            switchover_ms: None,
            sessions_unproven: plot.nodes.sessions(node) - before,
        });
        Ok(before)
    }

    /// Stops a node, waits until mainstay has seen that, and starts it with the update.
    fn install(&self, node: usize, primary: usize, update: Update, last: &mut u64) -> Result<(), Stop> {
        let plot = &self.plot;
        plot.nodes.begin_update(node, primary)?;
        plot.watch(PATIENCE, last, || plot.snapshot().backends[node].health == Health::Down)?;
        Ok(plot.nodes.update(node, primary, update)?)
    }

    /// Orders a switchover to a node; whether it was done.
    fn switch(&self, to: usize, last: &mut u64) -> Result<bool, Stop> {
        let (plot, name) = (&self.plot, Nodes::name(to));
        plot.notes.tell(format!("mainstay switchover demo --to {name}"));
        let began = plot.notes.elapsed();
        let said = match self.order(name) {
            Ok(Done { operation: Some(id), .. }) => {
                let end = || plot.running.operations.all(None).into_iter().find(|one| one.id == id)?.end;
                plot.watch(PATIENCE, last, || end().is_some())?;
                end().map_or(Err("it does not end".to_owned()), |end| match end.result {
                    OperationResult::Done => Ok(()),
                    _ => Err(end.sentence.to_string()),
                })
            }
            Ok(_) => Err("no operation has begun".to_owned()),
            Err(refusal) => Err(refusal.message),
        };
        let took = plot.notes.elapsed().saturating_sub(began);
        let told = match &said {
            Ok(()) => format!("done after {:.0} ms: the clients write to {name}", millis(took)),
            // What to do about it is not the story's.
            Err(why) => format!("refused: {}", why.split("; `").next().unwrap_or_default()),
        };
        plot.notes.tell(format!("  {told}"));
        if let Some(row) = plot.notes.lock().updates.last_mut() {
            row.switchover = said.as_ref().map_or_else(Clone::clone, |()| "done".to_owned());
            row.switchover_ms = said.is_ok().then(|| millis(took));
        }
        plot.watch(WATCH, last, || false)?;
        Ok(said.is_ok())
    }

    fn order(&self, to: &str) -> Result<Done, Refusal> {
        let verb = Verb::Switchover { to: Some(Arc::from(to)), force: false };
        let by = ("the demo".into(), "".into());
        self.runtime.block_on(self.plot.running.orders[0].give(verb, by, false, PATIENCE))
    }

    fn proof(&self, node: usize) -> Proof {
        self.plot.snapshot().backends[node].proof
    }

    /// It is a standby that could take over.
    fn is_back(&self, node: usize) -> bool {
        let snapshot = self.plot.snapshot();
        let backend = &snapshot.backends[node];
        backend.reason == Reason::Standby && backend.facts.hears_primary == Some(true)
    }

    fn is_known(&self, node: usize) -> bool {
        let view = self.plot.running.guards.get("demo", Nodes::name(node));
        self.guard == GuardMode::Off || view.is_some_and(|view| view.print.is_some())
    }
}
