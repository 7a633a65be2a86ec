//! `notify`: who is told of what happens.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use hyper::{Uri, http::uri::Scheme};
use serde_json::{Value as Json, json};

use super::{
    check::exec::{self, Word, shown},
    raw::{
        node::{Source, Value},
        reader::{Field, Section},
    },
    resolve::{secrets::warn_if_readable, tls::pem},
    secret::Secret,
    shape::{self, rule::Rule},
    table::{schema_of, set, table, words_of},
    tree::{Tree, path, word},
};
use crate::failover::label::Label as _;

/// Where `PagerDuty` takes events (Events API v2).
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
const MAX_RECEIVERS: usize = 16;
const LONGEST_URL: usize = 2048;
const URL: &str = "a URL such as https://alerts.example.com/mainstay";

crate::labels! {
    /// What a receiver may be told.
    pub enum NotificationKind {
        /// Nobody serves.
        Outage = "outage",
        /// Another backend took over, or the same one came back, before it was an outage.
        Failover = "failover",
        /// More than one backend says that it is the primary.
        Conflict = "conflict",
        /// A backend that has changed serves and has not proven itself, or its proof failed.
        Unproven = "unproven",
        /// The check of a backend does not work.
        CheckBroken = "check_broken",
        /// One of these, except a failover, is over.
        Over = "over",
    }
}

/// One receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverConfig {
    /// Where to.
    pub to: Destination,
    /// What it is told.
    pub on: Vec<NotificationKind>,
}

/// Where to. Files with secrets are read at each use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An incoming webhook of Slack, or of what understands the same (Mattermost, Rocket.Chat, …).
    Slack(Slack),
    /// `PagerDuty`, or what understands its Events API v2.
    PagerDuty(PagerDuty),
    /// JSON to anybody, signed.
    Webhook(Webhook),
    /// The program by its absolute path, and its arguments. It gets the JSON as its input.
    Exec(Vec<Word>),
}

/// An incoming webhook of Slack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slack {
    /// The file with its URL, which is a secret.
    pub url_file: PathBuf,
    /// PEM file with the authorities to trust; `None`: those of the machine.
    pub tls_ca_file: Option<PathBuf>,
}

/// `PagerDuty`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagerDuty {
    /// The file with the integration key.
    pub routing_key_file: PathBuf,
    /// Where it takes events.
    pub url: Word,
    /// PEM file with the authorities to trust; `None`: those of the machine.
    pub tls_ca_file: Option<PathBuf>,
}

/// JSON to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where to.
    pub url: Word,
    /// The file with the secret that signs it.
    pub secret_file: PathBuf,
    /// PEM file with the authorities to trust; `None`: those of the machine.
    pub tls_ca_file: Option<PathBuf>,
}

impl Default for PagerDuty {
    fn default() -> Self {
        Self { routing_key_file: PathBuf::new(), url: PAGERDUTY.into(), tls_ca_file: None }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self { url: "".into(), secret_file: PathBuf::new(), tls_ca_file: None }
    }
}

/// A receiver as the reference has it.
#[derive(Debug, Default)]
pub(super) struct Written {
    on: Vec<NotificationKind>,
    to: Option<Destination>,
}

table! {
    /// One of `notify`.
    RECEIVER: Written, rules &[Rule::OneOf(&["slack", "pagerduty", "webhook", "exec"])];
    "slack": elsewhere("[a map](#slack)", "none", |written| match written.to.as_ref()? {
        Destination::Slack(slack) => Some(SLACK.print(slack)),
        _ => None,
    }) is schema_of(&SLACK, &Slack::default()), "A channel of Slack, or of what takes the same JSON.";
    "pagerduty": elsewhere("[a map](#pagerduty)", "none", |written| match written.to.as_ref()? {
        Destination::PagerDuty(pagerduty) => Some(PAGER_DUTY.print(pagerduty)),
        _ => None,
    }) is schema_of(&PAGER_DUTY, &PagerDuty::default()), "PagerDuty (Events API v2): what is over is resolved.";
    "webhook": elsewhere("[a map](#webhook)", "none", |written| match written.to.as_ref()? {
        Destination::Webhook(webhook) => Some(WEBHOOK.print(webhook)),
        _ => None,
    }) is schema_of(&WEBHOOK, &Webhook::default()), "JSON to any URL, signed.";
    "exec": elsewhere("a list: the program by its absolute path, and its arguments", "none", |written| match written.to.as_ref()? {
        Destination::Exec(command) => Some(command.iter().map(shown).collect()),
        _ => None,
    }) is shape::program(1..=exec::MAX_WORDS), "A program that gets the JSON as its input; it has 10 s.";
    "on": custom(
        |_| format!("a list of {}", words_of(NotificationKind::Outage)), "all of them",
        |field, written| set(&mut written.on, kinds(field)),
        |written| Some(written.on.iter().map(|kind| word(*kind)).collect())
    ) is shape::one_or_many(shape::words_of(NotificationKind::Outage), NotificationKind::ALL.len()),
        "What it is told; see [notifications.md](notifications.md).";
}

table! {
    SLACK: Slack;
    "url_file": elsewhere("the path of a file", "required", |slack| Some(path(&slack.url_file))) is shape::text(),
        "The file that holds the URL of the incoming webhook and nothing else.";
    "tls_ca_file": custom(|_| "the path of a PEM file".into(), "the authorities of the machine",
        |field, slack| slack.tls_ca_file = pem(field, "CERTIFICATE"),
        |slack| slack.tls_ca_file.as_deref().map(path)) is shape::text(), "The authority to trust.";
}

table! {
    PAGER_DUTY: PagerDuty;
    "routing_key_file": elsewhere("the path of a file", "required", |pagerduty| Some(path(&pagerduty.routing_key_file))) is shape::text(),
        "The file that holds the integration key and nothing else.";
    "url": custom(|_| "a URL".into(), "", |field, pagerduty| set(&mut pagerduty.url, url(field)), |pagerduty| Some(shown(&pagerduty.url)))
        is url_shape(),
        "Where events go; `https://events.eu.pagerduty.com/v2/enqueue` for an account in the EU.";
    "tls_ca_file": custom(|_| "the path of a PEM file".into(), "the authorities of the machine",
        |field, pagerduty| pagerduty.tls_ca_file = pem(field, "CERTIFICATE"),
        |pagerduty| pagerduty.tls_ca_file.as_deref().map(path)) is shape::text(), "The authority to trust.";
}

table! {
    WEBHOOK: Webhook;
    "url": custom(|_| "a URL".into(), "required", |field, webhook| set(&mut webhook.url, url(field)), |webhook| Some(shown(&webhook.url)))
        is url_shape(),
        "Where the JSON goes: `https`, or `http` to this machine.";
    "secret_file": elsewhere("the path of a file", "required", |webhook| Some(path(&webhook.secret_file))) is shape::text(),
        "The file that holds the secret which signs it, in base64.";
    "tls_ca_file": custom(|_| "the path of a PEM file".into(), "the authorities of the machine",
        |field, webhook| webhook.tls_ca_file = pem(field, "CERTIFICATE"),
        |webhook| webhook.tls_ca_file.as_deref().map(path)) is shape::text(), "The authority to trust.";
}

/// `notify` in the schema.
pub(super) fn schema() -> Json {
    json!({"type": "array", "items": RECEIVER.schema(&plain()), "maxItems": MAX_RECEIVERS})
}

/// A URL that is encrypted, or leads to this machine, without a login.
fn url_shape() -> Json {
    let rest = r"(?:[/?#](?:[^$]|\$\$)*)?";
    shape::matching(&format!(
        r"[Hh][Tt][Tt][Pp][Ss]://(?:[^$@/?#]|\$\$)+{rest}|[Hh][Tt][Tt][Pp]://(?:[Ll][Oo][Cc][Aa][Ll]|127\.|\[)[^$@/?#]*{rest}"
    ))
}

/// `notify`.
pub(super) fn receivers(field: Field<'_>) -> Vec<ReceiverConfig> {
    if matches!(field.value(), Value::List(items) if items.is_empty()) {
        return Vec::new();
    }
    let fields = field.list("a list of receivers, such as [{slack: {url_file: /etc/mainstay/slack.url}}]", MAX_RECEIVERS);
    fields.unwrap_or_default().into_iter().filter_map(receiver).collect()
}

/// One that can be read again.
pub(super) fn print(receiver: &ReceiverConfig) -> Tree {
    RECEIVER.print(&Written { on: receiver.on.clone(), to: Some(receiver.to.clone()) })
}

/// One without a destination, told everything.
pub(super) fn plain() -> Written {
    Written { on: NotificationKind::ALL.to_vec(), to: None }
}

fn receiver(field: Field<'_>) -> Option<ReceiverConfig> {
    const KINDS: [&str; 4] = ["slack", "pagerduty", "webhook", "exec"];
    let section = field.map(RECEIVER.keys())?;
    let given: Vec<_> = KINDS.iter().filter(|kind| section.get(kind).is_some()).collect();
    let [kind] = given[..] else {
        field.error(
            "a receiver is exactly one of `slack`, `pagerduty`, `webhook` and `exec`",
            "make an entry of the list for each",
        );
        return None;
    };
    let mut written = plain();
    RECEIVER.read(section, &mut written);
    let field = section.get(kind)?;
    let to = match *kind {
        "slack" => Destination::Slack(slack(field.map(SLACK.keys())?)?),
        "pagerduty" => Destination::PagerDuty(pager_duty(field.map(PAGER_DUTY.keys())?)?),
        "webhook" => Destination::Webhook(webhook(field.map(WEBHOOK.keys())?)?),
        _ => Destination::Exec(command(field)?),
    };
    if matches!(to, Destination::PagerDuty(_)) && !written.on.contains(&NotificationKind::Over) {
        section.field().warning("without `over` nothing is ever resolved in PagerDuty", "add `over` to `on`");
    }
    Some(ReceiverConfig { to, on: written.on })
}

fn slack(section: Section<'_>) -> Option<Slack> {
    let mut slack = Slack::default();
    SLACK.read(section, &mut slack);
    slack.url_file = secret_file(section.require("url_file", "/etc/mainstay/slack.url")?, &|text| parse_url(text).map(|_| ()))?;
    Some(slack)
}

fn pager_duty(section: Section<'_>) -> Option<PagerDuty> {
    let mut pager_duty = PagerDuty::default();
    PAGER_DUTY.read(section, &mut pager_duty);
    let field = section.require("routing_key_file", "/etc/mainstay/pagerduty.key")?;
    pager_duty.routing_key_file = secret_file(field, &|_| Ok(()))?;
    Some(pager_duty)
}

fn webhook(section: Section<'_>) -> Option<Webhook> {
    let mut webhook = Webhook::default();
    let (url, secret) = (
        section.require("url", "https://alerts.example.com/mainstay"),
        section.require("secret_file", "/etc/mainstay/webhook.secret"),
    );
    WEBHOOK.read(section, &mut webhook);
    url?;
    webhook.secret_file = secret_file(secret?, &|text| signing_key(text).map(|_| ()))?;
    Some(webhook)
}

fn command(field: Field<'_>) -> Option<Vec<Word>> {
    let words = exec::words(field);
    let program = words.first()?.expose();
    if !program.starts_with('/') {
        field.error(
            "the program of a receiver must be given by its absolute path",
            "no shell runs it and no PATH is searched; write for example [/usr/local/bin/tell-us, --loud]",
        );
        return None;
    }
    if let Some(fault) = exec::fault(program) {
        field.warning(
            format!("the program of this receiver cannot be run: {fault}"),
            "until then nobody is told by it (chmod +x makes a file executable)",
        );
    }
    Some(words)
}

fn kinds(field: Field<'_>) -> Option<Vec<NotificationKind>> {
    let fields = field.one_or_many("a list of what it is told, such as [outage, over]", NotificationKind::ALL.len())?;
    Some(fields.into_iter().filter_map(Field::word).collect())
}

/// A file with a secret that `fits`. What is wrong is said without any of its content.
fn secret_file(field: Field<'_>, fits: &dyn Fn(&str) -> Result<(), &'static str>) -> Option<PathBuf> {
    let file = Path::new(field.text("the path of a file")?);
    // The value may be the secret itself, so only what is clearly a path is shown.
    let literal = matches!(field.value(), Value::Scalar(scalar) if scalar.source == Source::Literal);
    let shown = if literal && file.has_root() { file.display().to_string() } else { "the file".into() };
    let read = Secret::read(file).and_then(|secret| fits(secret.expose()).map_err(str::to_owned));
    if let Err(reason) = read {
        field.error(format!("{shown} cannot be used: {reason}"), "give the path of a file that holds this and nothing else");
        return None;
    }
    warn_if_readable(field, file, &shown);
    Some(file.to_owned())
}

fn url(field: Field<'_>) -> Option<Word> {
    let scalar = field.scalar(URL)?;
    match parse_url(&scalar.text) {
        Ok(_) => Some(exec::hidden(scalar)),
        Err(reason) => field.wrong(URL, Some(reason.into())),
    }
}

/// A URL that something may be sent to.
///
/// # Errors
/// Why not, without any of it.
pub fn parse_url(text: &str) -> Result<Uri, &'static str> {
    if text.len() > LONGEST_URL {
        return Err("it is too long");
    }
    let uri: Uri = text.parse().map_err(|_| "it is no URL")?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or("it has no host; write https://HOST/PATH")?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("it has a user or a password; leave them out");
    }
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_local = host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback());
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => Ok(uri),
        Some(scheme) if *scheme == Scheme::HTTP && is_local => Ok(uri),
        Some(scheme) if *scheme == Scheme::HTTP => {
            Err("`http` is not encrypted, and is possible to this machine only; write https://")
        }
        _ => Err("it must begin with https://"),
    }
}

/// The key of a webhook: base64, which may have the prefix that Standard Webhooks gives it.
///
/// # Errors
/// Why it is none, without any of it.
pub fn signing_key(text: &str) -> Result<Vec<u8>, &'static str> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text));
    let key = key.map_err(|_| "it is not in base64; make one with: openssl rand -base64 32")?;
    if (16..=64).contains(&key.len()) {
        Ok(key)
    } else {
        Err("it must hold 16 to 64 bytes in base64; make one with: openssl rand -base64 32")
    }
}
