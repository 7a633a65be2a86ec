//! `mainstay incidents` and `mainstay incident N`: what happened, and what clients felt.

mod document;
mod sentences;
mod text;

use std::io::{self, Write};

use serde::Deserialize;

use super::{
    client::{self, Admin, plain_json},
    exit, order,
};
use crate::incidents::{Incident, Place, Summary};

/// Show the last incidents.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: Admin,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
}

/// Show one incident.
#[derive(Clone, Debug, clap::Args)]
pub struct OneArgs {
    #[command(flatten)]
    admin: Admin,
    /// Its number, as `mainstay incidents` shows it
    #[arg(value_name = "N")]
    number: u64,
    /// Print a post-mortem in Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
}

/// The answer of `/api/v1/incidents`.
#[derive(Debug, Deserialize)]
struct Incidents {
    kept: Place,
    incidents: Vec<Summary>,
}

/// Prints the incidents. The exit code is 0, or 1 when mainstay cannot be reached.
pub fn run(args: &Args) -> u8 {
    print(&args.admin, "/api/v1/incidents", |json| {
        let found = serde_json::from_str::<Incidents>(json).ok()?;
        Some(if args.json { plain_json(json) } else { text::list(&found.incidents, found.kept) })
    })
}

/// Prints one incident. The exit code is 0, or 1 when there is none of this number or mainstay cannot be reached.
pub fn run_one(args: &OneArgs) -> u8 {
    print(&args.admin, &format!("/api/v1/incidents/{}", args.number), |json| {
        let found = serde_json::from_str::<Incident>(json).ok()?;
        Some(match (args.json, args.markdown) {
            (true, _) => plain_json(json),
            (_, true) => document::markdown(&found),
            _ => text::one(&found),
        })
    })
}

/// Asks for `path`, and prints what `shape` makes of the answer.
fn print(admin: &Admin, path: &str, shape: impl Fn(&str) -> Option<String>) -> u8 {
    let answer = match client::get(&admin.address, path, client::TIMEOUT) {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("{error}");
            return exit::FAILED;
        }
    };
    let body = String::from_utf8_lossy(&answer.body);
    let Some(text) = shape(&body).filter(|_| answer.status == 200) else {
        eprint!("{}", order::refused(&body, answer.status));
        return exit::FAILED;
    };
    // A reader that closed the pipe early has seen enough.
    let _ = write!(io::stdout(), "{text}");
    exit::DONE
}
