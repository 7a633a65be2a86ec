//! Moments that mainstay tells as text, on this process's monotonic clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One moment on both clocks, taken when mainstay is started. mainstay too looks at the wall clock once, at its start, and counts
/// from there with the machine's monotonic clock; so the two agree for as long as it runs, whatever is done to the wall clock.
/// Its text has milliseconds, cut off: a moment read from it is up to one millisecond early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    monotonic: Instant,
    wall: SystemTime,
}

impl Anchor {
    pub(crate) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// The moment that `2026-11-23T02:00:00.000Z` stands for; `None` when the text is no such moment, or one before this anchor.
    pub(crate) fn moment(&self, text: &str) -> Option<Instant> {
        let since = (UNIX_EPOCH + parse(text)?).duration_since(self.wall).ok()?;
        Some(self.monotonic + since)
    }
}

/// Since 1970.
fn parse(text: &str) -> Option<Duration> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (time, millis) = time.split_once('.')?;
    let mut time = time.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let seconds = days_from_civil(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Duration::from_secs(seconds) + Duration::from_millis(millis.parse().ok()?))
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}
