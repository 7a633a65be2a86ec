//! The readers of what strangers send, over every file of the fuzz corpora and mutations of them. `cargo fuzz` looks further; what it
//! finds becomes a file of the corpus, and is tried here from then on.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use mainstay::fuzzing::{TARGETS, Target};
use rustix::time::{ClockId, clock_gettime};

use crate::support::random::Random;

/// Mutations of a target, however long they take.
const LEAST: usize = 20;
/// Mutations of a target at most, and the processor time that those above [`LEAST`] may take: beside other work as much is tried.
const MUTATIONS: usize = 20_000;
const BUDGET: Duration = Duration::from_secs(1);
const LONGEST: usize = 70_000;

fn fuzz(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(path)
}

fn names(path: &str) -> BTreeSet<String> {
    let names = fs::read_dir(fuzz(path)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// Files with their content, in the order of their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let path = format!("corpus/{target}");
    names(&path).into_iter().map(|name| (name.clone(), fs::read(fuzz(&path).join(&name)).unwrap())).collect()
}

/// Something like `bytes`, and like `other`.
fn mutated(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.between(1, 4) {
        let at = random.between(0, bytes.len() + 1);
        let end = random.between(at, bytes.len() + 1);
        match random.between(0, 7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.insert(at, u8::try_from(random.between(0, 256)).unwrap()),
            3 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.between(0, 8);
                }
            }
            // What readers compare with.
            4 => {
                let edges: [&[u8]; 10] =
                    [b"\0", b"\xff", b"\r\n", b"-1", b"18446744073709551616", b"${", b"***", b"\xf0\x9f", b"[[", b"%"];
                bytes.splice(at..at, edges[random.between(0, edges.len())].iter().copied());
            }
            5 => {
                let chunk = bytes[at..end].repeat(random.between(1, 40));
                bytes.splice(at..at, chunk);
            }
            _ => {
                let (from, to) = (random.between(0, other.len() + 1), other.len());
                bytes.splice(at.., other[from..to].iter().copied());
            }
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

/// What this thread has used so far.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

fn attempt(name: &str, target: Target, what: &str, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err() {
        let digits = bytes.iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"));
        panic!(
            "{name} fails on {what}. To keep it: printf '{digits}' | xxd -r -p > fuzz/corpus/{name}/WHY\n{:?}",
            bytes.escape_ascii().to_string()
        );
    }
}

#[test]
fn no_reader_fails_on_its_corpus_or_on_anything_like_it() {
    let mut random = Random::seeded();
    for &(name, target) in TARGETS {
        let files = corpus(name);
        for (file, bytes) in &files {
            attempt(name, target, file, bytes);
            for cut in 0..bytes.len().min(200) {
                attempt(name, target, &format!("the first {cut} bytes of {file}"), &bytes[..cut]);
            }
        }
        let (start, mut tried) = (processor_time(), 0);
        let took = || processor_time().saturating_sub(start);
        while tried < LEAST || (tried < MUTATIONS && took() < BUDGET) {
            let [(file, bytes), (_, other)] = [0; 2].map(|_| &files[random.between(0, files.len())]);
            attempt(name, target, &format!("a mutation of {file}"), &mutated(bytes, other, &mut random));
            tried += 1;
        }
        println!("{name}: {} files, {tried} mutations in {:?}", files.len(), took());
    }
}

#[test]
fn every_reader_has_a_fuzz_target_and_a_corpus_and_none_is_without_a_reader() {
    let readers: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(readers.len(), TARGETS.len(), "a name is given twice");
    assert_eq!(names("corpus"), readers);
    let binaries: BTreeSet<String> = names("fuzz_targets").iter().map(|file| file.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(binaries, readers);
    let manifest = fs::read_to_string(fuzz("Cargo.toml")).unwrap();
    let declared: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"))
        .map(|line| line.trim_end_matches(".rs\"").to_owned())
        .collect();
    assert_eq!(declared, readers);
    for name in &readers {
        let text = fs::read_to_string(fuzz("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(text.contains(&format!("mainstay::fuzzing::{name}(")), "fuzz_targets/{name}.rs calls another reader");
        assert!(corpus(name).len() >= 5, "{name}: a corpus begins with some valid, cut and hostile messages");
    }
}
