//! The question: one GET; and, of the API that promotes, a POST.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT},
    http::request::Builder,
};

use crate::config::{HttpCheck, Secret};

/// A GET of the check's path, for the endpoint at `host` and `port`.
///
/// # Errors
/// When path or host contain invalid characters; one sentence for people.
pub(super) fn build(check: &HttpCheck, host: &str, port: u16, password: Option<&Secret>) -> Result<Request<Full<Bytes>>, String> {
    let request = with_headers(Request::get(check.path.expose()), check, (host, port), password)?;
    request.body(Full::default()).map_err(|error| format!("{} cannot be asked for: {error}", check.path.shown()))
}

/// A GET of another path of the same endpoint, or, with a body, which is JSON, a POST.
///
/// # Errors
/// As [`build`].
pub(super) fn call(
    (path, body): (&str, Option<String>),
    check: &HttpCheck,
    peer: (&str, u16),
    password: Option<&Secret>,
) -> Result<Request<Full<Bytes>>, String> {
    let request = match &body {
        Some(_) => Request::post(path).header(CONTENT_TYPE, "application/json"),
        None => Request::get(path),
    };
    let request = with_headers(request, check, peer, password)?;
    request.body(body.unwrap_or_default().into()).map_err(|error| format!("{path} cannot be asked for: {error}"))
}

fn with_headers(
    request: Builder,
    check: &HttpCheck,
    (host, port): (&str, u16),
    password: Option<&Secret>,
) -> Result<Builder, String> {
    let host = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let request = request
        .header(HOST, host)
        .header(USER_AGENT, concat!("mainstay/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json, */*");
    if let (Some(login), Some(password)) = (&check.login, password) {
        return Ok(request.header(AUTHORIZATION, basic(&login.user, password)?));
    }
    Ok(request)
}

/// RFC 7617, section 2.
fn basic(user: &str, password: &Secret) -> Result<HeaderValue, String> {
    let secret = STANDARD.encode(format!("{user}:{}", password.expose()));
    // Base64 has no character that a header may not have; the error, if there were one, must not show the secret.
    let mut value =
        HeaderValue::try_from(format!("Basic {secret}")).map_err(|_| "user and password cannot be sent".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpLogin;

    #[test]
    fn a_request_names_the_host_and_hides_the_password() {
        let password = Secret::new("open sesame".into());
        let login = HttpLogin { user: "Aladdin".into(), password: password.clone() };
        let check = HttpCheck { path: "/replica?lag=16MB".into(), login: Some(login), ..HttpCheck::default() };
        let request = build(&check, "db-a", 8008, Some(&password)).unwrap();
        assert_eq!(request.uri(), "/replica?lag=16MB");
        assert_eq!(request.headers()[HOST], "db-a:8008");
        // The example of RFC 7617.
        assert_eq!(request.headers()[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{request:?}").contains("QWxhZGRpbjpv"), "{request:?}");
        assert_eq!(build(&check, "::1", 1, Some(&password)).unwrap().headers()[HOST], "[::1]:1");
    }

    #[test]
    fn a_path_that_is_none_is_an_error_in_words() {
        let check = HttpCheck { path: "/a b".into(), ..HttpCheck::default() };
        assert!(build(&check, "db-a", 1, None).unwrap_err().contains("cannot be asked for"));
    }
}
