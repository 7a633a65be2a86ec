//! The variables of systemd.

use std::ffi::OsString;

/// Reads a variable of the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A variable that is set and not empty.
pub(super) fn set(variable: Variable<'_>, name: &str) -> Option<OsString> {
    variable(name).filter(|value| !value.is_empty())
}
