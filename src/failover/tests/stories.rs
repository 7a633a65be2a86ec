//! Golden scripts: what the core does in the situations people ask about, one file a situation.
//!
//! A script is lines of commands; what the core answers stands below each, indented by two spaces.
//!
//! ```text
//! pool by_role newest backends=2 rise=2 fall=2     the policy; further: settle= failback= budget=3/10m on_down=drain max_lag=
//!                                                  max_epoch_step= guard=enforce last_resort=hold canary automatic=none
//!                                                  loss=500 (which an automatic promotion allows), and
//!                                                  what is remembered from an earlier process: fence=2 last=b;
//!                                                  `readers`: who may be read is told as well
//! at 5ms a refused                                 a report: outcome, role, read_only, tl=, sys=, lag=; `standing`: no new login
//! at 6ms passive a standing_lost                   a passive sign
//! at 1s drain b · maint b · ready b            an operator; also `drain b force`, `pause 30s`, `resume`
//! at 1s switchover b promoter demote                an operation: [who], fence=required, force, accept_loss, limit=1s; also `promote`;
//!                                                  `trial=5m` or `return=1m` follows it;
//!                                                  then `done STEP`, `failed STEP`, `abort`
//! at 1s proof b failed index                       what is known of its proofs, and what speaks against it
//! at 1s cannot_commit b a full disk                a commit on it does not end
//! at 10m nothing                                   time passes; ticks come when the core asked for them
//! expect active b                                  the moral, which rewriting cannot change: active, epoch, suspended,
//!                                                  verdict, a=REASON, read a=READING, ready WORD, trial yes
//! ```
//! `UPDATE_GOLDEN=1` writes the answers anew; the difference is then read by a human.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use super::{
    model::{Judge, Step, i12_ticks, i13_repeats, proof::i27_without_a_guard},
    *,
};

struct Story {
    pool: Pool,
    judge: Judge,
    now: Time,
    seq: u64,
    /// Who may be read is told.
    readers: bool,
    transcript: String,
}

impl Story {
    fn begin(words: &[&str]) -> Self {
        let mut policy = Policy { settle: Duration::from_secs(1), ..Policy::default() };
        let (mut backends, mut fence, mut last, mut readers) = (2, None, None, false);
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("by_role", _) => policy.election = Election::ByRole,
                ("by_order", _) => policy.election = Election::ByOrder,
                ("backends", n) => backends = n.parse().unwrap(),
                ("rise", n) => policy.rise = n.parse().unwrap(),
                ("fall", n) => policy.fall = n.parse().unwrap(),
                ("settle", at) => policy.settle = duration(at),
                ("failback", after) => policy.failback_after = Some(duration(after)),
                ("fence", epoch) => fence = Some(epoch.parse().unwrap()),
                ("last", who) => last = Some(id(who)),
                ("max_lag", max) => {
                    let bytes = max.parse().map(MaxLag::Bytes);
                    policy.max_lag = Some(bytes.unwrap_or_else(|_| MaxLag::Time(duration(max))));
                }
                ("max_epoch_step", step) => policy.max_epoch_step = Some(step.parse().unwrap()),
                ("automatic", fence) => policy.promotion = Some(automatic(word_of(fence))),
                ("loss", bytes) => policy.promotion.as_mut().unwrap().max_lag = bytes.parse().unwrap(),
                ("guard", mode) => policy.guard.mode = word_of(mode),
                ("last_resort", what) => policy.guard.last_resort = word_of(what),
                ("canary", _) => policy.guard.canary = true,
                ("readers", _) => readers = true,
                ("on_down", _) => policy.on_down = RevokeMode::Drain,
                ("budget", budget) => {
                    let (max, within) = budget.split_once('/').unwrap();
                    (policy.budget_max, policy.budget_within) = (max.parse().unwrap(), duration(within));
                }
                (rule, _) => policy.on_conflict = word_of(rule),
            }
        }
        let mut judge = Judge::new(policy.clone(), usize::from(backends), Time::ZERO);
        let mut pool = Pool::new(policy, backends, Time::ZERO);
        pool.restore_fence(fence, None);
        if let Some(last) = last {
            pool.restore_active(last);
        }
        (judge.fence, judge.last_active) = (fence, last);
        Self { pool, judge, now: Time::ZERO, seq: 0, readers, transcript: String::new() }
    }

    /// Lets time pass until `to`, with a tick whenever the core asked for one.
    fn until(&mut self, to: Time) {
        while let Some(at) = self.pool.next_deadline(self.now).filter(|at| *at <= to) {
            self.now = at;
            self.step(&Event::Tick, &format!("[{:?} tick] ", at.since_origin()));
        }
        self.now = to;
    }

    fn step(&mut self, event: &Event, prefix: &str) {
        let before = self.pool.clone();
        let effects = self.pool.step(self.now, event);
        let step = Step { now: self.now, event, before: &before, after: &self.pool, effects: &effects };
        let heard = i12_ticks(&step).and_then(|()| i13_repeats(&step)).and_then(|()| i27_without_a_guard(&step));
        let heard = heard.and_then(|()| self.judge.hear(&step));
        self.judge = heard.unwrap_or_else(|broken| panic!("{}\n{broken}", self.transcript));
        for effect in effects.iter().filter(|effect| self.readers || !matches!(effect, Effect::Read { .. })) {
            writeln!(self.transcript, "  {prefix}{}", effect_words(effect)).unwrap();
        }
    }

    fn event(&mut self, words: &[&str]) -> Option<Event> {
        self.seq += 1;
        Some(match *words {
            ["nothing"] => return None,
            ["passive", who, what] => Event::Passive(id(who), word_of(what)),
            [kind @ ("switchover" | "promote"), ref words @ ..] => Event::Operate(Box::new(request(word_of(kind), words))),
            ["done", step] => Event::StepDone { id: self.operation(), step: word_of(step), result: Ok(()) },
            ["failed", step] => Event::StepDone { id: self.operation(), step: word_of(step), result: Err("broken".into()) },
            ["abort"] => Event::Command(Command::AbortOperation(OperationId(1))),
            [to @ ("drain" | "maint" | "ready"), who, ref force @ ..] => {
                Event::Command(Command::SetAdmin { backend: id(who), to: word_of(to), force: *force == ["force"] })
            }
            ["cannot_commit", who, ref evidence @ ..] => {
                Event::CannotCommit { backend: id(who), evidence: evidence.join(" ").as_str().into() }
            }
            ["proof", who, state, ref what @ ..] => proof(id(who).0, word_of(state), &what.join(" ")),
            ["pause", time] => Event::Command(Command::Pause { until: self.now + duration(time) }),
            ["resume"] => Event::Command(Command::Resume),
            [who, outcome, ref facts @ ..] => {
                let (mut learned, mut fresh) = (Facts::default(), true);
                for word in facts {
                    match word.split_once('=') {
                        Some(("tl", epoch)) => learned.db_epoch = Some(epoch.parse().unwrap()),
                        Some(("sys", system)) => learned.system_id = Some(system.parse().unwrap()),
                        Some(("lag", lag)) => match lag.parse() {
                            Ok(bytes) => learned.lag_bytes = Some(bytes),
                            Err(_) => learned.lag_time = Some(duration(lag)),
                        },
                        Some(("at", position)) => learned.position = Some(position.parse().unwrap()),
                        _ if ["hears", "deaf"].contains(word) => learned.hears_primary = Some(*word == "hears"),
                        _ if *word == "read_only" => learned.read_only = true,
                        _ if *word == "standing" => fresh = false,
                        _ if *word == "late" => self.seq = 1,
                        _ => learned.role = Some(word_of(word)),
                    }
                }
                report(id(who).0, self.seq, word_of(outcome), learned, fresh)
            }
            _ => panic!("no such command: {words:?}"),
        })
    }

    /// The switchover that runs, or what was ordered.
    fn operation(&self) -> OperationId {
        let running = self.pool.operation().filter(|is| is.kind() == OperationKind::Switchover);
        running.map_or(OperationId(1), Operation::id)
    }

    fn expect(&self, words: &[&str]) {
        let holds = match *words {
            ["active", "nobody"] => self.pool.active().is_none(),
            ["active", who] => self.pool.active() == Some(id(who)),
            ["epoch", n] => self.pool.epoch() == Epoch(n.parse().unwrap()),
            ["suspended", yes] => self.pool.suspended() == (yes == "yes"),
            ["verdict", verdict] => self.pool.verdict() == word_of(verdict),
            ["conflict", yes] => self.pool.conflict() == (yes == "yes"),
            ["ready", word] => self.pool.failover_ready(self.now) == word_of(word),
            ["trial", yes] => self.pool.trial().is_some() == (yes == "yes"),
            ["operation", "none"] => self.pool.operation().is_none(),
            ["operation", step] => self.pool.operation().is_some_and(|is| is.step() == word_of(step)),
            ["read", one] => {
                one.split_once('=').is_some_and(|(who, reading)| self.pool.read_eligibility(id(who)) == word_of(reading))
            }
            [one] => one.split_once('=').is_some_and(|(who, reason)| self.pool.reason(id(who)) == word_of(reason)),
            _ => false,
        };
        let (pool, reasons) = (&self.pool, self.pool.ids().map(|id| self.pool.reason(id)).collect::<Vec<_>>());
        assert!(
            holds,
            "{}expect {}: but active {:?}, epoch {}, suspended {}, verdict {}, reasons {reasons:?}",
            self.transcript,
            words.join(" "),
            pool.active().map(name),
            pool.epoch(),
            pool.suspended(),
            pool.verdict(),
        );
    }
}

fn request(kind: OperationKind, words: &[&str]) -> Request {
    let mut request = Request { kind, to: None, accept_loss: false, ..switchover(BackendId(0)) };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("promoter", _) => request.how.promote = true,
            ("demote", _) => request.how.demote = true,
            ("fence", fence) => request.how.fence = word_of(fence),
            ("force", _) => request.force = true,
            ("accept_loss", _) => request.accept_loss = true,
            ("trial", time) => request.afterwards = Afterwards::Trial(duration(time)),
            ("return", time) => request.afterwards = Afterwards::Return(duration(time)),
            ("limit", each) => request.limits = limits(duration(each)),
            (who, _) => request.to = Some(id(who)),
        }
    }
    request
}

fn id(word: &str) -> BackendId {
    let at = NAMES.iter().position(|name| *name == word).unwrap_or_else(|| panic!("no backend {word}"));
    BackendId(u16::try_from(at).unwrap())
}

fn word_of<L: Label>(word: &str) -> L {
    *L::ALL.iter().find(|label| label.as_str() == word).unwrap_or_else(|| panic!("no such word: {word}"))
}

fn duration(word: &str) -> Duration {
    let (number, unit) = word.split_at(word.find(|c: char| !c.is_ascii_digit()).unwrap());
    let number: u64 = number.parse().unwrap();
    match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_mins(number),
        _ => panic!("no such unit: {word}"),
    }
}

/// The script with the core's answers.
fn play(script: &str) -> String {
    let mut story: Option<Story> = None;
    let mut prose = String::new();
    for line in script.lines().filter(|line| !line.starts_with("  ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (&mut story, words.as_slice()) {
            (None, ["pool", policy @ ..]) => {
                let mut begun = Story::begin(policy);
                writeln!(begun.transcript, "{prose}{line}").unwrap();
                story = Some(begun);
            }
            (None, _) => writeln!(prose, "{line}").unwrap(),
            (Some(story), [] | ["#", ..]) => writeln!(story.transcript, "{line}").unwrap(),
            (Some(story), ["at", when, event @ ..]) => {
                writeln!(story.transcript, "{line}").unwrap();
                story.until(Time::new(duration(when)));
                if let Some(event) = story.event(event) {
                    story.step(&event, "");
                }
            }
            (Some(story), ["expect", what @ ..]) => {
                writeln!(story.transcript, "{line}").unwrap();
                story.expect(what);
            }
            (Some(_), _) => panic!("no such line: {line}"),
        }
    }
    story.unwrap().transcript
}

#[test]
fn every_story_ends_as_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../stories");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "story"));
    files.sort();
    assert!(files.len() >= 30, "stories were lost: {} are left", files.len());
    let mut changed = Vec::new();
    for path in files {
        let told = fs::read_to_string(&path).unwrap();
        let story = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(told.contains("\nexpect "), "{story} has no moral");
        let played = std::panic::catch_unwind(|| play(&told)).unwrap_or_else(|_| panic!("the story {story} fails, see above"));
        if played == told {
            continue;
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &played).unwrap();
        } else {
            let line = played.lines().zip(told.lines()).position(|(now, then)| now != then);
            changed.push(format!("{story} from line {:?}:\n{played}", line.map(|at| at + 1)));
        }
    }
    assert!(changed.is_empty(), "UPDATE_GOLDEN=1 rewrites these:\n{}", changed.join("\n"));
}
