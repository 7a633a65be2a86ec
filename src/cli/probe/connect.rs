//! `mainstay check --connect`: one probe of every backend of a configuration.

use crate::{
    cli::exit,
    config::{Config, PoolConfig},
    control::probe::{self, Finding},
    failover::{Election, MultiPrimary, Outcome, Role},
};

/// Probes every backend and prints a line for each. The exit code: done when each answered as asked, no backend when a pool
/// has none that may be active, failed otherwise.
pub fn connect(config: &Config) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mainstay check: this machine could not start a runtime: {error}");
            return exit::FAILED;
        }
    };
    let code = config.pools.iter().map(|pool| runtime.block_on(connect_pool(pool))).max().unwrap_or(exit::DONE);
    // A name server that hangs must not hold the command up.
    runtime.shutdown_background();
    code
}

async fn connect_pool(pool: &PoolConfig) -> u8 {
    let mut all_answer = true;
    let (mut may_serve, mut alone) = (0, 0);
    for backend in &pool.backends {
        let result = probe::whole(&backend.address, &pool.check).await;
        let (word, evidence) = match &result {
            Ok(finding) => (finding.outcome.to_string(), said(finding)),
            Err(evidence) => ("no verdict".to_owned(), evidence.to_string()),
        };
        println!("{}/{} ({}): {word}: {evidence}", pool.name, backend.name, backend.address);
        let answered = result.as_ref().is_ok_and(|finding| finding.outcome == Outcome::Ok);
        all_answer &= answered;
        if let Some(finding) = result.ok().filter(|finding| answered && serves(pool, finding)) {
            may_serve += 1;
            // Nodes of a cluster in which all may write are no danger to each other.
            alone += usize::from(finding.facts.multi_primary == MultiPrimary::No);
        }
    }
    match may_serve {
        0 => {
            println!("{}: no backend may be active now: clients would be held", pool.name);
            exit::NO_BACKEND
        }
        2.. if pool.policy.election == Election::ByRole && alone > 0 => {
            println!("{}: {may_serve} backends say they are the primary: shut down or rebuild the wrong one", pool.name);
            exit::FAILED
        }
        _ if all_answer => exit::DONE,
        _ => exit::FAILED,
    }
}

fn serves(pool: &PoolConfig, finding: &Finding) -> bool {
    match pool.policy.election {
        Election::ByOrder => true,
        Election::ByRole => finding.facts.role == Some(Role::Primary) && !finding.facts.read_only,
    }
}

fn said(finding: &Finding) -> String {
    match (finding.facts.role, &finding.facts.version) {
        (None | Some(Role::Unknown), _) => finding.evidence.to_string(),
        (Some(role), Some(version)) => format!("{role}, version {version}"),
        (Some(role), None) => role.to_string(),
    }
}
