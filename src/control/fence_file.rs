//! Remembers over restarts how far the database had come: the highest database epoch that was served, and of which cluster.
//! A hint that only ever makes the fence higher; without it, mainstay starts with what the databases say.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Version of the file's form. A file of another version is passed over.
const VERSION: u32 = 1;

/// No file of ours is longer.
const MAX_LEN: u64 = 4096;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    fence: Option<u64>,
    system_id: Option<u64>,
}

/// The file of one pool.
#[derive(Debug)]
pub(super) struct FenceFile {
    path: PathBuf,
    /// A failure was told; the next is not news.
    failed: bool,
}

impl FenceFile {
    pub(super) fn new(dir: &Path, pool: &str) -> Self {
        Self { path: dir.join(format!("{pool}.fence.json")), failed: false }
    }

    /// What an earlier process knew. A file that is missing, damaged or of another version is no hint.
    pub(super) fn read(&self) -> (Option<u64>, Option<u64>) {
        match self.try_read() {
            Ok(content) => (content.fence, content.system_id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "the fence file is passed over; until a backend is active, an old primary cannot be told from the present one by it");
                (None, None)
            }
        }
    }

    fn try_read(&self) -> io::Result<Content> {
        let file = OpenOptions::new().read(true).custom_flags(NOFOLLOW).open(&self.path)?;
        let mut text = String::new();
        file.take(MAX_LEN).read_to_string(&mut text)?;
        let content: Content = serde_json::from_str(&text)?;
        if content.version == VERSION {
            Ok(content)
        } else {
            Err(io::Error::other(format!("its version is {}", content.version)))
        }
    }

    /// Replaces the file whole, or leaves it as it was.
    pub(super) fn write(&mut self, (fence, system_id): (Option<u64>, Option<u64>)) {
        match self.try_write(&Content { version: VERSION, fence, system_id }) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::error!(file = %self.path.display(), %error, "the fence file cannot be written; a restart would forget the highest database epoch");
            }
            Err(_) => {}
        }
    }

    fn try_write(&self, content: &Content) -> io::Result<()> {
        let temporary = self.path.with_extension("tmp");
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(NOFOLLOW).open(&temporary)?;
        file.write_all(&serde_json::to_vec(content)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// A link where the file should be is not ours.
#[allow(clippy::cast_possible_wrap, reason = "open flags are small")]
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> (PathBuf, FenceFile) {
        let dir = std::env::temp_dir().join(format!("mainstay-fence-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = FenceFile::new(&dir, "orders");
        (dir, file)
    }

    #[test]
    fn what_is_written_is_read() {
        let (dir, mut file) = file("roundtrip");
        assert_eq!(file.read(), (None, None));
        file.write((Some(7), Some(42)));
        assert_eq!(file.read(), (Some(7), Some(42)));
        file.write((Some(8), Some(42)));
        assert_eq!(file.read(), (Some(8), Some(42)));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn every_truncation_and_a_foreign_version_are_no_hint() {
        let (dir, mut file) = file("damage");
        file.write((Some(7), Some(42)));
        let whole = fs::read(&file.path).unwrap();
        for len in 0..whole.len() {
            fs::write(&file.path, &whole[..len]).unwrap();
            assert_eq!(file.read(), (None, None), "cut at {len}");
        }
        fs::write(&file.path, br#"{"version":2,"fence":9,"system_id":1}"#).unwrap();
        assert_eq!(file.read(), (None, None));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_link_is_not_followed() {
        let (dir, file) = file("link");
        let target = dir.join("target");
        fs::write(&target, br#"{"version":1,"fence":9,"system_id":1}"#).unwrap();
        std::os::unix::fs::symlink(&target, &file.path).unwrap();
        assert_eq!(file.read(), (None, None));
        fs::remove_dir_all(dir).unwrap();
    }
}
