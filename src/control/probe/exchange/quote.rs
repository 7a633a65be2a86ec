//! What may be shown of an answer. Servers repeat what they received (`-ERR unknown command 'AUTH hunter2'`), and that may contain
//! a password.

/// Bytes of an answer that are shown.
const SHOWN: usize = 60;

/// Pieces of what was sent are recognised from this length on.
const PIECE: usize = 4;

/// The beginning of an answer as text for a log line, without what it repeats of `sent`.
pub fn quote(came: &[u8], sent: &[&[u8]]) -> String {
    // A piece that begins in what is shown may end behind it.
    let seen = &came[..came.len().min(SHOWN + PIECE - 1)];
    let mut repeated = vec![false; seen.len()];
    for text in sent.iter().filter(|text| !text.is_empty()) {
        let length = text.len().min(PIECE);
        for (start, piece) in seen.windows(length).enumerate() {
            if text.windows(length).any(|other| other == piece) {
                repeated[start..start + length].fill(true);
            }
        }
    }
    // Line ends are no secret; without them two lines would look like one.
    let mask = |(&byte, repeated): (&u8, bool)| if repeated && !b"\r\n".contains(&byte) { b'*' } else { byte };
    let shown: Vec<u8> = seen.iter().zip(repeated).map(mask).take(SHOWN).collect();
    let more = if came.len() > SHOWN { "…" } else { "" };
    format!("\"{}{more}\"", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_shown_in_one_printable_line() {
        assert_eq!(quote(b"-ERR no\r\n\xff\0", &[]), "\"-ERR no\\r\\n\\xff\\x00\"");
        let long = quote(&[b'x'; 100], &[]);
        assert_eq!(long, format!("\"{}…\"", "x".repeat(60)));
        assert_eq!(quote(b"", &[b"AUTH"]), "\"\"");
    }

    #[test]
    fn what_was_sent_is_not_shown() {
        let sent: &[&[u8]] = &[b"AUTH hunter2\r\n", b"pw"];
        assert_eq!(quote(b"-ERR unknown command 'AUTH hunter2'\r\n", sent), "\"-ERR unknown command \\'************\\'\\r\\n\"");
        assert_eq!(quote(b"you said unter and pw", sent), "\"you said ***** and **\"");
        // Cut in the middle of it.
        let cut = [&b"x".repeat(57)[..], b"hunter2"].concat();
        assert_eq!(quote(&cut, sent), format!("\"{}***…\"", "x".repeat(57)));
    }
}
