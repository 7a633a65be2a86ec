//! Tables.

use super::text::{pad, width};

/// What is known of a table besides its rows.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Table<'a> {
    pub(in crate::cli) headings: &'a [&'a str],
    /// Columns of numbers, which end together.
    pub(in crate::cli) numbers: &'a [usize],
    /// The columns that go when there is no room, the first one first.
    pub(in crate::cli) go: &'a [usize],
    /// The last column is a text whose end may be cut.
    pub(in crate::cli) ends_with_text: bool,
}

/// A longer text at the end is no reason for a column to go.
const TEXT: usize = 10;

impl Table<'_> {
    /// The heading and a line for each row, for so many columns of a terminal: two blanks between columns, none at the end.
    pub(in crate::cli) fn lines(&self, rows: &[Vec<String>], columns: usize) -> Vec<String> {
        let last = self.headings.len().saturating_sub(1);
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| rows.iter().map(|row| width(&row[column])).chain([width(self.headings[column])]).max().unwrap_or(0))
            .collect();
        let needs = |column: &usize| 2 + if self.ends_with_text && *column == last { TEXT } else { widths[*column] };
        let mut shown: Vec<usize> = (0..self.headings.len()).collect();
        for goes in self.go {
            if shown.iter().map(needs).sum::<usize>() > columns {
                shown.retain(|column| column != goes);
            }
        }
        let line = |cell: &dyn Fn(usize) -> String| {
            let mut line = String::from("  ");
            for &column in &shown {
                let text = cell(column);
                let blanks = " ".repeat(widths[column].saturating_sub(width(&text)));
                line.push_str(&if self.numbers.contains(&column) { blanks + &text } else { pad(&text, widths[column]) });
                line.push_str("  ");
            }
            line.trim_end().to_owned()
        };
        let heading = line(&|column| self.headings[column].to_owned());
        std::iter::once(heading).chain(rows.iter().map(|row| line(&|column| row[column].clone()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_until_the_rest_has_room() {
        let table = Table { headings: &["NAME", "N", "WHY"], numbers: &[1], go: &[1], ends_with_text: true };
        let rows =
            [vec!["数".to_owned(), "7".to_owned(), "a long reason".to_owned()], vec!["b".into(), "100".into(), "-".into()]];
        assert_eq!(table.lines(&rows, 80), ["  NAME    N  WHY", "  数      7  a long reason", "  b     100  -"]);
        assert_eq!(table.lines(&rows, 20), ["  NAME  WHY", "  数    a long reason", "  b     -"]);
    }
}
