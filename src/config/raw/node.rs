//! The tree. It knows nothing of YAML, so that flags can build one, too, and share every check.

use std::{fmt, rc::Rc};

use crate::config::diagnostic::Location;

/// A value with its place and its path.
#[derive(Clone, Debug)]
pub(in crate::config) struct Node {
    pub(in crate::config) place: Location,
    pub(in crate::config) path: Path,
    pub(in crate::config) value: Value,
}

#[derive(Clone, Debug)]
pub(in crate::config) enum Value {
    /// Nothing, `null` or `~`.
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
    /// Already reported; readers say nothing more about it.
    Invalid,
}

/// A text; the reader decides whether it is a number, a duration or a word.
#[derive(Clone)]
pub(in crate::config) struct Scalar {
    pub(in crate::config) text: String,
    pub(in crate::config) style: Style,
    pub(in crate::config) source: Source,
}

impl fmt::Debug for Scalar {
    /// The text may be a secret, so it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scalar").field("style", &self.style).field("source", &self.source).finish_non_exhaustive()
    }
}

/// How a text was written: YAML treats `on` and `"on"` differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Style {
    Plain,
    Quoted,
}

/// Where a text came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum Source {
    /// Written in the file.
    Literal,
    /// The value of one environment variable and nothing else.
    Variable(String),
    /// A variable, or the default for one, is part of it.
    Expanded,
}

/// A key of a map.
#[derive(Clone, Debug)]
pub(in crate::config) struct Key {
    pub(in crate::config) name: Rc<str>,
    pub(in crate::config) place: Location,
}

/// The path of a node, such as `pools[0].check.interval`; formatted only for an error.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct Path(Option<Rc<Step>>);

#[derive(Debug)]
struct Step {
    parent: Path,
    segment: Segment,
}

#[derive(Clone, Debug)]
enum Segment {
    Key(Rc<str>),
    Index(usize),
}

impl Path {
    pub(in crate::config) fn key(&self, name: &Rc<str>) -> Self {
        Self(Some(Rc::new(Step { parent: self.clone(), segment: Segment::Key(Rc::clone(name)) })))
    }

    pub(in crate::config) fn index(&self, index: usize) -> Self {
        Self(Some(Rc::new(Step { parent: self.clone(), segment: Segment::Index(index) })))
    }

    /// The last part, as messages call it: `interval`, or `listen[1]`.
    pub(in crate::config) fn leaf(&self) -> String {
        let Some(step) = &self.0 else { return "the file".into() };
        match &step.segment {
            Segment::Key(name) => shorten(name),
            Segment::Index(index) => format!("{}[{index}]", step.parent.leaf()),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(step) = &self.0 else { return Ok(()) };
        let dot = if step.parent.0.is_some() { "." } else { "" };
        match &step.segment {
            Segment::Key(name) => write!(f, "{}{dot}{}", step.parent, shorten(name)),
            Segment::Index(index) => write!(f, "{}[{index}]", step.parent),
        }
    }
}

/// A text for a message: no control characters, at most one line.
pub(in crate::config) fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 63;
    let clean: String = text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_CHARS).is_some() { clean + "…" } else { clean }
}
