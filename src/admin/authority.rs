//! Who may order, and what a request that orders must look like.
//!
//! Over a unix socket the kernel says who the peer is. Over TCP a token does, if the configuration has one. A web page that reaches
//! the endpoint through a visitor's browser has neither, and is refused by its `Origin` and by the type of its body as well.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{
    StatusCode,
    header::{self, HeaderMap},
};
use ring::hmac;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::{
    process::ProcessOrderSender,
    rate::{RateLimit, WrongTokens},
};
use crate::{
    config::{Accounts, AdminConfig, Operator, read_token},
    failover::Printable,
    labels,
    telemetry::{Admitted, LineLimit},
};

/// Orders of everybody together in a second.
const ORDERS_PER_SECOND: u32 = 50;
/// For a file that the disk does not give.
const DISK_PATIENCE: Duration = Duration::from_secs(2);
/// Reads that may hang at once.
static READERS: Semaphore = Semaphore::const_new(4);

labels! {
    /// Why a request that orders is refused before any pool hears of it.
    pub enum Denial {
        /// Its user may not order.
        NotAnOperator = "not_an_operator",
        /// There are no orders over TCP.
        WriteDisabled = "write_disabled",
        /// It has no token.
        TokenMissing = "token_missing",
        /// Its token is another.
        TokenWrong = "token_wrong",
        /// Its address has sent too many wrong ones.
        TooManyWrongTokens = "too_many_wrong_tokens",
        /// The token to compare with cannot be read.
        TokenUnreadable = "token_unreadable",
        /// A web page of another origin sent it.
        ForeignOrigin = "foreign_origin",
        /// Its body is not said to be JSON.
        NotJson = "not_json",
        /// Too many orders.
        TooManyOrders = "too_many_orders",
        /// Its body is too large.
        BodyTooLarge = "body_too_large",
        /// Its body comes too slowly.
        BodyTooSlow = "body_too_slow",
        /// Its body ends early, or is not written as HTTP wants it.
        BodyBroken = "body_broken",
        /// Its body is not what the order takes.
        BadBody = "bad_body",
    }
}

impl Denial {
    /// The answer: its status, and what to do.
    pub(super) const fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::NotAnOperator => (
                StatusCode::FORBIDDEN,
                "this user may not order; root and mainstay's own user may, and whom the configuration names: `admin: {operators: [NAME]}`",
            ),
            Self::WriteDisabled => (
                StatusCode::FORBIDDEN,
                "no orders are taken over TCP; order over a unix socket of `admin.listen`, or let the configuration say \
                 `admin: {write: {token_file: PATH}}`",
            ),
            Self::TokenMissing => (
                StatusCode::UNAUTHORIZED,
                "an order over TCP needs the token of `admin.write`: send `Authorization: Bearer TOKEN`, or give the command --token-file FILE",
            ),
            Self::TokenWrong => {
                (StatusCode::FORBIDDEN, "the token is not the one in the file of `admin.write`; has it been replaced?")
            }
            Self::TooManyWrongTokens => {
                (StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens came from this address; order again in a second")
            }
            Self::TokenUnreadable => {
                (StatusCode::SERVICE_UNAVAILABLE, "mainstay cannot read the token file of `admin.write`; its log says why")
            }
            Self::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                "the Origin header is not this endpoint: a web page of another site may not order; leave it out, or order from here",
            ),
            Self::NotJson => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "an order is a JSON object: send it with `Content-Type: application/json`")
            }
            Self::TooManyOrders => (StatusCode::TOO_MANY_REQUESTS, "too many orders come at once; order again in a second"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "no request here needs a body of more than 64 KiB"),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come within 5 seconds; send the order again"),
            Self::BodyBroken => (StatusCode::BAD_REQUEST, "the body is not complete, or its length is not what was announced"),
            Self::BadBody => (StatusCode::UNPROCESSABLE_ENTITY, "the body is not what this order takes"),
        }
    }
}

labels! {
    /// What orders need from who asks.
    pub enum OrdersNeed {
        /// No orders are taken from there.
        None = "none",
        /// The token of `admin.write`.
        Token = "token",
        /// Nothing: the kernel has said who it is.
        Nothing = "nothing",
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// A process of this machine.
    Unix {
        /// What the kernel says of it; nothing when it says nothing.
        user: Option<User>,
        /// The socket that it is connected to.
        socket: Arc<Path>,
    },
    /// Somebody at an address.
    Tcp(SocketAddr),
}

/// The effective user of a process when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Who may ask and order, and where orders for the process go.
#[derive(Debug)]
pub struct Authority {
    /// Host names by which the endpoint may be asked, besides IP addresses and localhost.
    pub(super) hosts: Vec<Arc<str>>,
    /// Takes orders for the whole process.
    pub(super) process: ProcessOrderSender,
    own_uid: u32,
    operators: Vec<Operator>,
    token_file: Option<PathBuf>,
    /// For comparing tokens; of this process.
    key: hmac::Key,
    orders: RateLimit,
    wrong_tokens: WrongTokens,
    lines: LineLimit<()>,
}

impl Authority {
    /// As the configuration says.
    pub fn new(config: &AdminConfig, process: ProcessOrderSender) -> Self {
        Self {
            hosts: config.hosts.clone(),
            process,
            own_uid: rustix::process::geteuid().as_raw(),
            operators: config.operators.clone(),
            token_file: config.write.clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()),
            orders: RateLimit::new(ORDERS_PER_SECOND),
            wrong_tokens: WrongTokens::new(),
            lines: LineLimit::default(),
        }
    }

    /// Whether this caller may at least read. With `operators`, every user may connect to the unix sockets, and whoever is no operator
    /// may no more read there than without them.
    pub(super) async fn may_read(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Unix { user: Some(user), .. } => self.operators.is_empty() || self.is_operator(*user).await,
            Caller::Unix { user: None, .. } => self.operators.is_empty(),
            Caller::Tcp(_) => true,
        }
    }

    /// What whoever may read needs for orders, besides.
    pub(super) const fn orders_need(&self, caller: &Caller) -> OrdersNeed {
        match caller {
            Caller::Unix { user: Some(_), .. } => OrdersNeed::Nothing,
            Caller::Tcp(_) if self.token_file.is_some() => OrdersNeed::Token,
            Caller::Unix { user: None, .. } | Caller::Tcp(_) => OrdersNeed::None,
        }
    }

    /// Whether this request may order, and who orders. Nothing of its body has been read yet.
    pub(super) async fn admit(&self, caller: &Caller, headers: &HeaderMap) -> Result<Printable, Denial> {
        if matches!(caller, Caller::Tcp(_)) && self.token_file.is_none() {
            return Err(Denial::WriteDisabled);
        }
        check_form(headers)?;
        let by = match caller {
            Caller::Unix { user, socket } => {
                let user = user.ok_or(Denial::NotAnOperator)?;
                if !self.is_operator(user).await {
                    return Err(Denial::NotAnOperator);
                }
                name_of(user, socket).await
            }
            Caller::Tcp(peer) => {
                self.check_token(*peer, headers).await?;
                format!("token over {peer}").into()
            }
        };
        // Whoever may not order takes nobody's turn.
        if self.orders.take(Instant::now()) { Ok(by) } else { Err(Denial::TooManyOrders) }
    }

    async fn is_operator(&self, user: User) -> bool {
        if user.uid == 0 || user.uid == self.own_uid {
            return true;
        }
        if self.operators.is_empty() {
            return false;
        }
        off_thread(Accounts::read).await.is_some_and(|accounts| is_named(&self.operators, user, &accounts))
    }

    async fn check_token(&self, from: SocketAddr, headers: &HeaderMap) -> Result<(), Denial> {
        let given = bearer(headers).ok_or(Denial::TokenMissing)?;
        let is_barred = self.wrong_tokens.is_barred(from.ip(), Instant::now());
        if !is_barred {
            let file = self.token_file.clone().ok_or(Denial::WriteDisabled)?;
            let token = off_thread(move || read_token(&file)).await.unwrap_or_else(|| Err("the disk does not answer".into()));
            let token = token.map_err(|why| {
                let file = self.token_file.as_deref().unwrap_or(Path::new("")).display();
                // Any caller can have it read.
                if let Some(Admitted { suppressed }) = self.lines.admits(()) {
                    tracing::error!(%file, %why, suppressed, "no order over TCP can be taken: the token file cannot be used");
                }
                Denial::TokenUnreadable
            })?;
            if self.is_same(given, token.expose().as_bytes()) {
                return Ok(());
            }
        }
        if let Some(count) = self.wrong_tokens.count(from.ip(), Instant::now()) {
            tracing::warn!(%from, count, "orders with a wrong token were refused; the count is of all since the last such line");
        }
        Err(if is_barred { Denial::TooManyWrongTokens } else { Denial::TokenWrong })
    }

    /// Compares in a time that tells nothing of how much is equal: only codes of both, made with a key that nobody else knows, are
    /// compared. They have one length.
    fn is_same(&self, given: &[u8], token: &[u8]) -> bool {
        hmac::verify(&self.key, given, hmac::sign(&self.key, token).as_ref()).is_ok()
    }
}

/// Whether a user is an operator.
fn is_named(operators: &[Operator], user: User, accounts: &Accounts) -> bool {
    operators.iter().any(|operator| match operator {
        Operator::User(name) => accounts.uid(name) == Some(user.uid),
        Operator::Group(name) => accounts.is_member(user.uid, user.gid, name),
    })
}

async fn name_of(User { uid, .. }: User, socket: &Path) -> Printable {
    let name = off_thread(move || Accounts::read().name(uid).map(|name| format!(" ({})", Printable::word(name)))).await.flatten();
    format!("uid {uid}{} over unix:{}", name.unwrap_or_default(), socket.display()).into()
}

/// What keeps web pages of other sites out, besides the Host header: a browser adds the Origin itself, and asks before it sends JSON.
fn check_form(headers: &HeaderMap) -> Result<(), Denial> {
    if !has_own_origin(headers) {
        return Err(Denial::ForeignOrigin);
    }
    if !has_json(headers) {
        return Err(Denial::NotJson);
    }
    Ok(())
}

/// Whether no Origin header names another host or port than the Host header.
fn has_own_origin(headers: &HeaderMap) -> bool {
    let host = sole(headers, &header::HOST).and_then(|host| host.to_str().ok()).filter(|host| !host.is_empty());
    let own = |origin: &str| {
        let named = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.zip(named).is_some_and(|(host, named)| named.eq_ignore_ascii_case(host))
    };
    headers.get_all(header::ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(own))
}

fn has_json(headers: &HeaderMap) -> bool {
    let kind = sole(headers, &header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| kind.split(';').next()).is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The token of an `Authorization: Bearer` header, of which there must be one.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = sole(headers, &header::AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii_start())
}

/// The value of a header that must not be there twice.
fn sole<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a header::HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Reads files without stopping the admin thread; `None` when the disk does not answer.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let reading = async {
        let place = READERS.acquire().await;
        let done = spawn_blocking(move || {
            // Held until the disk has answered, so that a hung disk does not take every thread.
            let _place = place;
            work()
        });
        done.await.ok()
    };
    timeout(DISK_PATIENCE, reading).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::failover::label::Label;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn authority() -> Authority {
        let config =
            crate::config::parse("pools: [{name: a, listen: \"127.0.0.1:1\", backends: [\"127.0.0.1:2\"]}]", "", &|_| None);
        Authority::new(&config.unwrap().config.admin, super::super::process_orders().0)
    }

    #[test]
    fn the_page_has_every_refusal_as_the_table_has_it() {
        let page = include_str!("../../docs/admin.md");
        let row = |denial: &Denial| {
            let (status, message) = denial.answer();
            format!("| `{denial}` | {} | {message} |", status.as_u16())
        };
        let wanted: Vec<String> = Denial::ALL.iter().map(row).collect();
        let codes = |line: &&str| Denial::ALL.iter().any(|denial| line.starts_with(&format!("| `{denial}` ")));
        let found: Vec<&str> = page.lines().filter(codes).collect();
        assert_eq!(found, wanted, "docs/admin.md must hold:\n\n{}", wanted.join("\n"));
    }

    #[test]
    fn an_origin_is_own_if_it_is_the_host_that_was_asked() {
        let own = |origins: &[&str], hosts: &[&str]| {
            let list = origins.iter().map(|origin| ("origin", *origin)).chain(hosts.iter().map(|host| ("host", *host)));
            has_own_origin(&headers(&list.collect::<Vec<_>>()))
        };
        assert!(own(&[], &["localhost:8432"]) && own(&[], &[]));
        for origin in ["http://localhost:8432", "https://localhost:8432", "http://LOCALHOST:8432"] {
            assert!(own(&[origin], &["localhost:8432"]), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://localhost",
            "http://localhost:8433",
            "localhost:8432",
            "file://",
            "http://",
        ] {
            assert!(!own(&[origin], &["localhost:8432"]), "{origin}");
        }
        assert!(!own(&["http://localhost:8432"], &[]));
        assert!(!own(&["http://"], &[""]));
        assert!(!own(&["http://localhost:8432"], &["localhost:8432", "evil.example"]));
        assert!(!own(&["http://localhost:8432", "http://evil.example"], &["localhost:8432"]));
    }

    #[test]
    fn only_json_is_json() {
        let json = |kinds: &[&str]| has_json(&headers(&kinds.iter().map(|kind| ("content-type", *kind)).collect::<Vec<_>>()));
        for kind in ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x"] {
            assert!(json(&[kind]), "{kind}");
        }
        let forms = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=application/json"];
        for kind in
            forms.into_iter().chain(["", "text/plain;application/json", "application/jsonx", "application/json, text/plain"])
        {
            assert!(!json(&[kind]), "{kind}");
        }
        assert!(!json(&[]) && !json(&["application/json", "text/plain"]));
    }

    #[test]
    fn a_token_is_in_one_bearer_header() {
        let token = |values: &[&str]| {
            let headers = headers(&values.iter().map(|value| ("authorization", *value)).collect::<Vec<_>>());
            bearer(&headers).map(|token| String::from_utf8(token.to_vec()).unwrap())
        };
        assert_eq!(token(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(token(&["bearer   abc"]).as_deref(), Some("abc"));
        assert_eq!(token(&["Bearer "]).as_deref(), Some(""));
        for wrong in ["", "Bearer", "abc", "Basic abc", "Bearerabc", "Bear"] {
            assert_eq!(token(&[wrong]), None, "{wrong}");
        }
        assert_eq!((token(&[]), token(&["Bearer abc", "Bearer abc"])), (None, None));
    }

    #[test]
    fn only_the_very_token_is_the_same_whatever_the_length() {
        let (authority, token) = (authority(), "0123456789abcdef0123456789ABCDEF");
        for length in 0..=2 * token.len() {
            let wrong: String = token.chars().cycle().take(length).collect();
            assert_eq!(authority.is_same(wrong.as_bytes(), token.as_bytes()), length == token.len(), "{length}");
        }
        for wrong in
            [format!("{token}\0"), format!("{token} "), format!(" {token}"), token.to_lowercase(), token.replace('0', "O")]
        {
            assert!(!authority.is_same(wrong.as_bytes(), token.as_bytes()), "{wrong:?}");
        }
    }

    #[test]
    fn operators_are_users_and_members_of_groups() {
        let accounts = Accounts::of(
            "alice:x:1000:100::/:\nbob:x:1001:50::/:\ncarol:x:1002:100::/:\nmallory:x:1003:100::/:\n",
            "dba:x:50:carol\nusers:x:100:\n",
        );
        let operators = [Operator::User("alice".into()), Operator::Group("dba".into()), Operator::User("gone".into())];
        let may = |uid, gid| is_named(&operators, User { uid, gid }, &accounts);
        assert!(may(1000, 100) && may(1001, 50) && may(1002, 100));
        assert!(!may(1003, 100) && !may(4_294_967_295, 4_294_967_295));
        assert!(!is_named(&[], User { uid: 1000, gid: 100 }, &accounts));
    }
}
