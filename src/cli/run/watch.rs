//! Whether the configuration file has changed by itself (`reload.watch`): by its content, since a symbolic link that leads elsewhere
//! (a `ConfigMap` of Kubernetes) changes no time and no size of the file that is named.

use std::time::Duration;

use crate::config::ContentHash;

/// What is known of the file.
#[derive(Debug)]
pub(super) struct FileWatch {
    /// Between two looks; `None`: nobody looks.
    every: Option<Duration>,
    /// What was loaded or refused last.
    tried: ContentHash,
    /// Other content that the last look saw.
    seen: Option<ContentHash>,
    /// Why `tried` is not in use, if it may be loaded later without another content: a file that it names may come.
    refusal: Option<String>,
}

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing.
    Wait,
    /// It has other content, which nobody writes to any more: load it.
    Load,
    /// It is as it was when it was refused: see whether it can be loaded now.
    Retry,
}

impl FileWatch {
    /// `loaded` is in use.
    pub(super) const fn new(every: Option<Duration>, loaded: ContentHash) -> Self {
        Self { every, tried: loaded, seen: None, refusal: None }
    }

    /// How long to wait for the next look; `None`: for ever.
    pub(super) const fn pause(&self) -> Option<Duration> {
        self.every
    }

    /// The file holds `now`. Other content counts at the second look that finds it: at the first, somebody may be writing.
    pub(super) fn look(&mut self, now: ContentHash) -> Look {
        if now == self.tried {
            self.seen = None;
            return if self.refusal.is_some() { Look::Retry } else { Look::Wait };
        }
        if self.seen.replace(now) == Some(now) { Look::Load } else { Look::Wait }
    }

    /// `content` is in use.
    pub(super) fn loaded(&mut self, content: ContentHash, every: Option<Duration>) {
        *self = Self::new(every, content);
    }

    /// `content` was refused; `retry` says why, if it may be loaded later as it is.
    pub(super) fn refused(&mut self, content: ContentHash, retry: Option<String>) {
        *self = Self { refusal: retry, ..Self::new(self.every, content) };
    }

    /// Whether this is why it was refused last, which was told.
    pub(super) fn is_told(&self, refusal: &str) -> bool {
        self.refusal.as_deref() == Some(refusal)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::config::FileContent;

    fn hashes() -> [ContentHash; 3] {
        let path = std::env::temp_dir().join(format!("mainstay-watch-{}.yaml", std::process::id()));
        let hash = |text: &str| {
            fs::write(&path, text).unwrap();
            FileContent::read(&path).hash()
        };
        let hashes = [hash("a"), hash("b"), FileContent::read(Path::new("/nowhere/to/be/found")).hash()];
        fs::remove_file(&path).unwrap();
        hashes
    }

    #[test]
    fn other_content_counts_when_two_looks_have_seen_it() {
        let [old, new, gone] = hashes();
        let mut watch = FileWatch::new(Some(Duration::from_secs(2)), old);
        let looks = [old, new, old, new, gone, new, new].map(|now| watch.look(now));
        let expected = [Look::Wait, Look::Wait, Look::Wait, Look::Wait, Look::Wait, Look::Wait, Look::Load];
        assert_eq!(looks, expected);
        watch.loaded(new, None);
        assert_eq!((watch.look(new), watch.pause()), (Look::Wait, None));
        // What was in use before is other content, too.
        assert_eq!([old, old].map(|now| watch.look(now)), [Look::Wait, Look::Load]);
    }

    #[test]
    fn refused_content_is_tried_again_only_if_that_may_help() {
        let [old, bad, gone] = hashes();
        let mut watch = FileWatch::new(Some(Duration::from_secs(2)), old);
        watch.refused(bad, Some("a file is missing".into()));
        assert!(watch.is_told("a file is missing") && !watch.is_told("it is empty"));
        assert_eq!([bad, bad].map(|now| watch.look(now)), [Look::Retry, Look::Retry]);
        assert_eq!([old, old].map(|now| watch.look(now)), [Look::Wait, Look::Load]);
        watch.refused(gone, None);
        assert_eq!([gone, gone].map(|now| watch.look(now)), [Look::Wait, Look::Wait]);
        assert_eq!(watch.pause(), Some(Duration::from_secs(2)), "the pause is that of the configuration in use");
    }
}
