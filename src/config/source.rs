//! Reads the file: only a regular one, of bounded size, in UTF-8.

use std::{io, path::Path};

use super::{
    diagnostic::Location,
    file::{self, ReadError, reason},
    findings::Findings,
};

/// The bytes of the file; otherwise the problem in one line.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, (String, Option<String>)> {
    file::read(path).map_err(|unread| match unread {
        ReadError::Io(error) => open_failed(&error),
        ReadError::Directory => ("this is a directory, not a file".into(), Some("give the path of the file in it".into())),
        ReadError::NotRegular => ("this is not a regular file".into(), None),
        ReadError::TooLarge => ("the file is larger than 1MiB, which no configuration is".into(), None),
    })
}

fn open_failed(error: &io::Error) -> (String, Option<String>) {
    let help = match error.kind() {
        io::ErrorKind::NotFound => Some("give the path with -c FILE, or write the file first".into()),
        io::ErrorKind::PermissionDenied => Some("let the user that runs mainstay read it".into()),
        _ => None,
    };
    (format!("the file cannot be read: {}", reason(error)), help)
}

/// The text of the file, without a byte order mark.
pub(super) fn decode(bytes: &[u8], findings: &Findings) -> Option<String> {
    let utf16 = bytes.starts_with(&[0xFF, 0xFE])
        || bytes.starts_with(&[0xFE, 0xFF])
        || matches!(bytes, [a, b, ..] if (*a == 0) != (*b == 0));
    if utf16 {
        findings.error(Location::File, &"", "the file is in UTF-16, not UTF-8", Some("save it again as UTF-8".into()));
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
            findings.error(end_of(&valid), &"", "the file is not in UTF-8", Some("save it again as UTF-8".into()));
            return None;
        }
    };
    Some(text.strip_prefix('\u{FEFF}').unwrap_or(text).to_owned())
}

fn end_of(text: &str) -> Location {
    let last = text.rsplit('\n').next().unwrap_or_default();
    Location::At { line: text.matches('\n').count() + 1, column: last.chars().count() + 1, width: 1 }
}

/// Refuses what no editor shows: control characters, and tabs for indentation. Whether the text is clean.
pub(super) fn check_characters(text: &str, findings: &Findings) -> bool {
    let mut clean = true;
    let mut refuse = |line: usize, column: usize, message: String, help: &str| {
        let place = Location::At { line: line + 1, column: column + 1, width: 1 };
        findings.error(place, &"", message, Some(help.into()));
        clean = false;
    };
    // Most lines are plain ASCII, for which one pass over the bytes is enough.
    let suspicious = |line: &&str| line.bytes().any(|b| !(b' '..=b'~').contains(&b));
    for (number, line) in text.lines().enumerate().filter(|(_, line)| suspicious(line)) {
        let content = line.trim_start();
        let indent = &line[..line.len() - content.len()];
        if let Some(column) = indent.find('\t').filter(|_| !content.is_empty()) {
            refuse(number, column, "a tab is used for indentation".into(), "YAML wants spaces: two for each level");
        }
        if let Some((column, c)) = line.chars().enumerate().find(|(_, c)| c.is_control() && *c != '\t') {
            let message = format!("the control character U+{:04X} does not belong in a configuration", u32::from(c));
            refuse(number, column, message, "remove it; most editors can show it");
        }
    }
    clean
}
