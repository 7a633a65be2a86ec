//! `mainstay status`: the state of every pool, first as a sentence, then as a table.

mod answer;
mod history;
mod table;
mod watch;

use std::{
    io::{self, IsTerminal as _, Write as _},
    thread::sleep,
};

use answer::Status;
pub(super) use table::{size, span};

use super::{
    client::{self, Admin, AdminAddr, Answer, Ask, Unreachable, plain_json},
    exit,
    live::PERIOD,
    terminal::Paint,
};

/// Show the state of every pool.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: Admin,
    /// Keep it on the screen until q or Ctrl-C, refreshed every second; piped, print it again after each change
    #[arg(long)]
    watch: bool,
    /// Print the answer of the API as JSON; with --watch one line per refresh
    #[arg(long)]
    json: bool,
}

/// Prints the status. The exit code is 0 when every pool serves, 69 when one does not, 1 when mainstay cannot be reached.
pub fn run(args: &Args) -> u8 {
    if args.watch && !args.json {
        return if io::stdout().is_terminal() { watch::on_terminal(&args.admin) } else { watch::as_text(&args.admin) };
    }
    let paint = Paint::of_stdout();
    loop {
        let (code, text) = match look(&args.admin.address) {
            Ok((status, answer)) => {
                let text = if args.json { plain_json(&String::from_utf8_lossy(&answer.body)) } else { status.render(paint) };
                (if status.every_pool_serves() { exit::DONE } else { exit::NO_BACKEND }, text)
            }
            Err(error) => {
                eprintln!("{error}");
                (exit::FAILED, String::new())
            }
        };
        let written = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
        if !args.watch || written.is_err() {
            return code;
        }
        sleep(PERIOD);
    }
}

const PATH: &str = "/api/v1/status";

fn look(address: &AdminAddr) -> Result<(Status, Answer), Unreachable> {
    let answer = client::get(address, PATH, client::TIMEOUT)?;
    Ok((read(address, &answer)?, answer))
}

/// The same, within a runtime.
async fn look_again(address: &AdminAddr) -> Result<Status, Unreachable> {
    read(address, &client::call(address, PATH, &Ask::default(), client::TIMEOUT).await?)
}

fn read(address: &AdminAddr, answer: &Answer) -> Result<Status, Unreachable> {
    if answer.status != 200 {
        return Err(Unreachable::new(address, &format_args!("it answered with HTTP status {}", answer.status)));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| Unreachable::new(address, &format_args!("what answered is not mainstay ({error})")))
}
