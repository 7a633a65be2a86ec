//! The query of a request. Unknown keys are refused: otherwise a typo in `pool` would silently get the answer for all pools.

use std::borrow::Cow;

use hyper::{Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::response::{self, Body};

/// Keys and values.
#[derive(Debug)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// The query of `uri`, which may have these keys, each once.
    pub(super) fn read(uri: &Uri, known: &'static [&'static str]) -> Result<Self, Box<Response<Body>>> {
        let refuse = |message: &str| {
            let keys = json!({ "keys": known });
            Err(Box::new(response::error_with(StatusCode::BAD_REQUEST, "bad_query", message, keys)))
        };
        let mut found: Vec<(&'static str, String)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(key) = known.iter().find(|known| **known == key) else {
                return refuse(if known.is_empty() {
                    "this path takes nothing behind the `?`"
                } else {
                    "the query has a key that is not known here; these are"
                });
            };
            if found.iter().any(|(other, _)| other == key) {
                return refuse("the query has the same key twice");
            }
            let Some(value) = decoded(value) else { return refuse("a value of the query is not in UTF-8") };
            found.push((key, value));
        }
        Ok(Self(found))
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
    }
}

/// Percent-decoding of one path segment or value of a query; `None` when it is no UTF-8.
pub(crate) fn decoded(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_once() {
        assert_eq!(decoded("a%20b%2Fc%2525").as_deref(), Some("a b/c%25"));
        assert_eq!(decoded("100%").as_deref(), Some("100%"));
        assert_eq!(decoded("%zz%1").as_deref(), Some("%zz%1"));
        assert_eq!(decoded("%ff"), None);
        assert_eq!(decoded("%+1%€").as_deref(), Some("%+1%€"));
    }
}
