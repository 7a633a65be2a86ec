//! A file that is replaced as a whole, and read only if it is a regular one of this version. All of this blocks: see
//! [`super::writer`] for the thread.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of the file format. A file of another version is ignored.
const VERSION: u32 = 1;

/// What is kept in a file of its own.
pub(crate) trait Kept: Serialize + DeserializeOwned + Default + Send + 'static {
    /// The end of the file's name, after that of the pool if it is one of a pool.
    const NAME: &'static str;
    /// No such file is longer.
    const MAX_LEN: u64;
    /// What it means that the file cannot be used.
    const LOST: &'static str;
    /// A file that cannot be used is kept under another name, for people: nothing else holds what is in it.
    const SET_ASIDE: bool = false;
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Content<T> {
    version: u32,
    pub(crate) pool: T,
}

/// Where it is kept for a pool.
pub(crate) fn path<T: Kept>(dir: &Path, pool: &str) -> PathBuf {
    dir.join(format!("{pool}.{}.json", T::NAME))
}

/// Where it is kept for the whole process.
pub(crate) fn process_path<T: Kept>(dir: &Path) -> PathBuf {
    dir.join(format!("{}.json", T::NAME))
}

/// What an earlier process knew. A file that is missing, damaged, of another version or no regular file is no hint.
pub(crate) fn read<T: Kept>(path: &Path) -> T {
    match try_read::<T>(path) {
        Ok(content) => content.pool,
        Err(error) if error.kind() == io::ErrorKind::NotFound => T::default(),
        Err(error) => {
            passed_over::<T>(path, &error.to_string());
            if T::SET_ASIDE {
                set_aside(path);
            }
            T::default()
        }
    }
}

/// Renames the file; one that was set aside before makes room.
fn set_aside(path: &Path) {
    let aside = path.with_extension("json.unreadable");
    match fs::rename(path, &aside) {
        Ok(()) => tracing::warn!(file = %path.display(), aside = %aside.display(), "it is kept under another name"),
        Err(error) => tracing::warn!(file = %path.display(), %error, "it cannot be kept under another name"),
    }
}

/// Reports that the file is not used.
pub(crate) fn passed_over<T: Kept>(path: &Path, error: &str) {
    tracing::warn!(file = %path.display(), %error, "the {} file is passed over; {}", T::NAME, T::LOST);
}

pub(crate) fn try_read<T: Kept>(path: &Path) -> io::Result<Content<T>> {
    let file = OpenOptions::new().read(true).custom_flags(FLAGS).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > T::MAX_LEN {
        return Err(io::Error::other(too_long::<T>(metadata.len())));
    }
    let mut text = String::new();
    file.take(T::MAX_LEN).read_to_string(&mut text)?;
    let content: Content<T> = serde_json::from_str(&text)?;
    if content.version == VERSION { Ok(content) } else { Err(io::Error::other(format!("its version is {}", content.version))) }
}

pub(crate) fn too_long<T: Kept>(length: u64) -> String {
    format!("it has {length} bytes, and may have {}", T::MAX_LEN)
}

/// The content of the file.
pub(crate) fn content<T: Kept>(pool: &T) -> Vec<u8> {
    // Maps with text for keys, numbers and text: nothing that JSON has not.
    serde_json::to_vec(&Content { version: VERSION, pool }).unwrap_or_default()
}

/// Replaces the file as a whole, or leaves it as it was.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(FLAGS).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// A symbolic link in place of the file is not ours; opening a FIFO would wait for a writer that may never come.
const FLAGS: i32 = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
