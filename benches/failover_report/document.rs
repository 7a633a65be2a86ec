//! `docs/failover-report.md`, and the facts that a number means nothing without.

use serde_json::{Value, json};

use crate::table::{self, CaseResult};

/// What the numbers depend on.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) runs: u32,
    pub(crate) seed: u64,
    /// Version of the server, when a case had one.
    pub(crate) postgres: Option<String>,
}

const HEAD: &str = "\
# Failover report

Written by `make failover-report`; do not edit. Each number was measured on a real PostgreSQL, a primary and its synchronous
standby (or a Redis, MariaDB or MySQL primary and its replica), with eight clients that write through mainstay. mainstay ran as a separate process in its default configuration, unless a case says otherwise.
Database, mainstay and clients shared one machine, so the times include waiting for the processor.
";

const DEFINITIONS: &str = "\
## What the words mean

| word | meaning |
|---|---|
| fault | The moment just before the first signal is sent. |
| writable | The first moment at which the standby says that it is no longer in recovery. A session that was opened before the fault, directly to the standby, asks it about every millisecond. |
| first write | The first `INSERT` of any client that the new primary acknowledged through mainstay. Each acknowledgement contains the port of its node (MariaDB, MySQL: each session asks once). |
| mainstay's share of the gap | From the later of fault and writable to the first write: the time that a client waits because of mainstay, including its new login. |
| detection | From the fault to the moment at which mainstay published the revocation of the old primary. |
| failed connect | A connect through mainstay that ends before its login is done. |
| acknowledged writes lost | Rows that were acknowledged to a client, and that the surviving primary does not have. |
| aborted, ambiguous | A transaction that ended after its first statement; one whose COMMIT had no answer. A command that Redis executed without an answer counts as lost, or done without an answer. |
| whole hold | Of a switchover: from the closing of the gate to the first client that is let through to the new primary, in mainstay's own account. |
| drain | Of a switchover: from then to the end of the last session, in mainstay's own account. |
| added to the old one's stop and the promotion | The whole hold without the time of the command that stops the old primary (`promotion.demote` measures it; for MariaDB and MySQL it is the step `demote`) and without the step `promote`. |
| from the failed step to a transaction of every client | From the end of the operation, as mainstay tells it, until each client has committed again, its new login included. |
| writes on the old primary after the new one's first | Writes that the old primary acknowledged after the new one's first write, or that it has although they were sent only then. |

The worst value of a row is the one farthest from its bound. A row without a bound is for information.
";

impl Facts {
    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let postgres = self.postgres.as_deref().unwrap_or("none");
        format!(
            "\nPostgreSQL {postgres}, {} cores, mainstay {}, {} runs, seed {}\n",
            cores(),
            env!("CARGO_PKG_VERSION"),
            self.runs,
            self.seed
        )
    }

    /// For programs.
    pub(crate) fn json(&self, results: &[CaseResult]) -> Value {
        json!({
            "postgres": self.postgres,
            "cores": cores(),
            "mainstay": env!("CARGO_PKG_VERSION"),
            "runs": self.runs,
            "seed": self.seed,
            "cases": table::json(results),
        })
    }

    /// The whole document.
    pub(crate) fn document(&self, results: &[CaseResult]) -> String {
        let facts = format!(
            "\n| | |\n|---|---|\n| PostgreSQL | {} |\n| cores | {} |\n| mainstay | {} |\n| runs of a failover | {} |\n| seed | {} |\n",
            self.postgres.as_deref().unwrap_or("none"),
            cores(),
            env!("CARGO_PKG_VERSION"),
            self.runs,
            self.seed
        );
        format!("{HEAD}{facts}\n{DEFINITIONS}\n## Results\n{}\n## Others\n\n{}\n", table::markdown(results), table::ELSEWHERE)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
