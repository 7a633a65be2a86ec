//! The parts that a login needs of a certificate that is not verified, for any version (RFC 5280, section 4.1; X.690, "DER").
//!
//! webpki reads no certificates of version 1, which is what `openssl x509 -req` makes where nothing else is asked for.

use rustls::{DigitallySignedStruct, crypto::WebPkiSupportedAlgorithms};
use sha2::{Digest, Sha256, Sha384, Sha512};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT Version`, absent in version 1.
const VERSION: u8 = 0xa0;

/// Parts of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// The contents of `subjectPublicKeyInfo.algorithm`.
    pub(crate) key_algorithm: &'a [u8],
    pub(crate) key: &'a [u8],
    /// The object identifier of `signatureAlgorithm`.
    pub(crate) signature: &'a [u8],
}

/// Takes one element off the front: its tag and its contents. Lengths of four bytes and more are longer than what was received.
fn element<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((tag, contents))
}

fn expect<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    element(bytes).filter(|(found, _)| *found == tag).map(|(_, contents)| contents)
}

pub(crate) fn parts(mut certificate: &[u8]) -> Option<Parts<'_>> {
    let mut whole = expect(&mut certificate, SEQUENCE)?;
    let mut signed = expect(&mut whole, SEQUENCE)?;
    let signature = expect(&mut expect(&mut whole, SEQUENCE)?, OBJECT_IDENTIFIER)?;
    if signed.first() == Some(&VERSION) {
        element(&mut signed)?;
    }
    // Serial number; signature, issuer, validity, subject.
    expect(&mut signed, INTEGER)?;
    for _ in 0..4 {
        expect(&mut signed, SEQUENCE)?;
    }
    let mut information = expect(&mut signed, SEQUENCE)?;
    let key_algorithm = expect(&mut information, SEQUENCE)?;
    // The first byte counts the bits at the end that are not used: none, in a key.
    let key = expect(&mut information, BIT_STRING)?.strip_prefix(&[0])?;
    Some(Parts { key_algorithm, key, signature })
}

/// Whether the owner of the certificate's key signed `message`.
pub(super) fn signed_by_owner(
    certificate: &[u8],
    message: &[u8],
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    let Some(parts) = parts(certificate) else { return false };
    let possible =
        algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme).map_or(&[][..], |(_, possible)| possible);
    possible.iter().any(|algorithm| {
        algorithm.public_key_alg_id().as_ref() == parts.key_algorithm
            && algorithm.verify_signature(parts.key, message, signed.signature()).is_ok()
    })
}

/// What binds a login to this certificate (RFC 5929, `tls-server-end-point`): its digest by the hash of its signature, or SHA-256
/// in place of a weak one. `None` when that hash is not known, as of Ed25519.
pub(crate) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    // iso(1) member-body(2) us(840): rsadsi(113549) pkcs(1) pkcs-1(1), and ansi-x962(10045) signatures(4).
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let signature = parts(certificate)?.signature;
    match (signature.strip_prefix(RSA), signature.strip_prefix(ECDSA)) {
        // MD5, SHA-1 and SHA-256.
        (Some([4 | 5 | 11]), _) | (_, Some([1] | [3, 2])) => Some(Sha256::digest(certificate).to_vec()),
        (Some([12]), _) | (_, Some([3, 3])) => Some(Sha384::digest(certificate).to_vec()),
        (Some([13]), _) | (_, Some([3, 4])) => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    /// `openssl req -new … | openssl x509 -req -days 36500`, with a key on P-256.
    const VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBHzCBxQIUenepZIdIAlcnJYFTteHWyFE+6U0wCgYIKoZIzj0EAwIwETEPMA0G
A1UEAwwGc2VydmVyMCAXDTI2MTEyNzA3MjU1OVoYDzIxMjYxMTAzMDcyNTU5WjAR
MQ8wDQYDVQQDDAZzZXJ2ZXIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARWXeFH
oy86r3SULI/T+hro8q8Ccno8cn18uUIU70nZQ/KadBcQzpRIDZI6iHTCMfTfXigp
eUPrOmIW/DIYb6vTMAoGCCqGSM49BAMCA0kAMEYCIQC8b0hjGDIPkseOd5JuITmV
9V2h7vuEfrv6ruUuDzQF5QIhAMoSJC1f4nI13I8NfmT6M8OuEdWnmHC6pD2qelLR
e36R
-----END CERTIFICATE-----";

    fn certificate() -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap()
    }

    #[test]
    fn a_certificate_of_version_1_is_read_and_no_cut_of_it_is_one() {
        let whole = certificate();
        let read = parts(&whole).unwrap();
        assert_eq!((read.key.len(), read.key[0]), (65, 4), "a point, not compressed");
        assert_eq!(end_point(&whole).unwrap(), Sha256::digest(&whole).to_vec());
        for cut in 0..whole.len() {
            assert_eq!(parts(&whole[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn whatever_a_stranger_sends_is_read_or_is_not() {
        let whole = certificate();
        for position in 0..whole.len() {
            for byte in [0, 0x7f, 0x80, 0x83, 0x84, 0xff] {
                let mut other = whole.to_vec();
                other[position] = byte;
                // Neither panics, whatever it says.
                let _ = (parts(&other), end_point(&other));
            }
        }
    }
}
