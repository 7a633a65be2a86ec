//! What a person sees while the demo runs: a small screen redrawn in place on a terminal, plain lines elsewhere.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use lab::clients::Tally;

use super::{
    outcome::rounds_table,
    story::{Told, millis},
    update_outcome::updates_table,
};
use crate::{
    cli::terminal::{self, Charset, Paint, cut},
    failover::{Health, Role},
    route::Snapshot,
};

/// How often the rate is sampled; each sample is one bar.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_millis(200);
const BARS: usize = 40;
/// Lines of the story that stay on the screen.
const STORY_LINES: usize = 8;
/// Rounds that stay on the screen.
const ROUND_LINES: usize = 4;

/// Everything a frame shows.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) title: &'a str,
    pub(super) elapsed: Duration,
    pub(super) told: &'a Told,
    pub(super) tally: &'a Tally,
    pub(super) snapshot: &'a Snapshot,
    /// Acknowledged writes in each of the last samples, oldest first.
    pub(super) samples: &'a VecDeque<usize>,
    pub(super) entry: &'a str,
    pub(super) status_page: &'a str,
}

/// How what happens is shown.
#[derive(Debug)]
pub(super) enum Screen {
    /// Redrawn in place; how many lines stand there, and whether with colours.
    Terminal { lines: usize, paint: Paint },
    /// Each line of the story once; how many were printed.
    Lines { printed: usize },
    /// For programs: nothing before the end.
    Silent,
}

impl Screen {
    /// What standard output can show.
    pub(super) fn for_people() -> Self {
        if !io::stdout().is_terminal() {
            return Self::Lines { printed: 0 };
        }
        // The cursor would flicker through the frame; `Drop` shows it again.
        print!("\x1b[?25l");
        Self::Terminal { lines: 0, paint: Paint::of_stdout() }
    }

    /// Shows the present state. A terminal that is gone is no reason to end the demo.
    pub(super) fn show(&mut self, frame: &Frame<'_>) {
        let mut out = String::new();
        match self {
            Self::Silent => return,
            Self::Lines { printed } => {
                for (at, line) in frame.told.lines.iter().skip(*printed) {
                    let _ = writeln!(out, "{:8.3} s  {line}", at.as_secs_f64());
                }
                *printed = frame.told.lines.len();
            }
            Self::Terminal { lines, paint } => {
                let (columns, rows) = terminal::size();
                let mut drawn = draw(frame, *paint);
                drawn.truncate(rows.saturating_sub(1));
                if *lines > 0 {
                    let _ = write!(out, "\x1b[{lines}A");
                }
                out.push_str("\r\x1b[J");
                for line in &drawn {
                    out.push_str(&cut(line, columns));
                    out.push_str("\r\n");
                }
                *lines = drawn.len();
            }
        }
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let last: &[u8] = match self {
            Self::Terminal { .. } => b"\x1b[?25h\n",
            Self::Lines { .. } => b"\n",
            Self::Silent => b"",
        };
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(last).and_then(|()| stdout.flush());
    }
}

/// The lines of a frame.
fn draw(frame: &Frame<'_>, paint: Paint) -> Vec<String> {
    let per_second = frame.samples.iter().rev().take(5).sum::<usize>();
    let mut lines = vec![
        paint.code("1", &format!("mainstay demo   {}   {:.1} s   Ctrl-C ends it", frame.title, frame.elapsed.as_secs_f64())),
        format!("status page     {}", frame.status_page),
        format!("clients         write through {}, {} sessions so far", frame.entry, frame.tally.connected),
        format!("writes/s        {per_second:>5}  {}", Charset::Utf8.bars(frame.samples.iter().map(|sample| *sample as u64))),
        format!(
            "acknowledged    {}   refused connects {}   longest pause {} ms",
            frame.tally.acknowledged,
            frame.tally.refused,
            millis(frame.tally.longest_pause)
        ),
        String::new(),
    ];
    lines.extend(backends(frame.snapshot, paint));
    lines.push(String::new());
    let rounds = &frame.told.rounds;
    if frame.told.round > 0 {
        lines.extend(rounds_table(&rounds[rounds.len().saturating_sub(ROUND_LINES)..]));
    } else {
        lines.extend(updates_table(&frame.told.updates));
    }
    lines.push(String::new());
    let story = &frame.told.lines;
    for (at, line) in &story[story.len().saturating_sub(STORY_LINES)..] {
        lines.push(format!("{:8.3} s  {line}", at.as_secs_f64()));
    }
    lines
}

fn backends(snapshot: &Snapshot, paint: Paint) -> Vec<String> {
    let line = |(index, backend): (usize, &crate::route::BackendView)| {
        let active = snapshot.active.is_some_and(|active| active.index() == index);
        let role = match (backend.health, backend.facts.role.unwrap_or(Role::Unknown)) {
            (Health::Up, role) => role.to_string(),
            (health, _) => health.to_string(),
        };
        let timeline = backend.facts.db_epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
        let text = format!(
            "{} {:<6} {:<22} {:<8} timeline {:<3} {}",
            if active { '>' } else { ' ' },
            backend.name,
            backend.address,
            role,
            timeline,
            if active { "ACTIVE".to_owned() } else { backend.reason.to_string() }
        );
        let text = if backend.proof.is_good() { text } else { format!("{text}, {}", backend.proof) };
        match (active, backend.health) {
            (true, _) => paint.code("1;32", &text),
            (false, Health::Down) => paint.code("31", &text),
            (false, _) => text,
        }
    };
    snapshot.backends.iter().enumerate().map(line).collect()
}

/// Adds a sample and forgets the oldest one that has no place left.
pub(super) fn sample(samples: &mut VecDeque<usize>, value: usize) {
    if samples.len() == BARS {
        samples.pop_front();
    }
    samples.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_shows_the_rate_and_the_promises_without_colours_when_asked() {
        let samples = VecDeque::from([1, 2, 3, 4, 5, 6]);
        let frame = Frame {
            title: "round 1",
            elapsed: Duration::from_millis(2500),
            told: &Told { lines: vec![(Duration::from_secs(1), "kill -9: db-a".into())], ..Told::default() },
            tally: &Tally { refused: 7, ..Tally::default() },
            snapshot: &Snapshot::default(),
            samples: &samples,
            entry: "127.0.0.1:1",
            status_page: "http://127.0.0.1:2/",
        };
        let text = draw(&frame, Paint::Off).join("\n");
        for part in ["http://127.0.0.1:2/", "refused connects 7", "   20  ", "kill -9: db-a"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(!text.contains('\x1b'));
    }
}
