//! `mainstay status --watch`: on a terminal a screen of its own, elsewhere one table for each change.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant, SystemTime},
};

use super::{
    answer::{Pool, Status, Urgency},
    history::{self, PoolHistory},
    look,
};
use crate::{
    cli::{
        client::{Admin, AdminAddr, Unreachable},
        exit,
        live::{self, Asked, Frame, Live, PERIOD, apart},
        terminal::{self, Colour, Key, Paint, Style, pad, width, wrap},
    },
    failover::escaped,
};

/// How long a strip of the last minutes may be old while nothing changes.
const HISTORY_AGE: Duration = Duration::from_secs(5);
/// Pools whose last minutes are shown: those that need it most.
const HISTORIES: usize = 12;

/// Until `q`, Ctrl-C or SIGTERM; the exit code as of the last answer.
pub(super) fn on_terminal(admin: &Admin) -> u8 {
    let mut watch = Watch { address: admin.address.clone(), status: None, known: None, view: View::default() };
    match live::run(&mut watch) {
        Ok(true) if watch.status.as_ref().is_some_and(Status::every_pool_serves) => exit::DONE,
        Ok(true) => exit::NO_BACKEND,
        Ok(false) | Err(_) => exit::FAILED,
    }
}

/// For pipes and files: a table at first and after each change of anything but counts, with the time above it. While mainstay does
/// not answer, standard error has one line. Ends when nobody reads.
pub(super) fn as_text(admin: &Admin) -> u8 {
    let (mut before, mut is_silent) = (None, false);
    loop {
        let at = humantime::format_rfc3339_seconds(SystemTime::now());
        match look(&admin.address) {
            Ok((status, _)) => {
                let state = status.without_counts();
                if is_silent || before.as_ref() != Some(&state) {
                    let separator = if before.is_some() { "\n" } else { "" };
                    let text = format!("{separator}at {at}\n{}", status.render(Paint::Off));
                    if io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()).is_err() {
                        return exit::DONE;
                    }
                }
                (before, is_silent) = (Some(state), false);
            }
            Err(error) if !is_silent => {
                eprintln!("at {at}: {error}");
                is_silent = true;
            }
            Err(_) => {}
        }
        if terminal::nobody_reads() {
            return exit::DONE;
        }
        std::thread::sleep(PERIOD);
    }
}

struct Watch {
    address: AdminAddr,
    status: Option<Status>,
    /// The last minutes of some pools, when they were asked for, and the state of everything then.
    known: Option<Known>,
    view: View,
}

#[derive(Clone)]
struct Known {
    at: Instant,
    state: String,
    wanted: String,
    pools: Vec<PoolHistory>,
}

/// What the keys chose.
#[derive(Clone, Debug, Default)]
struct View {
    /// Only pools whose names hold this.
    wanted: String,
    is_typing: bool,
    /// All tables, also of pools in which nothing is wrong.
    all: bool,
}

impl Live for Watch {
    type Answer = (Status, Known);

    fn ask(&self) -> Asked<Self::Answer> {
        let (address, known, wanted) = (self.address.clone(), self.known.clone(), self.view.wanted.clone());
        Box::pin(async move {
            let status = super::look_again(&address).await?;
            let state = status.without_counts();
            let is_fresh = |known: &Known| known.at.elapsed() < HISTORY_AGE && (&known.state, &known.wanted) == (&state, &wanted);
            let known = match known.filter(is_fresh) {
                Some(known) => known,
                None => Known { at: Instant::now(), pools: histories(&address, &status, &wanted).await?, state, wanted },
            };
            Ok((status, known))
        })
    }

    fn take(&mut self, (status, known): Self::Answer) {
        (self.status, self.known) = (Some(status), Some(known));
    }

    fn press(&mut self, key: Key) {
        let view = &mut self.view;
        match (view.is_typing, key) {
            (true, Key::Enter) => view.is_typing = false,
            (_, Key::Escape) => (view.is_typing, view.wanted) = (false, String::new()),
            (true, Key::Backspace) => drop(view.wanted.pop()),
            (true, Key::Char(c)) => view.wanted.push(c),
            (false, Key::Char('/')) => (view.is_typing, view.wanted) = (true, String::new()),
            (false, Key::Char('d')) => view.all = !view.all,
            _ => {}
        }
    }

    fn is_typing(&self) -> bool {
        self.view.is_typing
    }

    fn frame(&self, style: Style, (columns, rows): (usize, usize)) -> Frame {
        let Some(status) = &self.status else { return Frame { foot: "q quits".to_owned(), ..Frame::default() } };
        let pools = status.by_urgency(&self.view.wanted);
        let head = head(status, style, columns);
        let known = self.known.as_ref().map(|known| &known.pools[..]).unwrap_or_default();
        let table = |all| tables(&pools, known, style, columns, all);
        let whole = table(true);
        let has_room = whole.len() + head.len() < rows;
        let body = if self.view.all || has_room { whole } else { table(false) };
        let wanted = escaped(&self.view.wanted);
        let foot = match (self.view.is_typing, wanted.is_empty()) {
            (true, _) => format!("pools whose name has: {wanted}_   (Enter keeps it, Esc shows all)"),
            (false, false) => format!("{} pools with \"{wanted}\"   Esc shows all   q quits", pools.len()),
            (false, true) if has_room => "q quits".to_owned(),
            (false, true) => {
                let details = if self.view.all { "d fewer tables" } else { "d all tables" };
                format!("q quits   arrows and PgUp/PgDn scroll   / finds a pool   {details}")
            }
        };
        Frame { head, body, foot }
    }
}

async fn histories(address: &AdminAddr, status: &Status, wanted: &str) -> Result<Vec<PoolHistory>, Unreachable> {
    let mut pools = Vec::new();
    for pool in status.by_urgency(wanted).into_iter().take(HISTORIES) {
        pools.extend(history::ask(address, &pool.name).await?);
    }
    Ok(pools)
}

/// First what is wrong, then which process says so.
fn head(status: &Status, style: Style, columns: usize) -> Vec<String> {
    let count = |wanted: Urgency| status.pools.iter().filter(|pool| pool.urgency() == wanted).count();
    let (trouble, warnings, all) = (count(Urgency::Trouble), count(Urgency::Warning), status.pools.len());
    let pools = if all == 1 { "pool" } else { "pools" };
    let (colour, verdict) = match (trouble, warnings) {
        (0, 0) => (Colour::Good, format!("All is well: {all} {pools}")),
        (0, _) => (Colour::Warning, format!("WARNING: look at {warnings} of {all} {pools}; clients are served")),
        (_, 0) => (Colour::Bad, format!("TROUBLE in {trouble} of {all} {pools}")),
        (_, _) => (Colour::Bad, format!("TROUBLE in {trouble} of {all} {pools}, and warnings in {warnings}")),
    };
    let (colour, verdict) = match status.phase.as_str() {
        "" | "running" => (colour, verdict),
        phase => (colour.max(Colour::Warning), format!("MAINSTAY WAS TOLD TO STOP and is {}. {verdict}", escaped(phase))),
    };
    let (verdict, process) = (style.paint.text(colour, &verdict), style.paint.text(Colour::Quiet, &status.process()));
    vec![apart(&verdict, &process, columns), String::new()]
}

/// The most urgent pools first, each with its sentence and its table; those in which nothing is wrong in one line each, unless `all`.
fn tables(pools: &[&Pool], known: &[PoolHistory], style: Style, columns: usize, all: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let is_short = |pool: &&&Pool| !all && pool.urgency() == Urgency::Fine;
    for pool in pools.iter().filter(|pool| !is_short(pool)) {
        lines.extend(sentence(pool, style, columns));
        if let Some(under_way) = pool.under_way().strip_prefix(", ") {
            lines.push(style.paint.text(Colour::Warning, &format!("   {under_way}")));
        }
        lines.extend(pool.lines(style.paint, columns));
        if let Some(history) = known.iter().find(|history| history.name == pool.name) {
            lines.extend(history.lines(style, columns));
        }
        lines.push(String::new());
    }
    let short: Vec<&&Pool> = pools.iter().filter(is_short).collect();
    let longest = |text: &dyn Fn(&Pool) -> String| short.iter().map(|pool| width(&text(pool))).max().unwrap_or(0);
    let (name, active) = (|pool: &Pool| escaped(&pool.name), |pool: &Pool| escaped(pool.active.as_deref().unwrap_or("-")));
    let sessions = |pool: &Pool| pool.sessions().to_string();
    let (names, actives, numbers) = (longest(&name), longest(&active), longest(&sessions));
    for pool in short {
        let held = if pool.held > 0 { format!(", {} held", pool.held) } else { String::new() };
        let text = format!(
            "ok  {}  {}  {} sessions{held}",
            style.paint.text(Colour::Good, &pad(&name(pool), names)),
            pad(&active(pool), actives),
            pad(&sessions(pool), numbers)
        );
        lines.push(text);
    }
    lines
}

/// What is to be said of a pool, with a mark that says how urgent it is without colours, too.
fn sentence(pool: &Pool, style: Style, columns: usize) -> Vec<String> {
    let (mark, colour) = match pool.urgency() {
        Urgency::Trouble => ("!!", Colour::Bad),
        Urgency::Warning => ("! ", Colour::Warning),
        Urgency::Fine => ("ok", Colour::Good),
    };
    let text = format!("{}: {}", escaped(&pool.name), escaped(&pool.summary));
    let parts = wrap(&text, columns.saturating_sub(3)).into_iter().enumerate();
    parts.map(|(index, part)| style.paint.text(colour, &format!("{} {part}", if index == 0 { mark } else { "  " }))).collect()
}
