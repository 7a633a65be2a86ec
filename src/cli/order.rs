//! The commands that order: each is a row of [`COMMANDS`], one request, and one answer.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::{self, Admin, Answer, Ask, plain_json},
    exit,
    operation::{self, Output, Show},
};
use crate::{
    config::{Secret, parse_duration, read_token},
    failover::escaped,
};

/// Longer than mainstay takes to answer an order.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(45);

/// What every command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: Admin,
    /// Why; it is kept with the event
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Change nothing; say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    /// File with the token of `admin.write`, to order over TCP
    #[arg(long, value_name = "FILE", env = "MAINSTAY_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Process,
    Pool,
    Backend,
    PoolOrBackend,
}

/// A command.
pub struct OrderCommand {
    name: &'static str,
    about: &'static str,
    target: Target,
    /// What it takes besides [`Args`]. Each but `no-wait` is a key of the body as well.
    takes: &'static [&'static str],
    method: Method,
    /// The end of its path, behind that of its target.
    path: &'static str,
    /// Keys of the body that it always sends.
    sends: &'static [(&'static str, &'static str)],
}

const fn state(
    name: &'static str,
    about: &'static str,
    takes: &'static [&'static str],
    to: &'static [(&str, &str)],
) -> OrderCommand {
    OrderCommand { name, about, target: Target::Backend, takes, method: Method::PUT, path: "/state", sends: to }
}

const fn post(
    name: &'static str,
    about: &'static str,
    target: Target,
    takes: &'static [&'static str],
    path: &'static str,
) -> OrderCommand {
    OrderCommand { name, about, target, takes, method: Method::POST, path, sends: &[] }
}

/// Every command that orders.
pub const COMMANDS: &[OrderCommand] = &[
    state("drain", "Give a backend no new sessions; those it has go on", &["force"], &[("state", "drain")]),
    state("maint", "Give a backend no new sessions, and close those it has", &["force"], &[("state", "maint")]),
    state("ready", "Use a backend again after drain or maint", &[], &[("state", "ready")]),
    post("pause", "Hold new clients of a pool, for a while at most", Target::Pool, &["max"], "/pause"),
    post("resume", "End a pause", Target::Pool, &[], "/resume"),
    post("kill", "End the sessions of a pool, of a backend, or of one client", Target::PoolOrBackend, &["client"], "/kill"),
    post(
        "switchover",
        "Move the clients of a pool to another backend without a broken transaction",
        Target::Pool,
        &["to", "trial", "force", "no-wait"],
        "/switchover",
    ),
    post(
        "rollback",
        "Move the clients back to the backend that was active before the last switchover or failover",
        Target::Pool,
        &["accept-loss", "no-wait"],
        "/rollback",
    ),
    post("abort", "Abort the operation of a pool before its point of no return, or end its trial", Target::Pool, &[], "/abort"),
    post(
        "promote",
        "Make a standby the primary, while no backend of the pool is active",
        Target::Pool,
        &["to", "accept-loss", "force", "no-wait"],
        "/promote",
    ),
    post(
        "drill",
        "Say what a failover, a switchover, a promotion and a rollback would do now; with --switch make a switchover there and back",
        Target::Pool,
        &["switch", "no-wait"],
        "/drill",
    ),
    post(
        "prove",
        "Run the proofs of a backend, or of every backend that has not proven itself since it changed",
        Target::PoolOrBackend,
        &[],
        "/prove",
    ),
    post("approve", "Take a backend for good as it is now; needs --reason", Target::Backend, &[], "/approve"),
    post("reject", "Take a backend for bad as it is now; needs --reason", Target::Backend, &[], "/reject"),
    post("reload", "Read the configuration again, as SIGHUP does", Target::Process, &[], "/reload"),
    post("shutdown", "Stop mainstay in order, as SIGTERM does", Target::Process, &["force"], "/shutdown"),
    post(
        "upgrade",
        "Start the program anew and let it take over: no client is refused, and no session ends",
        Target::Process,
        &[],
        "/upgrade",
    ),
];

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Process => "",
            Self::Pool => "POOL",
            Self::Backend => "POOL/BACKEND",
            Self::PoolOrBackend => "POOL[/BACKEND]",
        }
    }

    /// The names of the pool and the backend in what was typed.
    fn read(self, text: &str) -> Result<(String, Option<String>), String> {
        let (pool, backend) = text.split_once('/').map_or((text, None), |(pool, backend)| (pool, Some(backend)));
        let is_right = match self {
            Self::Process | Self::Pool => backend.is_none(),
            Self::Backend => backend.is_some(),
            Self::PoolOrBackend => true,
        };
        if pool.is_empty() || backend == Some("") || !is_right {
            return Err(format!("write {}, with the names of the configuration", self.name()));
        }
        Ok((pool.to_owned(), backend.map(str::to_owned)))
    }
}

/// An order as it was typed.
pub struct Order {
    args: Args,
    method: Method,
    path: String,
    body: Value,
    /// For the end of the operation that it begins, if it does.
    waits: bool,
}

/// The commands for the command line.
pub fn commands() -> impl Iterator<Item = Command> {
    COMMANDS.iter().map(|row| {
        let mut command = Args::augment_args(Command::new(row.name)).about(row.about);
        if row.target != Target::Process {
            let target = row.target;
            let names = Arg::new("target").value_name(target.name()).required(true);
            command = command
                .arg(names.value_parser(move |text: &str| target.read(text)).help("Names as `mainstay status` shows them"));
        }
        command.args(row.takes.iter().map(|name| option(name, row.target)))
    })
}

fn option(name: &'static str, target: Target) -> Arg {
    let option = Arg::new(name).long(name);
    match name {
        "force" if target == Target::Process => option.action(ArgAction::SetTrue).help("At once: sessions are cut"),
        "force" if target == Target::Pool => option
            .action(ArgAction::SetTrue)
            .help("Although a standby is far behind, another one says it is a primary, or something is missing"),
        "accept-loss" => {
            option.action(ArgAction::SetTrue).help("Although the standby lacks what the old primary had, or nobody knows")
        }
        "switch" => option.action(ArgAction::SetTrue).help("Make a real switchover there and back, and show what clients felt"),
        "trial" => option
            .value_name("TIME")
            .value_parser(time)
            .help("Go back by itself if the new one is in trouble within this time, 1s to 24h, and nothing would be lost"),
        "no-wait" => option.action(ArgAction::SetTrue).help("Do not wait for the end of the operation"),
        "to" => option.value_name("BACKEND").help("The backend that is to serve; by default the best one"),
        "force" => option.action(ArgAction::SetTrue).help("Although nobody takes over"),
        "max" => {
            option.value_name("TIME").default_value("30s").value_parser(time).help("Go on by itself after this long: 1ms to 1h")
        }
        _ => option
            .value_name("ADDR")
            .help("Only the session of this client: ADDRESS:PORT, or unix for all that came by a unix socket"),
    }
}

fn time(text: &str) -> Result<String, String> {
    parse_duration(text).map(|_| text.to_owned()).map_err(|why| format!("{why}; write a number and ms, s, m or h, as in 30s"))
}

/// What was typed, if this is the name of such a command.
///
/// # Errors
/// When clap has not read what it was told to read.
pub fn read(name: &str, matches: &ArgMatches) -> Result<Option<Order>, clap::Error> {
    let Some(row) = COMMANDS.iter().find(|row| row.name == name) else { return Ok(None) };
    let args = Args::from_arg_matches(matches)?;
    let mut body = json!({ "reason": args.reason, "dry_run": args.dry_run });
    for (key, value) in row.sends {
        body[key] = (*value).into();
    }
    for key in row.takes {
        match *key {
            "no-wait" => {}
            "force" | "switch" => body[key] = matches.get_flag(key).into(),
            "accept-loss" => body["accept_loss"] = matches.get_flag(key).into(),
            key => {
                if let Some(value) = matches.get_one::<String>(key) {
                    body[key] = value.as_str().into();
                }
            }
        }
    }
    let encoded = |name: &str| utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
    let mut path = vec!["/api/v1".to_owned()];
    if row.target != Target::Process
        && let Some((pool, backend)) = matches.get_one::<(String, Option<String>)>("target")
    {
        path.extend(["/pools/".to_owned(), encoded(pool)]);
        match backend {
            Some(backend) if row.target == Target::Backend => path.extend(["/backends/".to_owned(), encoded(backend)]),
            Some(backend) => body["backend"] = backend.as_str().into(),
            None => {}
        }
    }
    let waits = row.takes.contains(&"no-wait") && !matches.get_flag("no-wait");
    Ok(Some(Order { args, method: row.method.clone(), path: path.concat() + row.path, body, waits }))
}

/// Gives the order. The exit code is 0 when it was done, and 1 when it was refused or failed.
pub fn run(order: &Order) -> u8 {
    run_to(order, &mut io::stdout().lock(), &mut io::stderr().lock())
}

/// [`run`] with given outputs: what was done goes to `out`, why it was not to `err`; with `--json` every answer goes to `out`.
pub fn run_to(order: &Order, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let mut output = Output { out, err };
    let code = token(order).and_then(|token| {
        let ask = Ask { method: order.method.clone(), body: Some(order.body.to_string()), token: token.as_ref() };
        let address = &order.args.admin.address;
        if order.waits {
            let show = if order.args.json { Show::Json } else { Show::Steps };
            let tell = |answer: &Answer, output: &mut Output<'_>| tell(order, answer, output);
            return operation::run(address, (&order.path, &ask, TIMEOUT), show, &mut output, &tell);
        }
        let answer = client::send(address, &order.path, &ask, TIMEOUT).map_err(|error| error.to_string())?;
        Ok(tell(order, &answer, &mut output))
    });
    code.unwrap_or_else(|error| {
        let _ = writeln!(output.err, "{error}");
        exit::FAILED
    })
}

/// Prints the answer; returns the exit code.
fn tell(order: &Order, answer: &Answer, output: &mut Output<'_>) -> u8 {
    let text = String::from_utf8_lossy(&answer.body);
    let is_done = answer.status == 200;
    // A reader that closed the pipe early has seen enough; the exit code still tells.
    let _ = if order.args.json {
        write!(output.out, "{}", plain_json(&text))
    } else if is_done {
        write!(output.out, "{}", done(&text, order.args.dry_run))
    } else {
        write!(output.err, "not done: {}", refused(&text, answer.status))
    };
    if is_done { exit::DONE } else { exit::FAILED }
}

fn token(order: &Order) -> Result<Option<Secret>, String> {
    let Some(file) = &order.args.token_file else { return Ok(None) };
    let unusable = |why| format!("the token file {} cannot be used: {why}", escaped(&file.display().to_string()));
    read_token(file).map(Some).map_err(unusable)
}

#[derive(Deserialize)]
struct Done {
    done: Vec<String>,
    operation: Option<u64>,
}

#[derive(Deserialize)]
struct Refused {
    error: Error,
}

#[derive(Deserialize)]
struct Error {
    message: String,
    #[serde(default)]
    pools: Vec<String>,
    #[serde(default)]
    backends: Vec<String>,
    #[serde(default)]
    diagnostics: Vec<Diagnostic>,
}

#[derive(Deserialize)]
struct Diagnostic {
    severity: String,
    message: String,
    #[serde(default)]
    file: String,
    line: Option<u64>,
    column: Option<u64>,
    #[serde(default)]
    path: String,
    #[serde(default)]
    help: String,
}

/// What was done, in mainstay's words.
fn done(text: &str, dry_run: bool) -> String {
    let Ok(Done { done, operation }) = serde_json::from_str(text) else { return "done\n".to_owned() };
    let first = dry_run.then(|| "nothing was changed (--dry-run)".to_owned());
    let last = operation.map(|id| format!("operation {id} has begun"));
    first.into_iter().chain(done.iter().map(|line| escaped(line))).chain(last).map(|line| line + "\n").collect()
}

/// Why it was not done, and what to do.
pub(super) fn refused(text: &str, status: u16) -> String {
    let Ok(Refused { error }) = serde_json::from_str(text) else {
        return format!("HTTP status {status}, which is not an answer of mainstay\n");
    };
    let names = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("; {what}: {}", escaped(&names.join(", "))),
    };
    let mut told = format!("{}{}{}\n", escaped(&error.message), names("pools", &error.pools), names("backends", &error.backends));
    for Diagnostic { severity, message, file, line, column, path, help } in &error.diagnostics {
        let place = line.zip(*column).map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        let path = if path.is_empty() { String::new() } else { format!(" ({path})") };
        let help = if help.is_empty() { String::new() } else { format!("; {help}") };
        told += &escaped(&format!("{severity}: {file}{place}{path}: {message}{help}"));
        told.push('\n');
    }
    told
}
