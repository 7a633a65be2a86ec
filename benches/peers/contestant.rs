//! Who is compared: names, programs, versions.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use clap::ValueEnum;
use lab::failure::Failure;

/// One way from client to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Contestant {
    Mainstay,
    Haproxy,
    Nginx,
    Envoy,
    /// `HAProxy` without splicing; for information, and only where fairness is measured.
    HaproxyCopy,
    /// nginx that relays a FIN, as all others do; for information, and only where connections end.
    NginxHalfClose,
    /// mainstay that looks for a moment before it sleeps; for information, and only where that matters.
    MainstayBusyPoll,
    /// No proxy.
    Direct,
}

impl Contestant {
    /// Those that mainstay must not fall behind.
    pub(crate) const PEERS: [Self; 3] = [Self::Haproxy, Self::Nginx, Self::Envoy];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mainstay => "mainstay",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::HaproxyCopy => "haproxy_copy",
            Self::NginxHalfClose => "nginx_half_close",
            Self::MainstayBusyPoll => "mainstay_busy_poll",
            Self::Direct => "direct",
        }
    }

    /// Whose program it is.
    pub(crate) const fn program(self) -> Self {
        match self {
            Self::HaproxyCopy => Self::Haproxy,
            Self::NginxHalfClose => Self::Nginx,
            Self::MainstayBusyPoll => Self::Mainstay,
            other => other,
        }
    }

    /// Its program as it is set up in every measure.
    pub(crate) fn is_plain(self) -> bool {
        self.program() == self && self != Self::Direct
    }

    pub(crate) fn is_peer(self) -> bool {
        Self::PEERS.contains(&self)
    }
}

/// Where the programs are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs(BTreeMap<Contestant, PathBuf>);

impl Programs {
    /// Those named by the user (`NAME=PATH`); the others where `benches/peers/install` puts them.
    pub(crate) fn new(named: &[String]) -> Result<Self, Failure> {
        let mut programs = BTreeMap::new();
        for text in named {
            let parts = text.split_once('=').and_then(|(name, path)| Some((Contestant::from_str(name, false).ok()?, path)));
            let Some((contestant, path)) = parts.filter(|(contestant, _)| *contestant != Contestant::Direct) else {
                return Err(Failure::Said(format!("--bin {text}: write NAME=PATH with mainstay, haproxy, nginx or envoy")));
            };
            if !Path::new(path).is_file() {
                return Err(Failure::Said(format!("--bin {text}: there is no such file")));
            }
            programs.insert(contestant.program(), Path::new(path).to_owned());
        }
        Ok(Self(programs))
    }

    pub(crate) fn path(&self, contestant: Contestant) -> Result<PathBuf, Failure> {
        let program = contestant.program();
        if let Some(path) = self.0.get(&program) {
            return Ok(path.clone());
        }
        let found = match program {
            Contestant::Mainstay => Some(PathBuf::from(env!("CARGO_BIN_EXE_mainstay"))),
            Contestant::Envoy => Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/envoy")),
            _ => search(program.name()),
        };
        found.filter(|path| path.is_file()).ok_or_else(|| {
            let name = program.name();
            Failure::Said(format!("{name} is not installed: run benches/peers/install, or name a build with --bin {name}=PATH"))
        })
    }

    /// What the program calls itself.
    pub(crate) fn version(&self, contestant: Contestant) -> Result<String, Failure> {
        let flag = match contestant.program() {
            Contestant::Haproxy | Contestant::Nginx => "-v",
            _ => "--version",
        };
        let output = Command::new(self.path(contestant)?).arg(flag).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown").trim();
        // "mainstay 0.1.0", "nginx version: nginx/1.22.1", "HAProxy version 2.6.12-1 2026/10/17 - …"; Envoy begins with its own
        // path and a commit, and ends with how it was built: "PATH  version: 9e55…/1.40.0/Clean/RELEASE/BoringSSL".
        let mut words = line.split_whitespace().flat_map(|word| word.split('/'));
        let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
        Ok(version.unwrap_or(line).to_owned())
    }
}

/// In `PATH`, and where distributions put servers.
fn search(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// The folder of nginx's loadable modules, when the stream module is one; `None` when it is built in.
pub(crate) fn nginx_modules(nginx: &Path) -> Result<Option<String>, Failure> {
    let output = Command::new(nginx).arg("-V").output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if !text.contains("--with-stream=dynamic") {
        return Ok(None);
    }
    let folder = text.split_whitespace().find_map(|word| word.strip_prefix("--modules-path="));
    folder
        .map(|folder| Some(folder.to_owned()))
        .ok_or_else(|| Failure::Said("nginx -V does not say where its modules are".into()))
}
