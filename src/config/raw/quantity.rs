//! Durations, sizes and counts, from text and back.

use std::time::Duration;

pub(in crate::config) const SECOND: Duration = Duration::from_secs(1);
pub(in crate::config) const MILLISECOND: Duration = Duration::from_millis(1);
/// The longest time that a pool may have; a longer one is a mistake.
pub(in crate::config) const DAY: Duration = Duration::from_hours(24);

/// What is wrong with a text, worded to follow "must be …, but ".
type Fault = &'static str;

const TIME_UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000), ("us", 1)];
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Parses `50us`, `100ms`, `2s`, `10m`, `1h`, `1d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Fault> {
    parse_quantity(text, &TIME_UNITS).map(Duration::from_micros)
}

/// Parses `64KiB`, `16MiB`, `1GiB`, `100B`; in bytes.
pub(in crate::config) fn parse_size(text: &str) -> Result<u64, Fault> {
    parse_quantity(text, &SIZE_UNITS)
}

/// The shortest text that is exactly this duration.
pub(in crate::config) fn format_duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if micros == 0 { "0s".into() } else { format_quantity(micros, &TIME_UNITS) }
}

/// The shortest text that is exactly this many bytes.
pub(in crate::config) fn format_size(bytes: u64) -> String {
    if bytes == 0 { "0B".into() } else { format_quantity(bytes, &SIZE_UNITS) }
}

/// Parses a plain decimal number.
pub(in crate::config) fn parse_count(text: &str) -> Result<u64, Fault> {
    if text.starts_with('-') && text.len() > 1 {
        return Err("it is negative");
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("it is not a plain decimal number");
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err("a leading zero makes it octal for some YAML readers");
    }
    text.parse().map_err(|_| "it is too large")
}

fn parse_quantity(text: &str, units: &[(&str, u64)]) -> Result<u64, Fault> {
    let negative = text.starts_with('-');
    let text = text.strip_prefix('-').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() {
        return Err("it does not begin with a number");
    }
    if negative {
        return Err("it is negative");
    }
    if unit.is_empty() {
        return Err("the unit is missing");
    }
    if unit.starts_with(['.', ',']) {
        return Err("it has a fraction");
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else { return Err("the unit is unknown") };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor)).ok_or("it is too large")
}

fn format_quantity(value: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, factor)| value.is_multiple_of(*factor))
        .map_or_else(String::new, |(unit, factor)| format!("{}{unit}", value / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_back_as_they_were_written() {
        for text in ["100ms", "2s", "90s", "10m", "1h", "1d", "0s", "1500ms", "50us", "1500us"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("1d"), Ok(Duration::from_hours(24)));
        assert_eq!(format_duration(Duration::from_mins(2)), "2m");
    }

    #[test]
    fn sizes_come_back_as_they_were_written() {
        for (text, bytes) in [("64KiB", 65_536), ("16MiB", 16 << 20), ("3GiB", 3 << 30), ("0B", 0), ("7B", 7)] {
            assert_eq!(parse_size(text), Ok(bytes));
            assert_eq!(format_size(bytes), text);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, fault) in [
            ("5", "the unit is missing"),
            ("-5s", "it is negative"),
            ("1.5s", "it has a fraction"),
            ("5 s", "the unit is unknown"),
            ("5sec", "the unit is unknown"),
            ("soon", "it does not begin with a number"),
            ("", "it does not begin with a number"),
            ("99999999999999999999s", "it is too large"),
            ("18446744073709551615d", "it is too large"),
        ] {
            assert_eq!(parse_duration(text), Err(fault), "{text}");
        }
        for text in ["16MB", "16M", "16mib", "16"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_are_plain_decimals() {
        assert_eq!(parse_count("0"), Ok(0));
        assert_eq!(parse_count("1000"), Ok(1000));
        for text in ["022", "0x10", "1_000", "1e3", "+1", "-1", "1.0", "", "-", "99999999999999999999"] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }
}
