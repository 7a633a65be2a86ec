//! `mainstay probe tcp`.

use std::time::Duration;

use super::{args::Args, kind::Kind};
use crate::{
    config::{Secret, TcpCheck},
    net::addr::BackendAddr,
};

impl Kind for TcpCheck {
    fn from_args(_: &Args, _: Option<Secret>) -> Result<Self, String> {
        Ok(Self)
    }

    fn asked(&self, address: &BackendAddr, timeout: Duration) -> String {
        format!("tcp {address}, within {timeout:?}")
    }
}
