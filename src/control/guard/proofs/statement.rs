//! What is no single query, for servers that have no way to parse one without running it (`MariaDB`, `MySQL`).

/// Why a text may do something else than read; `None` when it cannot.
///
/// A transaction that is read-only leaves files and variables open (`INTO OUTFILE`), and comments that the server runs.
pub(super) fn fault(sql: &str) -> Option<&'static str> {
    let mut rest = sql;
    let (mut word, mut words) = (String::new(), 0);
    while let Some(c) = rest.chars().next() {
        if c.is_alphanumeric() || c == '_' || c == '$' {
            word.push(c.to_ascii_lowercase());
        } else if !word.is_empty() {
            if let Some(fault) = of_word(&word, words) {
                return Some(fault);
            }
            words += 1;
            word.clear();
        }
        let length = match c {
            ';' => return Some("it holds more than one statement (a `;`)"),
            '\'' | '"' | '`' => match quoted(rest, c) {
                Ok(length) => length,
                Err(fault) => return Some(fault),
            },
            '#' => line(rest),
            '-' if is_dashes(rest) => line(rest),
            '/' if rest.starts_with("/*!") || rest.starts_with("/*M!") => {
                return Some("it holds a comment that the server runs (/*!)");
            }
            '/' if rest.starts_with("/*") => match rest.find("*/") {
                Some(end) => end + 2,
                None => return Some("a comment has no end"),
            },
            _ => c.len_utf8(),
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    of_word(&word, words)
}

/// What is wrong with a word that stands behind so many others.
fn of_word(word: &str, words: usize) -> Option<&'static str> {
    match (words, word) {
        (0, "select" | "with" | "values" | "table") => None,
        (0, _) => Some("it does not begin with SELECT, WITH, VALUES or TABLE"),
        (_, "into" | "outfile" | "dumpfile") => Some("it writes its answer somewhere (INTO)"),
        _ => None,
    }
}

/// Two dashes begin a comment only before a space.
fn is_dashes(rest: &str) -> bool {
    rest.strip_prefix("--").is_some_and(|rest| rest.chars().next().is_none_or(|c| c.is_whitespace() || c.is_control()))
}

fn line(rest: &str) -> usize {
    rest.find('\n').map_or(rest.len(), |end| end + 1)
}

/// The length of a quotation: doubled quotes belong to it. What a backslash in it means depends on the server's `sql_mode`.
fn quoted(rest: &str, quote: char) -> Result<usize, &'static str> {
    let mut inside = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = inside.next() {
        if c == '\\' && quote != '`' {
            return Err("a backslash in a quotation means different things to servers: write it without");
        }
        if c == quote && inside.next_if(|(_, next)| *next == quote).is_none() {
            return Ok(at + 1);
        }
    }
    Err("a quotation has no end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_is_let_through() {
        for sql in [
            "SELECT 1",
            "SELECT 'a;b', \"into\", `into` FROM t -- ; into\n WHERE a = 'it''s; into'",
            "SELECT a /* ; into */ FROM t # ; into",
            "SELECT intox, x_into, 5--1",
            "WITH a AS (SELECT 1) SELECT * FROM a",
        ] {
            assert_eq!(fault(sql), None, "{sql}");
        }
    }

    #[test]
    fn what_may_do_more_is_not() {
        for sql in [
            "SELECT 1; DROP TABLE t",
            "SELECT 1;",
            "SELECT * FROM t INTO OUTFILE '/tmp/x'",
            "SELECT 1 into\n@a",
            "SELECT 1 INTO",
            "SELECT 'a\\'; DROP TABLE t; -- '",
            "SELECT 1 /*! INTO OUTFILE 'x' */",
            "SELECT 1 /*M!100100 , 2 */",
            "SELECT 1 /* ",
            "SELECT 'a",
            "SELECT '\\\\'; DROP TABLE t",
            "SELECT 5--1; DROP TABLE t",
            "SELECT'a'INTO/**/DUMPFILE'x'",
            "",
            "/* */ COMMIT",
            "-- a\nSET GLOBAL read_only = 0",
            "/**/ KILL 5",
            "'SELECT'",
        ] {
            assert!(fault(sql).is_some(), "{sql}");
        }
    }
}
