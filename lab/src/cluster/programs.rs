//! The server's programs: where they are.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::error::ClusterError;

/// Where packages put the server: Debian and Ubuntu, then Red Hat and its kin.
const PACKAGE_ROOTS: [(&str, &str); 2] = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];
/// All of them must be in one directory.
const NEEDED: [&str; 3] = ["initdb", "postgres", "pg_basebackup"];

/// The directory that holds the server's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries(PathBuf);

impl Binaries {
    /// Looks in `PG_BIN` (then nowhere else), in the usual places of packages (the newest version first), and in `PATH`.
    ///
    /// # Errors
    /// [`ClusterError::MissingBinaries`], which says what to install.
    pub fn find() -> Result<Self, ClusterError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self::find_in(std::env::var_os("PG_BIN"), &package_directories(), &path)
    }

    fn find_in(chosen: Option<OsString>, packages: &[PathBuf], path: &OsStr) -> Result<Self, ClusterError> {
        let places: Vec<PathBuf> = match chosen {
            Some(chosen) => vec![chosen.into()],
            None => packages.iter().cloned().chain(std::env::split_paths(path)).collect(),
        };
        let complete = |place: &&PathBuf| NEEDED.iter().all(|program| place.join(program).is_file());
        match places.iter().find(complete) {
            Some(place) => Ok(Self(place.clone())),
            None => Err(ClusterError::MissingBinaries(places)),
        }
    }

    /// Those in this directory; what is not there is the system's.
    pub fn at(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// A command that runs one of them.
    pub fn command(&self, program: &str) -> Command {
        let elsewhere = || Self::find().ok().map(|found| found.0.join(program));
        let own = self.0.join(program);
        Command::new(if self.has(program) { own } else { elsewhere().unwrap_or(own) })
    }

    /// It is one of them.
    pub(crate) fn has(&self, program: &str) -> bool {
        self.0.join(program).is_file()
    }
}

fn package_directories() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (root, prefix) in PACKAGE_ROOTS {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let version = entry.file_name().to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<u32>().ok());
            if let Some(version) = version {
                found.push((version, entry.path().join("bin")));
            }
        }
    }
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, directory)| directory).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_told_with_what_to_install() {
        let nowhere = [PathBuf::from("/nonexistent/14/bin")];
        let error = Binaries::find_in(None, &nowhere, OsStr::new("/nonexistent/path")).unwrap_err().to_string();
        for part in ["apt-get install postgresql", "PG_BIN", "/nonexistent/14/bin", "/nonexistent/path"] {
            assert!(error.contains(part), "{error}");
        }
        let packages = package_directories();
        let error = Binaries::find_in(Some("/nonexistent/chosen".into()), &packages, OsStr::new("/usr/bin")).unwrap_err();
        assert!(matches!(error, ClusterError::MissingBinaries(looked) if looked == [PathBuf::from("/nonexistent/chosen")]));
    }
}
