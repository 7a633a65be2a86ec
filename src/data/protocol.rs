//! What the clients of a pool speak, as far as its check tells.

/// In which protocol clients are greeted and turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Any: nothing is exchanged first, and whoever is turned away gets RST.
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
    pub(super) const fn is_greeted(self) -> bool {
        !matches!(self, Self::Unknown)
    }
}
