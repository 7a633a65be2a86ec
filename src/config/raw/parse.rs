//! YAML to tree. The only user of the YAML crate, whose event parser gives the place of every key and value. Depth and number of
//! nodes are bounded, and aliases are refused, so no file can expand.

use std::{collections::HashMap, rc::Rc};

use serde_yaml::granit_parser::{self, ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::{
    expand::Expander,
    node::{Key, Node, Path, Scalar, Source, Style, Value, shorten},
};
use crate::config::{
    diagnostic::Location,
    findings::{Findings, file_may_hold_secret, names_secret},
};

/// The deepest legal configuration has nine levels.
const MAX_DEPTH: usize = 32;

/// A configuration of a thousand backends has a tenth of this.
const MAX_NODES: usize = 50_000;

/// Reads the one document of `text`; `None` when the YAML is broken, which was then reported.
pub(in crate::config) fn parse(text: &str, expander: Expander<'_>, findings: &Findings) -> Option<Node> {
    let options = limits();
    let mut reader =
        Reader { events: Parser::new_from_str_with_options(text, options), expander, findings, nodes: 0, last_line: 0 };
    match reader.document() {
        Ok(root) => Some(root),
        Err(stop) => {
            if file_may_hold_secret(text) {
                findings.hide(0..=usize::MAX);
            }
            findings.error(stop.place, &"", stop.message, stop.help);
            None
        }
    }
}

fn limits() -> Options {
    let mut options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    options
}

/// Why reading stopped.
struct Stop {
    place: Location,
    message: String,
    help: Option<String>,
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    expander: Expander<'a>,
    findings: &'a Findings,
    nodes: usize,
    /// Where the last event ended.
    last_line: usize,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Stop {
                        place: place(span),
                        message: "a second document begins here".into(),
                        help: Some("one file holds one configuration: remove the `---` and what follows".into()),
                    });
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, Path::default())?);
                }
                Event::StreamEnd => {
                    let empty = Node { place: Location::File, path: Path::default(), value: Value::Null };
                    return Ok(root.unwrap_or(empty));
                }
                _ => return Err(unexpected(span)),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                self.last_line = span.end.line();
                Ok((event, span))
            }
            Some(Err(error)) => Err(explain(&error)),
            None => Err(Stop { place: Location::File, message: "the file ends too early".into(), help: None }),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, path: Path) -> Result<Node, Stop> {
        let place = place(span);
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Stop { place, message: format!("the file has more than {MAX_NODES} values"), help: None });
        }
        let (anchor, tagged) = (event.anchor_id().is_some_and(|id| id != 0), event.tag().is_some());
        let value = match event {
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.refuse_alias(place, &path);
                Value::Invalid
            }
            Event::Scalar(text, style, ..) => self.scalar(&text, style, place, &path),
            Event::SequenceStart(..) => self.list(&path)?,
            Event::MappingStart(..) => self.map(&path)?,
            _ => return Err(unexpected(span)),
        };
        if anchor {
            self.refuse_alias(place, &path);
        }
        if tagged {
            let help = "write the value without it".to_owned();
            self.findings.error(place, &path, "YAML tags (such as !!str) are not supported", Some(help));
        }
        Ok(Node { place, path, value })
    }

    fn list(&mut self, path: &Path) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::List(items));
            }
            items.push(self.node(event, span, path.index(items.len()))?);
        }
    }

    fn map(&mut self, path: &Path) -> Result<Value, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut lines: HashMap<Rc<str>, Option<usize>> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let key_place = place(span);
            let Some(name) = event.scalar().map(|(text, _)| Rc::<str>::from(text)) else {
                self.findings.error(key_place, path, "a key must be a plain word", None);
                self.node(event, span, path.clone())?;
                let (event, span) = self.next()?;
                self.node(event, span, path.clone())?;
                continue;
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, path.key(&name))?;
            if names_secret(&name) {
                self.findings.hide(key_place.line().unwrap_or(0)..=self.last_line);
            }
            let first = lines.get(&name).copied();
            if let Some(first) = first {
                let message = format!("the key `{}` is given twice", shorten(&name));
                let help = first.map(|line| format!("it stands in line {line} already; remove one of the two"));
                self.findings.error(key_place, &value.path, message, help);
            } else {
                lines.insert(Rc::clone(&name), key_place.line());
                entries.push((Key { name, place: key_place }, value));
            }
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, place: Location, path: &Path) -> Value {
        let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted };
        let is_null = |text: &str| style == Style::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
        if is_null(text) {
            return Value::Null;
        }
        match self.expander.expand(text) {
            Ok((text, source)) if source != Source::Literal && is_null(&text) => Value::Null,
            Ok((text, source)) => Value::Scalar(Scalar { text, style, source }),
            Err((message, help)) => {
                let help = if names_secret(&path.leaf()) { "set it before mainstay starts".to_owned() } else { help };
                self.findings.error(place, path, message, Some(help));
                Value::Invalid
            }
        }
    }

    fn refuse_alias(&self, place: Location, path: &Path) {
        let help = "write the value itself, or put what all pools share under `defaults:`".to_owned();
        self.findings.error(place, path, "YAML anchors and aliases (&name, *name) are not supported", Some(help));
    }
}

fn place(span: Span) -> Location {
    let same_line = span.start.line() == span.end.line();
    let width = if same_line { span.end.col().saturating_sub(span.start.col()).max(1) } else { 1 };
    Location::At { line: span.start.line().max(1), column: span.start.col() + 1, width }
}

fn unexpected(span: Span) -> Stop {
    Stop { place: place(span), message: "this is not YAML that mainstay can read".into(), help: None }
}

/// The scanner's message where it helps, our own where the usual cause is known.
fn explain(error: &ScanError) -> Stop {
    let marker = error.marker();
    let place = Location::At { line: marker.line().max(1), column: marker.col() + 1, width: 1 };
    let (message, help) = match error.kind() {
        ErrorKind::RecursionLimitExceeded => (
            format!("the file is nested more than {MAX_DEPTH} levels deep"),
            Some("no configuration is deeper than ten".to_owned()),
        ),
        ErrorKind::DirectiveDisallowed => {
            ("YAML directives (lines that begin with %) are not supported".into(), Some("remove the line".into()))
        }
        kind => (format!("this is not valid YAML: {kind}"), hint(kind).map(str::to_owned)),
    };
    Stop { place, message, help }
}

fn hint(kind: &ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation => {
            Some("YAML wants spaces: two for each level")
        }
        ErrorKind::UnclosedFlowCollection { .. } => Some("a [ or { is not closed"),
        ErrorKind::UnclosedQuotedScalar => Some("a quotation mark is not closed"),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            Some("a colon may be missing in this line or the one before")
        }
        ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockMappingKey | ErrorKind::MappingValueNotAllowed => {
            Some("keys of one level must begin in the same column, and a colon must be followed by a space")
        }
        _ => None,
    }
}
