//! The check `tcp`.

use super::kind::{Kind, KindKeys};
use crate::config::{
    raw::{node::Value, reader::Field},
    table::Table,
};

/// A connect; there is nothing to say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpCheck;

impl KindKeys for TcpCheck {
    const KEYS: Table<Self> = Table::new(&[], &[], &[], &[]);
    const LOGS_IN: bool = false;

    fn read(section: Option<Field<'_>>, _: Field<'_>) -> Self {
        if let Some(section) = section.filter(|section| !matches!(section.value(), Value::Null)) {
            section.map(Self::KEYS.keys());
        }
        Self
    }
}

impl Kind for TcpCheck {
    fn knows_roles(&self) -> bool {
        false
    }
}
