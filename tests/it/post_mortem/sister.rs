//! The next version of the server, as an update of its packages would bring it: the installed programs under another version number,
//! in a tree of their own, and with a fault.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use lab::cluster::programs::Binaries;

use crate::support::{netns::run, postgres, scratch::Scratch};

/// What is wrong with an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The server does not start.
    NoStart,
    /// It starts, and no commit ends: it waits for a standby of another name.
    NoCommit,
    /// A list of words was lost: what is indexed for search, and found, is something else.
    Wrong,
    /// No index is used any more.
    Slow,
    /// The files of an extension are missing.
    NoExtension,
}

/// Unpacks it into a directory.
pub fn unpack(scratch: &Scratch, fault: Fault) -> Binaries {
    let root = scratch.path(&format!("{fault:?}"));
    let installed = postgres::binaries();
    let pg_config = |what: &str| PathBuf::from(run(&[installed.directory().join("pg_config").to_str().unwrap(), what]).trim());
    let (bin, share, lib) = (pg_config("--bindir"), pg_config("--sharedir"), pg_config("--pkglibdir"));
    let beside = |path: &Path| root.join(path.strip_prefix("/").unwrap());
    let link = |from: &Path, left_out: &dyn Fn(&str) -> bool| {
        fs::create_dir_all(beside(from)).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = beside(from).join(entry.file_name());
            if !left_out(entry.file_name().to_str().unwrap()) && !to.exists() {
                symlink(entry.path(), to).unwrap();
            }
        }
    };
    let lacks = |file: &str| fault == Fault::NoExtension && file.starts_with("amcheck");
    link(&bin, &|file| file == "postgres");
    link(&lib, &lacks);
    link(&share.join("extension"), &lacks);
    link(&share.join("tsearch_data"), &|file| fault == Fault::Wrong && file == "english.stop");
    link(&share, &|_| false);
    if fault == Fault::Wrong {
        fs::write(beside(&share).join("tsearch_data/english.stop"), "").unwrap();
    }
    let program = beside(&bin).join("postgres");
    // The permissions are copied, too.
    fs::copy(bin.join("postgres"), &program).unwrap();
    fs::write(&program, renumbered(&fs::read(&program).unwrap(), &version(&installed))).unwrap();
    let script = match fault {
        Fault::NoStart => "echo 'postgres: symbol lookup error: undefined symbol: pg_verify_mbstr_len' >&2; exit 127".to_owned(),
        Fault::NoCommit => format!("exec {} \"$@\" -c synchronous_standby_names=replica1", program.display()),
        Fault::Slow => {
            let off = "-c enable_indexscan=off -c enable_bitmapscan=off -c enable_indexonlyscan=off";
            format!("exec {} \"$@\" {off}", program.display())
        }
        Fault::None | Fault::Wrong | Fault::NoExtension => return Binaries::at(&beside(&bin)),
    };
    let directory = root.join("started");
    fs::create_dir(&directory).unwrap();
    scratch.file(&format!("{fault:?}/started/postgres"), format!("#!/bin/sh\n{script}\n"), 0o755);
    Binaries::at(&directory)
}

/// Major and minor version.
fn version(installed: &Binaries) -> String {
    let said = run(&[installed.directory().join("postgres").to_str().unwrap(), "--version"]);
    said.split(' ').nth(2).unwrap().trim().to_owned()
}

/// The next one, of the same length.
fn next(version: &str) -> String {
    let mut digits = version.to_owned().into_bytes();
    for digit in digits.iter_mut().rev().filter(|digit| digit.is_ascii_digit()) {
        if *digit < b'9' {
            *digit += 1;
            break;
        }
        *digit = b'0';
    }
    String::from_utf8(digits).unwrap()
}

/// Names another version wherever the program names its own.
fn renumbered(program: &[u8], version: &str) -> Vec<u8> {
    let (mut out, next, mut found) = (program.to_vec(), next(version), 0);
    let ends = |at: usize| matches!(program.get(at + version.len()), Some(b' ' | 0));
    for at in 0..program.len() - version.len() {
        if program[at] == version.as_bytes()[0] && program[at..].starts_with(version.as_bytes()) && ends(at) {
            out[at..at + next.len()].copy_from_slice(next.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "the program does not name its version {version}");
    out
}
