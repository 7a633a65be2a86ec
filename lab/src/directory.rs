//! As whom a server runs, and the directory that is its own.

use std::{
    fs, io,
    ops::Deref,
    os::unix::{
        fs::{DirBuilderExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// As whom a server runs: most refuse root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// As we do.
    Ourselves,
    /// As another user, because we are root.
    Other {
        /// Its user id.
        uid: u32,
        /// Its group id.
        gid: u32,
    },
}

impl Owner {
    /// This user, when we are root; `None` when there is no such user then.
    pub fn of(user: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return Some(Self::Ourselves);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        users.lines().find_map(|line| Self::parse(user, line))
    }

    /// `name:password:uid:gid:…`, passwd(5).
    fn parse(user: &str, line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix(user)?.strip_prefix(':')?.split(':').skip(1);
        Some(Self::Other { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    }

    /// Has a command run as this user.
    pub fn apply(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            // Becoming another user this way also drops root's supplementary groups.
            command.uid(uid).gid(gid);
        }
    }

    /// Gives a file or directory to this user.
    pub fn own(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid } => chown(path, Some(uid), Some(gid)),
        }
    }
}

/// A directory in the temporary directory that only its owner (and root) may enter. Dropping it removes it.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// A fresh one.
    pub fn new(owner: Owner) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("mainstay-lab-{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let directory = Self(path);
                    owner.own(&directory)?;
                    return Ok(directory);
                }
                // A process of this id that was killed has left it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Deref for Directory {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_user_postgres_and_nobody_else() {
        let owner = Owner::parse("postgres", "postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash");
        assert_eq!(owner, Some(Owner::Other { uid: 101, gid: 104 }));
        for line in ["postgres2:x:1:2::/:/", "root:x:0:0::/:/", "postgres:x:a:b", "postgres"] {
            assert_eq!(Owner::parse("postgres", line), None, "{line}");
        }
    }
}
