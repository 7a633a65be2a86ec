//! `mainstay status`: the state of every pool, first as a sentence, then as a table.

mod table;

use std::{
    io::{self, IsTerminal as _, Write as _},
    thread::sleep,
    time::Duration,
};

use super::client::{self, Admin, Answer, Unreachable, plain_json};
use table::{Paint, Status};

/// Refresh interval of `--watch`.
const PERIOD: Duration = Duration::from_secs(1);

const DONE: u8 = 0;
const FAILED: u8 = 1;
const NOBODY_SERVES: u8 = 69;

/// Show the state of every pool.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: Admin,
    /// Refresh every second until interrupted
    #[arg(long)]
    watch: bool,
    /// Print the answer of the API as JSON; with --watch one line per refresh
    #[arg(long)]
    json: bool,
}

/// Prints the status. The exit code is 0 when every pool serves, 69 when one does not, 1 when mainstay cannot be reached.
pub fn run(args: &Args) -> u8 {
    let terminal = io::stdout().is_terminal();
    let paint =
        if terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) { Paint::On } else { Paint::Off };
    loop {
        let (code, text) = match look(&args.admin) {
            Ok((status, answer)) => {
                let text = if args.json { plain_json(&String::from_utf8_lossy(&answer.body)) } else { status.render(paint) };
                (if status.every_pool_serves() { DONE } else { NOBODY_SERVES }, text)
            }
            Err(error) => {
                eprintln!("{error}");
                (FAILED, String::new())
            }
        };
        // Only a terminal is cleared; piped output is a plain sequence.
        let clear = if args.watch && terminal && !args.json && code != FAILED { "\x1b[H\x1b[2J" } else { "" };
        let written = write!(io::stdout(), "{clear}{text}").and_then(|()| io::stdout().flush());
        if !args.watch || written.is_err() {
            return code;
        }
        sleep(PERIOD);
    }
}

fn look(admin: &Admin) -> Result<(Status, Answer), Unreachable> {
    let answer = client::get(&admin.address, "/api/v1/status", client::TIMEOUT)?;
    if answer.status != 200 {
        return Err(Unreachable::new(&admin.address, &format_args!("it answered with HTTP status {}", answer.status)));
    }
    let status = serde_json::from_slice(&answer.body)
        .map_err(|error| Unreachable::new(&admin.address, &format_args!("what answered is not mainstay ({error})")))?;
    Ok((status, answer))
}
