//! Counts, durations and sizes. A pattern also says which range a duration may have.

use std::{fmt::Write, ops::RangeInclusive, time::Duration};

use serde_json::{Value as Json, json};

use super::{any_of, matching, or_words, variable, variable_pattern};

/// The units of a duration, in microseconds.
const TIME: [(&str, u64); 6] =
    [("us", 1), ("ms", 1000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];

const SIZE: &str = "[0-9]+(?:B|KiB|MiB|GiB)";

/// A number in this range.
pub(in crate::config) fn count(range: &RangeInclusive<u32>) -> Json {
    json!({
        "type": ["integer", "string"], "minimum": range.start(), "maximum": range.end(), "pattern": variable_pattern(),
    })
}

/// The same, or this word.
pub(in crate::config) fn count_or(range: &RangeInclusive<u32>, word: &str) -> Json {
    let count = json!({"type": "integer", "minimum": range.start(), "maximum": range.end()});
    any_of([json!({"enum": [word]}), count, variable()])
}

/// A duration in this range.
pub(in crate::config) fn duration(range: &RangeInclusive<Duration>) -> Json {
    matching(&durations(range, 1))
}

/// The same, or `off`.
pub(in crate::config) fn duration_or_off(range: &RangeInclusive<Duration>) -> Json {
    or_words(duration(range), &["off"])
}

/// A duration of whole seconds in this range.
pub(in crate::config) fn seconds(range: &RangeInclusive<Duration>) -> Json {
    matching(&durations(range, 1_000_000))
}

/// A size in bytes.
pub(in crate::config) fn size() -> Json {
    matching(SIZE)
}

/// A size, or a duration.
pub(in crate::config) fn size_or_duration() -> Json {
    matching(&format!("{SIZE}|[0-9]+(?:us|ms|s|m|h|d)"))
}

/// The durations of this range that are multiples of `step` microseconds, each unit that has any.
fn durations(range: &RangeInclusive<Duration>, step: u64) -> String {
    let micros = |duration: &Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let (least, most) = (micros(range.start()), micros(range.end()));
    let of_unit = |(unit, micros): (&str, u64)| {
        // A number in a unit that is smaller than the step ends in zeros.
        let unit_step = step.max(micros);
        let zeros = "0".repeat((unit_step / micros).ilog10() as usize);
        let (least, most) = (least.div_ceil(unit_step), most / unit_step);
        (least <= most).then(|| format!("0*{}{zeros}{unit}", numbers(least, most)))
    };
    TIME.into_iter().filter_map(of_unit).collect::<Vec<_>>().join("|")
}

/// A pattern of the decimal numbers from `least` to `most`, without leading zeros.
pub(super) fn numbers(least: u64, most: u64) -> String {
    let mut parts: Vec<String> = Vec::new();
    // How many digits there are after the first one, as long as every number of that length is allowed.
    let mut whole: Option<(u32, u32)> = None;
    for length in least.max(1).ilog10()..=most.max(1).ilog10() {
        let (smallest, largest) = (if length == 0 { 0 } else { 10_u64.pow(length) }, largest(length));
        let (from, to) = (least.max(smallest), most.min(largest));
        if length > 0 && (from, to) == (smallest, largest) {
            whole = Some((whole.map_or(length, |(first, _)| first), length));
        } else {
            let width = length as usize + 1;
            parts.push(same_length(&format!("{from:0width$}"), &format!("{to:0width$}")));
        }
    }
    if let Some((first, last)) = whole {
        parts.push(format!("[1-9][0-9]{{{first},{last}}}"));
    }
    format!("(?:{})", parts.join("|"))
}

/// The largest number with so many digits after its first.
fn largest(digits: u32) -> u64 {
    10_u64.checked_pow(digits + 1).map_or(u64::MAX, |next| next - 1)
}

/// The numbers between two with the same number of digits.
fn same_length(least: &str, most: &str) -> String {
    let (Some(from), Some(to)) = (least.chars().next(), most.chars().next()) else { return String::new() };
    let (low, high) = (&least[1..], &most[1..]);
    if low.bytes().all(|digit| digit == b'0') && high.bytes().all(|digit| digit == b'9') {
        return span(from, to) + &any_digits(low.len());
    }
    if from == to {
        return format!("{from}{}", same_length(low, high));
    }
    let mut parts = vec![format!("{from}{}", same_length(low, &"9".repeat(low.len())))];
    let next = |digit: char, by: i8| char::from((digit as u8).saturating_add_signed(by));
    if next(from, 1) <= next(to, -1) {
        parts.push(span(next(from, 1), next(to, -1)) + &any_digits(low.len()));
    }
    parts.push(format!("{to}{}", same_length(&"0".repeat(high.len()), high)));
    format!("(?:{})", parts.join("|"))
}

fn span(first: char, last: char) -> String {
    if first == last { first.to_string() } else { format!("[{first}-{last}]") }
}

fn any_digits(count: usize) -> String {
    let mut digits = String::new();
    match count {
        0 => {}
        1 => digits.push_str("[0-9]"),
        // Writing to a String cannot fail.
        _ => drop(write!(digits, "[0-9]{{{count}}}")),
    }
    digits
}
