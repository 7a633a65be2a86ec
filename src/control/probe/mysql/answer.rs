//! What a server answers to a command (`MySQL` documentation, "Generic Response Packets" and "Text Resultset").

use super::wire::{Cursor, Value};
use crate::wire::mysql::ERROR;

/// A definition or an end is not this long; rows may be.
const END_MAX: usize = 8;

/// An error, in the server's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Its number, such as 1045.
    pub code: u16,
    /// What it says, without the SQLSTATE.
    pub message: String,
}

impl ServerError {
    /// Reads an error; `None` when the packet is none.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(payload);
        if cursor.byte()? != ERROR {
            return None;
        }
        let code = cursor.u16()?;
        // A marker and an SQLSTATE, once the server knows that the client knows of them.
        let text = match cursor.0 {
            [b'#', rest @ ..] => rest.get(5..).unwrap_or_default(),
            plain => plain,
        };
        Some(Self { code, message: String::from_utf8_lossy(text).into_owned() })
    }
}

/// The packet ends a list of columns or of rows.
pub(super) fn is_end(payload: &[u8]) -> bool {
    payload.first() == Some(&0xfe) && payload.len() <= END_MAX
}

/// Name of a column, from its definition.
pub fn column(payload: &[u8]) -> Option<String> {
    let mut cursor = Cursor(payload);
    // Catalog, schema, table and the table's own name.
    for _ in 0..4 {
        cursor.string()?;
    }
    Some(String::from_utf8_lossy(cursor.string()?).into_owned())
}

/// Values of a row with this many columns.
pub fn row(payload: &[u8], columns: usize) -> Option<Vec<Option<String>>> {
    let mut cursor = Cursor(payload);
    let text = |value| match value {
        Value::Null => None,
        Value::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    };
    (0..columns).map(|_| cursor.value().map(text)).collect()
}

/// The answer to a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub(in crate::control) columns: Vec<String>,
    pub(in crate::control) rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// The value of a column in a row, whatever the case of its name; `None` also for NULL.
    pub(in crate::control) fn get(&self, row: usize, column: &str) -> Option<&str> {
        let place = self.columns.iter().position(|name| name.eq_ignore_ascii_case(column))?;
        self.rows.get(row)?.get(place)?.as_deref()
    }

    /// In an answer about replication: Group Replication has channels of its own, which are no source.
    pub(in crate::control) fn is_of_group(&self, row: usize) -> bool {
        self.get(row, "Channel_Name").is_some_and(|name| name.starts_with("group_replication_"))
    }

    /// The second column of the row whose first is `name`: how `SHOW VARIABLES` answers.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        let row = self.rows.iter().find(|row| row.first().is_some_and(|first| first.as_deref() == Some(name)))?;
        row.get(1)?.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_a_number_and_words_with_and_without_a_state() {
        let with = ServerError::read(b"\xff\x15\x04#28000Access denied").unwrap();
        assert_eq!((with.code, with.message.as_str()), (1045, "Access denied"));
        let without = ServerError::read(b"\xff\x10\x04Too many connections").unwrap();
        assert_eq!((without.code, without.message.as_str()), (1040, "Too many connections"));
        assert_eq!(ServerError::read(b"\xff\x10\x04#12").unwrap().message, "");
        assert_eq!(ServerError::read(b"\xff\x10"), None);
        assert_eq!(ServerError::read(b"\0\0\0"), None);
    }

    #[test]
    fn rows_have_as_many_values_as_columns() {
        assert_eq!(row(b"\x01a\xfb\x00", 3), Some(vec![Some("a".into()), None, Some(String::new())]));
        assert_eq!(row(b"\x01a", 2), None);
        assert_eq!(column(b"\x03def\0\0\0\x04name\x04name\x0c"), Some("name".into()));
        assert_eq!(column(b"\x03def\0\0"), None);
        assert!(is_end(b"\xfe\0\0\x02\0") && !is_end(b"\xfe\0\0\0\0\0\0\0\0\0"));
    }

    #[test]
    fn a_table_is_asked_by_names() {
        let table = Table {
            columns: vec!["Variable_name".into(), "Value".into()],
            rows: vec![vec![Some("read_only".into()), Some("ON".into())], vec![Some("gtid".into()), None]],
        };
        assert_eq!((table.named("read_only"), table.named("gtid"), table.named("x")), (Some("ON"), None, None));
        assert_eq!((table.get(0, "VALUE"), table.get(1, "value"), table.get(2, "value")), (Some("ON"), None, None));
    }
}
