//! Text that is safe to print.

use std::{fmt, ops::Deref, sync::Arc};

/// Untrusted text (of a server, a command, a resolver), made safe: no control characters and no escape sequences, which move a
/// terminal's cursor or begin another log line; no invisible characters and none that change the writing direction; bounded. It can
/// only be made in this way.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Printable(Arc<str>);

/// The longest text, in characters. Code that joins texts bounds the untrusted one before.
const LONGEST: usize = 600;

/// The longest name or version.
const LONGEST_WORD: usize = 64;

impl Printable {
    /// A name or a version, at most 64 characters.
    pub fn word(text: &str) -> Self {
        Self::cut(text, LONGEST_WORD)
    }

    fn cut(text: &str, longest: usize) -> Self {
        if text.len() <= longest && text.chars().all(is_printable) {
            return Self(text.into());
        }
        let mut safe = String::with_capacity(text.len().min(longest));
        for (count, c) in text.chars().enumerate() {
            if count == longest {
                safe.push('…');
                break;
            }
            if is_printable(c) {
                safe.push(c);
            } else {
                safe.extend(c.escape_unicode());
            }
        }
        Self(safe.into())
    }
}

/// A text of any length made printable, for texts with a bound of their own.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_printable(c) {
            safe.push(c);
        } else {
            safe.extend(c.escape_unicode());
        }
    }
    safe
}

/// Visible, and without effect on its neighbours.
pub fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            // Soft hyphen, Arabic letter mark, Mongolian vowel separator.
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            // Zero width and direction marks, line and paragraph separators, embeddings and overrides, invisible operators, isolates.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            // Byte order mark, interlinear annotations, tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

impl From<&str> for Printable {
    fn from(text: &str) -> Self {
        Self::cut(text, LONGEST)
    }
}

impl From<String> for Printable {
    fn from(text: String) -> Self {
        Self::cut(&text, LONGEST)
    }
}

impl From<Arc<str>> for Printable {
    fn from(text: Arc<str>) -> Self {
        Self::cut(&text, LONGEST)
    }
}

impl From<Printable> for Arc<str> {
    fn from(text: Printable) -> Self {
        text.0
    }
}

impl Deref for Printable {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Printable {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printable_stays_and_all_else_is_escaped() {
        let plain = "the server says: Größe, 数据库, \\n, \"quoted\" and …";
        assert_eq!(&*Printable::from(plain), plain);
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = Printable::from(c.to_string());
            assert!(text.chars().all(is_printable), "{c:?}");
            assert_eq!(text.contains(c), is_printable(c), "{c:?}");
        }
        assert_eq!(&*Printable::from("a\n\x1b[31m\u{202e}\u{2028}\u{9b}"), r"a\u{a}\u{1b}[31m\u{202e}\u{2028}\u{9b}");
        let twice = Printable::from(&*Printable::from("\x1b\u{200f}"));
        assert_eq!(&*twice, r"\u{1b}\u{200f}");
    }

    #[test]
    fn no_text_is_longer_than_its_bound() {
        let long = "é\n".repeat(10_000);
        assert!(Printable::from(&*long).len() <= LONGEST * 6);
        assert_eq!(Printable::word(&"9".repeat(65)).chars().count(), 65, "and the sign that it was cut");
    }
}
