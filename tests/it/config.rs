//! The configuration as users meet it: a corpus of bad files with the messages they must give, and of good ones.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use mainstay::{
    cli::{check, exit},
    config::{
        self, Balance, CheckKind, Config, Errors, Fallback, ListenerRoute, Loaded, LogFormat, LogLevel, OnDown, ProxySend,
        SecretSource, TlsMode,
    },
    failover::{Election, MaxLag, OnConflict, RevokeMode},
    net::proxy_protocol::Version,
};
use rustix::time::{ClockId, clock_gettime};

use crate::support::{scratch::Scratch, wait::Watch};

const BAD: &str = "tests/corpus/config/bad";
const GOOD: &str = "tests/corpus/config/good";
const EXAMPLE: &str = include_str!("../../config.example.yaml");
const SMALLEST: &str = "pools:\n  - name: orders\n    listen: 127.0.0.1:5432\n    backends: [db-a:5432, db-b:5432]\n";

pub fn env(name: &str) -> Option<String> {
    match name {
        "PG_PASSWORD" => Some("S3cr3t-from-env".into()),
        "EMPTY" => Some(String::new()),
        "POOL" => Some("orders".into()),
        "PORT" => Some("6000".into()),
        "MAX" => Some("7".into()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Loaded, Errors> {
    config::parse(text, "mainstay.yaml", &env)
}

fn corpus(directory: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    files
}

#[test]
fn every_bad_file_gives_its_message() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let files = corpus(BAD);
    assert!(files.len() >= 40, "{} files", files.len());
    let mut different = Vec::new();
    for path in files {
        let errors = config::load(&path, &env).unwrap_err();
        assert!(errors.errors().count() > 0, "{}", path.display());
        let golden = path.with_extension("txt");
        if update {
            fs::write(&golden, errors.to_string()).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != errors.to_string() {
            different.push(format!("{}:\n{errors}", path.display()));
        }
    }
    assert!(different.is_empty(), "UPDATE_GOLDEN=1 writes these:\n{}", different.join("\n"));
}

#[test]
fn no_message_shows_a_secret() {
    for path in corpus(BAD) {
        let errors = config::load(&path, &env).unwrap_err();
        for shown in [errors.to_string(), errors.to_json().to_string(), format!("{errors:?}")] {
            assert!(!shown.contains("S3cr3t"), "{}:\n{shown}", path.display());
        }
    }
}

#[test]
fn every_error_tells_its_place() {
    for path in corpus(BAD) {
        let errors = config::load(&path, &env).unwrap_err();
        let told = errors.to_string().contains(&path.display().to_string());
        assert!(told, "{errors}");
        for error in errors.to_json().as_array().unwrap() {
            assert!(error["file"].is_string() && error["message"].is_string(), "{error}");
        }
    }
}

#[test]
fn ten_errors_are_reported_in_one_go() {
    let errors = config::load(&Path::new(BAD).join("ten-errors.yaml"), &env).unwrap_err();
    let paths: Vec<&str> = errors.errors().map(|error| error.path.as_str()).collect();
    let expected = [
        "admin.listen",
        "log.level",
        "shutdown.timeout",
        "workers",
        "pools[0].name",
        "pools[0].listen",
        "pools[0].backends[0]",
        "pools[0].check.postgres.tls",
        "pools[0].check.interval",
        "pools[0].holdd",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn good_files_come_back_from_print_as_they_were() {
    let files = corpus(GOOD);
    assert!(!files.is_empty());
    let mut texts: Vec<String> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    texts.push(EXAMPLE.into());
    for text in texts {
        let loaded = parse(&text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
        assert_eq!(loaded.warnings, [], "{text}");
        let printed = loaded.config.to_yaml();
        let again = parse(&printed).unwrap_or_else(|errors| panic!("{printed}\n{errors}"));
        assert_eq!(again.config, loaded.config, "{printed}");
        assert_eq!(again.warnings, [], "{printed}");
        assert_eq!(again.config.to_json(), loaded.config.to_json());
        for shown in [printed, loaded.config.to_json().to_string(), format!("{:?}", loaded.config)] {
            assert!(!shown.contains("S3cr3t"), "{shown}");
        }
    }
}

fn assert_defaults(config: &Config, check: &str) {
    let ms = Duration::from_millis;
    let pool = &config.pools[0];
    assert_eq!(config.to_json()["admin"]["listen"], serde_json::json!(["127.0.0.1:8432"]));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Info, LogFormat::Auto));
    assert_eq!((config.shutdown.delay, config.shutdown.timeout), (ms(0), ms(30_000)));
    assert_eq!((config.workers, config.state_dir.as_ref()), (None, None));
    assert_eq!((pool.check.interval, pool.check.fast_interval, pool.check.timeout), (ms(1000), ms(100), ms(1000)));
    assert_eq!((pool.check.fresh_login, pool.connect_timeout), (ms(5000), ms(2000)));
    assert_eq!((pool.hold.timeout, pool.hold.max, pool.on_down), (ms(15_000), 1000, OnDown::Close));
    let policy = &pool.policy;
    assert_eq!((policy.fall, policy.rise, policy.on_conflict), (2, 2, OnConflict::Newest));
    assert_eq!((policy.failback_after, policy.budget_max, policy.budget_within), (None, 3, ms(600_000)));
    assert_eq!((policy.settle, policy.on_down, policy.max_lag), (ms(1000), RevokeMode::Abort, None));
    assert_eq!(policy.election, if check == "tcp" { Election::ByOrder } else { Election::ByRole });
    assert_eq!(pool.check.kind.name(), check);
    let listener = &pool.listeners[0];
    assert_eq!((listener.route, listener.balance), (ListenerRoute::Primary, Balance::LeastConnections));
    assert_eq!((&*listener.name, listener.max_connections, listener.idle_timeout), ("rw", None, None));
    assert_eq!((listener.max_connections_per_ip, &listener.allow, &listener.deny), (None, &vec![], &vec![]));
    assert_eq!((listener.proxy_protocol.send, pool.check.proxy_header), (ProxySend::Off, None));
    assert_eq!((listener.half_close_timeout, listener.tcp_user_timeout), (ms(3_600_000), None));
    let keepalive = listener.keepalive;
    assert_eq!((keepalive.idle, keepalive.interval, keepalive.count), (ms(30_000), ms(10_000), 3));
    let names: Vec<&str> = pool.backends.iter().map(|backend| &*backend.name).collect();
    assert_eq!(names, ["db-a", "db-b"]);
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    assert_defaults(&parse(SMALLEST).unwrap().config, "tcp");
}

#[test]
fn the_example_shows_the_defaults() {
    let loaded = parse(EXAMPLE).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    assert_defaults(&loaded.config, "postgres");
    let word = parse(&format!("{SMALLEST}    check: postgres\n")).unwrap().config;
    assert_eq!(loaded.config.pools[0].check, word.pools[0].check, "one word is a complete check");
    let CheckKind::Postgres(check) = &word.pools[0].check.kind else { panic!("{word:?}") };
    assert_eq!((&*check.user, &*check.database, check.tls), ("postgres", "postgres", TlsMode::Prefer));
    assert_eq!((&check.password, &check.tls_ca_file, check.max_lag), (&None, &None, None));
}

#[test]
fn every_example_is_accepted() {
    let examples = corpus("examples");
    assert!(examples.len() >= 2);
    for path in examples {
        let env = |name: &str| name.ends_with("_PASSWORD").then(|| "S3cr3t".to_owned());
        if let Err(errors) = config::load(&path, &env) {
            panic!("{}: {errors}", path.display());
        }
    }
}

#[test]
fn the_keys_that_the_example_comments_out_work() {
    let scratch = Scratch::new();
    let (secret, ca) = (scratch.file("pg", "S3cr3t\n", 0o600), scratch.file("ca", "-----BEGIN CERTIFICATE-----", 0o644));
    let text = EXAMPLE
        .replace("# password_file: /run/secrets/pg", &format!("password_file: {}", secret.display()))
        .replace("# hosts:", "hosts:")
        .replace("# tls_ca_file: /etc/ssl/certs/ca.pem", &format!("tls_ca_file: {}", ca.display()))
        .replace("tls: prefer ", "tls: verify-full ")
        .replace("# max_lag:", "max_lag:")
        .replace("# max_connections:", "max_connections:")
        .replace("# max_connections_per_ip:", "max_connections_per_ip:")
        .replace("# allow:", "allow:")
        .replace("# deny:", "deny:")
        .replace("# proxy_protocol:", "proxy_protocol:");
    let loaded = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    let pool = &loaded.config.pools[0];
    let CheckKind::Postgres(check) = &pool.check.kind else { panic!("{pool:?}") };
    assert_eq!(check.password.as_ref().unwrap().expose(), "S3cr3t", "one newline at the end is not part of it");
    assert_eq!(check.password.as_ref().unwrap().source(), &SecretSource::File(secret));
    assert_eq!((check.tls, check.tls_ca_file.as_ref(), check.max_lag), (TlsMode::VerifyFull, Some(&ca), Some(16 << 20)));
    assert_eq!((pool.policy.max_lag, pool.listeners[0].max_connections), (Some(MaxLag::Bytes(16 << 20)), Some(9000)));
    let listener = &pool.listeners[0];
    assert_eq!((listener.max_connections_per_ip, listener.allow.len(), listener.deny.len()), (Some(200), 2, 1));
    assert_eq!((listener.proxy_protocol.accept_from.len(), pool.check.proxy_header), (1, Some(Version::V2)));
    assert_eq!(parse(&loaded.config.to_yaml()).unwrap().config, loaded.config);
}

#[test]
fn defaults_lie_beneath_every_pool() {
    let config = config::load(&Path::new(GOOD).join("defaults.yaml"), &env).unwrap().config;
    let seen: Vec<_> = config
        .pools
        .iter()
        .map(|pool| {
            let user = match &pool.check.kind {
                CheckKind::Postgres(check) => format!("{}/{}", check.user, check.database),
                _ => "-".to_owned(),
            };
            let seconds = (pool.check.interval.as_secs(), pool.hold.timeout.as_secs());
            (user, seconds, pool.hold.max, pool.policy.fall, pool.on_down, pool.policy.failback_after.is_some())
        })
        .collect();
    let expected = [
        ("monitor/app".to_owned(), (2, 5), 1000, 2, OnDown::Keep, false),
        ("-".to_owned(), (2, 5), 0, 2, OnDown::Keep, true),
        ("other/app".to_owned(), (3, 5), 1000, 5, OnDown::Close, false),
        ("monitor/app".to_owned(), (2, 5), 1000, 2, OnDown::Keep, false),
    ];
    assert_eq!(seen, expected);
    assert_eq!(config.pools[0].policy.on_down, RevokeMode::Drain);
}

#[test]
fn variables_and_names() {
    let config = config::load(&Path::new(GOOD).join("variables.yaml"), &env).unwrap().config;
    let pool = &config.pools[0];
    assert_eq!((&*pool.name, pool.hold.max, config.log.level, &config.state_dir), ("orders", 7, LogLevel::Debug, &None));
    assert_eq!(pool.listeners[0].listen[0].to_string(), "127.0.0.1:6000");
    let CheckKind::Postgres(check) = &pool.check.kind else { panic!("{pool:?}") };
    assert_eq!((&*check.user, check.password.as_ref().unwrap().expose()), ("a$b", "S3cr3t-from-env"));

    let config = config::load(&Path::new(GOOD).join("names.yaml"), &env).unwrap().config;
    let names: Vec<&str> = config.pools[0].backends.iter().map(|backend| &*backend.name).collect();
    assert_eq!(names, ["a:1", "a:2", "b", "2001:db8::1", "c"]);
}

#[test]
fn warnings_tell_what_is_open_to_others() {
    let text = "admin: {listen: 0.0.0.0:8432}\npools:\n  - {name: a, listen: \"0.0.0.0:1\", backends: [\"localhost:2\", \"127.0.0.1:3\"]}\n  \
                - {name: b, listen: \"0.0.0.0:4\", backends: [\"localhost:2\", \"db-b:3\"]}\n";
    let warnings = parse(text).unwrap().warnings;
    let paths: Vec<&str> = warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(paths, ["admin.listen", "pools[0].listen"]);
    assert!(warnings[0].to_string().starts_with("warning: "), "{}", warnings[0]);
}

#[test]
fn warnings_tell_of_rules_that_do_nothing_or_too_much() {
    let listener = |name: &str, port: u16, keys: &str| format!("{{name: {name}, listen: \"127.0.0.1:{port}\", {keys}}}");
    let listeners = [
        listener("a", 1, "allow: [10.0.0.0/8, 10.0.0.0/8], deny: [10.1.0.0/16]"),
        listener("b", 2, "allow: [10.1.2.0/24, 192.0.2.0/24], deny: [10.1.0.0/16]"),
        listener("c", 3, "max_connections: 5, max_connections_per_ip: 6"),
        listener("d", 4, "proxy_protocol: {accept_from: [0.0.0.0/0]}"),
        listener("e", 5, "proxy_protocol: {send: v1}"),
        listener("f", 6, "deny: [0.0.0.0/0]"),
    ];
    let text = format!("pools:\n  - {{name: p, listeners: [{}], backends: [\"db-a:1\"]}}\n", listeners.join(", "));
    let loaded = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let told: Vec<(&str, &str)> =
        loaded.warnings.iter().map(|warning| (warning.path.as_str(), warning.message.as_str())).collect();
    let expected = [
        ("pools[0].listeners[0].allow[1]", "10.0.0.0/8 stands in this list already"),
        ("pools[0].listeners[1].allow[0]", "no client of 10.1.2.0/24 may connect: `deny` has 10.1.0.0/16, which wins"),
        ("pools[0].listeners[2].max_connections_per_ip", "`max_connections_per_ip` has no effect"),
        ("pools[0].listeners[3].proxy_protocol.accept_from[0]", "every client could claim the address of another"),
        ("pools[0].listeners[4].listen", "the listeners of this pool do not agree on `proxy_protocol.send`: off and v1"),
    ];
    assert_eq!(told, expected);
    assert_eq!(loaded.config.pools[0].check.proxy_header, Some(Version::V1), "some backend connections begin with it");
    let checks = config::load(&Path::new(GOOD).join("doors.yaml"), &env).unwrap().config;
    let headers: Vec<_> = checks.pools.iter().map(|pool| pool.check.proxy_header).collect();
    assert_eq!(headers, [Some(Version::V2), None]);
}

#[test]
fn listeners_lead_where_they_say_and_idle_keys_are_told() {
    let config = config::load(&Path::new(GOOD).join("listeners.yaml"), &env).unwrap().config;
    let listeners = &config.pools[0].listeners;
    let seen: Vec<_> =
        listeners.iter().map(|listener| (&*listener.name, listener.route, listener.balance, listener.fallback)).collect();
    let expected = [
        ("rw", ListenerRoute::Primary, Balance::LeastConnections, Fallback::Primary),
        ("slow", ListenerRoute::Primary, Balance::LeastConnections, Fallback::Primary),
        ("ro", ListenerRoute::Replica, Balance::RoundRobin, Fallback::None),
        ("reads", ListenerRoute::Replica, Balance::LeastConnections, Fallback::Primary),
        ("any", ListenerRoute::Any, Balance::LeastConnections, Fallback::Primary),
        ("same", ListenerRoute::Any, Balance::Source, Fallback::Primary),
    ];
    assert_eq!(seen, expected);
    let limits: Vec<_> = listeners.iter().map(|listener| listener.client_login_timeout.map(|limit| limit.as_secs())).collect();
    assert_eq!(limits, [Some(60), Some(60), Some(60), Some(60), None, Some(10)]);
    let warned = |keys: &str| {
        let listener = format!("{{name: x, listen: \"127.0.0.1:5432\", {keys}}}");
        let text = format!("pools: [{{name: orders, listeners: [{listener}], backends: [\"db-a:5432\", \"db-b:5432\"]}}]");
        let loaded = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
        loaded.warnings.iter().map(|warning| warning.path.rsplit('.').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(warned("balance: round_robin"), ["balance"]);
    assert_eq!(warned("route: primary, fallback: none, balance: round_robin"), ["fallback", "balance"]);
    assert_eq!(warned("route: any, balance: round_robin, fallback: none"), ["fallback"]);
    assert_eq!(warned("route: replica, balance: round_robin, fallback: none"), [""; 0]);
}

#[test]
fn warnings_tell_what_a_stranger_could_do() {
    let pool = |check: &str, backend: &str, listen: &str| {
        format!("pools: [{{name: p, listen: \"{listen}\", backends: [\"{backend}\"], check: {{{check}}}}}]\n")
    };
    let warned = |text: &str| {
        let loaded = parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
        loaded.warnings.into_iter().map(|warning| warning.message).collect::<Vec<_>>()
    };
    let tcp = "127.0.0.1:1";
    for (check, told) in [
        ("postgres: {password: \"${PG_PASSWORD}\"}", "`tls: prefer`"),
        ("postgres: {password: \"${PG_PASSWORD}\", require_auth: [md5, scram-sha-256]}", "`tls: prefer`"),
        ("mysql: {password: \"${PG_PASSWORD}\"}", "`tls: prefer`"),
        ("redis: {password: \"${PG_PASSWORD}\"}", "in clear text"),
    ] {
        let warnings = warned(&pool(check, "db-a:1", tcp));
        assert!(warnings.len() == 1 && warnings[0].contains(told), "{check}: {warnings:?}");
        for local in ["127.0.0.1:2", "[::1]:2", "localhost:2"] {
            assert_eq!(warned(&pool(check, local, tcp)), [""; 0], "{check} at {local}");
        }
        assert_eq!(warned(&pool(check, "unix:/run/db.sock", "unix:/run/mainstay.sock")), [""; 0], "{check}");
    }
    for quiet in [
        "postgres: {}",
        "postgres: {password: \"${PG_PASSWORD}\", require_auth: scram-sha-256}",
        "postgres: {password: \"${PG_PASSWORD}\", tls: require}",
        "mysql: {password: \"${PG_PASSWORD}\", tls: off}",
        "redis: {password: \"${PG_PASSWORD}\", tls: require}",
    ] {
        assert_eq!(warned(&pool(quiet, "db-a:1", tcp)), [""; 0], "{quiet}");
    }
    // PostgreSQL has no TLS on a unix socket, and clients that come by TCP may want it.
    let warnings = warned(&pool("postgres: {}", "unix:/run/db.sock", tcp));
    assert!(warnings.len() == 1 && warnings[0].contains("no TLS on a unix socket"), "{warnings:?}");
    assert_eq!(warned(&pool("redis: {}", "unix:/run/db.sock", tcp)), [""; 0]);

    let scratch = Scratch::new();
    fs::set_permissions(scratch.directory(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let state = |path: &str| warned(&format!("state_dir: {path}\n{SMALLEST}"));
    let warnings = state(&scratch.path("state/of/mainstay").display().to_string());
    assert!(warnings.len() == 1 && warnings[0].contains(&scratch.directory().display().to_string()), "{warnings:?}");
    assert_eq!(state("/var/lib/mainstay"), [""; 0]);
}

#[test]
fn a_password_file_that_everybody_can_read_is_a_warning() {
    let scratch = Scratch::new();
    for (mode, warnings) in [(0o644, 1), (0o640, 0), (0o600, 0)] {
        let path = scratch.file("pg", "S3cr3t-file", mode);
        let text = format!("{SMALLEST}    check: {{postgres: {{password_file: {}, tls: off}}}}\n", path.display());
        let loaded = parse(&text).unwrap();
        assert_eq!(loaded.warnings.len(), warnings, "{mode:o}");
        let json = loaded.config.to_json();
        assert_eq!(json["pools"][0]["check"]["postgres"]["password_file"], path.display().to_string());
        let shown = format!("{:?}{json}{}{:?}", loaded.config, loaded.config.to_yaml(), loaded.warnings);
        assert!(!shown.contains("S3cr3t"), "{shown}");
    }
    for content in ["", "\n", "\r\n"] {
        let path = scratch.file("empty", content, 0o600);
        let text = format!("{SMALLEST}    check: {{postgres: {{password_file: {}}}}}\n", path.display());
        assert!(parse(&text).unwrap_err().to_string().contains("is empty"));
    }
}

#[test]
fn a_token_has_a_file_of_its_own_that_others_cannot_read() {
    let scratch = Scratch::new();
    let with = |admin: &str| parse(&format!("admin: {{{admin}}}\n{SMALLEST}"));
    let warned = |admin: &str| {
        let loaded = with(admin).unwrap_or_else(|errors| panic!("{errors}"));
        let shown = format!("{:?}{}{}{:?}", loaded.config, loaded.config.to_json(), loaded.config.to_yaml(), loaded.warnings);
        assert!(!shown.contains("S3cr3t"), "{shown}");
        loaded.warnings.into_iter().map(|warning| (warning.path, warning.message)).collect::<Vec<_>>()
    };
    for (mode, warnings) in [(0o644, 1), (0o640, 0), (0o600, 0)] {
        let path = scratch.file("token", "S3cr3t-0123456789abcdef\n", mode);
        let found = warned(&format!("write: {{token_file: {}}}", path.display()));
        assert_eq!(found.len(), warnings, "{mode:o}: {found:?}");
        let loaded = with(&format!("write: {{token_file: {}}}", path.display())).unwrap();
        assert_eq!(loaded.config.to_json()["admin"]["write"]["token_file"], path.display().to_string());
        assert_eq!(parse(&loaded.config.to_yaml()).unwrap().config, loaded.config);
    }
    let token = format!("write: {{token_file: {}}}", scratch.path("token").display());
    let remote = warned(&format!("listen: \"0.0.0.0:8432\", {token}"));
    assert!(remote.iter().any(|(path, message)| path == "admin.write" && message.contains("in clear text")), "{remote:?}");
    assert_eq!(warned(&format!("listen: \"[::1]:8432\", {token}")), []);
    let idle = warned("operators: root");
    assert!(idle.len() == 1 && idle[0].1.contains("no effect"), "{idle:?}");
    assert_eq!(warned("listen: \"unix:/run/mainstay/admin.sock\", operators: root"), []);
    let long = "S3cr3t".repeat(200);
    for content in
        ["", "\n", "S3cr3t-short", "S3cr3t with a space in it", "S3cr3t-0123456789abcdef\n\n", "S3cr3t-Größe-Größe-Größe", &long]
    {
        scratch.file("bad", content, 0o600);
        let errors = with(&format!("write: {{token_file: {}}}", scratch.path("bad").display())).unwrap_err().to_string();
        assert!(errors.contains("cannot be used") && !errors.contains("S3cr3t"), "{errors}");
    }
    for path in [scratch.directory().to_owned(), PathBuf::from("/dev/zero")] {
        let errors = with(&format!("write: {{token_file: {}}}", path.display())).unwrap_err().to_string();
        assert!(errors.contains("not a regular file"), "{errors}");
    }
}

#[test]
fn only_regular_files_of_bounded_size_are_read() {
    let scratch = Scratch::new();
    let fifo = scratch.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let large = scratch.file("large", format!("{SMALLEST}{}", "# padding\n".repeat(110_000)), 0o600);
    let cases = [
        (scratch.directory().to_owned(), "this is a directory"),
        (fifo, "not a regular file"),
        (large, "larger than 1MiB"),
        (scratch.path("none"), "no such file"),
        (PathBuf::from("/dev/zero"), "not a regular file"),
    ];
    let start = Watch::start();
    for (path, part) in cases {
        let text = config::load(&path, &env).unwrap_err().to_string();
        assert!(text.contains(part) && text.contains(&path.display().to_string()), "{text}");
    }
    assert!(start.unhindered() < Duration::from_secs(1));
}

/// Kilobytes of memory that this process ever held at once.
fn peak_kilobytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What this thread has used so far.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

fn assert_cheaply_refused(what: &str, text: &str, part: &str) {
    let before = peak_kilobytes();
    // Processor time, and the quickest of a few tries: other tests share the processors.
    let took = (0..5).map(|_| {
        let start = processor_time();
        let errors = parse(text).unwrap_err();
        let took = processor_time().saturating_sub(start);
        assert!(errors.to_string().contains(part), "{what}:\n{errors}");
        took
    });
    let took = took.min().unwrap();
    // The kernel counts in batches, so the peak may seem to fall by a few kilobytes.
    let grown = peak_kilobytes().saturating_sub(before);
    assert!(took < Duration::from_millis(100), "{what} took {took:?}");
    assert!(grown < 50 * 1024, "{what} took {grown} kB");
}

#[test]
fn bombs_are_refused_at_once() {
    let laugh = |n: usize| format!("l{n}: &l{n} [{}]\n", format!("*l{},", n - 1).repeat(10));
    let laughs = (1..30).map(laugh).collect::<Vec<_>>().concat();
    assert_cheaply_refused("aliases", &format!("l0: &l0 lol\n{laughs}"), "anchors and aliases");
    assert_cheaply_refused("flow depth", &format!("pools: {}", "[".repeat(10_000)), "levels deep");
    assert_cheaply_refused("flow map depth", &"{a: ".repeat(10_000), "levels deep");
    let block = (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<Vec<_>>().concat();
    assert_cheaply_refused("block depth", &block, "levels deep");
    assert_cheaply_refused("dashes", &format!("pools:\n  {}", "- ".repeat(10_000)), "levels deep");
}

#[test]
fn a_large_file_is_refused_in_bounded_time() {
    let start = Watch::start();
    let many = |line: &str| format!("pools:\n{}", line.repeat(1_000_000 / line.len()));
    for text in
        [many("- a\n"), many("- {a: b}\n"), many("  x: *y\n"), many("  pass: \"${PG_PASSWORD}\"\n"), "a".repeat(1_000_000)]
    {
        let shown = parse(&text).unwrap_err().to_string();
        assert!(shown.len() < 200_000, "{} bytes", shown.len());
    }
    assert!(start.unhindered() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn truncations_never_panic() {
    let full = fs::read_to_string(Path::new(GOOD).join("listeners.yaml")).unwrap();
    let survives = |cut: &str| match parse(cut) {
        Ok(loaded) => assert!(!loaded.config.pools.is_empty()),
        Err(errors) => assert!(errors.errors().count() > 0 && !errors.to_string().is_empty()),
    };
    // What a comment says is skipped: a cut deep in it is the cut at its beginning. They are nine tenths of the example, and are read
    // again for each cut, so that all other places are cut without them.
    for (begins, _) in EXAMPLE.match_indices('#') {
        survives(&EXAMPLE[..begins]);
        survives(&EXAMPLE[..=begins]);
    }
    let bare = EXAMPLE.lines().map(|line| line.split('#').next().unwrap().trim_end()).filter(|line| !line.is_empty());
    let bare = bare.fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(parse(&bare).unwrap().config, parse(EXAMPLE).unwrap().config);
    for text in [&bare, &full] {
        (0..text.len()).filter(|end| text.is_char_boundary(*end)).for_each(|end| survives(&text[..end]));
    }
}

#[test]
fn broken_bytes_never_panic() {
    let text = fs::read(Path::new(GOOD).join("variables.yaml")).unwrap();
    let scratch = Scratch::new();
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..500 {
        let mut bytes = text.clone();
        for _ in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = usize::try_from(random % bytes.len() as u64).unwrap();
            bytes[at] = random.to_be_bytes()[0];
        }
        let path = scratch.file("mutated", &bytes, 0o600);
        if let Err(errors) = config::load(&path, &env) {
            assert!(!errors.to_string().is_empty());
        }
    }
}

fn check_command(args: &check::Args) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = check::run_to(args, &|_| 69, &env, &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn the_check_command() {
    let scratch = Scratch::new();
    let path = scratch.file("m.yaml", SMALLEST, 0o600);
    let plain = check::Args { config: path, connect: false, print: false, json: false };
    let (code, out, err) = check_command(&plain);
    assert_eq!((code, err.as_str()), (exit::DONE, ""));
    assert!(out.contains("is valid (1 pool, 2 backends)"), "{out}");

    let (code, out, _) = check_command(&check::Args { print: true, ..plain.clone() });
    assert_eq!((code, parse(&out).unwrap().config), (0, parse(SMALLEST).unwrap().config));

    let (_, out, _) = check_command(&check::Args { print: true, json: true, ..plain.clone() });
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&answer["ok"], &answer["config"]["pools"][0]["name"]), (&true.into(), &"orders".into()));

    assert_eq!(check_command(&check::Args { connect: true, ..plain.clone() }).0, 69);

    let bad = check::Args { config: Path::new(BAD).join("ten-errors.yaml"), connect: true, ..plain };
    let (code, out, err) = check_command(&bad);
    assert_eq!((code, out.as_str()), (exit::BAD_CONFIGURATION, ""));
    assert!(err.contains("10 errors"), "{err}");
    let (code, out, _) = check_command(&check::Args { json: true, ..bad });
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, answer["ok"].as_bool(), answer["diagnostics"].as_array().unwrap().len()), (78, Some(false), 10));
    let error = &answer["diagnostics"][1];
    assert_eq!((&error["path"], &error["line"], &error["column"]), (&"log.level".into(), &2.into(), &14.into()));
}
