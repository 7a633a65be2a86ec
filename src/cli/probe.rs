//! `mainstay probe`: one probe, what it saw, what mainstay would do with such a backend, and what to do now.

mod advice;
mod connect;
mod exchange;
mod exec;
mod http;
mod origin;
mod screen;

use std::{
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::ValueEnum;
pub use connect::connect;

use self::{exchange::Steps, screen::Told};
use super::exit;
use crate::{
    config::{CheckKind, MysqlCheck, PostgresCheck, ProxySend, RedisCheck, Secret, TlsIdentity, TlsMode},
    control::probe::{self, Deadline},
    failover::{Outcome, label::Label},
    net::{addr::BackendAddr, proxy_protocol::Version},
};

/// Probe one backend once, and say what mainstay would see.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The check to make.
    #[arg(value_enum, value_name = "KIND")]
    kind: Kind,
    /// The backend: HOST:PORT, an IPv6 address in brackets
    #[arg(value_name = "ADDRESS")]
    address: BackendAddr,
    /// User to log in as (postgres: a role, default postgres; mysql: an account, default mainstay; redis: an ACL user; http: Basic).
    #[arg(long)]
    user: Option<String>,
    /// File that holds the user's password.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Give the password as it is, even to a server that is not verified (postgres, mysql).
    #[arg(long)]
    allow_cleartext_password: bool,
    /// Database to log in to (postgres).
    #[arg(long, default_value = "postgres")]
    database: String,
    /// Transport security: off, prefer (postgres, mysql), require or verify-full [default: postgres and mysql prefer, others off]
    #[arg(long, value_parser = tls_mode)]
    tls: Option<TlsMode>,
    /// PEM file with the authorities to trust, for verify-full.
    #[arg(long, value_name = "FILE", required_if_eq("tls", "verify-full"))]
    tls_ca_file: Option<PathBuf>,
    /// Send this PROXY header first, as the checks of a pool do whose listeners have `proxy_protocol: {send: ...}`: v1 or v2
    #[arg(long, value_name = "VERSION", value_parser = proxy_header)]
    proxy_protocol: Option<Version>,
    /// Port of the endpoint, when it is not that of the backend (http).
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Path, with a query if one is needed (http).
    #[arg(long, default_value = "/primary")]
    path: String,
    /// Status that means "this is the primary"; may be repeated (http) [default: 200]
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..600))]
    status: Vec<u16>,
    /// Name for the request and for the certificate, when it is not that of the backend (http).
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// PEM file with a certificate to show to the server.
    #[arg(long, value_name = "FILE", requires = "tls_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// PEM file with its key.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,
    /// Deadline of the whole probe, such as 500ms or 2s.
    #[arg(long, default_value = "1s", value_parser = duration)]
    timeout: Duration,
    /// Answer with one JSON object.
    #[arg(long)]
    json: bool,
    /// The command tells the role, as the first word that it writes (exec).
    #[arg(long)]
    roles: bool,
    /// A variable for the command; the name alone passes one on that is set here (exec).
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    #[command(flatten)]
    steps: Steps,
    /// Program, by its absolute path, and arguments, behind -- (exec).
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Tcp,
    Postgres,
    Mysql,
    Redis,
    Http,
    Exec,
    Exchange,
}

fn tls_mode(text: &str) -> Result<TlsMode, String> {
    let mode = TlsMode::ALL.iter().find(|mode| mode.as_str() == text);
    mode.copied().ok_or_else(|| "write off, prefer, require or verify-full".into())
}

fn proxy_header(text: &str) -> Result<Version, String> {
    let send = ProxySend::ALL.iter().find(|send| send.as_str() == text);
    send.and_then(|send| send.version()).ok_or_else(|| "write v1 or v2".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| "write a number and a unit, such as 500ms or 2s")?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err("the unit must be ms, s or m".into()),
    };
    let sensible = Duration::from_millis(1)..=Duration::from_mins(10);
    if sensible.contains(&duration) { Ok(duration) } else { Err("must be between 1ms and 10m".into()) }
}

/// Runs the command. 0: the backend answered as asked; 1: it did not; 2: the arguments cannot be used.
pub fn run(args: &Args) -> u8 {
    let mut out = std::io::stdout().lock();
    let kind = match check_kind(args) {
        Ok(kind) => kind,
        Err(error) => {
            eprintln!("mainstay probe: {error}");
            return exit::USAGE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mainstay probe: this machine could not start a runtime: {error}");
            return exit::FAILED;
        }
    };
    let started = Instant::now();
    let deadline = Deadline::after(args.timeout).with_header(args.proxy_protocol);
    let result = runtime.block_on(probe::once_by(&args.address, &kind, deadline));
    let told = Told { address: &args.address, kind: &kind, timeout: args.timeout, took: started.elapsed(), result: &result };
    // A name server that hangs must not hold the command up.
    runtime.shutdown_background();
    let text = if args.json { screen::json(&told) } else { screen::screen(&told) };
    let written = writeln!(out, "{text}");
    let ok = written.is_ok() && result.is_ok_and(|finding| finding.outcome == Outcome::Ok);
    if ok { exit::DONE } else { exit::FAILED }
}

fn check_kind(args: &Args) -> Result<CheckKind, String> {
    let password = match &args.password_file {
        Some(path) => Some(Secret::read(path).map_err(|why| format!("--password-file {}: {why}", path.display()))?),
        None => None,
    };
    let (user, tls_ca_file, max_lag) = (args.user.clone(), args.tls_ca_file.clone(), None);
    let identity = args.tls_cert_file.clone().zip(args.tls_key_file.clone());
    let tls_identity = identity.map(|(cert_file, key_file)| TlsIdentity { cert_file, key_file });
    let allow_cleartext_password = args.allow_cleartext_password;
    match args.kind {
        Kind::Tcp => Ok(CheckKind::Tcp),
        Kind::Postgres => {
            let plain = PostgresCheck::default();
            let (user, tls) = (user.unwrap_or(plain.user), args.tls.unwrap_or(plain.tls));
            let database = args.database.clone();
            Ok(CheckKind::Postgres(PostgresCheck {
                user,
                password,
                database,
                allow_cleartext_password,
                tls,
                tls_ca_file,
                tls_identity,
                ..plain
            }))
        }
        Kind::Mysql => {
            let plain = MysqlCheck::default();
            let (user, tls) = (user.unwrap_or(plain.user), args.tls.unwrap_or(plain.tls));
            Ok(CheckKind::Mysql(MysqlCheck { user, password, allow_cleartext_password, tls, tls_ca_file, tls_identity, ..plain }))
        }
        Kind::Http => http::check(args, password, tls_identity).map(CheckKind::Http),
        Kind::Redis if args.tls == Some(TlsMode::Prefer) => {
            Err("--tls prefer: Redis encrypts a port or does not; write off or require".into())
        }
        Kind::Redis if user.is_some() && password.is_none() => {
            Err("--user needs --password-file: Redis has no login without a password".into())
        }
        Kind::Redis => {
            let tls = args.tls.unwrap_or(RedisCheck::default().tls);
            Ok(CheckKind::Redis(RedisCheck { user, password, tls, tls_ca_file, tls_identity, max_lag, sentinels: None }))
        }
        Kind::Exec => exec::check(&args.command, args.roles, &args.env, &|name| std::env::var(name).ok()).map(CheckKind::Exec),
        Kind::Exchange => exchange::check(&args.steps, args.tls, tls_ca_file, tls_identity).map(CheckKind::Exchange),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_a_range() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        for bad in ["", "5", "s", "-1s", "0s", "11m", "1.5s", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
