//! The ways of `caching_sha2_password`, and what is said when none is open.

use mainstay::{
    config::{MysqlCheck, TlsMode},
    failover::{Outcome, Role},
};

use super::{asked, user};
use crate::support::{child::Bounded, mysql::MySql};

const PASSWORD: &str = "S3cr3t word";

/// A server that knows one account, and does not remember it.
struct Forgetful(MySql);

impl Forgetful {
    fn start(arguments: &[&str]) -> Self {
        let server = MySql::start(arguments);
        server.sql(&format!(
            "CREATE USER probe@'%' IDENTIFIED BY '{PASSWORD}'; GRANT REPLICATION CLIENT ON *.* TO probe@'%'; \
             CREATE USER locked@'%' ACCOUNT LOCK; CREATE USER expired@'%' IDENTIFIED BY '{PASSWORD}' PASSWORD EXPIRE; \
             CREATE USER nonempty@'%' IDENTIFIED BY '{PASSWORD}'"
        ));
        Self(server)
    }

    /// It remembers nobody any more.
    fn forget(&self) {
        self.0.sql("FLUSH PRIVILEGES");
    }

    async fn lets_in(&self, check: &MysqlCheck) {
        let finding = asked(&self.0, check).await;
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{check:?}: {}", finding.evidence);
    }

    async fn turns_away(&self, check: &MysqlCheck, words: &[&str]) {
        let finding = asked(&self.0, check).await;
        println!("{}", finding.evidence);
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{check:?}: {}", finding.evidence);
        for words in words {
            assert!(finding.evidence.contains(words), "{words}: {}", finding.evidence);
        }
        assert!(!finding.evidence.contains("S3cr3t"), "{}", finding.evidence);
    }
}

fn probe() -> MysqlCheck {
    user("probe", Some(PASSWORD))
}

#[tokio::test]
async fn who_is_not_remembered_says_the_password_only_where_it_is_safe_and_is_remembered_then() {
    let server = Forgetful::start(&[]);
    let off = || MysqlCheck { tls: TlsMode::Off, ..probe() };
    let key = |name| Some(server.0.file(name));
    // Nobody verified the certificate, nor is there a key.
    server.turns_away(&probe(), &["does not remember", "tls: verify-full", "allow_cleartext_password: true"]).await;
    server.turns_away(&off(), &["does not remember", "server_public_key_file"]).await;
    for open in [
        MysqlCheck { allow_cleartext_password: true, ..probe() },
        MysqlCheck { allow_cleartext_password: true, ..off() },
        MysqlCheck { server_public_key_file: key("public_key.pem"), ..off() },
    ] {
        server.forget();
        server.lets_in(&open).await;
        // From now on nobody needs the password itself.
        server.lets_in(&probe()).await;
        server.lets_in(&off()).await;
    }
    server.forget();
    // Over TLS the server wants the password as it is, so the key is of no use.
    server.turns_away(&MysqlCheck { server_public_key_file: key("public_key.pem"), ..probe() }, &["tls: verify-full"]).await;
    // The certificate that the server makes for itself names no host.
    let own = MysqlCheck { tls: TlsMode::VerifyFull, tls_ca_file: key("ca.pem"), ..probe() };
    let finding = asked(&server.0, &own).await;
    println!("{}", finding.evidence);
    assert_ne!(finding.outcome, Outcome::Ok);
    for wrong in [
        user("probe", Some("wrong")),
        MysqlCheck { allow_cleartext_password: true, ..user("probe", Some("wrong")) },
        MysqlCheck { allow_cleartext_password: true, tls: TlsMode::Off, ..user("probe", Some("wrong")) },
        user("probe", None),
        user("nobody", Some(PASSWORD)),
        user("locked", None),
        MysqlCheck { allow_cleartext_password: true, ..user("expired", Some(PASSWORD)) },
    ] {
        server.turns_away(&wrong, &[]).await;
    }
    server.lets_in(&user("root", None)).await;
}

#[tokio::test]
async fn a_certificate_that_names_the_host_is_enough() {
    let scratch = crate::support::scratch::Scratch::new();
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 30 && \
        openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server && \
        printf 'subjectAltName=IP:127.0.0.1' > names && \
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 30 -extfile names && \
        chmod 755 . && chmod 644 *";
    let made = std::process::Command::new("sh").args(["-c", script]).current_dir(scratch.path("")).bounded_output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let option = |name: &str, file: &str| format!("--{name}={}", scratch.path(file).display());
    let [ca, certificate, key] = [option("ssl-ca", "ca.pem"), option("ssl-cert", "server.pem"), option("ssl-key", "server.key")];
    let server = Forgetful::start(&[&ca, &certificate, &key, "--require-secure-transport=ON"]);
    server.lets_in(&MysqlCheck { tls: TlsMode::VerifyFull, tls_ca_file: Some(scratch.path("ca.pem")), ..probe() }).await;
    server.lets_in(&probe()).await;
    server.turns_away(&MysqlCheck { tls: TlsMode::Off, ..probe() }, &["3159"]).await;
}

/// Plugins that an account may have besides.
#[tokio::test]
async fn another_method_is_named() {
    let server = Forgetful::start(&["--plugin-load-add=mysql_no_login.so"]);
    server.0.sql(
        "CREATE USER nologin@'%' IDENTIFIED WITH mysql_no_login; CREATE USER sha@'%' IDENTIFIED WITH sha256_password BY 'x'",
    );
    server.turns_away(&user("nologin", None), &[]).await;
    server.turns_away(&user("sha", Some("x")), &["sha256_password"]).await;
}
