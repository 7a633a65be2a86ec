//! `mainstay top`: the sessions that move the most bytes, the oldest ones, or the clients that have them.

mod rates;
mod table;

use std::{
    io::{self, IsTerminal as _, Write as _},
    thread::sleep,
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rates::{Rated, Sessions};
use table::Ranking;

use super::{
    client::{self, Admin, AdminAddr, Answer, Ask, Unreachable, plain_json},
    exit,
    live::{self, Asked, Frame, Live, PERIOD},
    order::refused,
    terminal::{Charset, Colour, Key, Paint, Style},
};

/// Rows that are printed where nothing scrolls.
const PLAIN_ROWS: usize = 20;
/// The most that mainstay lists.
const SESSIONS: usize = 10_000;

/// Show which sessions move the most bytes, are the oldest, or which clients have them.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: Admin,
    /// Only the sessions of this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// What comes first: most bytes per second, the oldest, or per client address
    #[arg(long, value_enum, default_value_t = Ranking::Bytes)]
    by: Ranking,
    /// Print it once, after a second in which bytes are counted
    #[arg(long)]
    once: bool,
    /// Print JSON, a line for each second
    #[arg(long)]
    json: bool,
}

/// What mainstay says: its sessions, or in words why there are none.
type Listed = Result<Sessions, String>;

/// Shows it. The exit code is 1 when mainstay cannot be reached or has no such pool.
pub fn run(args: &Args) -> u8 {
    let path = path(args.pool.as_deref());
    let first =
        match client::get(&args.admin.address, &path, client::TIMEOUT).and_then(|answer| read(&args.admin.address, &answer)) {
            Ok(Ok(first)) => Rated::first(first),
            Ok(Err(why)) => return fail(&why),
            Err(error) => return fail(&error.to_string()),
        };
    if !args.once && !args.json && io::stdout().is_terminal() {
        let mut top = Top { address: args.admin.address.clone(), path, by: args.by, rated: first, gone: None };
        return if matches!(live::run(&mut top), Ok(true)) { exit::DONE } else { exit::FAILED };
    }
    as_text(args, &path, first)
}

fn fail(why: &str) -> u8 {
    eprintln!("{why}");
    exit::FAILED
}

/// Ends after one table with `--once`, when nobody reads, and when mainstay does not answer.
fn as_text(args: &Args, path: &str, mut rated: Rated) -> u8 {
    let style = Style { paint: Paint::Off, charset: Charset::Utf8 };
    let mut separator = "";
    loop {
        sleep(PERIOD);
        let listed =
            client::get(&args.admin.address, path, client::TIMEOUT).and_then(|answer| read(&args.admin.address, &answer));
        rated = match listed {
            Ok(Ok(sessions)) => rated.then(sessions),
            Ok(Err(why)) => return fail(&why),
            Err(error) => return fail(&error.to_string()),
        };
        let text = if args.json {
            plain_json(&args.by.json(&rated).to_string()) + "\n"
        } else {
            let mut lines = vec![rated.sentence()];
            lines.extend(args.by.lines(&rated, (style, usize::MAX), PLAIN_ROWS));
            format!("{separator}{}\n", lines.join("\n"))
        };
        separator = "\n";
        let written = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
        if args.once || written.is_err() {
            return exit::DONE;
        }
    }
}

fn path(pool: Option<&str>) -> String {
    let pool = pool.map(|pool| format!("/pools/{}", utf8_percent_encode(pool, NON_ALPHANUMERIC)));
    format!("/api/v1{}/connections?limit={SESSIONS}", pool.unwrap_or_default())
}

fn read(address: &AdminAddr, answer: &Answer) -> Result<Listed, Unreachable> {
    if answer.status != 200 {
        return Ok(Err(refused(&String::from_utf8_lossy(&answer.body), answer.status).trim_end().to_owned()));
    }
    let sessions = serde_json::from_slice(&answer.body);
    sessions.map(Ok).map_err(|error| Unreachable::new(address, &format_args!("what answered is not mainstay ({error})")))
}

struct Top {
    address: AdminAddr,
    path: String,
    by: Ranking,
    rated: Rated,
    /// Why there is nothing any more.
    gone: Option<String>,
}

impl Live for Top {
    type Answer = Listed;

    fn ask(&self) -> Asked<Listed> {
        let (address, path) = (self.address.clone(), self.path.clone());
        Box::pin(async move { read(&address, &client::call(&address, &path, &Ask::default(), client::TIMEOUT).await?) })
    }

    fn take(&mut self, listed: Listed) {
        match listed {
            Ok(sessions) => {
                self.rated = std::mem::take(&mut self.rated).then(sessions);
                self.gone = None;
            }
            Err(why) => self.gone = Some(why),
        }
    }

    fn press(&mut self, key: Key) {
        self.by = match key {
            Key::Char('b') => Ranking::Bytes,
            Key::Char('a') => Ranking::Age,
            Key::Char('c') => Ranking::Client,
            _ => self.by,
        };
    }

    fn frame(&self, style: Style, (columns, _): (usize, usize)) -> Frame {
        let mut lines = self.by.lines(&self.rated, (style, columns), table::ROWS).into_iter();
        let mut head = vec![style.paint.text(Colour::Strong, &self.rated.sentence()), String::new()];
        head.extend(self.gone.clone());
        head.extend(lines.next());
        let foot = "q quits   b by bytes   a by age   c by client   arrows and PgUp/PgDn scroll".to_owned();
        Frame { head, body: lines.collect(), foot }
    }
}
