//! One entry for each parser of untrusted bytes, with what must hold for any input. The fuzz targets in `fuzz/` call these, and so
//! does a test, with every file of `fuzz/corpus/` and mutations of them.
//!
//! For a new parser: write its function here, add it to [`TARGETS`], and give it `fuzz/fuzz_targets/NAME.rs`, a `[[bin]]` in
//! `fuzz/Cargo.toml` and some files in `fuzz/corpus/NAME/`. A test says what is missing.

use std::{sync::LazyLock, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    runtime::{Builder, Runtime},
};

use crate::{
    admin::{host, query},
    config::{self, ExecCheck, PostgresCheck, Secret, exec::Word},
    control::probe::{
        Deadline,
        exchange::{matcher::Search, quote::quote},
        exec::answer::{Ended, judge},
        http,
        mysql::{answer, handshake, wire},
        postgres::{
            login::{self, Peer},
            scram::{Binding, Scram},
        },
        redis::{
            facts,
            resp::{self, Reply},
        },
        x509,
    },
    data::greeting,
    failover::Outcome,
    net::{addr::BackendAddr, proxy_protocol as header},
    wire::postgres::is_plausible,
};

/// Panics when an invariant is broken.
pub type Target = fn(&[u8]);

/// Every parser, by the name of its fuzz target and its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("admin_request", admin_request),
    ("backend_address", backend_address),
    ("configuration", configuration),
    ("exchange_match", exchange_match),
    ("exchange_quote", exchange_quote),
    ("exec_answer", exec_answer),
    ("mysql_first_word", mysql_first_word),
    ("mysql_packets", mysql_packets),
    ("patroni_body", patroni_body),
    ("postgres_answer", postgres_answer),
    ("postgres_first_packet", postgres_first_packet),
    ("postgres_login", postgres_login),
    ("postgres_scram", postgres_scram),
    ("proxy_protocol", proxy_protocol),
    ("redis_first_answer", redis_first_answer),
    ("redis_info", redis_info),
    ("redis_reply", redis_reply),
    ("x509_certificate", x509_certificate),
];

/// What the admin endpoint itself parses of a request: a path segment and the Host header. The rest is hyper's.
pub fn admin_request(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    host::is_own(&text);
    if let Some(decoded) = query::decoded(&text) {
        assert!(decoded.len() <= text.len(), "decoding made it longer");
        assert!(text.contains('%') || decoded == text, "nothing was escaped, and it changed");
    }
}

/// `host:port`.
pub fn backend_address(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(address) = text.parse::<BackendAddr>() {
        assert_eq!(address.to_string(), text, "it is not shown as it was written");
        assert!(address.port() != Some(0) && !address.host().is_empty());
    }
}

/// A configuration file.
pub fn configuration(bytes: &[u8]) {
    const VALUE: &str = "a value";
    let env = |name: &str| (name == "VALUE").then(|| VALUE.to_owned());
    match config::parse_any(bytes, &env) {
        Ok(loaded) => {
            let printed = loaded.config.to_yaml();
            drop(loaded.config.to_json());
            // What must not be shown cannot be read again.
            if !printed.contains("***") {
                let again = config::parse(&printed, "printed", &env).unwrap_or_else(|errors| panic!("{printed}\n{errors}"));
                assert_eq!(again.config, loaded.config, "{printed}");
            }
        }
        Err(errors) => {
            assert!(errors.errors().count() > 0, "refused without a word");
            drop((errors.to_string(), errors.to_json()));
        }
    }
}

/// The search of an exchange: the first byte is the length of the first text, the second of the other, the third of the pieces in
/// which the rest arrives.
pub fn exchange_match(bytes: &[u8]) {
    let [first, second, piece, rest @ ..] = bytes else { return };
    let (first, rest) = rest.split_at(usize::from(*first).min(rest.len()));
    let (second, stream) = rest.split_at(usize::from(*second).min(rest.len()));
    let end = |text: &[u8]| match text {
        [] => Some(0),
        text => stream.windows(text.len()).position(|part| part == text).map(|start| start + text.len()),
    };
    let expected = [(end(first), 0), (end(second), 1)].into_iter().filter_map(|(end, which)| Some((end?, which))).min();
    for length in [usize::from(*piece).max(1), usize::MAX] {
        let mut search = Search::new([first, second]);
        let mut before = 0;
        // An empty stream is a piece, too: an empty text is in it.
        let pieces = [&stream[..0]].into_iter().chain(stream.chunks(length.min(stream.len().max(1))));
        let found = pieces.into_iter().find_map(|piece| {
            let found = search.feed(piece).map(|found| (before + found.consumed, found.which));
            before += piece.len();
            found
        });
        assert_eq!(found, expected, "in pieces of {length}");
    }
}

/// What is shown of an answer: the first byte is the length of what was sent; the rest is the answer.
pub fn exchange_quote(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (sent, came) = rest.split_at(usize::from(*length).min(rest.len()));
    let shown = quote(came, &[sent]);
    assert!(shown.len() < 300 && shown.chars().all(|c| c == '…' || c.is_ascii_graphic() || c == ' '), "{shown}");
    // Letters and digits are shown as they are, so a piece of what was sent would appear in what is shown.
    let letters = sent.windows(4).filter(|piece| piece.iter().all(u8::is_ascii_alphanumeric));
    for piece in letters {
        let plain = |at: usize| shown.as_bytes().get(at..at + 4) == Some(piece);
        // A character after a backslash is an escape, not a letter that arrived.
        let hit = (0..shown.len()).find(|&at| plain(at) && !shown.as_bytes()[at.saturating_sub(4)..at + 3].contains(&b'\\'));
        assert_eq!(hit, None, "{shown} holds {piece:?}");
    }
}

/// The output of a command. The first byte is its exit code.
pub fn exec_answer(bytes: &[u8]) {
    let Some((code, output)) = bytes.split_first() else { return };
    let (stdout, stderr) = output.split_at(output.iter().position(|byte| *byte == 0).unwrap_or(output.len()));
    let command = vec![Word::Plain("/bin/check".into())];
    let env = vec![("TOKEN".into(), Secret::new("hunter2-hunter2".into()))];
    for roles in [false, true] {
        let check = ExecCheck { roles, env: env.clone(), ..ExecCheck::new(command.clone()) };
        let Ok(finding) = judge(&check, Ended::Code(i32::from(*code)), stdout, stderr) else { panic!("no finding") };
        assert!(
            finding.evidence.chars().count() <= 300 && !finding.evidence.chars().any(char::is_control),
            "{}",
            finding.evidence
        );
        assert!(!finding.evidence.is_empty() && !finding.evidence.contains("hunter2-hunter2"), "{}", finding.evidence);
        assert_eq!(finding.facts.role.is_some(), roles && finding.outcome == Outcome::Ok, "{finding:?}");
        assert!(finding.outcome != Outcome::Ok || *code == 0);
    }
}

/// The beginning of a `MySQL` server's answer to a client.
pub fn mysql_first_word(bytes: &[u8]) {
    let word = &bytes[..bytes.len().min(7)];
    let said = greeting::mysql::understood(word);
    assert!(word.len() < 7 || said.is_some(), "seven bytes are enough");
    for cut in 0..word.len() {
        let earlier = greeting::mysql::understood(&word[..cut]);
        assert!(earlier.is_none() || earlier == said, "the first {cut} bytes say {earlier:?}, and more of them {said:?}");
    }
}

/// Packets of a `MySQL` server, each parsed as everything it might be.
pub fn mysql_packets(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((packet, length))) = wire::parse(rest) {
        assert_eq!(packet.payload.len() + 4, length);
        assert_eq!(wire::parse(&rest[..length]), Ok(Some((packet.clone(), length))), "what follows changes a packet");
        for cut in (0..length).rev().take(40) {
            assert_eq!(wire::parse(&rest[..cut]), Ok(None), "the first {cut} of {length} bytes");
        }
        let payload = &packet.payload;
        if let Ok(greeting) = handshake::Greeting::read(payload) {
            assert!(greeting.nonce.len() >= 8 && greeting.nonce.len() < payload.len());
        }
        if let Some(error) = answer::ServerError::read(payload) {
            assert!(payload[0] == 0xff && error.message.len() <= 3 * payload.len());
        }
        // A byte that is no UTF-8 is shown as a three-byte character.
        assert!(answer::column(payload).is_none_or(|name| name.len() <= 3 * payload.len()));
        for columns in [0, 1, 3, usize::from(packet.sequence)] {
            assert!(answer::row(payload, columns).is_none_or(|row| row.len() == columns));
        }
        rest = &rest[length..];
    }
}

/// A body that may be Patroni's.
pub fn patroni_body(bytes: &[u8]) {
    if let http::facts::Body::Patroni(patroni) = http::facts::read(bytes) {
        let words = [&patroni.state, &patroni.role];
        assert!(words.iter().all(|word| !word.chars().any(char::is_control) && word.len() <= 300), "{patroni:?}");
        assert!(patroni.facts.role.is_none(), "the role is not its alone to say");
    }
}

/// The PROXY header.
pub fn proxy_protocol(bytes: &[u8]) {
    let Ok(Some((header, length))) = header::parse(bytes) else { return };
    assert!((1..=bytes.len()).contains(&length));
    assert_eq!(header::parse(&bytes[..length]), Ok(Some((header, length))), "what follows changes a header");
    for cut in 0..length {
        assert_eq!(header::parse(&bytes[..cut]), Ok(None), "the first {cut} of {length} bytes");
    }
}

/// A Redis server's answer to our `PING`, or what it sends before that.
pub fn redis_first_answer(bytes: &[u8]) {
    let Some((_, taken)) = greeting::redis::understood(bytes) else { return };
    assert!(taken <= bytes.len());
    assert!(taken == 0 || bytes[..taken].ends_with(b"\r\n"), "more than our own answer is taken");
}

/// The beginning of a `PostgreSQL` server's answer, as the byte path and as the check read it.
pub fn postgres_answer(bytes: &[u8]) {
    let said = greeting::postgres::does_not_serve(bytes);
    assert!(!said || bytes.first() == Some(&b'E'), "only an error says so");
    let header = &bytes[..bytes.len().min(5)];
    let plausible = is_plausible(header);
    // A plausible beginning may turn out to be none; never the other way round.
    assert!((0..header.len()).all(|cut| !plausible || is_plausible(&header[..cut])));
}

/// The first packet of a `PostgreSQL` client.
pub fn postgres_first_packet(bytes: &[u8]) {
    let (begins, encrypts) = greeting::postgres::first_packet(bytes);
    assert!(!encrypts || begins, "what asks for encryption begins a session");
    assert!(!encrypts || bytes.len() == 8, "and is nothing more");
    for cut in 0..bytes.len().min(64) {
        let (earlier, _) = greeting::postgres::first_packet(&bytes[..cut]);
        assert!(!earlier || begins, "the first {cut} bytes begin a session, and more of them do not");
    }
}

/// For parsers that wait for what they read.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| match Builder::new_current_thread().enable_time().build() {
    Ok(runtime) => runtime,
    Err(error) => panic!("{error}"),
});

/// Everything a `PostgreSQL` server sends during a login, behind a byte that says how it is connected.
pub fn postgres_login(bytes: &[u8]) {
    const PASSWORD: &str = "hunter2-hunter2";
    let Some((connected, said)) = bytes.split_first() else { return };
    let knows_it = said.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes());
    let [is_verified, is_encrypted, shows_a_certificate] = [1, 2, 4].map(|bit| connected & bit != 0);
    let peer = Peer { is_verified, is_encrypted, end_point: shows_a_certificate.then(|| vec![7; 32]) };
    let (check, password) = (PostgresCheck::default(), Some(Secret::new(PASSWORD.into())));
    RUNTIME.block_on(async {
        // Large enough that neither side ever waits for the other.
        let (own, mut server) = duplex(said.len() + 65_536);
        assert!(server.write_all(said).await.is_ok() && server.shutdown().await.is_ok());
        let ended = login::log_in(Box::new(own), peer, &check, password, Deadline::after(Duration::from_secs(10))).await;
        match ended {
            Ok(mut begun) => {
                let mut last = [0; 5];
                assert!(begun.read_exact(&mut last).await.is_ok(), "it ended without a last message");
                assert!(!b"vN".contains(&last[0]), "what may come at any time ends no login");
            }
            Err(finding) => {
                assert_ne!(finding.outcome, Outcome::Ok);
                assert!(!finding.evidence.is_empty() && !finding.evidence.chars().any(char::is_control), "{}", finding.evidence);
                // A server may know it already.
                assert!(knows_it || !finding.evidence.contains(PASSWORD));
            }
        }
        let mut told = Vec::new();
        assert!(server.read_to_end(&mut told).await.is_ok());
        let is_in_clear = told.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes());
        assert!(is_verified || knows_it || !is_in_clear, "the password was given to whoever asks");
    });
}

/// A `PostgreSQL` server's SCRAM messages: its challenge, a NUL, and its proof.
pub fn postgres_scram(bytes: &[u8]) {
    let scram = Scram { binding: Binding::Impossible, nonce: "own".into() };
    let (challenge, proof) = bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let Some(challenge) = scram.challenge(challenge) else { return };
    assert!(challenge.rounds > 0 && challenge.nonce.len() > 3 && challenge.nonce.starts_with("own"));
    assert!(bytes.starts_with(challenge.text.as_bytes()));
    // More rounds take more time.
    if challenge.rounds <= 64 {
        let Some(own) = RUNTIME.block_on(scram.prove("hunter2", &challenge)) else { panic!("no proof") };
        assert!(own.message.starts_with(&format!("c=biws,r={},p=", challenge.nonce)));
        assert!(!own.is_answered_by(proof.get(1..).unwrap_or_default()), "a proof without the password");
    }
}

/// A Redis server's answer to `INFO`.
pub fn redis_info(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let version = facts::version(&text).ok().flatten();
    assert!(version.as_deref().is_none_or(|version| version.len() <= 40 && version.chars().all(|c| c.is_ascii_graphic())));
    let finding = facts::read(&text, version);
    assert_eq!(finding.facts.role.is_some(), finding.outcome == Outcome::Ok);
    assert!(!finding.evidence.chars().any(char::is_control), "{}", finding.evidence);
}

/// A reply of a Redis server.
pub fn redis_reply(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((reply, length))) = resp::parse(rest) {
        assert!((1..=rest.len()).contains(&length), "{length} of {} bytes", rest.len());
        assert_eq!(resp::parse(&rest[..length]), Ok(Some((reply.clone(), length))), "what follows changes a reply");
        for cut in (0..length).rev().take(40).chain(0..length.min(40)) {
            assert_eq!(resp::parse(&rest[..cut]), Ok(None), "the first {cut} of {length} bytes");
        }
        let told = match reply {
            Reply::Status(text) | Reply::Error(text) | Reply::Bulk(text) => text.len(),
            Reply::List(words) => words.iter().map(String::len).sum(),
        };
        // A byte that is no UTF-8 is shown as a three-byte character.
        assert!(told <= 3 * length);
        rest = &rest[length..];
    }
}

/// An untrusted certificate of a server.
pub fn x509_certificate(bytes: &[u8]) {
    let digest = x509::end_point(bytes);
    let Some(parts) = x509::parts(bytes) else {
        assert_eq!(digest, None, "what is no certificate has no digest");
        return;
    };
    assert!(digest.is_none_or(|digest| [32, 48, 64].contains(&digest.len())));
    assert!(parts.key_algorithm.len() + parts.key.len() + parts.signature.len() < bytes.len());
    assert_eq!(x509::parts(&[bytes, &[0x30]].concat()).as_ref(), Some(&parts), "what follows changes a certificate");
}
