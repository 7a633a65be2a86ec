//! Signatures of a webhook, as Standard Webhooks has them (<https://www.standardwebhooks.com>, version 1): HMAC-SHA256 of the id,
//! the time and the body. A receiver refuses an old time and an id that it has seen, so nobody can send a message a second time.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;

/// The value of `webhook-signature`.
pub(super) fn signature(key: &[u8], id: &str, seconds: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(format!("{id}.{seconds}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::signing_key;

    #[test]
    fn signs_as_the_published_example() {
        let key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
