//! The corpus of PROXY headers, which a fuzzer begins with, as a plain test. The first word of a file's name says what it is.

use std::{fs, path::Path};

use mainstay::net::proxy_protocol::{LONGEST, parse};

#[test]
fn every_file_of_the_corpus_is_what_its_name_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/proxy_protocol");
    let mut seen = [0; 3];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        let parsed = parse(&bytes);
        let (kind, is_so) = match name.split_once('-').unwrap().0 {
            "good" => (0, matches!(parsed, Ok(Some((_, length))) if length <= bytes.len())),
            "bad" => (1, parsed.is_err()),
            "cut" => (2, parsed == Ok(None)),
            other => panic!("{name}: {other} is not known"),
        };
        assert!(is_so, "{name}: {parsed:?}");
        seen[kind] += 1;
        // What is asked for more, or accepted, never becomes wrong for having come in pieces.
        if kind == 0 {
            let Ok(Some((header, length))) = parsed else { panic!("{name}") };
            assert!(length <= LONGEST);
            assert!((0..length).all(|end| parse(&bytes[..end]) == Ok(None)), "{name}: a beginning of it is refused");
            assert_eq!(parse(&bytes[..length]), Ok(Some((header, length))), "{name}");
        }
    }
    assert!(seen.iter().all(|count| *count >= 3), "{seen:?}");
}
