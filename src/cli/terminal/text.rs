//! Texts that fit. Colour codes take no column, wide characters two, combining ones none.

use unicode_width::UnicodeWidthChar as _;

/// The characters of a text, each with its columns; those of colour codes have none.
fn columns(text: &str) -> impl Iterator<Item = (char, usize)> {
    let mut in_code = false;
    text.chars().map(move |c| {
        let has_none = in_code || c == '\x1b';
        in_code = has_none && c != 'm';
        (c, if has_none { 0 } else { c.width().unwrap_or(0) })
    })
}

/// The columns that a text takes.
pub(in crate::cli) fn width(text: &str) -> usize {
    columns(text).map(|(_, width)| width).sum()
}

/// Cuts to so many columns. Colour codes stay, so that a colour also ends.
pub(in crate::cli) fn cut(line: &str, most: usize) -> String {
    let (mut out, mut used, mut in_code) = (String::with_capacity(line.len()), 0, false);
    for (c, width) in columns(line) {
        in_code |= c == '\x1b';
        if !in_code {
            used += width;
        }
        if in_code || used <= most {
            out.push(c);
        }
        in_code &= c != 'm';
    }
    out
}

/// Blanks behind the text up to so many columns.
pub(in crate::cli) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Breaks a text without colours between words into lines of at most `most` columns; longer words are broken anywhere.
pub(in crate::cli) fn wrap(text: &str, most: usize) -> Vec<String> {
    let most = most.max(1);
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        let gap = usize::from(!line.is_empty());
        if width(&line) + gap + width(word) <= most {
            line.push_str(if gap == 1 { " " } else { "" });
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            if !line.is_empty() && width(&line) + c.width().unwrap_or(0) > most {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_by_what_is_visible_and_colours_are_closed() {
        assert_eq!(cut("abcdef", 3), "abc");
        assert_eq!(cut("\x1b[1;32mabcdef\x1b[0m", 3), "\x1b[1;32mabc\x1b[0m");
        assert_eq!(cut("größer", 4), "größ");
        assert_eq!((cut("数据库", 5), cut("数据库", 1)), ("数据".to_owned(), String::new()));
        assert_eq!(cut("e\u{301}a", 1), "e\u{301}", "an accent stays with its letter");
    }

    #[test]
    fn widths_are_those_of_the_screen() {
        assert_eq!([width("abc"), width("\x1b[31mabc\x1b[0m"), width("数据库"), width("e\u{301}")], [3, 3, 6, 1]);
        assert_eq!((pad("数", 4), pad("abcdef", 2)), ("数  ".to_owned(), "abcdef".to_owned()));
    }

    #[test]
    fn words_stay_whole_where_they_fit() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!((wrap("", 5), wrap("a b", 0)), (vec![String::new()], vec!["a".to_owned(), "b".to_owned()]));
    }
}
