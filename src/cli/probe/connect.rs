//! `mainstay check --connect`: one probe of every backend of a configuration.

use std::path::Path;

use crate::{
    cli::exit,
    config::{BackendConfig, Config, PoolConfig},
    control::{
        self,
        probe::{self, Finding},
    },
    failover::{BackendId, Event, Outcome, Pool, Reason, Report, Role, Time},
};

/// Probes every backend and prints a line for each, as a mainstay that starts now would judge it, with the saved state of
/// `state_dir`. The exit code: done when each answered, no backend when a pool has none that may be active, failed otherwise.
pub fn connect(config: &Config) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mainstay check: this machine could not start a runtime: {error}");
            return exit::FAILED;
        }
    };
    let state_dir = config.state_dir.as_deref();
    let codes = config.pools.iter().map(|pool| runtime.block_on(connect_pool(pool, state_dir)));
    let code = codes.max().unwrap_or(exit::DONE);
    // A hung name server must not delay the command.
    runtime.shutdown_background();
    code
}

async fn connect_pool(pool: &PoolConfig, state_dir: Option<&Path>) -> u8 {
    let name = &pool.name;
    let mut core = Pool::new(pool.policy.clone(), u16::try_from(pool.backends.len()).unwrap_or(u16::MAX), Time::ZERO);
    let state_file = match state_dir.map(|dir| control::remembered(dir, name)).transpose() {
        Ok(found) => found.map(|(file, remembered)| {
            core.restore_fence(remembered.fence, remembered.system_id);
            file
        }),
        Err(error) => {
            println!("{name}: the state in state_dir could not be read: {error}");
            None
        }
    };
    let mut all_answer = true;
    for (backend, id) in pool.backends.iter().zip(core.ids()) {
        let result = probe::whole(&backend.address, &pool.check).await;
        all_answer &= tell(pool, backend, &mut core, id, result.as_ref().map_err(AsRef::as_ref));
    }
    // Backends that could not be probed are not waited for.
    core.step(Time::ZERO + pool.policy.settle, &Event::Tick);
    let count = |wanted: &[Reason]| core.ids().filter(|id| wanted.contains(&core.reason(*id))).count();
    if let (Some(file), 1..) = (state_file, count(&[Reason::WrongCluster, Reason::Fenced])) {
        println!(
            "{name}: if the remembered cluster or database epoch is lost for good: stop mainstay, remove {}, and start it again",
            file.display()
        );
    }
    if core.conflict() {
        let claim = count(&[Reason::Eligible, Reason::Fenced]);
        println!("{name}: {claim} backends say they are the primary: shut down or rebuild the wrong one");
        exit::FAILED
    } else if core.active().is_none() {
        println!("{name}: no backend may be active now: clients would be held");
        exit::NO_BACKEND
    } else if all_answer {
        exit::DONE
    } else {
        exit::FAILED
    }
}

/// Prints the line of a backend; whether it answered, and nothing in the saved state speaks against it.
fn tell(pool: &PoolConfig, backend: &BackendConfig, core: &mut Pool, id: BackendId, result: Result<&Finding, &str>) -> bool {
    let (word, words, is_well) = match result {
        Ok(finding) => {
            let report = Report { seq: 1, finding: finding.clone(), fresh: true };
            core.step(Time::ZERO, &Event::Probe(id, report));
            let state = core.backend(id);
            let outcome = state.and_then(|state| state.last_outcome).unwrap_or(finding.outcome);
            let evidence = state.map_or(&finding.evidence, |state| &state.evidence);
            let below = core.fence().0.zip(finding.facts.db_epoch);
            match (core.reason(id), below) {
                (Reason::Fenced, Some((fence, own))) => {
                    ("fenced".into(), format!("{evidence}; its database epoch is {own}, and {fence} was served already"), false)
                }
                (Reason::RoleUnknown, _) => (
                    outcome.to_string(),
                    evidence.to_string(),
                    outcome == Outcome::Ok && finding.facts.role != Some(Role::Primary),
                ),
                _ if outcome == Outcome::Ok => (outcome.to_string(), said(finding), true),
                _ => (outcome.to_string(), evidence.to_string(), false),
            }
        }
        Err(evidence) => ("no verdict".to_owned(), evidence.to_owned(), false),
    };
    println!("{}/{} ({}): {word}: {words}", pool.name, backend.name, backend.address);
    is_well
}

fn said(finding: &Finding) -> String {
    match (finding.facts.role, &finding.facts.version) {
        (None | Some(Role::Unknown), _) => finding.evidence.to_string(),
        (Some(role), Some(version)) => format!("{role}, version {version}"),
        (Some(role), None) => role.to_string(),
    }
}
