//! Looks for texts in a stream of bytes, whatever pieces it comes in. Only what may be the beginning of a text is kept from one piece to
//! the next, and no server can make the search expensive.

use memchr::memmem::Finder;

/// One of some texts has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which: its place in the list.
    pub which: usize,
    /// Bytes of the last piece up to its end.
    pub consumed: usize,
}

/// A search for whichever of some texts comes first. "First" is the one whose end comes first; of two that end at the same byte,
/// the first of the list. An empty text is found at once.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    texts: Vec<Finder<'a>>,
    /// The end of what came, shorter than the longest text.
    kept: Vec<u8>,
}

impl<'a> Search<'a> {
    /// Nothing has come yet.
    pub fn new(texts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self { texts: texts.into_iter().map(Finder::new).collect(), kept: Vec::new() }
    }

    /// Looks into the next piece; not to be asked again once something was found.
    pub fn feed(&mut self, piece: &[u8]) -> Option<Found> {
        let before = self.kept.len();
        self.kept.extend(piece);
        let ends = self.texts.iter().enumerate().filter_map(|(which, text)| {
            let start = text.find(&self.kept)?;
            Some((start + text.needle().len(), which))
        });
        if let Some((end, which)) = ends.min() {
            return Some(Found { which, consumed: end.saturating_sub(before) });
        }
        let longest = self.texts.iter().map(|text| text.needle().len()).max().unwrap_or(0);
        self.kept.drain(..self.kept.len().saturating_sub(longest.saturating_sub(1)));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, stream: &str) -> Option<usize> {
        Search::new([text.as_bytes()]).feed(stream.as_bytes()).map(|found| found.consumed)
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
            let mut search = Search::new([text.as_bytes()]);
            let (head, tail) = stream.as_bytes().split_at(cut);
            let end =
                search.feed(head).map(|found| found.consumed).or_else(|| search.feed(tail).map(|found| cut + found.consumed));
            assert_eq!(end, find(text, stream), "cut at {cut}");
        }
    }

    #[test]
    fn of_two_texts_the_first_to_come_is_found() {
        let found = Search::new([&b"role:master"[..], b"role:slave"]).feed(b"# role:slave, later role:master");
        assert_eq!(found, Some(Found { which: 1, consumed: 12 }));
    }

    #[test]
    fn a_hostile_stream_costs_no_more_than_its_length() {
        let text = [vec![b'a'; 1000], vec![b'b']].concat();
        let stream = vec![b'a'; 4 << 20];
        let start = std::time::Instant::now();
        assert_eq!(Search::new([&text[..]]).feed(&stream), None);
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    }
}
