//! Tests wait for conditions, and not for ever: nothing blocks without a deadline of its own, and a sleep says what it is for.

use super::test_sources;

/// What blocks until somebody else does something, and what there is in its place.
const BLOCKS: [(&str, &str); 8] = [
    (".output()", "child::Bounded"),
    (".wait_with_output()", "child::output"),
    (".wait()", "child::ended"),
    (".recv()", "recv_timeout"),
    (".recv().unwrap()", "recv_timeout"),
    (".accept()", "wait::accept"),
    (" TcpStream::connect(", "front::client, or connect_timeout"),
    ("UnixStream::connect(", "front::unix_client"),
];

/// Whether a line of code blocks; whoever was killed, or met all others of a scope, is not waited for for long, a runtime's own waits have a
/// deadline around them, and a socket that does not block says so.
fn blocks(before: &str, line: &str) -> Option<&'static str> {
    let is_bounded = before.contains(".kill()")
        || line.contains("barrier.wait()")
        || line.contains(".await")
        || line.contains("timeout(")
        || line.contains("until");
    let code = line.split("//").next().unwrap();
    BLOCKS.iter().find(|(call, _)| code.contains(call) && !is_bounded).map(|(_, instead)| *instead)
}

fn sleeps(line: &str) -> bool {
    let code = line.split("//").next().unwrap();
    code.match_indices("sleep(").any(|(at, _)| !code[..at].ends_with(|c: char| c == '_' || c.is_alphanumeric()))
}

fn wrong(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut wrong = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let before = &lines[at.saturating_sub(2)..at];
        if let Some(instead) = blocks(&before.join("\n"), line) {
            wrong.push((at + 1, format!("this may block for ever; take {instead}")));
        }
        if sleeps(line) && !before.iter().chain([line]).any(|line| line.contains("// ")) {
            wrong.push((at + 1, "a sleep that does not say why; wait for a condition".to_owned()));
        }
    }
    wrong
}

#[test]
fn nothing_in_a_test_blocks_without_a_deadline_and_a_sleep_says_why() {
    let tests =
        test_sources().into_iter().filter(|(name, _)| name.starts_with("tests/it/") && !name.starts_with("tests/it/support/"));
    let wrong: Vec<_> = tests
        .flat_map(|(name, text)| wrong(&text).into_iter().map(move |(line, what)| format!("{name}:{line}: {what}")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_blocks_is_found_and_what_has_a_deadline_is_let_be() {
    for (code, is_wrong) in [
        ("let output = command.output().unwrap();", true),
        ("child.wait().unwrap();", true),
        ("let _ = child.kill();\nlet _ = child.wait();", false),
        ("told.recv().unwrap();", true),
        ("told.recv_timeout(patience()).unwrap();", false),
        ("timeout(patience(), events.recv()).await", false),
        ("let (stream, _) = listener.accept().unwrap();", true),
        ("let stream = accept(&listener);", false),
        ("let stream = TcpStream::connect(address).unwrap();", true),
        ("thread::sleep(SECOND);", true),
        ("// The time is the subject.\nthread::sleep(SECOND);", false),
        ("sql(\"SELECT pg_sleep(1)\");", false),
    ] {
        assert_eq!(!wrong(code).is_empty(), is_wrong, "{code}");
    }
}
