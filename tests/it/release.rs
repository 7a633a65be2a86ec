//! `deploy/release`: what a release says of itself is true, and does not depend on who builds it. `make dist-check` builds one twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use lab::child::Bounded;
use serde_json::Value;

use crate::support::scratch::Scratch;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn script(name: &str) -> Command {
    let mut command = Command::new(Path::new(ROOT).join("deploy/release").join(name));
    command.current_dir("/").env("SOURCE_DATE_EPOCH", "1700000000").env_remove("RUSTFLAGS").env_remove("CFLAGS");
    command
}

/// What it wrote; it has to succeed.
fn output(command: &mut Command) -> Vec<u8> {
    let output = command.bounded_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn text(command: &mut Command) -> String {
    String::from_utf8(output(command)).unwrap()
}

fn bill() -> Value {
    serde_json::from_str(&text(script("inventory").arg("sbom"))).unwrap()
}

/// Checksums of `Cargo.lock`, by package URL.
fn locked() -> BTreeMap<String, String> {
    let lock = fs::read_to_string(Path::new(ROOT).join("Cargo.lock")).unwrap();
    let value = |package: &str, key: &str| {
        let start = format!("{key} = \"");
        package.lines().find_map(|line| Some(line.strip_prefix(&start)?.trim_end_matches('"').to_owned()))
    };
    let packages = lock.split("[[package]]").skip(1);
    packages
        .filter_map(|package| {
            let purl = format!("pkg:cargo/{}@{}", value(package, "name")?, value(package, "version")?);
            Some((purl, value(package, "checksum")?))
        })
        .collect()
}

#[test]
fn the_bill_of_materials_names_the_crates_of_the_lock_file_and_the_c_library() {
    let bill = bill();
    let locked = locked();
    let components = bill["components"].as_array().unwrap();
    let mut known = BTreeSet::from([concat!("pkg:cargo/mainstay@", env!("CARGO_PKG_VERSION"))]);
    for component in components {
        let purl = component["purl"].as_str().unwrap();
        assert!(known.insert(purl), "{purl} is there twice");
        if let Some(sum) = component["hashes"][0]["content"].as_str() {
            assert_eq!(locked.get(purl).map(String::as_str), Some(sum), "{purl}");
        } else {
            assert!(!locked.contains_key(purl), "{purl} has no hash");
        }
        assert!(component["licenses"][0]["expression"].is_string(), "{purl} has no licence");
    }
    let scope =
        |start: &str| components.iter().find(|one| one["purl"].as_str().unwrap().starts_with(start)).map(|one| &one["scope"]);
    for shipped in [
        "pkg:cargo/tokio@",
        "pkg:cargo/ring@",
        "pkg:generic/rust-std@",
        "pkg:github/microsoft/mimalloc@v3.",
        "pkg:deb/debian/glibc@",
    ] {
        assert_eq!(scope(shipped).unwrap(), "required", "{shipped}");
    }
    // One is a procedural macro; one is for tests alone.
    assert_eq!(scope("pkg:cargo/serde_derive@").unwrap(), "excluded");
    assert_eq!(scope("pkg:cargo/core-tests@"), None);

    let edges = bill["dependencies"].as_array().unwrap();
    let from: BTreeSet<_> = edges.iter().map(|edge| edge["ref"].as_str().unwrap()).collect();
    assert_eq!(from, known);
    for edge in edges {
        for to in edge["dependsOn"].as_array().into_iter().flatten() {
            assert!(known.contains(to.as_str().unwrap()), "{} depends on {to}", edge["ref"]);
        }
    }
}

#[test]
fn the_bill_of_materials_depends_on_no_time_locale_or_directory() {
    let here = text(script("inventory").arg("sbom"));
    let elsewhere = text(script("inventory").arg("sbom").current_dir(ROOT).envs([
        ("TZ", "Pacific/Kiritimati"),
        ("LC_ALL", "C"),
        ("USER", "other"),
    ]));
    assert_eq!(here, elsewhere);
    assert!(here.contains("\"2023-11-14T22:13:20Z\""));
    assert!(!here.contains(ROOT));
}

#[test]
fn every_crate_of_the_binary_has_its_licence_and_the_text() {
    let licences = text(script("inventory").arg("licences"));
    let bill = bill();
    let crates = bill["components"].as_array().unwrap().iter().filter(|one| one["scope"] == "required" && one["name"] != "lab");
    for one in crates {
        let name = format!("{} {}", one["name"].as_str().unwrap(), one["version"].as_str().unwrap());
        assert!(licences.lines().any(|line| line.starts_with(&name)), "{name}");
    }
    for text in ["Apache License", "Copyright (c) 2018 Carl Lerche", "GNU LESSER GENERAL PUBLIC LICENSE", "GCC Runtime Library"] {
        assert!(licences.contains(text), "{text}");
    }
    assert!(!licences.contains(ROOT) && !licences.contains("<div"));
}

#[test]
fn a_build_is_told_the_time_of_the_commit_and_no_path() {
    let environment = |command: &mut Command| -> BTreeMap<String, String> {
        text(command)
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let own =
        format!("-C debug-assertions --remap-path-prefix={ROOT}=/mainstay --remap-path-prefix=/elsewhere/registry/src=/crates");
    let mut command = script("reproducibly");
    command.args(["env"]).env("CARGO_HOME", "/elsewhere").env("RUSTFLAGS", "-C debug-assertions");
    let told = environment(&mut command);
    assert_eq!(told["SOURCE_DATE_EPOCH"], "1700000000");
    assert_eq!(told["RUSTFLAGS"], own);
    assert!(told["CFLAGS"].contains(&format!("-ffile-prefix-map={ROOT}=/mainstay")), "{}", told["CFLAGS"]);
    // A step inside another adds nothing.
    let mut twice = script("reproducibly");
    twice
        .arg(Path::new(ROOT).join("deploy/release/reproducibly"))
        .arg("env")
        .env("CARGO_HOME", "/elsewhere")
        .env("RUSTFLAGS", "-C debug-assertions");
    assert_eq!(environment(&mut twice)["RUSTFLAGS"], own);
}

#[test]
fn a_binary_carries_the_list_of_its_crates_and_still_runs() {
    let scratch = Scratch::new();
    let (binary, section) = (scratch.path("true"), scratch.path("section"));
    fs::copy("/bin/true", &binary).unwrap();
    for _ in 0..2 {
        output(script("embed").arg(&binary));
    }
    output(&mut Command::new(&binary));
    output(
        Command::new("objcopy").arg("--dump-section").arg(format!(".dep-v0={}", section.display())).arg(&binary).arg("/dev/null"),
    );
    let unpacked = "import sys, zlib; sys.stdout.buffer.write(zlib.decompress(open(sys.argv[1], 'rb').read()))";
    let list: Value = serde_json::from_slice(&output(Command::new("python3").args(["-c", unpacked]).arg(&section))).unwrap();
    let packages = list["packages"].as_array().unwrap();
    let roots: Vec<_> = packages.iter().filter(|one| one["root"] == true).map(|one| &one["name"]).collect();
    assert_eq!(roots, ["mainstay"]);
    for one in packages {
        for to in one["dependencies"].as_array().into_iter().flatten() {
            assert!(packages.get(usize::try_from(to.as_u64().unwrap()).unwrap()).is_some(), "{one}");
        }
    }
}
