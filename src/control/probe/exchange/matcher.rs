//! Looks for texts in a stream of bytes, whatever pieces it comes in: byte by byte (Knuth, Morris and Pratt), so that no server can
//! make the search expensive, and nothing that was searched has to be kept.

/// A text to look for.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Vec<u8>,
    /// For each length of a beginning of the text: the length of the longest shorter beginning that it ends with.
    fallback: Vec<usize>,
}

impl Pattern {
    /// A pattern of this text. An empty one is found at once.
    pub fn new(text: &[u8]) -> Self {
        let mut fallback = vec![0; text.len() + 1];
        let mut length = 0;
        for (position, &byte) in text.iter().enumerate().skip(1) {
            while length > 0 && text[length] != byte {
                length = fallback[length];
            }
            length += usize::from(text[length] == byte);
            fallback[position + 1] = length;
        }
        Self { text: text.to_vec(), fallback }
    }

    /// How much of the text has been seen after one more byte, when `seen` had been before it.
    fn advance(&self, mut seen: usize, byte: u8) -> usize {
        loop {
            if self.text.get(seen) == Some(&byte) {
                return seen + 1;
            }
            if seen == 0 {
                return 0;
            }
            seen = self.fallback[seen];
        }
    }
}

/// One of some texts has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which: its place in the list.
    pub which: usize,
    /// Bytes of the last piece up to its end.
    pub consumed: usize,
}

/// A search for whichever of some texts comes first. "First" is the one whose end comes first; of two that end at the same byte,
/// the first of the list.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    patterns: Vec<(&'a Pattern, usize)>,
}

impl<'a> Search<'a> {
    /// Nothing has come yet.
    pub fn new(patterns: impl IntoIterator<Item = &'a Pattern>) -> Self {
        Self { patterns: patterns.into_iter().map(|pattern| (pattern, 0)).collect() }
    }

    /// Looks into the next piece; not to be asked again once something was found.
    pub fn feed(&mut self, piece: &[u8]) -> Option<Found> {
        if let Some(which) = self.patterns.iter().position(|(pattern, _)| pattern.text.is_empty()) {
            return Some(Found { which, consumed: 0 });
        }
        for (position, &byte) in piece.iter().enumerate() {
            for (which, (pattern, seen)) in self.patterns.iter_mut().enumerate() {
                *seen = pattern.advance(*seen, byte);
                if *seen == pattern.text.len() {
                    return Some(Found { which, consumed: position + 1 });
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, stream: &str) -> Option<usize> {
        let pattern = Pattern::new(text.as_bytes());
        Search::new([&pattern]).feed(stream.as_bytes()).map(|found| found.consumed)
    }

    #[test]
    fn a_text_is_found_at_its_first_end() {
        for (text, stream, end) in [
            ("+PONG", "+PONG\r\n", Some(5)),
            ("aab", "aaab", Some(4)),
            ("aab", "aaaab", Some(5)),
            ("abab", "abacababab", Some(8)),
            ("aaa", "aabaaa", Some(6)),
            ("x", "", None),
            ("ab", "a", None),
            ("", "abc", Some(0)),
        ] {
            assert_eq!(find(text, stream), end, "{text} in {stream}");
        }
    }

    #[test]
    fn pieces_are_searched_like_the_whole() {
        let (text, stream) = ("nanobot", "xnananobonanobot!");
        for cut in 0..=stream.len() {
            let pattern = Pattern::new(text.as_bytes());
            let mut search = Search::new([&pattern]);
            let (head, tail) = stream.as_bytes().split_at(cut);
            let end =
                search.feed(head).map(|found| found.consumed).or_else(|| search.feed(tail).map(|found| cut + found.consumed));
            assert_eq!(end, find(text, stream), "cut at {cut}");
        }
    }

    #[test]
    fn of_two_texts_the_first_to_come_is_found() {
        let (primary, standby) = (Pattern::new(b"role:master"), Pattern::new(b"role:slave"));
        let found = Search::new([&primary, &standby]).feed(b"# role:slave, later role:master");
        assert_eq!(found, Some(Found { which: 1, consumed: 12 }));
    }

    #[test]
    fn a_hostile_stream_costs_no_more_than_its_length() {
        let text = [vec![b'a'; 1000], vec![b'b']].concat();
        let pattern = Pattern::new(&text);
        let stream = vec![b'a'; 4 << 20];
        let start = std::time::Instant::now();
        assert_eq!(Search::new([&pattern]).feed(&stream), None);
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    }
}
