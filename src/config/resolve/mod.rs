//! Tree to [`Config`]: one file per section. A wrong section is reported and replaced by its default, so that the rest is checked,
//! too. The result is used only if nothing was reported.
//!
//! | file | section |
//! |---|---|
//! | [`super::process`] | the keys of the process |
//! | [`pool`] | `pools[]` and `defaults` |
//! | [`promotion`] | which keys of `promotion` go together |
//! | [`guard`] | which keys of `guard` go together |
//! | [`check`] | `check`: which kind, which has its own keys in [`super::check`] |
//! | [`secrets`] | `password`, `password_file` |
//! | [`tls`] | `tls_ca_file`, `tls_cert_file`, `tls_key_file` |
//! | [`exposure`] | warnings of what somebody else on the network, or on this machine, could do |
//! | [`listeners`] | `listen` and `listeners[]`, key by key in [`super::listener`] |
//! | [`endpoint`] | addresses to listen on |
//! | [`access`] | who may connect to a listener, and which proxies are believed |
//! | [`backend`] | `backends[]` |
//! | [`claims`] | names and addresses that must be unique |

pub(super) mod access;
mod backend;
mod check;
pub(super) mod claims;
pub(super) mod endpoint;
pub(super) mod exposure;
mod guard;
mod listeners;
mod pool;
mod promotion;
pub(super) mod secrets;
pub(super) mod tls;

use claims::Claims;

use super::{
    findings::Findings,
    process::{self, Config, FILE},
    raw::{
        node::{Node, Value},
        reader::Field,
    },
};

/// The configuration; `None` when there is nothing to read.
pub(super) fn resolve(root: &Node, findings: &Findings) -> Option<Config> {
    let field = Field::new(root, findings);
    if matches!(root.value, Value::Null) {
        field.error("the configuration is empty", pool::SMALLEST);
        return None;
    }
    if matches!(root.value, Value::Scalar(_) | Value::List(_)) {
        field.error("a configuration is a map (key: value) with the key `pools`", pool::SMALLEST);
        return None;
    }
    let file = field.map(FILE.keys())?;
    let (mut config, mut claims) = (Config::plain(), Claims::default());
    process::admin(file, &mut claims, &mut config.admin);
    config.pools = pool::pools(file, &mut claims);
    claims.check_loops();
    FILE.read(file, &mut config);
    Some(config)
}
