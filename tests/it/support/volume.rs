//! A volume of Kubernetes with the files of a `ConfigMap` or a `Secret`, written as the kubelet does it
//! (`pkg/volume/util/atomic_writer.go`): a directory for each state, `..data` leads to the present one, and each file's name leads through
//! `..data`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::SystemTime,
};

pub struct Volume {
    directory: PathBuf,
    states: usize,
}

impl Volume {
    /// One with these files, in a directory that is not there yet.
    pub fn new(directory: PathBuf, files: &[(&str, &str)]) -> Self {
        fs::create_dir(&directory).unwrap();
        let mut volume = Self { directory, states: 0 };
        volume.swap(files);
        volume
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Puts these files in the place of all, with the kubelet's default mode. Every state has the same times and modes, so only the content
    /// tells them apart.
    pub fn swap(&mut self, files: &[(&str, &str)]) {
        self.states += 1;
        let (data, new) = (self.path("..data"), format!("..2026_11_28_12_00_00.{:010}", self.states));
        let before = fs::read_link(&data).ok();
        fs::create_dir(self.path(&new)).unwrap();
        for (name, content) in files {
            let file = self.path(&new).join(name);
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            fs::File::options().write(true).open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        let link = self.path("..data_tmp");
        symlink(&new, &link).unwrap();
        fs::rename(&link, &data).unwrap();
        for (name, _) in files {
            if fs::symlink_metadata(self.path(name)).is_err() {
                symlink(Path::new("..data").join(name), self.path(name)).unwrap();
            }
        }
        for name in fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            if !name.starts_with("..") && !files.iter().any(|(file, _)| *file == name) {
                fs::remove_file(self.path(&name)).unwrap();
            }
        }
        if let Some(before) = before {
            fs::remove_dir_all(self.directory.join(before)).unwrap();
        }
    }
}
