//! The state that survives a restart: the highest database epoch that was served, its cluster, the last active backend
//! and the one before, the administrative states, and the operation that was under way. It is a hint: it raises the fence, and without roles it prefers the
//! backend that served last; the present answers of the databases decide. Without it, mainstay starts with those alone. All of this blocks: see [`crate::state`] for the thread.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::state::{
    Kept,
    file::{path, try_read},
};

impl Kept for Remembered {
    const NAME: &'static str = "state";
    const MAX_LEN: u64 = 64 << 10;
    const LOST: &'static str = "until a backend is active, an old primary cannot be told from the present one by it";
}

/// The saved state of a pool.
// What a later version has written besides is passed over: after a step back, the fence is still known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The highest database epoch that was served.
    pub fence: Option<u64>,
    /// Identity of the cluster.
    pub system_id: Option<u64>,
    /// Name of the backend that was active last.
    pub active: Option<String>,
    /// Name of the backend that was active before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The position of the active one when it became active, of this or of an earlier process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<u64>,
    /// Administrative states, by backend; only those that are not `ready`. Left out where there is none, so that an earlier version
    /// reads the file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub admin: BTreeMap<String, String>,
    /// The operation or trial that was under way, in words: a process that finds one tells that it was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

/// The saved state of a pool, and its file, for reading only.
///
/// # Errors
/// When there is a file that cannot be read, or that is not of this version.
pub fn look(dir: &Path, pool: &str) -> io::Result<(PathBuf, Remembered)> {
    let path = path::<Remembered>(dir, pool);
    match try_read(&path) {
        Ok(content) => Ok((path, content.pool)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((path, Remembered::default())),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state::file::{content, read, write};

    fn file(name: &str) -> (PathBuf, PathBuf) {
        let dir = std::env::temp_dir().join(format!("mainstay-state-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("orders.state.json");
        (dir, file)
    }

    fn remembered(fence: u64) -> Remembered {
        Remembered { fence: Some(fence), system_id: Some(42), active: Some("db-b".into()), ..Remembered::default() }
    }

    #[test]
    fn what_is_written_is_read() {
        let (dir, file) = file("roundtrip");
        assert_eq!(read::<Remembered>(&file), Remembered::default());
        for fence in [7, 8] {
            write(&file, &content(&remembered(fence))).unwrap();
            assert_eq!(read::<Remembered>(&file), remembered(fence));
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_without_administrative_states_is_that_of_an_earlier_version() {
        let (dir, file) = file("admin");
        write(&file, &content(&remembered(7))).unwrap();
        assert!(!fs::read_to_string(&file).unwrap().contains("admin"));
        let admin = BTreeMap::from([("db-a".to_owned(), "maint".to_owned())]);
        let states = Remembered { admin, ..remembered(7) };
        write(&file, &content(&states)).unwrap();
        assert_eq!(read::<Remembered>(&file), states);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn every_truncation_and_a_foreign_version_are_no_hint() {
        let (dir, file) = file("damage");
        write(&file, &content(&remembered(7))).unwrap();
        let whole = fs::read_to_string(&file).unwrap();
        for len in 0..whole.len() {
            fs::write(&file, &whole[..len]).unwrap();
            assert_eq!(read::<Remembered>(&file), Remembered::default(), "cut at {len}");
        }
        fs::write(&file, whole.replace("\"version\":1", "\"version\":2")).unwrap();
        assert_eq!(read::<Remembered>(&file), Remembered::default());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn neither_a_link_is_followed_nor_a_device_or_directory_read() {
        let (dir, file) = file("link");
        write(&file, &content(&remembered(9))).unwrap();
        let target = dir.join("target");
        fs::rename(&file, &target).unwrap();
        std::os::unix::fs::symlink(&target, &file).unwrap();
        assert_eq!(read::<Remembered>(&file), Remembered::default());
        assert!(try_read::<Remembered>(Path::new("/dev/zero")).unwrap_err().to_string().contains("not a regular file"));
        assert!(try_read::<Remembered>(&dir).unwrap_err().to_string().contains("not a regular file"));
        fs::remove_dir_all(dir).unwrap();
    }
}
