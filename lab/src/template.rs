//! The files of new servers, made once for many: a good part of the tests' processor time would go into making them.
//!
//! Only where `MAINSTAY_LAB_TEMPLATES` names a directory for them, as `make test` does.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// The files of one kind of server.
pub(crate) struct Template(PathBuf);

impl Template {
    /// For servers that `program` makes, in the way that `kind` describes; `None` where nobody wants templates.
    pub(crate) fn of(name: &str, program: &Path, kind: impl Hash) -> Option<Self> {
        let directory = PathBuf::from(std::env::var_os("MAINSTAY_LAB_TEMPLATES").filter(|directory| !directory.is_empty())?);
        let mut hasher = DefaultHasher::new();
        // Another version of the server makes other files.
        (program, fs::metadata(program).and_then(|file| file.modified()).ok(), kind).hash(&mut hasher);
        Some(Self(directory.join(format!("{name}-{:016x}", hasher.finish()))))
    }

    /// Fills `data`, which must not exist. Whether there was anything to fill it with.
    pub(crate) fn fill(&self, data: &Path) -> io::Result<bool> {
        if !self.0.exists() {
            return Ok(false);
        }
        copy(&self.0, data).map(|()| true)
    }

    /// Takes the files of a server that has never run as those of later ones. Several processes may do so at once: one is first.
    pub(crate) fn take(&self, data: &Path) -> io::Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let own = self.0.with_extension(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        // A process of this id that was killed has left it.
        if own.exists() {
            fs::remove_dir_all(&own)?;
        }
        fs::create_dir_all(own.parent().unwrap_or(&own))?;
        copy(data, &own)?;
        if fs::rename(&own, &self.0).is_err() {
            fs::remove_dir_all(&own)?;
        }
        Ok(())
    }
}

/// With their owners.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cp -a {} {}: {status}", from.display(), to.display()))) }
}
