//! The status page: one file that loads nothing from elsewhere. It holds no data; its script asks the API and inserts the answers
//! as text, never as markup.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderValue},
};
use ring::digest::{SHA256, digest};

use super::response::{self, Body};

/// The page around its style and its script.
const FRAME: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
/// In this order they are one script.
const SCRIPT: &str = concat!(
    include_str!("page/dom.js"),
    include_str!("page/words.js"),
    include_str!("page/plot.js"),
    include_str!("page/pool.js"),
    include_str!("page/order.js"),
    include_str!("page/main.js"),
    include_str!("page/live.js"),
);

/// The page and its policy. They are made once, so that a request costs no memory.
static PAGE: LazyLock<(Bytes, HeaderValue)> = LazyLock::new(|| {
    let page = FRAME.replacen("<!-- style.css -->", STYLE, 1).replacen("<!-- script.js -->", SCRIPT, 1);
    // Only this style and this script are allowed, and no text becomes markup: not even by a mistake of the script.
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash_of(STYLE),
        hash_of(SCRIPT)
    );
    let policy = HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
    (page.into(), policy)
});

/// As a policy names a source (<https://www.w3.org/TR/CSP3/#grammardef-hash-source>).
fn hash_of(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

pub(super) fn page() -> Response<Body> {
    let (page, policy) = &*PAGE;
    let mut response = response::whole(StatusCode::OK, response::HTML, page.clone());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_small() {
        let (page, policy) = &*PAGE;
        let page = std::str::from_utf8(page).unwrap();
        assert!(page.len() <= 150 * 1024, "{} bytes", page.len());
        assert!(page.contains(STYLE) && page.contains(SCRIPT));
        // Either would end an element before its end.
        assert_eq!((page.matches("</script").count(), page.matches("</style").count()), (1, 1));
        let policy = policy.to_str().unwrap();
        assert!(policy.contains("script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    }
}
