//! The arguments of `mainstay run`, and the configuration that they name or make.

use std::path::PathBuf;

use clap::{ArgMatches, parser::ValueSource};

use crate::config::{self, Errors, FileContent, Flags, Loaded, Secret, flags::PASSWORD_VARIABLE};

/// Run the proxy: from a file, or from flags for simple use.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "MAINSTAY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Name of the pool [default: main]
    #[arg(long, value_name = "NAME", env = "MAINSTAY_POOL")]
    pub pool: Option<String>,
    /// Where clients connect; may be repeated
    #[arg(long, value_name = "IP:PORT", env = "MAINSTAY_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// Where clients connect that only read: they get a standby; may be repeated
    #[arg(long, value_name = "IP:PORT", env = "MAINSTAY_LISTEN_REPLICA", value_delimiter = ',')]
    pub listen_replica: Vec<String>,
    /// A node of the database, in order of preference; may be repeated
    #[arg(long, value_name = "HOST:PORT", env = "MAINSTAY_BACKEND", value_delimiter = ',')]
    pub backend: Vec<String>,
    /// How backends are checked: tcp, postgres, mysql, redis or http
    #[arg(long, value_name = "KIND", env = "MAINSTAY_CHECK")]
    pub check: Option<String>,
    /// Login role of the check
    #[arg(long, value_name = "ROLE", env = "MAINSTAY_CHECK_USER")]
    pub check_user: Option<String>,
    /// File with its password; or the variable `MAINSTAY_CHECK_PASSWORD` holds the password itself
    #[arg(long, value_name = "FILE", env = "MAINSTAY_CHECK_PASSWORD_FILE")]
    pub check_password_file: Option<String>,
    /// Database it logs in to
    #[arg(long, value_name = "NAME", env = "MAINSTAY_CHECK_DATABASE")]
    pub check_database: Option<String>,
    /// Port of the endpoint of check http, when it is not that of the backend (Patroni: 8008)
    #[arg(long, value_name = "PORT", env = "MAINSTAY_CHECK_PORT")]
    pub check_port: Option<String>,
    /// off, prefer, require or verify-full
    #[arg(long, value_name = "MODE", env = "MAINSTAY_CHECK_TLS")]
    pub check_tls: Option<String>,
    /// PEM file with the CAs that verify-full trusts
    #[arg(long, value_name = "FILE", env = "MAINSTAY_CHECK_TLS_CA_FILE")]
    pub check_tls_ca_file: Option<String>,
    /// PEM file with a certificate to show to the server
    #[arg(long, value_name = "FILE", env = "MAINSTAY_CHECK_TLS_CERT_FILE")]
    pub check_tls_cert_file: Option<String>,
    /// PEM file with its key
    #[arg(long, value_name = "FILE", env = "MAINSTAY_CHECK_TLS_KEY_FILE")]
    pub check_tls_key_file: Option<String>,
    /// Address of the admin endpoint [default: 127.0.0.1:8432]
    #[arg(long, value_name = "IP:PORT", env = "MAINSTAY_ADMIN", value_delimiter = ',')]
    pub admin: Vec<String>,
    /// File with the token that may order over TCP
    #[arg(long, value_name = "FILE", env = "MAINSTAY_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<String>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "MAINSTAY_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// auto, text, json or logfmt
    #[arg(long, value_name = "FORMAT", env = "MAINSTAY_LOG_FORMAT")]
    pub log_format: Option<String>,
    /// After SIGTERM, accept new clients for this long [default: 0s]
    #[arg(long, value_name = "TIME", env = "MAINSTAY_SHUTDOWN_DELAY")]
    pub shutdown_delay: Option<String>,
    /// Then let sessions go on for this long [default: 30s]
    #[arg(long, value_name = "TIME", env = "MAINSTAY_SHUTDOWN_TIMEOUT")]
    pub shutdown_timeout: Option<String>,
    /// Directory for the state that survives a restart
    #[arg(long, value_name = "DIR", env = "MAINSTAY_STATE_DIR")]
    pub state_dir: Option<String>,
}

/// Names arguments that contradict each other, as they were written: a file, and flags that replace it.
pub(in crate::cli) fn contradiction(matches: &ArgMatches) -> Option<String> {
    let written = |id: &str, flag: &str, variable: &str| match matches.value_source(id)? {
        ValueSource::EnvVariable => Some((format!("the environment variable {variable}"), format!("unset {variable}"))),
        _ => Some((flag.to_owned(), format!("leave out {flag}"))),
    };
    let (file, _) = written("config", "--config FILE", "MAINSTAY_CONFIG")?;
    let (other, help) = written("listen", "--listen", "MAINSTAY_LISTEN")
        .or_else(|| written("listen_replica", "--listen-replica", "MAINSTAY_LISTEN_REPLICA"))
        .or_else(|| written("backend", "--backend", "MAINSTAY_BACKEND"))?;
    Some(format!("{file} and {other} cannot be used together: the file says where to listen and who the backends are; {help}"))
}

/// A configuration as it is written now.
pub(super) enum Written {
    /// In a file.
    File(FileContent),
    /// In arguments and variables.
    Flags(Box<Flags>),
}

impl Written {
    /// The file, if it stands in one.
    pub(super) const fn file(&self) -> Option<&FileContent> {
        if let Self::File(content) = self { Some(content) } else { None }
    }

    /// The configuration.
    ///
    /// # Errors
    /// All its errors.
    pub(super) fn load(&self) -> Result<Loaded, Errors> {
        match self {
            Self::File(content) => content.load(&variable),
            Self::Flags(flags) => config::from_flags(flags),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Args {
    /// The configuration. Blocks on the disk.
    pub(super) fn written(&self) -> Written {
        match &self.config {
            Some(file) => Written::File(FileContent::read(file)),
            None => Written::Flags(Box::new(self.flags())),
        }
    }

    fn flags(&self) -> Flags {
        // Not an argument: every user of the machine can see those.
        let password = variable(PASSWORD_VARIABLE).filter(|value| !value.is_empty());
        let args = self.clone();
        Flags {
            pool: args.pool,
            listen: args.listen,
            listen_replica: args.listen_replica,
            backends: args.backend,
            check: args.check,
            check_user: args.check_user,
            check_password: password.map(|value| Secret::from_variable(value, PASSWORD_VARIABLE)),
            check_password_file: args.check_password_file,
            check_database: args.check_database,
            check_port: args.check_port,
            check_tls: args.check_tls,
            check_tls_ca_file: args.check_tls_ca_file,
            check_tls_cert_file: args.check_tls_cert_file,
            check_tls_key_file: args.check_tls_key_file,
            admin: args.admin,
            admin_token_file: args.admin_token_file,
            log_level: args.log_level,
            log_format: args.log_format,
            shutdown_delay: args.shutdown_delay,
            shutdown_timeout: args.shutdown_timeout,
            state_dir: args.state_dir,
        }
    }
}
