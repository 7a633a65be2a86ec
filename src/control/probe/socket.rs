//! What an error of a socket, or of what came over it, says about the backend.

use std::io;

use rustls::InvalidMessage;

use super::{bounded::Garbage, finding::Finding};
use crate::failover::Outcome;

/// The socket failed, or what came over it could not be understood.
pub(super) fn io_error(error: &io::Error) -> Finding {
    let inner = error.get_ref();
    if let Some(garbage) = inner.and_then(|inner| inner.downcast_ref::<Garbage>()) {
        return Finding::new(Outcome::ProtocolError, garbage.to_string());
    }
    if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_error(tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Finding::new(Outcome::Closed, "the server reset the connection in the middle of the check")
        }
        io::ErrorKind::UnexpectedEof => {
            Finding::new(Outcome::Closed, "the server closed the connection in the middle of the check")
        }
        io::ErrorKind::TimedOut => Finding::new(Outcome::Closed, "the connection broke: its packets were not acknowledged"),
        _ => garbled(error),
    }
}

/// What came cannot be understood.
pub(super) fn garbled(error: &io::Error) -> Finding {
    Finding::new(Outcome::ProtocolError, format!("the answer could not be understood: {error}"))
}

fn tls_error(error: &rustls::Error) -> Finding {
    match error {
        rustls::Error::InvalidCertificate(why) => {
            let advice = if matches!(why, rustls::CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity"))
            {
                "; the server shows a certificate that is its own authority, which is not accepted: sign one with a separate authority"
            } else if matches!(why, rustls::CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion"))
            {
                "; it is of version 1, which names no host: sign one with extensions (openssl x509 -req -extfile … with a subjectAltName)"
            } else {
                ""
            };
            Finding::new(Outcome::Misconfigured, format!("the server's certificate is not trusted: {why}{advice}"))
        }
        // Longer than this side takes.
        rustls::Error::InvalidMessage(InvalidMessage::CertificatePayloadTooLarge | InvalidMessage::HandshakePayloadTooLarge) => {
            Finding::new(Outcome::Misconfigured, format!("the TLS handshake failed: {error}"))
        }
        rustls::Error::InvalidMessage(_) => Finding::new(Outcome::ProtocolError, format!("its TLS is not TLS: {error}")),
        _ => Finding::new(Outcome::Misconfigured, format!("the TLS handshake failed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_garbage_are_told_apart() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(io_error(&reset).outcome, Outcome::Closed);
        assert_eq!(io_error(&Garbage("x".into()).into()).outcome, Outcome::ProtocolError);
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(io_error(&io::Error::new(io::ErrorKind::InvalidData, tls)).outcome, Outcome::Misconfigured);
    }
}
