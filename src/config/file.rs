//! Reads a file that the configuration names: only a regular one, of bounded size.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Far more than any file that mainstay reads: a bundle of all public CAs takes a fifth of it.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// Why a file was not read.
#[derive(Debug)]
pub enum ReadError {
    /// The operating system refused.
    Io(io::Error),
    /// It is a directory.
    Directory,
    /// It is a FIFO, a socket or a device, which may have no end or never answer.
    NotRegular,
    /// It has more than [`MAX_BYTES`].
    TooLarge,
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => f.write_str(&reason(error)),
            Self::Directory | Self::NotRegular => f.write_str("it is not a regular file"),
            Self::TooLarge => f.write_str("it is larger than 1MiB"),
        }
    }
}

/// The bytes of a regular file. Blocks on the disk: not for a thread that others wait for.
///
/// # Errors
/// Why not, without any of the file's content.
pub fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    // Non-blocking, because opening a FIFO would wait for a writer that may never come.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(ReadError::Io)?;
    let kind = file.metadata().map_err(ReadError::Io)?.file_type();
    if kind.is_dir() {
        return Err(ReadError::Directory);
    }
    if !kind.is_file() {
        return Err(ReadError::NotRegular);
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > MAX_BYTES { Err(ReadError::TooLarge) } else { Ok(bytes) }
}

/// The text of such a file.
///
/// # Errors
/// Why not, without any of the file's content.
pub fn read_text(path: &Path) -> Result<String, String> {
    let bytes = read(path).map_err(|unread| unread.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not in UTF-8".into())
}

/// The operating system's message without its number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
