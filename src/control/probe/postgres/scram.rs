//! SCRAM-SHA-256, the client's side (RFC 5802, RFC 7677; `PostgreSQL` documentation, "SASL Authentication").
//!
//! The server chooses how many rounds of hashing a login needs: 4096 by default, at most 2^31, and a malicious one any number. So
//! they run off the control thread, in portions, taking turns between logins.

use base64::{Engine, engine::general_purpose::STANDARD};
use rand::RngExt;
use ring::{digest, hmac};
use tokio::sync::Semaphore;

const NONCE_LENGTH: usize = 24;
/// Rounds between two turns: a fraction of a millisecond.
const PORTION: u32 = 1024;
/// Turns are given in order, so however many malicious servers there are, an honest login waits for one portion of each. One at a
/// time: the other cores are for clients.
static TURN: Semaphore = Semaphore::const_new(1);

/// How a login is bound to the server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// There is no certificate.
    Impossible,
    /// The server does not offer it, though this side could.
    NotOffered,
    /// To this digest of the certificate.
    EndPoint(Vec<u8>),
}

impl Binding {
    const fn header(&self) -> &'static str {
        match self {
            Self::Impossible => "n,,",
            Self::NotOffered => "y,,",
            Self::EndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    fn input(&self) -> String {
        let data = if let Self::EndPoint(digest) = self { digest.as_slice() } else { &[] };
        STANDARD.encode([self.header().as_bytes(), data].concat())
    }
}

/// A login that has begun.
pub(crate) struct Scram {
    pub(crate) binding: Binding,
    pub(crate) nonce: String,
}

/// What the server answered to the first message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) text: String,
    pub(crate) nonce: String,
    salt: Vec<u8>,
    /// At least one.
    pub(crate) rounds: u32,
}

/// The last message, and the answer that the server must give.
pub(crate) struct Proof {
    pub(crate) message: String,
    verifier: Vec<u8>,
}

impl Scram {
    pub(super) fn begin(binding: Binding) -> Self {
        let mut random = rand::rng();
        // Printable ASCII without the comma.
        let nonce = (0..NONCE_LENGTH).map(|_| char::from(random.random_range(b'-'..=b'~'))).collect();
        Self { binding, nonce }
    }

    /// The first message. The server already knows the user.
    pub(super) fn first(&self) -> String {
        format!("{}{}", self.binding.header(), self.bare())
    }

    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Reads the server's answer.
    pub(crate) fn challenge(&self, answer: &[u8]) -> Option<Challenge> {
        let text = std::str::from_utf8(answer).ok()?;
        let mut parts = text.split(',');
        let nonce = parts.next()?.strip_prefix("r=")?;
        let salt = STANDARD.decode(parts.next()?.strip_prefix("s=")?).ok()?;
        let rounds = parts.next()?.strip_prefix("i=")?.parse().ok().filter(|rounds| *rounds > 0)?;
        let is_ours = nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        is_ours.then(|| Challenge { text: text.to_owned(), nonce: nonce.to_owned(), salt, rounds })
    }

    /// Proves that the password is known. Takes as long as the rounds do.
    pub(crate) async fn prove(&self, password: &str, challenge: &Challenge) -> Option<Proof> {
        let salted = salted(password, challenge).await?;
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let without_proof = format!("c={},r={}", self.binding.input(), challenge.nonce);
        let said = format!("{},{},{without_proof}", self.bare(), challenge.text);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, stored_key.as_ref()), said.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, mask)| key ^ mask).collect();
        let server_key = hmac::sign(&salted, b"Server Key");
        let verifier = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref()), said.as_bytes());
        Some(Proof { message: format!("{without_proof},p={}", STANDARD.encode(proof)), verifier: verifier.as_ref().to_vec() })
    }
}

impl Proof {
    /// The server has proven that it knows the password, too.
    pub(crate) fn is_answered_by(&self, answer: &[u8]) -> bool {
        let verifier = answer.strip_prefix(b"v=").and_then(|text| STANDARD.decode(text).ok());
        verifier.is_some_and(|verifier| verifier == self.verifier)
    }
}

/// PBKDF2 (RFC 8018) with one block.
async fn salted(password: &str, challenge: &Challenge) -> Option<[u8; 32]> {
    // As the server does: a password that SASLprep does not allow is used as it is.
    let password = stringprep::saslprep(password).unwrap_or(password.into());
    let mut rounds = Rounds::begin(password.as_bytes(), &challenge.salt, challenge.rounds);
    while rounds.left > 0 {
        let _turn = TURN.acquire().await.ok()?;
        rounds = tokio::task::spawn_blocking(move || rounds.go_on()).await.ok()?;
    }
    Some(rounds.sum)
}

struct Rounds {
    key: hmac::Key,
    last: [u8; 32],
    sum: [u8; 32],
    left: u32,
}

impl Rounds {
    fn begin(password: &[u8], salt: &[u8], rounds: u32) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, password);
        let first = sign(&key, &[salt, &[0, 0, 0, 1]].concat());
        Self { key, last: first, sum: first, left: rounds - 1 }
    }

    fn go_on(mut self) -> Self {
        let portion = self.left.min(PORTION);
        for _ in 0..portion {
            self.last = sign(&self.key, &self.last);
            for (sum, byte) in self.sum.iter_mut().zip(self.last) {
                *sum ^= byte;
            }
        }
        self.left -= portion;
        self
    }
}

fn sign(key: &hmac::Key, message: &[u8]) -> [u8; 32] {
    let mut signature = [0; 32];
    signature.copy_from_slice(hmac::sign(key, message).as_ref());
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3, with the user's name that `PostgreSQL` leaves out.
    #[tokio::test]
    async fn the_example_of_the_standard() {
        let scram = Scram { binding: Binding::Impossible, nonce: "rOprNGfwEbeRWgbNEkqO".into() };
        assert_eq!(scram.first(), "n,,n=,r=rOprNGfwEbeRWgbNEkqO");
        let answer = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let challenge = scram.challenge(answer.as_bytes()).unwrap();
        let salted = salted("pencil", &challenge).await.unwrap();
        // As Python's hashlib has it.
        assert_eq!(STANDARD.encode(salted), "xKSVEDI6tPlSysH6mUQZOeeOp01r6B3fcJbodRPcYV0=");
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        let scram = Scram { binding: Binding::Impossible, nonce: "abc".into() };
        assert_eq!(scram.challenge(b"r=abcd,s=AAAA,i=1").map(|challenge| challenge.rounds), Some(1));
        for bad in
            ["", "r=abc,s=AAAA,i=1", "r=xyz1,s=AAAA,i=1", "r=abcd,s=A,i=1", "r=abcd,s=AAAA,i=0", "r=abcd,s=AAAA,i=-1", "r=abcd"]
        {
            assert_eq!(scram.challenge(bad.as_bytes()), None, "{bad}");
        }
    }

    /// However many rogues there are, an honest login takes its turn.
    #[tokio::test]
    async fn the_rounds_of_rogues_hold_up_nobody() {
        let challenge = |rounds| Challenge { text: String::new(), nonce: String::new(), salt: vec![1], rounds };
        let rogues: Vec<_> = (0..64).map(|_| tokio::spawn(async move { salted("x", &challenge(u32::MAX)).await })).collect();
        tokio::task::yield_now().await;
        assert!(salted("x", &challenge(4096)).await.is_some());
        assert!(rogues.iter().all(|rogue| !rogue.is_finished()));
        rogues.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
