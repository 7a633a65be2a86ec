//! The alternate screen of a terminal, and its keys.
//!
//! Only lines that have changed are written, each in its place: nothing flickers, and a slow line to a far machine has little to carry.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use rustix::{
    process::{Signal, getpid, kill_process},
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};
use tokio::sync::mpsc;

use super::text::width;

/// xterm: 1049 is the alternate screen with the cursor's place kept, 25 the cursor, 7 what is longer than a line goes on in the next.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The alternate screen, until this is dropped.
#[derive(Debug)]
pub(in crate::cli) struct FullScreen {
    /// The settings of the terminal before; `None` when no keys can be read.
    before: Option<Termios>,
    /// The lines that stand there.
    shown: Vec<String>,
    size: (usize, usize),
}

impl FullScreen {
    pub(in crate::cli) fn enter() -> io::Result<Self> {
        let before = if io::stdin().is_terminal() { tcgetattr(io::stdin()).ok() } else { None };
        let screen = Self { before, shown: Vec::new(), size: super::size() };
        screen.begin()?;
        Ok(screen)
    }

    fn begin(&self) -> io::Result<()> {
        if let Some(before) = &self.before {
            let mut keys = before.clone();
            // Each key at once, unseen, and Ctrl-C and Ctrl-Z as keys: the screen must be restored first.
            keys.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
            keys.special_codes[SpecialCodeIndex::VMIN] = 1;
            keys.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &keys)?;
        }
        write_all(ENTER)
    }

    fn end(&self) -> io::Result<()> {
        let written = write_all(LEAVE);
        if let Some(before) = &self.before {
            tcsetattr(io::stdin(), OptionalActions::Now, before)?;
        }
        written
    }

    /// Columns and rows.
    pub(in crate::cli) fn size(&mut self) -> (usize, usize) {
        let size = super::size();
        if size != self.size {
            self.size = size;
            self.forget();
        }
        size
    }

    /// Whatever stands there is not what was written: everything is written again.
    fn forget(&mut self) {
        self.shown.clear();
    }

    /// Shows these lines, which fit.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(in crate::cli) fn show(&mut self, lines: Vec<String>) -> io::Result<()> {
        let (columns, rows) = self.size;
        let mut out = String::new();
        if self.shown.is_empty() {
            out.push_str("\x1b[H\x1b[2J");
        }
        for row in 0..lines.len().max(self.shown.len()).min(rows) {
            let line = lines.get(row).map_or("", String::as_str);
            if self.shown.get(row).is_some_and(|shown| shown == line) {
                continue;
            }
            let _ = write!(out, "\x1b[{};1H{line}", row + 1);
            // At the end of a full line it would take the last character.
            if width(line) < columns {
                out.push_str("\x1b[K");
            }
        }
        self.shown = lines;
        if out.is_empty() { Ok(()) } else { write_all(&out) }
    }

    /// Ctrl-Z: gives the terminal back, stops, and goes on when the shell says so.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(in crate::cli) fn suspend(&mut self) -> io::Result<()> {
        self.end()?;
        kill_process(getpid(), Signal::STOP)?;
        self.forget();
        self.begin()
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = self.end();
    }
}

fn write_all(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Key {
    Char(char),
    Interrupt,
    Suspend,
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// The keys of the terminal at standard input, read by a thread of its own: it ends with the process.
#[derive(Debug)]
pub(in crate::cli) struct Keys(mpsc::UnboundedReceiver<Key>);

impl Keys {
    pub(in crate::cli) fn new() -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        if io::stdin().is_terminal() {
            // Without it there are no keys, and Ctrl-C of another terminal still ends all.
            let _ = std::thread::Builder::new().name("keys".to_owned()).spawn(move || read(&tell));
        }
        Self(told)
    }

    /// The next key. Never resolves when there are none.
    pub(in crate::cli) async fn next(&mut self) -> Key {
        match self.0.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

/// Until the terminal is gone, which SIGHUP tells as well, or nobody wants keys.
fn read(tell: &mpsc::UnboundedSender<Key>) {
    let mut bytes = [0; 256];
    loop {
        match rustix::io::read(io::stdin(), &mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                if read_keys(&bytes[..count]).into_iter().any(|key| tell.send(key).is_err()) {
                    return;
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// What a terminal sends at once. A sequence that is not known is no key.
fn read_keys(bytes: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(bytes);
    let (mut rest, mut keys) = (&*text, Vec::new());
    while let Some(first) = rest.chars().next() {
        if let Some(sequence) = rest.strip_prefix("\x1b[").or_else(|| rest.strip_prefix("\x1bO")) {
            let end = sequence.find(|c: char| ('@'..='~').contains(&c)).map_or(sequence.len(), |at| at + 1);
            keys.extend(match &sequence[..end] {
                "A" => Some(Key::Up),
                "B" => Some(Key::Down),
                "H" | "1~" | "7~" => Some(Key::Home),
                "F" | "4~" | "8~" => Some(Key::End),
                "5~" => Some(Key::PageUp),
                "6~" => Some(Key::PageDown),
                _ => None,
            });
            rest = &sequence[end..];
            continue;
        }
        keys.extend(match first {
            '\x03' => Some(Key::Interrupt),
            '\x1a' => Some(Key::Suspend),
            '\r' | '\n' => Some(Key::Enter),
            '\x1b' => Some(Key::Escape),
            '\x08' | '\x7f' => Some(Key::Backspace),
            c if c.is_control() => None,
            c => Some(Key::Char(c)),
        });
        rest = &rest[first.len_utf8()..];
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_terminals_send_them() {
        assert_eq!(read_keys(b"q\x03\x1a\r"), [Key::Char('q'), Key::Interrupt, Key::Suspend, Key::Enter]);
        assert_eq!(
            read_keys(b"\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[1~\x1b[F"),
            [Key::Up, Key::Down, Key::PageUp, Key::PageDown, Key::Home, Key::End]
        );
        assert_eq!(read_keys(b"\x1b[1;5Cj\x1b[200"), [Key::Char('j')], "what is not known is passed over");
        assert_eq!(read_keys("\x1bé\x7f".as_bytes()), [Key::Escape, Key::Char('é'), Key::Backspace]);
    }
}
