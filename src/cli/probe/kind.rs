//! What a kind of check is to `mainstay probe`.

use std::time::Duration;

use super::{args::Args, source::SourceAddr};
use crate::{
    config::{CheckKind, Secret, check_kinds},
    control::probe::Finding,
    net::addr::BackendAddr,
};

/// A check of this kind.
pub(super) trait Kind {
    /// The check that the arguments ask for, or which of them cannot be used and what would be right.
    fn from_args(args: &Args, password: Option<Secret>) -> Result<Self, String>
    where
        Self: Sized;

    /// What is asked, in words.
    fn asked(&self, address: &BackendAddr, timeout: Duration) -> String;

    /// What to do now; nothing where the advice for any server is as good.
    fn advice(&self, _finding: &Finding, _origin: SourceAddr) -> Option<String> {
        None
    }

    /// What to do when this machine could not ask.
    fn no_verdict(&self) -> &'static str {
        "  This machine ran out of ports, file descriptors or memory. Look at `ss -s`, `ulimit -n` and `free -m`."
    }

    /// How numbers are shown.
    fn words(&self) -> Words {
        Words { epoch: "epoch", hidden: None, lag: " received and not applied" }
    }

    /// The epoch in words.
    fn epoch(&self, epoch: u64) -> String {
        epoch.to_string()
    }
}

/// How numbers are shown.
pub(super) struct Words {
    /// What the database calls its epoch.
    pub(super) epoch: &'static str,
    /// In place of a number that the server does not show.
    pub(super) hidden: Option<&'static str>,
    /// What a lag consists of.
    pub(super) lag: &'static str,
}

macro_rules! of_kinds {
    ($($name:literal: $kind:ident($check:ident), $meaning:literal;)+) => {
        /// The check as its kind has it.
        pub(super) fn kind(check: &CheckKind) -> &dyn Kind {
            match check { $(CheckKind::$kind(check) => check),+ }
        }

        /// The check that the arguments ask for, or what is wrong with them.
        pub(super) fn check(args: &Args) -> Result<CheckKind, String> {
            let password = args.password()?;
            match &*args.kind {
                $($name => Kind::from_args(args, password).map(CheckKind::$kind),)+
                other => Err(format!("{other}: there is no such check")),
            }
        }
    };
}
check_kinds!(of_kinds);
