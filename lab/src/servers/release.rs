//! Programs of a server that tests/install-deps has unpacked: a copy of them, in which a test may change what it likes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::succeed;
use crate::{cluster::programs::Binaries, directory::Directory};

/// Where tests/install-servers has unpacked a server by this name.
pub fn unpacked(name: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/servers").join(name);
    let place = place.canonicalize().unwrap_or_else(|error| panic!("{}: {error}; `make versions` unpacks it", place.display()));
    assert!(place.join("bin").is_dir(), "{} holds no programs", place.display());
    place
}

/// What a package has installed, for one server. Dropping it removes it.
#[derive(Debug)]
pub struct Release(Directory);

impl Release {
    /// `PostgreSQL` of this version, for the user postgres: the way to where it was unpacked may be closed to it.
    pub fn postgres(version: &str) -> Self {
        let owner = super::owner("postgres");
        let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../target/servers/postgresql-{version}"));
        assert!(unpacked.is_dir(), "{} is missing; tests/install-deps unpacks it", unpacked.display());
        let directory = Directory::new(owner).unwrap();
        succeed(
            Command::new("cp")
                .args(["-a", "--no-preserve=ownership", "-t"])
                .arg(&*directory)
                .args(["bin", "lib", "share"].map(|part| unpacked.join(part))),
        );
        Self(directory)
    }

    pub fn binaries(&self) -> Binaries {
        Binaries::at(&self.path("bin"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Replaces a file by another one of them.
    pub fn replace(&self, name: &str, other: &str) {
        fs::copy(self.path(other), self.path(name)).unwrap();
    }

    /// Changes bytes of a file.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        fs::write(self.path(name), bytes).unwrap();
    }
}
