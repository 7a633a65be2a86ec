//! `mainstay demo`: the main job, live, with nothing to install. Two nodes, mainstay in front of them, clients that write through
//! it; then the primary is killed, again and again. The nodes and the clients are those of `lab`.
//!
//! | file | what it holds |
//! |---|---|
//! | `nodes`, `story` | the two nodes behind the same verbs, and what happens to them |
//! | `screen`, `outcome` | what a person sees meanwhile, and what stands at the end |

mod nodes;
mod outcome;
mod screen;
mod story;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use lab::{
    clients::{ClientOptions, Clients},
    session::Endpoint,
};
use nodes::Nodes;
use outcome::Outcome;
use screen::{Frame, Screen};
use story::{Notes, Stop, Story};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    app::{self, Running},
    config::{self, Config},
};

/// Between two frames.
const FRAME: Duration = Duration::from_millis(100);

/// Show mainstay at work: a primary is killed, its standby takes over, and the clients go on.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Args {
    /// One round, then a table; the exit code is 1 when a promise was broken.
    #[arg(long)]
    pub once: bool,
    /// One round, then one JSON object and nothing else.
    #[arg(long)]
    pub json: bool,
    /// On a real primary and standby.
    #[arg(long, help = "On a real PostgreSQL primary and standby, started in a temporary directory")]
    pub postgres: bool,
}

/// Runs the demo; the process's exit code.
pub fn run(args: Args) -> u8 {
    let (stop, _guard) = match watch_signals() {
        Ok(watched) => watched,
        Err(error) => return fail(args, &format!("Ctrl-C cannot be watched: {error}")),
    };
    if args.postgres && !args.json {
        println!("Making a PostgreSQL primary and its standby in a temporary directory; this takes a few seconds.");
    }
    let nodes = match if args.postgres { Nodes::real() } else { Nodes::embedded() } {
        Ok(nodes) => nodes,
        Err(error) => return fail(args, &error.to_string()),
    };
    let running = match config(&nodes).and_then(|config| app::start(&config).map_err(|error| error.0)) {
        Ok(running) => running,
        Err(error) => return fail(args, &format!("mainstay could not be started: {error}")),
    };
    let result = play(args, &nodes, &running, &stop);
    // Clients are gone: nothing to drain, so the second call ends it at once.
    running.stop();
    running.stop();
    running.join();
    match result {
        Ok(outcome) => {
            print!("{}", if args.json { outcome.json() + "\n" } else { outcome.table() });
            outcome.exit_code()
        }
        Err(error) => fail(args, &error),
    }
}

fn fail(args: Args, error: &str) -> u8 {
    if args.json {
        println!("{}", serde_json::json!({"kept": false, "broken": [error]}));
    } else {
        eprintln!("{error}");
    }
    1
}

/// The clients, the story on its own thread, the screen on this one.
fn play(args: Args, nodes: &Nodes, running: &Running, stop: &CancellationToken) -> Result<Outcome, String> {
    let (Some(entry), Some(admin)) = (running.listeners.iter().flatten().flatten().next(), running.admin.first()) else {
        return Err("mainstay listens nowhere".into());
    };
    if !story::wait_active(running, 0, stop) && !stop.is_cancelled() {
        return Err("mainstay did not find the primary.".into());
    }
    let clients = Clients::start(&Endpoint::Tcp(*entry), &ClientOptions::default())
        .map_err(|error| format!("The clients could not be started: {error}"))?;
    let log = Notes::new();
    let mut screen = if args.json { Screen::Silent } else { Screen::for_people() };
    let (entry, status_page) = (entry.to_string(), format!("http://{admin}/"));
    if matches!(screen, Screen::Lines { .. }) {
        println!("Clients write through {entry}; status page {status_page}");
    }
    let plot = Story { nodes, running, clients: &clients, notes: &log, stop };
    let rounds = (args.once || args.json).then_some(1);
    let result = std::thread::scope(|scope| {
        let story = scope.spawn(|| plot.play(rounds));
        let (mut samples, mut last_sample, mut counted) = (VecDeque::new(), Instant::now(), 0);
        loop {
            let over = story.is_finished();
            let tally = clients.tally();
            if last_sample.elapsed() >= screen::SAMPLE_EVERY {
                last_sample = Instant::now();
                let since = tally.acknowledged - std::mem::replace(&mut counted, tally.acknowledged);
                screen::sample(&mut samples, usize::try_from(since).unwrap_or(usize::MAX));
            }
            let (told, snapshot) = (log.told(), running.snapshots[0].get());
            screen.show(&Frame {
                elapsed: log.elapsed(),
                told: &told,
                tally: &tally,
                snapshot: &snapshot,
                samples: &samples,
                entry: &entry,
                status_page: &status_page,
            });
            if over {
                return story.join();
            }
            std::thread::sleep(FRAME);
        }
    });
    drop(screen);
    let failure = match result {
        Ok(Ok(()) | Err(Stop::Asked)) => None,
        Ok(Err(Stop::Failed(why))) => Some(why),
        Err(_) => Some("The demo's own story panicked.".into()),
    };
    let kind = if args.postgres { outcome::Nodes::Real } else { outcome::Nodes::Embedded };
    Ok(Outcome::new(log.told().rounds, &clients.stop(), kind, failure))
}

/// A token that Ctrl-C and SIGTERM cancel, until the guard is dropped.
fn watch_signals() -> std::io::Result<(CancellationToken, DropGuard)> {
    let (stop, over) = (CancellationToken::new(), CancellationToken::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let (cancel, ended) = (stop.clone(), over.clone());
    std::thread::Builder::new().name("demo-signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => cancel.cancel(),
                _ = terminate.recv() => cancel.cancel(),
                () = ended.cancelled() => {}
            }
        });
    })?;
    Ok((stop, over.drop_guard()))
}

/// The shortest file that does it, on free ports.
fn config(nodes: &Nodes) -> Result<Config, String> {
    let node = |node| format!("{{name: {}, address: \"{}\"}}", Nodes::name(node), nodes.address(node));
    let text = format!(
        "admin: {{listen: \"127.0.0.1:0\"}}\n\
         log: {{level: error}}\n\
         shutdown: {{timeout: 1s}}\n\
         pools: [{{name: demo, listen: \"127.0.0.1:0\", check: postgres, backends: [{}, {}]}}]\n",
        node(0),
        node(1)
    );
    config::parse(&text, "the demo's configuration", &|_| None).map(|loaded| loaded.config).map_err(|errors| errors.to_string())
}
