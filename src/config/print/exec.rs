//! The check `exec` in the words of the file.

use super::{Tree, format_size, hidden, text};
use crate::config::exec::{ExecCheck, Word};

pub(super) fn exec(check: &ExecCheck) -> Tree {
    let mut map = vec![("command", check.command.iter().map(word).collect())];
    if !check.env.is_empty() {
        let variables = check.env.iter().map(|(name, value)| (name.clone(), hidden(value.source())));
        map.push(("env", Tree::Named(variables.collect())));
    }
    map.push(("roles", Tree::Flag(check.roles)));
    map.extend(check.max_lag.map(|bytes| ("max_lag", Tree::Text(format_size(bytes)))));
    Tree::Map(map)
}

pub(super) fn word(word: &Word) -> Tree {
    match word {
        Word::Plain(plain) => text(plain),
        Word::Secret(secret) => hidden(secret.source()),
    }
}
