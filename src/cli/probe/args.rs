//! The arguments of `mainstay probe`.

use std::{path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser};

use crate::{
    config::{CheckKind, ProxySend, Secret, TlsIdentity, TlsMode},
    failover::label::Label,
    net::{addr::BackendAddr, proxy_protocol::Version},
};

/// Probe one backend once, and say what mainstay would see.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The check to make.
    #[arg(value_name = "KIND", value_parser = PossibleValuesParser::new(CheckKind::NAMES))]
    pub(super) kind: String,
    /// The backend: HOST:PORT, an IPv6 address in brackets
    #[arg(value_name = "ADDRESS")]
    pub(super) address: BackendAddr,
    /// User to log in as (postgres: a role, default postgres; mysql: an account, default mainstay; redis: an ACL user; http: Basic).
    #[arg(long)]
    pub(super) user: Option<String>,
    /// File that holds the user's password.
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// Give the password as it is, even to a server that is not verified (postgres, mysql).
    #[arg(long)]
    pub(super) allow_cleartext_password: bool,
    /// Database to log in to (postgres).
    #[arg(long, default_value = "postgres")]
    pub(super) database: String,
    /// Transport security: off, prefer (postgres, mysql), require or verify-full [default: postgres and mysql prefer, others off]
    #[arg(long, value_parser = tls_mode)]
    pub(super) tls: Option<TlsMode>,
    /// PEM file with the authorities to trust, for verify-full.
    #[arg(long, value_name = "FILE", required_if_eq("tls", "verify-full"))]
    pub(super) tls_ca_file: Option<PathBuf>,
    /// Send this PROXY header first, as the checks of a pool do whose listeners have `proxy_protocol: {send: ...}`: v1 or v2
    #[arg(long, value_name = "VERSION", value_parser = proxy_header)]
    pub(super) proxy_protocol: Option<Version>,
    /// Port of the endpoint, when it is not that of the backend (http).
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Path, with a query if one is needed (http).
    #[arg(long, default_value = "/primary")]
    pub(super) path: String,
    /// Status that means "this is the primary"; may be repeated (http) [default: 200]
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..600))]
    pub(super) status: Vec<u16>,
    /// Name for the request and for the certificate, when it is not that of the backend (http).
    #[arg(long, value_name = "NAME")]
    pub(super) host: Option<String>,
    /// PEM file with a certificate to show to the server.
    #[arg(long, value_name = "FILE", requires = "tls_key_file")]
    pub(super) tls_cert_file: Option<PathBuf>,
    /// PEM file with its key.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub(super) tls_key_file: Option<PathBuf>,
    /// Deadline of the whole probe, such as 500ms or 2s.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(super) timeout: Duration,
    /// Answer with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    /// The command tells the role, as the first word that it writes (exec).
    #[arg(long)]
    pub(super) roles: bool,
    /// A variable for the command; the name alone passes one on that is set here (exec).
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<String>,
    #[command(flatten)]
    pub(super) steps: Steps,
    /// Program, by its absolute path, and arguments, behind -- (exec).
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

impl Args {
    /// The password, from its file.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn password(&self) -> Result<Option<Secret>, String> {
        let read = |path: &PathBuf| Secret::read(path).map_err(|why| format!("--password-file {}: {why}", path.display()));
        self.password_file.as_ref().map(read).transpose()
    }

    /// What the check shows of itself.
    pub(super) fn tls_identity(&self) -> Option<TlsIdentity> {
        let files = self.tls_cert_file.clone().zip(self.tls_key_file.clone());
        files.map(|(cert_file, key_file)| TlsIdentity { cert_file, key_file })
    }
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

/// Options that are steps, with what they are good for.
const OPTIONS: [(&str, &str); 6] = [
    ("send", "Text to send; \\r \\n \\t \\0 \\\\ \\xHH are understood; steps are taken in order (exchange)"),
    ("send-hex", "The same in hexadecimal digits (exchange)"),
    ("expect", "Text that must come, anywhere in the answer (exchange)"),
    ("expect-hex", "The same in hexadecimal digits (exchange)"),
    ("primary", "Text that comes from a primary; the last step, with --standby (exchange)"),
    ("standby", "Text that comes from a standby; the last step, with --primary (exchange)"),
];

/// The steps, each by the name of its option, in the order of the command line.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps(pub(super) Vec<(&'static str, String)>);

impl clap::FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut steps = Vec::new();
        for (name, _) in OPTIONS {
            let (indices, values) = (matches.indices_of(name), matches.get_many::<String>(name));
            steps.extend(
                indices
                    .zip(values)
                    .into_iter()
                    .flat_map(|(indices, values)| indices.zip(values).map(|(i, text)| (i, name, text.clone()))),
            );
        }
        steps.sort_by_key(|(index, ..)| *index);
        Ok(Self(steps.into_iter().map(|(_, name, text)| (name, text)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Steps {
    fn augment_args(command: Command) -> Command {
        OPTIONS.into_iter().fold(command, |command, (name, help)| {
            let value = if name.ends_with("hex") { "HEX" } else { "TEXT" };
            command
                .arg(Arg::new(name).long(name).value_name(value).help(help).action(ArgAction::Append).allow_hyphen_values(true))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
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
