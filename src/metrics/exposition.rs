//! The text of a scrape, in pieces.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    directory::Directory,
    text::{self, Detail, Lines},
};

/// A piece has as many metrics as it takes to be at least this long.
const PIECE_BYTES: usize = 64 << 10;

/// All metrics, piece by piece. A thousand pools have 16 MB of them: that is never in memory as a whole, and whoever takes the pieces
/// can do something else in between.
#[derive(Debug)]
pub struct Exposition {
    directory: Arc<Mutex<Directory>>,
    detail: Detail,
    /// The name of the last one.
    last: &'static str,
}

impl Exposition {
    pub(super) const fn new(directory: Arc<Mutex<Directory>>, detail: Detail) -> Self {
        Self { directory, detail, last: "" }
    }

    /// Appends the next metric, with its series of all components, unless none of them is shown.
    fn next_metric(&mut self, text: &mut String) -> Option<()> {
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        self.last = directory.next_after(self.last)?;
        let mut series = directory.named(self.last).peekable();
        let (before, first) = (text.len(), series.peek()?);
        text::head(text, first.def, first.kind);
        let head = text.len();
        for family in series {
            (family.write)(&mut Lines { text, def: family.def, detail: self.detail, labels: &family.labels });
        }
        if text.len() == head {
            text.truncate(before);
        }
        Some(())
    }
}

impl Iterator for Exposition {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut text = String::new();
        while text.len() < PIECE_BYTES && self.next_metric(&mut text).is_some() {}
        Some(text).filter(|text| !text.is_empty())
    }
}
