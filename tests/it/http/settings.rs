//! `http` in the configuration, alone and beside another kind.

use mainstay::{
    config::{self, CheckKind, Config, HttpCheck, TlsMode},
    failover::{Election, MaxLag},
};

fn parse(check: &str) -> Config {
    let text = format!(
        "pools:\n  - name: orders\n    listen: 127.0.0.1:5432\n    backends: [db-a:5432, db-b:5432]\n    check: {check}\n"
    );
    let loaded = config::parse(&text, "mainstay.yaml", &|name| (name == "SECRET").then(|| "s3cr3t".into()));
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config::parse(&loaded.config.to_yaml(), "again", &|_| Some("s3cr3t".into())).unwrap().config, loaded.config);
    loaded.config
}

fn alone(check: &str) -> HttpCheck {
    let config = parse(check);
    assert_eq!(config.pools[0].policy.election, Election::ByRole);
    match &config.pools[0].check {
        config::CheckConfig { kind: CheckKind::Http(check), second: None, .. } => check.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bare_word_is_a_complete_check() {
    for text in ["http", "{http: {}}", "{http: }"] {
        assert_eq!(alone(text), HttpCheck::default(), "{text}");
    }
}

#[test]
fn every_key_is_read() {
    let check = alone(
        "{http: {port: 8008, path: '/replica?lag=16MB', expect: [200, 204], host: patroni.example, tls: require, user: mainstay, \
         password: '${SECRET}', max_lag: 1MiB}}",
    );
    assert_eq!((check.port, check.path.expose(), check.expect.as_slice()), (Some(8008), "/replica?lag=16MB", &[200, 204][..]));
    assert_eq!((check.host.as_deref(), check.tls, check.max_lag), (Some("patroni.example"), TlsMode::Require, Some(1 << 20)));
    assert_eq!(check.login.unwrap().password.expose(), "s3cr3t");
    assert_eq!(alone("{http: {expect: 204}}").expect, [204]);
}

#[test]
fn http_may_stand_beside_any_one_kind() {
    for (text, name) in [
        ("{tcp: {}, http: {port: 8008}}", "tcp and http"),
        ("{http: {port: 8008}, postgres: {user: mainstay}}", "postgres and http"),
        ("{redis: , http: {port: 8008, max_lag: 2MiB}}", "redis and http"),
    ] {
        let config = parse(text);
        let (check, policy) = (&config.pools[0].check, &config.pools[0].policy);
        assert_eq!((check.name(), policy.election), (name.to_owned(), Election::ByRole), "{text}");
        assert_eq!(check.second.as_ref().unwrap().port, Some(8008));
        assert_eq!(policy.max_lag, (name == "redis and http").then_some(MaxLag::Bytes(2 << 20)));
    }
}

#[test]
fn a_path_with_a_variable_in_it_is_shown_to_nobody() {
    let text = "pools: [{name: a, listen: 127.0.0.1:1, backends: [a:1], check: {http: {path: '/db?token=${TOKEN}'}}}]";
    let env = |name: &str| (name == "TOKEN").then(|| "hunter2".to_owned());
    let config = config::parse(text, "mainstay.yaml", &env).unwrap_or_else(|errors| panic!("{errors}")).config;
    let CheckKind::Http(check) = &config.pools[0].check.kind else { panic!() };
    assert_eq!((check.path.expose(), check.path.shown()), ("/db?token=hunter2", "***"));
    assert_eq!(config.to_json()["pools"][0]["check"]["http"]["path"], "***");
    assert!(!config.to_yaml().contains("hunter2") && !format!("{config:?}").contains("hunter2"));
}

#[test]
fn both_may_stand_in_defaults() {
    let text = "defaults: {check: {postgres: {user: mainstay}, http: {port: 8008}}}\npools:\n  - name: a\n    listen: 127.0.0.1:1\n    \
                backends: [a:1]\n    check: {interval: 2s}\n  - name: b\n    listen: 127.0.0.1:2\n    backends: [b:1]\n    check: {http: \
                {path: /leader}}\n  - name: c\n    listen: 127.0.0.1:3\n    backends: [c:1]\n    check: {tcp: {}}\n";
    let config = config::parse(text, "mainstay.yaml", &|_| None).unwrap_or_else(|errors| panic!("{errors}")).config;
    let names: Vec<String> = config.pools.iter().map(|pool| pool.check.name()).collect();
    assert_eq!(names, ["postgres and http", "http", "tcp"]);
    let CheckKind::Http(check) = &config.pools[1].check.kind else { panic!() };
    assert_eq!((check.port, check.path.expose()), (Some(8008), "/leader"), "keys lie beneath keys");
}
