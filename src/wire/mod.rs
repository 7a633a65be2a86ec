//! The first packets of the three protocols: constants and small parsers, for greeting, refusal, probes and fake servers.

pub mod mysql;
pub mod postgres;
pub mod redis;

/// In which protocol clients are greeted and turned away: what the clients of a pool speak, as far as its check tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Unknown: there is no first exchange, and a rejected client gets RST.
    Unknown,
    /// `PostgreSQL`.
    Postgres,
    /// `MySQL`.
    Mysql,
    /// Redis.
    Redis,
}

impl Protocol {
    /// Whether there is a first exchange with the backend.
    pub const fn is_greeted(self) -> bool {
        !matches!(self, Self::Unknown)
    }
}
