//! How a password is proven without being shown (`MySQL` documentation, "Authentication Methods"; `MariaDB` documentation,
//! "Authentication Plugin - ed25519").

use ed25519_dalek::{
    VerifyingKey,
    hazmat::{ExpandedSecretKey, raw_sign},
};
use rsa::{Oaep, PublicKey, pkcs8::DecodePublicKey};
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha512};

use super::handshake::NATIVE;

/// The method of `MySQL` 8 and later.
pub(super) const CACHING_SHA2: &str = "caching_sha2_password";
/// The method that `MariaDB` recommends.
const ED25519: &str = "client_ed25519";

/// Answers `nonce` in the way of `plugin`; `None` when a check does not know it, or it would show the password.
pub(super) fn proof(plugin: &str, password: &str, nonce: &[u8]) -> Option<Vec<u8>> {
    let password = password.as_bytes();
    match plugin {
        NATIVE | CACHING_SHA2 if password.is_empty() => Some(Vec::new()),
        NATIVE => Some(native(password, nonce)),
        CACHING_SHA2 => Some(caching_sha2(password, nonce)),
        ED25519 => Some(ed25519(password, nonce)),
        _ => None,
    }
}

/// `SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))`.
fn native(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let once = Sha1::digest(password);
    let twice = Sha1::digest(once);
    let mask = Sha1::new().chain_update(nonce).chain_update(twice).finalize();
    xor(&once, &mask)
}

/// `SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce)`.
fn caching_sha2(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let once = Sha256::digest(password);
    let twice = Sha256::digest(once);
    let mask = Sha256::new().chain_update(twice).chain_update(nonce).finalize();
    xor(&once, &mask)
}

/// A signature of the nonce. The key is the hash of the password itself, where Ed25519 would hash a seed.
fn ed25519(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let mut hash = [0; 64];
    hash.copy_from_slice(&Sha512::digest(password));
    let key = ExpandedSecretKey::from_bytes(&hash);
    raw_sign::<Sha512>(&key, nonce, &VerifyingKey::from(&key)).to_bytes().to_vec()
}

/// The password for a server whose key is known, which alone can read it: what `caching_sha2_password` asks for without TLS when it
/// does not remember the user.
///
/// # Errors
/// What is wrong with the key.
pub(super) fn sealed(password: &str, nonce: &[u8], pem: &[u8]) -> Result<Vec<u8>, String> {
    let bad = |error: &dyn std::fmt::Display| format!("the server's public key cannot be used: {error}");
    let pem = std::str::from_utf8(pem).map_err(|error| bad(&error))?;
    let key = PublicKey::from_public_key_pem(pem.trim_end_matches('\0')).map_err(|error| bad(&error))?;
    // With the NUL, so that its length is hidden no more than by the server's own clients.
    let plain: Vec<u8> = password.bytes().chain([0]).zip(nonce.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    key.encrypt(&mut rand::rng(), Oaep::<Sha1>::new(), &plain).map_err(|error| bad(&error))
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| left ^ right).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server knows only what it stored, and checks the proof against that.
    #[test]
    fn a_server_can_check_a_native_proof_with_the_hash_it_stored() {
        let nonce = b"abcdefghijklmnopqrst";
        let stored = Sha1::digest(Sha1::digest(b"secret"));
        let proof = proof(NATIVE, "secret", nonce).unwrap();
        let once = xor(&proof, &Sha1::new().chain_update(nonce).chain_update(stored).finalize());
        assert_eq!(Sha1::digest(once), stored);
    }

    #[test]
    fn a_server_can_check_a_sha2_proof_with_the_hash_it_stored() {
        let nonce = b"abcdefghijklmnopqrst";
        let stored = Sha256::digest(Sha256::digest(b"secret"));
        let proof = proof(CACHING_SHA2, "secret", nonce).unwrap();
        let once = xor(&proof, &Sha256::new().chain_update(stored).chain_update(nonce).finalize());
        assert_eq!(Sha256::digest(once), stored);
    }

    /// Test vector of `MariaDB` (mysql-test/suite/plugins/t/auth_ed25519.test): password `foo`.
    #[test]
    fn an_ed25519_key_is_the_one_that_mariadb_stores() {
        let mut hash = [0; 64];
        hash.copy_from_slice(&Sha512::digest(b"foo"));
        let public = VerifyingKey::from(&ExpandedSecretKey::from_bytes(&hash));
        let signature = ed25519(b"foo", b"nonce of thirty-two bytes .......");
        let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        assert!(public.verify_strict(b"nonce of thirty-two bytes .......", &signature).is_ok());
    }

    #[test]
    fn no_password_is_no_proof_and_an_unknown_method_shows_nothing() {
        assert_eq!(proof(NATIVE, "", b"nonce"), Some(Vec::new()));
        assert_eq!(proof(CACHING_SHA2, "", b"nonce"), Some(Vec::new()));
        for plugin in ["mysql_clear_password", "dialog", "auth_gssapi_client", ""] {
            assert_eq!(proof(plugin, "secret", b"nonce"), None);
        }
    }

    #[test]
    fn a_key_that_is_none_is_an_error_without_the_password() {
        for pem in [&b""[..], b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\xff\xfe"] {
            let error = sealed("S3cr3t", b"nonce", pem).unwrap_err();
            assert!(!error.contains("S3cr3t"), "{error}");
        }
    }
}
