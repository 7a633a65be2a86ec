//! Numbers of transactions of `MySQL` (`MySQL` documentation, "GTID Format and Storage"): `UUID:1-23:30,UUID:1-5`; from 8.3 on also with tags,
//! `UUID:1-23:tag:1-5`.

/// The part of a set that one server has written: what follows its identity.
pub(super) fn of<'a>(set: &'a str, uuid: &str) -> &'a str {
    let parts = set.split(',').map(str::trim);
    let mut own = parts.filter_map(|part| {
        let (server, numbers) = part.split_at_checked(uuid.len())?;
        server.eq_ignore_ascii_case(uuid).then_some(numbers)
    });
    own.next().unwrap_or_default()
}

/// How many transactions are in any of these parts; `None` for what is none.
pub(super) fn count<'a>(parts: impl IntoIterator<Item = &'a str>) -> Option<u64> {
    let mut intervals = Vec::new();
    for part in parts {
        let mut tag = "";
        for word in part.split(':').map(str::trim).filter(|word| !word.is_empty()) {
            if !word.starts_with(|c: char| c.is_ascii_digit()) {
                tag = word;
                continue;
            }
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            intervals.push((tag, first.parse::<u64>().ok()?, last.parse::<u64>().ok()?));
        }
    }
    intervals.sort_unstable();
    let (mut count, mut before) = (0_u64, ("", 0));
    for (tag, first, last) in intervals {
        // What was counted already of this tag.
        let counted = if before.0 == tag { before.1 } else { 0 };
        let new = last.checked_add(1)?.saturating_sub(first.max(counted + 1));
        count = count.checked_add(new)?;
        before = (tag, counted.max(last));
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_of_a_server_is_what_follows_its_identity() {
        let set = "3e11fa47-71ca:1-5:7:blue:1-3,\n7D9AF1D2-71ca:1-9";
        assert_eq!(of(set, "3e11fa47-71ca"), ":1-5:7:blue:1-3");
        assert_eq!(of(set, "7d9af1d2-71ca"), ":1-9");
        assert_eq!((of(set, "11111111-71ca"), of("", "7d9af1d2-71ca"), of("\u{e9}\u{e9}", "abc")), ("", "", ""));
    }

    #[test]
    fn each_transaction_counts_once() {
        for (parts, transactions) in [
            (["", ""], Some(0)),
            ([":1-5", ""], Some(5)),
            ([":1-5:7", ""], Some(6)),
            // Received, and applied out of order.
            ([":3-12", ":1-10:12"], Some(12)),
            ([":5-6", ":1-10"], Some(10)),
            ([":1-5:blue:1-3", ":1-6:blue:2-4:red:9"], Some(6 + 4 + 1)),
            ([":1-5\n", ":1-"], None),
            ([":1-99999999999999999999", ""], None),
            ([":1-18446744073709551615", ""], None),
            ([":9-3", ""], Some(0)),
        ] {
            assert_eq!(count(parts), transactions, "{parts:?}");
        }
    }
}
