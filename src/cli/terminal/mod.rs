//! Terminals: what one can show, and a screen of its own that redraws only what has changed.
//!
//! | file | what it holds |
//! |---|---|
//! | [`screen`] | the alternate screen, and the keys |
//! | [`table`] | columns that stand below each other |
//! | [`text`] | columns that a text takes, cut and wrapped |

mod screen;
mod table;
mod text;

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
pub(super) use screen::{FullScreen, Key, Keys};
pub(super) use table::Table;
pub(super) use text::{cut, pad, width, wrap};

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    On,
    Off,
}

/// What a colour says, the most urgent last. Nothing is said by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Colour {
    Plain,
    Quiet,
    Strong,
    Good,
    Warning,
    Bad,
}

/// The characters that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Utf8,
    Ascii,
}

/// How something is shown on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) paint: Paint,
    pub(super) charset: Charset,
}

impl Paint {
    /// For standard output: colours on a terminal, unless `NO_COLOR` is set to anything but nothing.
    pub(super) fn of_stdout() -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !is_unwanted { Self::On } else { Self::Off }
    }

    pub(super) fn text(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Plain => return text.to_owned(),
            Colour::Good => "32",
            Colour::Warning => "33;1",
            Colour::Bad => "31;1",
            Colour::Quiet => "2",
            Colour::Strong => "1",
        };
        self.code(code, text)
    }

    /// `text` between this code (SGR, ECMA-48 8.3.117) and its end.
    pub(super) fn code(self, code: &str, text: &str) -> String {
        match self {
            Self::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Off => text.to_owned(),
        }
    }
}

impl Charset {
    /// What the locale says: the first of `LC_ALL`, `LC_CTYPE` and `LANG` that is set (POSIX, Base Definitions, 8.2).
    pub(super) fn of_environment() -> Self {
        Self::of(["LC_ALL", "LC_CTYPE", "LANG"].map(std::env::var_os))
    }

    fn of(values: [Option<OsString>; 3]) -> Self {
        let locale = values.into_iter().flatten().find(|value| !value.is_empty()).unwrap_or_default();
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::Utf8 } else { Self::Ascii }
    }

    /// The text with a question mark for each character that cannot be shown.
    pub(super) fn shown(self, text: &str) -> String {
        match self {
            Self::Utf8 => text.to_owned(),
            Self::Ascii => text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect(),
        }
    }

    /// One bar for each number, the highest for the highest. Something is never drawn as nothing, nor nothing as something.
    pub(super) fn bars(self, numbers: impl Iterator<Item = u64> + Clone) -> String {
        let bars: &[char] = match self {
            Self::Utf8 => &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
            Self::Ascii => &[' ', '.', ':', '-', '=', '+', '*', '%', '#'],
        };
        let highest = numbers.clone().max().unwrap_or(0).max(1);
        let steps = (bars.len() - 1) as u128;
        let bar = |number: u64| usize::try_from((u128::from(number) * steps).div_ceil(highest.into())).unwrap_or(0);
        numbers.map(|number| bars[bar(number)]).collect()
    }
}

/// Standard output is a pipe whose reader is gone.
pub(super) fn nobody_reads() -> bool {
    let stdout = io::stdout();
    let mut pipe = [PollFd::new(&stdout, PollFlags::empty())];
    poll(&mut pipe, Some(&Timespec::default())).is_ok() && pipe[0].revents().contains(PollFlags::ERR)
}

/// Columns and rows of the terminal at standard output.
pub(super) fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_says_what_can_be_shown() {
        let of = |values: [Option<&str>; 3]| Charset::of(values.map(|value| value.map(OsString::from)));
        assert_eq!(of([None, None, Some("de_DE.UTF-8")]), Charset::Utf8);
        assert_eq!(of([Some(""), Some("C.utf8"), Some("C")]), Charset::Utf8);
        for ascii in [[None; 3], [Some("C"), None, Some("C.UTF-8")], [None, None, Some("de_DE.ISO-8859-1")]] {
            assert_eq!(of(ascii), Charset::Ascii, "{ascii:?}");
        }
        assert_eq!(Charset::Ascii.shown("größer ▁"), "gr??er ?");
    }

    #[test]
    fn bars_are_empty_exactly_when_nothing_happened() {
        let bars = |charset: Charset, numbers: &[u64]| charset.bars(numbers.iter().copied());
        assert_eq!(bars(Charset::Utf8, &[0, 1, 50, 100]), " ▁▄█");
        assert_eq!(bars(Charset::Ascii, &[0, 1, 50, 100]), " .=#");
        assert_eq!((bars(Charset::Utf8, &[0, 0]), bars(Charset::Utf8, &[])), ("  ".to_owned(), String::new()));
        assert_eq!(bars(Charset::Utf8, &[u64::MAX, 1]), "█▁");
    }
}
