//! The order of things: measures one after the other, rounds within each, contestants in turn within each round.

use std::path::PathBuf;

use lab::{failure::Failure, stop::Stop};

use crate::{
    arena::Arena,
    contestant::{Contestant, Programs},
    figure::{Book, Sample},
    measure::{Measure, Plan},
    process::Cores,
    proxy::Place,
};

/// How often a run is made when the load cannot keep its schedule.
const ATTEMPTS: u32 = 3;

/// What every measure needs.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) rounds: usize,
    /// Everything a tenth as long, to see whether it works.
    pub(crate) smoke: bool,
    pub(crate) stop: Stop,
    pub(crate) cores: Cores,
    /// How TCP decides when to send.
    pub(crate) congestion: String,
    pub(crate) programs: Programs,
    /// For configurations and logs.
    pub(crate) folder: PathBuf,
    pub(crate) contestants: Vec<Contestant>,
}

impl Bench {
    /// An amount, less when it is only to see whether it works.
    pub(crate) const fn scaled(&self, amount: u64) -> u64 {
        if self.smoke { amount / 10 } else { amount }
    }

    /// Where proxies are started: on their own core.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { stop: &self.stop, programs: &self.programs, folder: &self.folder, core: self.cores.proxy }
    }

    /// Measures every contestant `rounds` times. What fails is told in the book; only an interruption ends everything.
    pub(crate) fn race(&self, measure: Measure, plan: &Plan) -> Result<Book, Failure> {
        println!("\n{}: {}", plan.name, plan.title);
        let field: Vec<Contestant> = self.contestants.iter().copied().filter(|contestant| plan.takes(*contestant)).collect();
        let samples = field.iter().map(|contestant| (*contestant, Vec::new())).collect();
        let mut book = Book { name: plan.name, title: plan.title, figures: plan.figures, samples, failed: None };
        match self.rounds_of(measure, plan, &field, &mut book) {
            Ok(()) => {}
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => {
                println!("  could not be measured: {failure}");
                book.failed = Some(failure.to_string());
            }
        }
        Ok(book)
    }

    fn rounds_of(&self, measure: Measure, plan: &Plan, field: &[Contestant], book: &mut Book) -> Result<(), Failure> {
        let mut place = self.place();
        if plan.one_core {
            place.core = self.cores.load;
        }
        let standing = if plan.fresh { None } else { Some(Arena::start(place, plan.backends, field)?) };
        for round in 0..self.rounds * plan.rounds_each {
            for turn in 0..field.len() {
                // Each round begins with another one, so that no place in the order is always the same one's.
                let at = (round + turn) % field.len();
                let contestant = field[at];
                let own = if plan.fresh { Some(Arena::start(place, plan.backends, &[contestant])?) } else { None };
                let Some(arena) = own.as_ref().or(standing.as_ref()) else { continue };
                let sample = self.sample(measure, arena, contestant).map_err(|failure| failure.during(contestant.name()))?;
                println!("  round {}  {:<12}  {}", round + 1, contestant.name(), told(plan, &sample));
                book.samples[at].1.push(sample);
            }
        }
        Ok(())
    }

    fn sample(&self, measure: Measure, arena: &Arena, contestant: Contestant) -> Result<Sample, Failure> {
        let mut attempt = 1;
        loop {
            match measure.run(self, &arena.target(contestant)) {
                Err(Failure::Disturbed(why)) if attempt < ATTEMPTS => {
                    println!("  again: {}: {why}", contestant.name());
                    attempt += 1;
                }
                other => return other,
            }
        }
    }
}

fn told(plan: &Plan, sample: &Sample) -> String {
    let value = |key: &str| sample.iter().find(|(of, _)| *of == key).map(|(_, value)| *value);
    let words = plan.figures.iter().filter_map(|figure| {
        let value = crate::table::number(value(figure.key)?);
        Some(format!("{} {value} {}", figure.key, figure.unit))
    });
    words.collect::<Vec<_>>().join("   ")
}
