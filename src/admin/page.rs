//! The status page: one file that loads nothing from elsewhere. It holds no data; its script asks the API and inserts the answers
//! as text, never as markup.

use hyper::{
    Response, StatusCode,
    header::{self, HeaderValue},
};

use super::response::{self, Body};

const PAGE: &str = include_str!("page/index.html");

pub(super) fn page() -> Response<Body> {
    let mut response = response::whole(StatusCode::OK, response::HTML, PAGE);
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
