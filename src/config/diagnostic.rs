//! Errors and warnings of a configuration: what is wrong, where, and what would be right; for people in the style of rustc, for
//! programs as JSON.

use std::{fmt, sync::Arc};

use serde_json::{Value, json};

use crate::{failover::label::Label, labels};

labels! {
    /// How bad a [`Diagnostic`] is.
    pub enum Severity {
        /// The configuration cannot be used.
        Error = "error",
        /// It can be used, but somebody should look at it.
        Warning = "warning",
    }
}

/// Where something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// The file as a whole.
    File,
    /// A command-line flag, with its dashes.
    Flag(&'static str),
    /// A place in the file.
    At {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// How many characters are marked; at least 1.
        width: usize,
    },
}

impl Location {
    /// Line of the file, from 1.
    pub const fn line(self) -> Option<usize> {
        match self {
            Self::At { line, .. } => Some(line),
            Self::File | Self::Flag(_) => None,
        }
    }
}

/// The line of the file that a diagnostic shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Excerpt {
    /// There is none.
    None,
    /// It may hold a secret, so it is not shown.
    Hidden,
    /// The text, and the column of its first character (long lines are cut).
    Text(String, usize),
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: one sentence without a full stop.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// The file's name.
    pub origin: Arc<str>,
    /// Where.
    pub place: Location,
    /// The key, such as `pools[0].check.interval`; empty when it concerns no key.
    pub path: String,
    pub(super) excerpt: Excerpt,
}

impl Diagnostic {
    /// For programs; never shows a line of the file.
    pub fn to_json(&self) -> Value {
        let mut object = json!({ "severity": self.severity.as_str(), "message": self.message });
        match self.place {
            Location::Flag(flag) => object["flag"] = flag.into(),
            Location::File => object["file"] = self.origin.as_ref().into(),
            Location::At { line, column, .. } => {
                object["file"] = self.origin.as_ref().into();
                object["line"] = line.into();
                object["column"] = column.into();
            }
        }
        if !self.path.is_empty() {
            object["path"] = self.path.as_str().into();
        }
        if let Some(help) = &self.help {
            object["help"] = help.as_str().into();
        }
        object
    }

    fn fmt_excerpt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location::At { line, column, width } = self.place else { return Ok(()) };
        let gutter = line.to_string().len().max(2);
        match &self.excerpt {
            Excerpt::None => Ok(()),
            Excerpt::Hidden => writeln!(f, "{line:>gutter$} | (not shown, because this line may hold a secret)"),
            Excerpt::Text(text, first_column) => {
                let before = column.saturating_sub(*first_column);
                let width = width.clamp(1, text.chars().count().saturating_sub(before).max(1));
                writeln!(f, "{:gutter$} |", "")?;
                writeln!(f, "{line:>gutter$} | {text}")?;
                writeln!(f, "{:gutter$} | {:before$}{:^<width$}", "", "", "")
            }
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity, self.message)?;
        let path = if self.path.is_empty() { String::new() } else { format!(" ({})", self.path) };
        match self.place {
            Location::Flag(flag) => writeln!(f, "  --> the flag {flag}")?,
            Location::File => writeln!(f, "  --> {}{path}", self.origin)?,
            Location::At { line, column, .. } => writeln!(f, "  --> {}:{line}:{column}{path}", self.origin)?,
        }
        self.fmt_excerpt(f)?;
        if let Some(help) = &self.help {
            writeln!(f, "   = help: {help}")?;
        }
        Ok(())
    }
}

/// All errors of a configuration, in file order, then the warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    /// At least one error.
    pub diagnostics: Vec<Diagnostic>,
}

impl Errors {
    /// The errors without the warnings.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Error)
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        self.diagnostics.iter().map(Diagnostic::to_json).collect()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{diagnostic}")?;
        }
        match self.errors().count() {
            1 => writeln!(f, "1 error: the configuration was not used"),
            count => writeln!(f, "{count} errors: the configuration was not used"),
        }
    }
}

impl std::error::Error for Errors {}
