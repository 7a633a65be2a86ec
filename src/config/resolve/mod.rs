//! Tree to [`Config`]: one file a section. A section that is wrong was reported and stands in with its default, so that the
//! rest is checked too; what comes out is used only when nothing was reported.
//!
//! | file | section |
//! |---|---|
//! | [`process`] | `admin`, `log`, `shutdown`, `workers`, `busy_poll`, `state_dir` |
//! | [`pool`] | `pools[]` and `defaults` |
//! | [`check`] | `check`, with the logins of the checks that log in |
//! | [`http`] | `check.http` |
//! | [`exec`], [`exchange`] | the checks of these names |
//! | [`secrets`] | `password`, `password_file` |
//! | [`tls`] | `tls_ca_file`, `tls_cert_file`, `tls_key_file` |
//! | [`strangers`] | warnings of what somebody else on the network, or on this machine, could do |
//! | [`listener`] | `listen`, `listeners[]` |
//! | [`doors`] | who may connect to a listener, and the PROXY protocol |
//! | [`backend`] | `backends[]` |
//! | [`claims`] | names and addresses that may be taken once only |

mod backend;
mod check;
mod claims;
mod doors;
mod exchange;
mod exec;
mod http;
mod listener;
mod pool;
mod process;
mod secrets;
mod strangers;
mod tls;

use std::time::Duration;

use claims::Claims;

use super::{
    Config,
    findings::Findings,
    raw::{
        node::{Node, Value},
        reader::{Field, Keys},
    },
};

pub(super) use backend::default_names;
pub(super) use claims::is_legal_name;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
/// The longest time anything of a pool may take; a longer one is a slip of the pen.
const DAY: Duration = Duration::from_hours(24);

const FILE_KEYS: Keys =
    Keys { known: &["admin", "log", "shutdown", "workers", "busy_poll", "state_dir", "defaults", "pools"], planned: &[] };

const SMALLEST: &str = "the smallest one is: pools: [{name: orders, listen: \"127.0.0.1:5432\", backends: [\"db-a:5432\"]}]";

/// The configuration; `None` when there is nothing to read it from.
pub(super) fn resolve(root: &Node, findings: &Findings) -> Option<Config> {
    let field = Field::new(root, findings);
    if matches!(root.value, Value::Null) {
        field.error("the configuration is empty", SMALLEST);
        return None;
    }
    if matches!(root.value, Value::Scalar(_) | Value::List(_)) {
        field.error("a configuration is a map (key: value) with the key `pools`", SMALLEST);
        return None;
    }
    let file = field.map(FILE_KEYS)?;
    let mut claims = Claims::default();
    let admin = process::admin(file, &mut claims);
    let pools = pool::pools(file, &mut claims);
    claims.check_loops();
    Some(Config {
        admin,
        log: process::log(file),
        shutdown: process::shutdown(file),
        workers: process::workers(file),
        busy_poll: process::busy_poll(file),
        state_dir: process::state_dir(file),
        pools,
    })
}
