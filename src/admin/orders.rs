//! Orders: reads what a request orders, gives it to the pool or to the process, and answers with what was done.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use serde::{Deserialize, Deserializer, de};
use serde_json::json;
use tokio::time::timeout;

use super::{
    AdminState,
    authority::Denial,
    connection::Connection,
    older, operations,
    process::{ProcessRefusal, ProcessVerb},
    response::{self, Body},
};
use crate::{
    config::parse_duration,
    failover::{Admin, Cause, Printable, label::Label},
    net::endpoint::Peer,
    route::{Done, Refusal, RefusalCode, StateEvent, Verb},
};

/// No order is longer.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;
/// For the body of an order.
const BODY_PATIENCE: Duration = Duration::from_secs(5);
/// For the answer of a pool.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same where the servers are looked at before.
const PREFLIGHT_PATIENCE: Duration = Duration::from_secs(20);
const DEFAULT_PAUSE: Duration = Duration::from_secs(30);
const MAX_PAUSE: Duration = Duration::from_hours(1);

const MIN_TRIAL: Duration = Duration::from_secs(1);
const MAX_TRIAL: Duration = Duration::from_hours(24);

/// What a request orders.
#[derive(Debug)]
pub(super) struct Order {
    what: What,
    reason: String,
    dry_run: bool,
}

#[derive(Debug)]
enum What {
    /// Of the pool with this name.
    Pool(String, Verb),
    /// The end of the operation with this number, of whichever pool.
    Abort(String),
    Process(ProcessVerb),
}

/// Reads an order from the names in its path and from its body.
pub(super) type Reader = fn(&[String], &[u8]) -> serde_json::Result<Order>;

/// The body of an order: the keys of this order, and those of every order.
macro_rules! order {
    ($(#[$doc:meta])* $name:ident, |$names:ident, $body:ident { $($(#[$serde:meta])* $key:ident: $type:ty),* }| $what:expr) => {
        $(#[$doc])*
        pub(super) fn $name($names: &[String], body: &[u8]) -> serde_json::Result<Order> {
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Keys {
                $($(#[$serde])* $key: $type,)*
                #[serde(default)]
                reason: String,
                #[serde(default)]
                dry_run: bool,
            }
            let $body: Keys = object(body)?;
            Ok(Order { what: $what, reason: $body.reason, dry_run: $body.dry_run })
        }
    };
}

order! {
    /// The administrative state of a backend.
    state, |names, body { #[serde(deserialize_with = "admin")] state: Admin, #[serde(default)] force: bool }| {
        What::Pool(name(names, 0), Verb::SetAdmin { backend: name(names, 1).into(), to: body.state, force: body.force })
    }
}

order! {
    /// Holds new clients.
    pause, |names, body { #[serde(default = "default_pause", deserialize_with = "pause_for")] max: Duration }| {
        What::Pool(name(names, 0), Verb::Pause { max: body.max })
    }
}

order! {
    /// Ends a pause.
    resume, |names, body {}| What::Pool(name(names, 0), Verb::Resume)
}

order! {
    /// Ends sessions.
    kill, |names, body { #[serde(default)] backend: Option<String>, #[serde(default, deserialize_with = "client")] client: Option<Peer> }| {
        What::Pool(name(names, 0), Verb::Kill { backend: body.backend.map(Arc::from), client: body.client })
    }
}

order! {
    /// Moves the clients to another backend.
    switchover, |names, body {
        #[serde(default)] to: Option<String>, #[serde(default)] force: bool,
        #[serde(default, deserialize_with = "trial_for")] trial: Option<Duration>
    }| {
        let (to, force) = (body.to.map(Arc::from), body.force);
        What::Pool(name(names, 0), match body.trial {
            Some(time) => Verb::Trial { to, force, time },
            None => Verb::Switchover { to, force },
        })
    }
}

order! {
    /// Moves the clients back.
    rollback, |names, body { #[serde(default)] accept_loss: bool }| {
        What::Pool(name(names, 0), Verb::Rollback { accept_loss: body.accept_loss })
    }
}

order! {
    /// Ends the operation that runs, or the trial.
    abort_present, |names, body {}| What::Pool(name(names, 0), Verb::AbortPresent)
}

order! {
    /// Makes a standby the primary.
    promote, |names, body {
        #[serde(default)] to: Option<String>, #[serde(default)] accept_loss: bool, #[serde(default)] force: bool
    }| {
        What::Pool(
            name(names, 0),
            Verb::Promote { to: body.to.map(Arc::from), accept_loss: body.accept_loss, force: body.force },
        )
    }
}

order! {
    /// What would happen.
    drill, |names, body { #[serde(default)] switch: bool }| {
        What::Pool(name(names, 0), if body.switch { Verb::Rehearse } else { Verb::Drill })
    }
}

order! {
    /// Runs proofs.
    prove, |names, body { #[serde(default)] backend: Option<String> }| {
        What::Pool(name(names, 0), Verb::Prove { backend: body.backend.map(Arc::from) })
    }
}

order! {
    /// Runs the proofs of one backend.
    prove_one, |names, body {}| What::Pool(name(names, 0), Verb::Prove { backend: Some(name(names, 1).into()) })
}

order! {
    /// Takes a backend for good.
    approve, |names, body {}| What::Pool(name(names, 0), Verb::Approve { backend: name(names, 1).into() })
}

order! {
    /// Takes a backend for bad.
    reject, |names, body {}| What::Pool(name(names, 0), Verb::Reject { backend: name(names, 1).into() })
}

order! {
    /// Ends an operation.
    abort, |names, body {}| What::Abort(name(names, 0))
}

order! {
    /// As SIGHUP.
    reload, |_names, body {}| What::Process(ProcessVerb::Reload)
}

order! {
    /// As SIGTERM.
    shutdown, |_names, body { #[serde(default)] force: bool }| What::Process(ProcessVerb::Shutdown { force: body.force })
}

order! {
    /// A newer mainstay takes over.
    upgrade, |_names, body {}| What::Process(ProcessVerb::Upgrade)
}

/// What a person says of an update is kept with it, so it has to be said.
fn reasoned(order: Order) -> serde_json::Result<Order> {
    let needs_one = matches!(order.what, What::Pool(_, Verb::Approve { .. } | Verb::Reject { .. }));
    if needs_one && order.reason.trim().is_empty() {
        return Err(de::Error::custom("`reason` is needed: it is kept with the decision"));
    }
    Ok(order)
}

fn name(names: &[String], index: usize) -> String {
    names.get(index).cloned().unwrap_or_default()
}

/// A JSON object with the keys of `T`; an empty body is an empty object.
fn object<T: for<'a> Deserialize<'a>>(body: &[u8]) -> serde_json::Result<T> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    // The derived readers would also take a list of values in the order of the keys.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return serde_json::from_slice::<de::IgnoredAny>(body)
            .and_then(|_| Err(de::Error::custom("an order is a JSON object, such as {\"reason\": \"kernel update\"}")));
    }
    serde_json::from_slice(body)
}

fn admin<'de, D: Deserializer<'de>>(from: D) -> Result<Admin, D::Error> {
    let text = String::deserialize(from)?;
    let found = Admin::ALL.iter().find(|admin| admin.as_str() == text);
    found.copied().ok_or_else(|| de::Error::unknown_variant(&Printable::word(&text), &["ready", "drain", "maint"]))
}

const fn default_pause() -> Duration {
    DEFAULT_PAUSE
}

fn pause_for<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let wanted = || de::Error::custom("`max` is a duration from 1ms to 1h, such as \"30s\"");
    let max = parse_duration(&String::deserialize(from)?).map_err(|_| wanted())?;
    if (Duration::from_millis(1)..=MAX_PAUSE).contains(&max) { Ok(max) } else { Err(wanted()) }
}

fn trial_for<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let wanted = || de::Error::custom("`trial` is a duration from 1s to 24h, such as \"15m\"");
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let time = parse_duration(&text).map_err(|_| wanted())?;
    if (MIN_TRIAL..=MAX_TRIAL).contains(&time) { Ok(Some(time)) } else { Err(wanted()) }
}

fn client<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Peer>, D::Error> {
    let wanted = || de::Error::custom("`client` is the address of a client, such as \"10.0.0.7:40000\", or \"unix\"");
    match Option::<String>::deserialize(from)?.as_deref() {
        None => Ok(None),
        Some("unix") => Ok(Some(Peer::Unix)),
        Some(address) => address.parse::<SocketAddr>().map(|address| Some(address.into())).map_err(|_| wanted()),
    }
}

/// Checks who orders, reads the order, gives it, and waits for the answer.
pub(super) async fn take(
    state: &AdminState,
    connection: &Connection,
    (reader, names): (Reader, Vec<String>),
    request: Request<Incoming>,
) -> Response<Body> {
    let by = match state.authority.admit(&connection.caller, request.headers()).await {
        Ok(by) => by,
        Err(denial) => return denied(denial),
    };
    let Ok(_permit) = Arc::clone(&connection.orders).try_acquire_owned() else { return denied(Denial::TooManyOrders) };
    // The connection of an order that is being carried out is not closed for a new one.
    let _guard = connection.busy.order();
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(denial) => return denied(denial),
    };
    match reader(&names, &body).and_then(reasoned) {
        Ok(Order { what: What::Pool(pool, verb), reason, dry_run }) => {
            give(state, &pool, verb, (by, reason.into()), dry_run).await
        }
        Ok(Order { what: What::Abort(id), reason, dry_run }) => match operations::find(state, &id) {
            Ok(found) => give(state, &found.pool, Verb::Abort { id: found.id }, (by, reason.into()), dry_run).await,
            Err(unknown) => *unknown,
        },
        Ok(Order { what: What::Process(verb), reason, dry_run }) => give_process(state, verb, (by, reason.into()), dry_run).await,
        Err(error) => bad_body(&error),
    }
}

/// The whole body, within bounds of size and time.
async fn read(body: Incoming) -> Result<Bytes, Denial> {
    match timeout(BODY_PATIENCE, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Denial::BodyTooLarge),
        Ok(Err(_)) => Err(Denial::BodyBroken),
        Err(_) => Err(Denial::BodyTooSlow),
    }
}

/// Gives an order to a pool.
async fn give(state: &AdminState, pool: &str, verb: Verb, who: (Printable, Printable), dry_run: bool) -> Response<Body> {
    let view = state.view();
    let Some(found) = view.pool(pool) else { return response::unknown("pool", view.names()) };
    let backend = match &verb {
        Verb::SetAdmin { backend, .. } | Verb::Approve { backend } | Verb::Reject { backend } => Some(backend),
        Verb::Kill { backend, .. } | Verb::Prove { backend } => backend.as_ref(),
        Verb::Switchover { to, .. } | Verb::Trial { to, .. } | Verb::Promote { to, .. } => to.as_ref(),
        Verb::Pause { .. }
        | Verb::Resume
        | Verb::Rollback { .. }
        | Verb::Rehearse
        | Verb::AbortPresent
        | Verb::Abort { .. }
        | Verb::Drill => None,
    };
    let unknown = || response::unknown("backend", found.backends.iter().map(|(name, _)| name.to_string()).collect());
    if backend.is_some_and(|backend| found.backend(backend).is_none()) {
        return unknown();
    }
    let patience = match &verb {
        Verb::Switchover { .. }
        | Verb::Trial { .. }
        | Verb::Rollback { .. }
        | Verb::Promote { .. }
        | Verb::Rehearse
        | Verb::Drill => PREFLIGHT_PATIENCE,
        _ => PATIENCE,
    };
    let answer = match older::refusal(&state.older, pool, &verb) {
        Some(refusal) => Err(refusal),
        None => found.orders.give(verb.clone(), who, dry_run, patience).await,
    };
    match answer {
        Ok(done) if dry_run => done_answer(&done),
        Ok(done) => done_answer(&older::passed(&state.older, pool, &verb, done)),
        Err(Refusal { code: RefusalCode::UnknownBackend, .. }) => unknown(),
        Err(Refusal { code, message }) => response::error(StatusCode::CONFLICT, code.as_str(), &message),
    }
}

/// Gives an order to the process; as those of a pool, it is an event.
async fn give_process(state: &AdminState, verb: ProcessVerb, who: (Printable, Printable), dry_run: bool) -> Response<Body> {
    let (by, reason) = who.clone();
    let answer = state.authority.process.give(verb, who, dry_run).await;
    let (result, said) = match &answer {
        Ok(done) => (if dry_run { "dry_run" } else { "done" }, done.lines.join("; ")),
        Err(refusal) => (refusal.code(), refusal.message()),
    };
    let what = match verb {
        ProcessVerb::Reload => "reload",
        ProcessVerb::Shutdown { .. } => "shutdown",
        ProcessVerb::Upgrade => "upgrade",
    };
    let why = if reason.is_empty() { String::new() } else { format!(" because: {reason};") };
    state.events.push(StateEvent {
        at: state.clock.now(),
        kind: "order",
        to: Some(result),
        cause: Some(Cause::Command.as_str()),
        evidence: format!("{what} by {by};{why} {said}").into(),
        ..StateEvent::default()
    });
    match answer {
        Ok(done) => done_answer(&done),
        Err(ProcessRefusal::Invalid(errors)) => {
            let more = json!({ "diagnostics": errors.to_json() });
            response::error_with(StatusCode::UNPROCESSABLE_ENTITY, result, &said, more)
        }
        Err(_) => response::error(StatusCode::CONFLICT, result, &said),
    }
}

fn done_answer(done: &Done) -> Response<Body> {
    let mut answer = json!({ "done": done.lines, "sessions": done.sessions });
    if let Some(id) = done.operation {
        answer["operation"] = id.into();
    }
    response::json(StatusCode::OK, &answer)
}

/// The answer to a request that is refused before any pool hears of it.
pub(super) fn denied(denial: Denial) -> Response<Body> {
    let (status, message) = denial.answer();
    let mut response = response::error(status, denial.as_str(), message);
    let (name, value) = match status {
        StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Bearer"),
        StatusCode::TOO_MANY_REQUESTS => (header::RETRY_AFTER, "1"),
        _ => return response,
    };
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

fn bad_body(error: &serde_json::Error) -> Response<Body> {
    let (status, what) = Denial::BadBody.answer();
    let message = Printable::from(format!("{what}: {error}"));
    let more = json!({ "line": error.line(), "column": error.column() });
    response::error_with(status, Denial::BadBody.as_str(), &message, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["orders".to_owned(), "db-a".to_owned()]
    }

    fn verb(order: serde_json::Result<Order>) -> Verb {
        match order.unwrap().what {
            What::Pool(pool, verb) if pool == "orders" => verb,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_key_of_every_order_is_read() {
        let Order { reason, dry_run, .. } = resume(&names(), br#"{"reason": "kernel", "dry_run": true}"#).unwrap();
        assert_eq!((reason.as_str(), dry_run), ("kernel", true));
        for (word, to) in [("ready", Admin::Ready), ("drain", Admin::Drain), ("maint", Admin::Maint)] {
            let body = format!(r#"{{"state": "{word}", "force": true}}"#);
            let set = Verb::SetAdmin { backend: "db-a".into(), to, force: true };
            assert_eq!(verb(state(&names(), body.as_bytes())), set);
        }
        assert_eq!(verb(pause(&names(), b"{}")), Verb::Pause { max: DEFAULT_PAUSE });
        assert_eq!(verb(pause(&names(), br#"{"max": "1h"}"#)), Verb::Pause { max: MAX_PAUSE });
        assert_eq!(verb(kill(&names(), b" ")), Verb::Kill { backend: None, client: None });
        let client = Some(Peer::Tcp("[::1]:7".parse().unwrap()));
        assert_eq!(
            verb(kill(&names(), br#"{"backend": "db-b", "client": "[::1]:7"}"#)),
            Verb::Kill { backend: Some("db-b".into()), client }
        );
        assert_eq!(
            verb(kill(&names(), br#"{"backend": null, "client": "unix"}"#)),
            Verb::Kill { backend: None, client: Some(Peer::Unix) }
        );
        let to = || Some("db-b".into());
        assert_eq!(verb(switchover(&names(), b"")), Verb::Switchover { to: None, force: false });
        assert_eq!(verb(switchover(&names(), br#"{"to": "db-b", "force": true}"#)), Verb::Switchover { to: to(), force: true });
        assert_eq!(verb(promote(&names(), b"{}")), Verb::Promote { to: None, accept_loss: false, force: false });
        assert_eq!(
            verb(promote(&names(), br#"{"to": "db-b", "accept_loss": true}"#)),
            Verb::Promote { to: to(), accept_loss: true, force: false }
        );
        assert_eq!(verb(drill(&names(), b"{}")), Verb::Drill);
        assert_eq!(verb(drill(&names(), br#"{"switch": true}"#)), Verb::Rehearse);
        let trial = |time| Verb::Trial { to: to(), force: false, time };
        assert_eq!(verb(switchover(&names(), br#"{"to": "db-b", "trial": "24h"}"#)), trial(MAX_TRIAL));
        assert_eq!(verb(switchover(&names(), br#"{"trial": null}"#)), Verb::Switchover { to: None, force: false });
        assert_eq!(verb(rollback(&names(), b"")), Verb::Rollback { accept_loss: false });
        assert_eq!(verb(rollback(&names(), br#"{"accept_loss": true}"#)), Verb::Rollback { accept_loss: true });
        assert_eq!(verb(abort_present(&names(), b"{}")), Verb::AbortPresent);
        assert_eq!(verb(prove(&names(), b"")), Verb::Prove { backend: None });
        assert_eq!(verb(prove(&names(), br#"{"backend": "db-b"}"#)), Verb::Prove { backend: to() });
        let own = || "db-a".into();
        assert_eq!(verb(prove_one(&names(), b"{}")), Verb::Prove { backend: Some(own()) });
        assert_eq!(verb(approve(&names(), br#"{"reason": "seen"}"#)), Verb::Approve { backend: own() });
        assert_eq!(verb(reject(&names(), br#"{"reason": "slow"}"#)), Verb::Reject { backend: own() });
        for (reader, is_fine) in [(approve as Reader, false), (reject, false), (prove, true), (resume, true)] {
            assert_eq!(reader(&names(), br#"{"reason": " "}"#).and_then(reasoned).is_ok(), is_fine);
        }
        assert!(matches!(abort(&["7".to_owned()], b"").unwrap().what, What::Abort(id) if id == "7"));
        assert!(matches!(reload(&[], b"").unwrap().what, What::Process(ProcessVerb::Reload)));
        let forced = shutdown(&[], br#"{"force": true}"#).unwrap().what;
        assert!(matches!(forced, What::Process(ProcessVerb::Shutdown { force: true })));
    }

    #[test]
    fn what_is_no_order_is_told_with_its_place() {
        let cases: [(Reader, &str, &str); 22] = [
            (switchover, "{\"trial\": \"0s\"}", "from 1s to 24h"),
            (switchover, "{\"trial\": \"25h\"}", "from 1s to 24h"),
            (rollback, "{\"to\": \"db-b\"}", "unknown field `to`"),
            (state, "{}", "missing field `state`"),
            (state, "[\"drain\"]", "an order is a JSON object"),
            (state, "\"drain\"", "an order is a JSON object"),
            (state, "{\"state\": \"down\"}", "unknown variant `down`"),
            (state, "{\"state\": \"Drain\"}", "unknown variant"),
            (state, "{\"state\": \"drain\", \"states\": 1}", "unknown field `states`"),
            (state, "{\"state\": \"drain\", \"state\": \"ready\"}", "duplicate field `state`"),
            (state, "{\"state\": \"drain\", \"dry_run\": \"no\"}", "invalid type: string"),
            (state, "{\"state\": \"drain\"} {}", "trailing characters"),
            (pause, "{\"max\": \"2h\"}", "from 1ms to 1h"),
            (pause, "{\"max\": \"0s\"}", "from 1ms to 1h"),
            (pause, "{\"max\": 30}", "invalid type: integer"),
            (kill, "{\"client\": \"somewhere\"}", "the address of a client"),
            (resume, "{\"max\": \"3s\"}", "unknown field `max`"),
            (reload, "{\"reason\": \"\n\"}", "control character"),
            (shutdown, "{", "EOF"),
            (switchover, "{\"accept_loss\": true}", "unknown field `accept_loss`"),
            (promote, "{\"to\": 3}", "invalid type: integer"),
            (drill, "{\"to\": \"db-b\"}", "unknown field `to`"),
        ];
        for (reader, body, wanted) in cases {
            let error = reader(&names(), body.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(wanted), "{body}: {error}");
        }
        let error = state(&names(), b"{\n  \"state\": \"down\"}").unwrap_err();
        assert_eq!(error.line(), 2);
        assert!(state(&names(), &b"[".repeat(10_000)).is_err() && state(&names(), b"{\"state\": \"\xff\"}").is_err());
        let deep = format!("{{\"state\": {}", "[".repeat(10_000));
        assert!(state(&names(), deep.as_bytes()).is_err());
    }
}
