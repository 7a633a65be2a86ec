//! The proofs of a server that has changed, each against real servers that fail it. No mainstay runs here.

mod commands;
mod mariadb;
mod postgres;
mod queries;
mod redis;

use std::net::SocketAddr;

use mainstay::{
    config::{self, GuardConfig},
    control::guard::{
        Subject,
        proofs::{Latency, Occasion, ProofResult, Proved, Scope, run},
    },
};
use serde_json::{Value, json};

/// A pool with this check and this `guard`.
pub(crate) struct Pool {
    check: config::CheckConfig,
    guard: GuardConfig,
    latency: Option<Latency>,
}

impl Pool {
    pub(crate) fn new(check: &Value, guard: &Value) -> Self {
        let pool =
            json!({"name": "orders", "listen": "127.0.0.1:5432", "backends": ["db-a:5432"], "check": check, "guard": guard});
        let loaded = config::parse(&json!({ "pools": [pool] }).to_string(), "mainstay.yaml", &|name| {
            (name == "TOKEN").then(|| "hunter22".to_owned())
        });
        let config = loaded.unwrap_or_else(|errors| panic!("{errors}")).config;
        Self { check: config.pools[0].check.clone(), guard: (*config.pools[0].guard).clone(), latency: None }
    }

    /// With these proofs.
    pub(crate) fn proving(check: &str, proofs: &Value) -> Self {
        Self::new(&json!(check), &json!({ "proofs": proofs }))
    }

    fn subject(&self, address: SocketAddr) -> Subject {
        Subject { check: self.check.clone(), address: address.to_string().parse().unwrap(), addresses: address.into() }
    }

    pub(crate) fn prove_in(&self, scope: Scope, subject: SocketAddr, active: Option<SocketAddr>) -> Results {
        let (subject, active) = (self.subject(subject), active.map(|address| self.subject(address)));
        let occasion = Occasion {
            pool: "orders",
            backend: "db-b",
            active: active.as_ref().map(|_| "db-a"),
            guard: &self.guard,
            latency: self.latency,
        };
        let results = Results(crate::promoter::wait(run(&subject, active.as_ref(), scope, &occasion)));
        println!("{results}");
        results
    }

    pub(crate) fn prove(&self, subject: SocketAddr, active: Option<SocketAddr>) -> Results {
        self.prove_in(Scope::All, subject, active)
    }
}

pub(crate) struct Results(Vec<Proved>);

impl std::fmt::Display for Results {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for one in &self.0 {
            writeln!(f, "{} {} in {:.1?}: {}", one.name, one.result, one.took, one.evidence)?;
        }
        Ok(())
    }
}

impl Results {
    #[track_caller]
    fn of(&self, name: &str) -> &Proved {
        self.0.iter().find(|one| &*one.name == name).unwrap_or_else(|| panic!("no {name}: {self}"))
    }

    /// This proof came to `result`, with these words in its evidence.
    #[track_caller]
    fn has(&self, name: &str, result: ProofResult, words: &str) -> &Self {
        let one = self.of(name);
        assert!(one.result == result && one.evidence.contains(words), "{name}: {result} {words}: {self}");
        self
    }

    #[track_caller]
    pub(crate) fn passed(&self, name: &str) -> &Self {
        self.has(name, ProofResult::Passed, "")
    }

    #[track_caller]
    pub(crate) fn failed(&self, name: &str, words: &str) -> &Self {
        self.has(name, ProofResult::Failed, words)
    }

    #[track_caller]
    pub(crate) fn inconclusive(&self, name: &str, words: &str) -> &Self {
        self.has(name, ProofResult::Inconclusive, words)
    }

    #[track_caller]
    pub(crate) fn skipped(&self, name: &str, words: &str) -> &Self {
        self.has(name, ProofResult::Skipped, words)
    }

    #[track_caller]
    fn unanswered(&self, name: &str, words: &str) -> &Self {
        self.has(name, ProofResult::Unanswered, words)
    }

    /// All but these passed.
    #[track_caller]
    pub(crate) fn all_but(&self, names: &[&str]) {
        let others = self.0.iter().filter(|one| !names.contains(&&*one.name));
        let wrong: Vec<_> = others.filter(|one| one.result != ProofResult::Passed).map(|one| &*one.name).collect();
        assert!(wrong.is_empty(), "{wrong:?}: {self}");
    }
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}
