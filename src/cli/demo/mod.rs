//! `mainstay demo`: the main job, live, with nothing to install. Two nodes, mainstay in front of them, clients that write through
//! it; then the primary is killed, again and again. The nodes and the clients are those of `lab`.
//!
//! | file | what it holds |
//! |---|---|
//! | `nodes`, `story`, `update` | the two nodes behind the same verbs, and what happens to them: failovers, or updates |
//! | `stops` | how mainstay stops a node |
//! | `screen`, `outcome`, `update_outcome` | what a person sees meanwhile, and what stands at the end |

mod nodes;
mod outcome;
mod screen;
mod stops;
mod story;
mod update;
mod update_outcome;

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
use serde_json::json;
use stops::Stops;
use story::{Notes, Stop, Story, Told};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::{CancellationToken, DropGuard};
use update::Updates;
use update_outcome::UpdateOutcome;

use crate::{
    app::{self, Running},
    config::{self, Config},
    failover::{GuardMode, label::Label as _},
};

/// Between two frames.
const FRAME: Duration = Duration::from_millis(100);

/// Show mainstay at work: a primary is killed, its standby takes over, and the clients go on.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
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
    /// Another story, told once: a good update is proven and serves; bad ones end at the standby.
    #[arg(long)]
    pub update: bool,
    /// With --update: off shows what bad updates do when nobody looks.
    #[arg(long, value_name = "MODE", requires = "update", value_parser = guard_mode, help = "With --update: warn (default), enforce or off")]
    pub guard: Option<GuardMode>,
    /// What mainstay runs to stop a node.
    #[arg(long, hide = true, value_name = "PORT")]
    pub stop: Option<u16>,
}

fn guard_mode(text: &str) -> Result<GuardMode, String> {
    let found = GuardMode::ALL.iter().copied().find(|mode| mode.as_str() == text);
    found.ok_or_else(|| "write warn, enforce or off".to_owned())
}

/// Runs the demo; the process's exit code.
pub fn run(args: Args) -> u8 {
    if let Some(port) = args.stop {
        return stops::ask(port);
    }
    let (stop, _guard) = match watch_signals() {
        Ok(watched) => watched,
        Err(error) => return fail(args, &format!("Ctrl-C cannot be watched: {error}")),
    };
    if args.postgres && !args.json {
        println!("Making a PostgreSQL primary and its standby in a temporary directory; this takes a few seconds.");
    }
    let nodes = if args.postgres { Nodes::real() } else { Nodes::embedded() };
    let nodes = match if args.update { nodes.and_then(Nodes::updatable) } else { nodes } {
        Ok(nodes) => nodes,
        Err(error) => return fail(args, &error.to_string()),
    };
    let stops = match Stops::new() {
        Ok(stops) => stops,
        Err(error) => return fail(args, &format!("There is no free port: {error}")),
    };
    let running = match config(args, &nodes, &stops).and_then(|config| app::start(&config).map_err(|error| error.0)) {
        Ok(running) => running,
        Err(error) => return fail(args, &format!("mainstay could not be started: {error}")),
    };
    let result = play(args, (&nodes, &stops), &running, &stop);
    // Clients are gone: nothing to drain, so the second call ends it at once.
    running.stop();
    running.stop();
    running.join();
    match result {
        Ok(end) => {
            print!("{}", if args.json { end.json + "\n" } else { end.text });
            end.code
        }
        Err(error) => fail(args, &error),
    }
}

/// How it ended: for programs, for people, and the process's exit code.
struct End {
    json: String,
    text: String,
    code: u8,
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
fn play(args: Args, (nodes, stops): (&Nodes, &Stops), running: &Running, stop: &CancellationToken) -> Result<End, String> {
    let (Some(entry), Some(admin)) = (running.listeners.iter().flatten().flatten().next(), running.admin.first()) else {
        return Err("mainstay listens nowhere".into());
    };
    if !story::wait_active(running, 0, stop) && !stop.is_cancelled() {
        return Err("mainstay did not find the primary.".into());
    }
    let user = if args.update { nodes::CLIENT.into() } else { ClientOptions::default().user };
    let clients = Clients::start(&Endpoint::Tcp(*entry), &ClientOptions { user, ..ClientOptions::default() })
        .map_err(|error| format!("The clients could not be started: {error}"))?;
    let log = Notes::new();
    let mut screen = if args.json { Screen::Silent } else { Screen::for_people() };
    let (entry, status_page) = (entry.to_string(), format!("http://{admin}/"));
    if matches!(screen, Screen::Lines { .. }) {
        println!("Clients write through {entry}; status page {status_page}");
    }
    let plot = Story { nodes, running, clients: &clients, notes: &log, stop, stops: args.update.then_some(stops) };
    let result = std::thread::scope(|scope| {
        let story = scope.spawn(|| tell(args, plot));
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
                title: &title(args, &told),
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
    if args.update {
        let lost = lost(nodes, running, &clients)?;
        let outcome = UpdateOutcome::new(log.told().updates, &clients.stop(), (lost, log.elapsed()), failure);
        return Ok(End { json: outcome.json(), text: outcome.table(), code: outcome.exit_code() });
    }
    let kind = if args.postgres { outcome::Nodes::Real } else { outcome::Nodes::Embedded };
    let outcome = Outcome::new(log.told().rounds, &clients.stop(), kind, failure);
    Ok(End { json: outcome.json(), text: outcome.table(), code: outcome.exit_code() })
}

/// Acknowledged writes that are not stored where clients go; none can be told while they go nowhere.
fn lost(nodes: &Nodes, running: &Running, clients: &Clients) -> Result<usize, String> {
    let Some(active) = running.snapshots[0].get().active else { return Ok(0) };
    // What is acknowledged meanwhile cannot be missing.
    let acknowledged = clients.acknowledged();
    let stored = nodes.rows(active.index()).map_err(|error| error.to_string())?;
    Ok(acknowledged.iter().filter(|row| !stored.contains(row)).count())
}

fn tell(args: Args, plot: Story<'_>) -> Result<(), Stop> {
    if !args.update {
        return plot.play((args.once || args.json).then_some(1));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| Stop::Failed(format!("Nothing can be ordered: {error}")))?;
    Updates { plot, guard: args.guard.unwrap_or_default(), runtime }.play()
}

fn title(args: Args, told: &Told) -> String {
    if args.update { "updates".to_owned() } else { format!("round {}", told.round) }
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
fn config(args: Args, nodes: &Nodes, stops: &Stops) -> Result<Config, String> {
    let node = |node| json!({"name": Nodes::name(node), "address": nodes.address(node).to_string()});
    let mut pool = json!({"name": "demo", "listen": "127.0.0.1:0", "check": "postgres", "backends": [node(0), node(1)]});
    if args.update {
        let stop = stops.command().map_err(|error| error.to_string())?;
        // A story of half a minute has no time for the second that is enough otherwise.
        pool["check"] = json!({"postgres": {"user": "postgres"}, "interval": "250ms"});
        // One that goes down again and again must answer longer each time, and each update is a restart.
        pool["failover_budget"] = json!({"within": "1s"});
        pool["promotion"] = json!({"how": "sql", "demote": {"exec": stop}});
        pool["guard"] = json!({"mode": args.guard.unwrap_or_default().as_str(), "soak": "1s", "proofs": nodes.proofs()});
    }
    let text = json!({
        "admin": {"listen": "127.0.0.1:0"},
        "log": {"level": "error"},
        "shutdown": {"timeout": "1s"},
        "pools": [pool],
    });
    let loaded = config::parse(&text.to_string(), "the demo's configuration", &|_| None);
    loaded.map(|loaded| loaded.config).map_err(|errors| errors.to_string())
}
