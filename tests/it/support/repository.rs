//! Files of this repository.

use std::{fs, path::PathBuf};

use serde::de::DeserializeOwned;

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A file of the repository.
pub(crate) fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn yaml<T: DeserializeOwned>(text: &str) -> T {
    // The series of the tests of rules are written once and named often.
    let options = serde_yaml::options! { budget: None };
    serde_yaml::from_str_with_options(text, options).unwrap_or_else(|error| panic!("{error}"))
}
