//! Remembers over restarts how far the database had come (the highest database epoch that was served, and of which cluster)
//! and who was active. A hint: it makes the fence higher, and without roles it prefers the backend that served last; what the
//! databases say now decides. Without it, mainstay starts with that alone.

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

/// What is worth remembering of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    pub(super) fence: Option<u64>,
    pub(super) system_id: Option<u64>,
    /// Name of the backend that was active last.
    pub(super) active: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    pool: Remembered,
}

/// The file of one pool.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// A failure was told; the next is not news.
    failed: bool,
}

impl StateFile {
    pub(super) fn new(dir: &Path, pool: &str) -> Self {
        Self { path: dir.join(format!("{pool}.state.json")), failed: false }
    }

    /// What an earlier process knew. A file that is missing, damaged or of another version is no hint.
    pub(super) fn read(&self) -> Remembered {
        match self.try_read() {
            Ok(content) => content.pool,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Remembered::default(),
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "the state file is passed over; until a backend is active, an old primary cannot be told from the present one by it");
                Remembered::default()
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
    pub(super) fn write(&mut self, pool: Remembered) {
        match self.try_write(&Content { version: VERSION, pool }) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::error!(file = %self.path.display(), %error, "the state file cannot be written; a restart would forget the highest database epoch");
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

    fn file(name: &str) -> (PathBuf, StateFile) {
        let dir = std::env::temp_dir().join(format!("mainstay-state-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = StateFile::new(&dir, "orders");
        (dir, file)
    }

    fn remembered(fence: u64) -> Remembered {
        Remembered { fence: Some(fence), system_id: Some(42), active: Some("db-b".into()) }
    }

    #[test]
    fn what_is_written_is_read() {
        let (dir, mut file) = file("roundtrip");
        assert_eq!(file.read(), Remembered::default());
        for fence in [7, 8] {
            file.write(remembered(fence));
            assert_eq!(file.read(), remembered(fence));
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn every_truncation_and_a_foreign_version_are_no_hint() {
        let (dir, mut file) = file("damage");
        file.write(remembered(7));
        let whole = fs::read_to_string(&file.path).unwrap();
        for len in 0..whole.len() {
            fs::write(&file.path, &whole[..len]).unwrap();
            assert_eq!(file.read(), Remembered::default(), "cut at {len}");
        }
        fs::write(&file.path, whole.replace("\"version\":1", "\"version\":2")).unwrap();
        assert_eq!(file.read(), Remembered::default());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_link_is_not_followed() {
        let (dir, mut file) = file("link");
        file.write(remembered(9));
        let target = dir.join("target");
        fs::rename(&file.path, &target).unwrap();
        std::os::unix::fs::symlink(&target, &file.path).unwrap();
        assert_eq!(file.read(), Remembered::default());
        fs::remove_dir_all(dir).unwrap();
    }
}
