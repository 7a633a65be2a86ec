//! How a server is watched that answers, but says that it serves no clients: it is starting, recovering or stopping.
//!
//! Each refused login is a line in its log, and no query is known that tells this state without one (`PostgreSQL`:
//! `ProcessStartupPacket`; a cancel, an `SSLRequest` or a bad version get the same answer in all states). So logins are rare while
//! no client waits; the first client that comes causes one. While clients wait, they become rarer with time. A stopping server does
//! not serve before it has ended, and then its port is closed: a connect shows that, which the server logs only with
//! `log_connections`.

use std::time::Duration;

use tokio::time::Instant;

/// Between two logins to a stopping server: one succeeds only if the server's end and restart fell between two polls.
const STOPPING_LOGINS: Duration = Duration::from_secs(1);

/// Least time between two connects to it.
const LOOKS: Duration = Duration::from_millis(20);

/// Between two logins to a starting server while a client waits: at least, and at most in the first ten seconds.
const STARTING_LOGINS: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(100)];

/// Most time between two of either; between two logins to a starting server while no client waits, always.
const LONGEST: Duration = Duration::from_secs(1);

/// What it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Serve, at any moment.
    Starts,
    /// End.
    Stops,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Login,
    Look,
}

/// Since when, and when it was last asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unserved {
    course: Course,
    since: Instant,
    login: Instant,
    asked: Instant,
}

impl Unserved {
    /// A login that began `at` was refused so.
    pub(super) fn refused(before: Option<Self>, course: Course, at: Instant) -> Self {
        let since = before.filter(|before| before.course == course).map_or(at, |before| before.since);
        Self { course, since, login: at, asked: at }
    }

    /// A poll that began `at` showed that it is still there.
    pub(super) const fn looked(&mut self, at: Instant) {
        self.asked = at;
    }

    pub(super) fn question(&self, now: Instant) -> Question {
        let looks = self.course == Course::Stops && now < self.login + STOPPING_LOGINS;
        if looks { Question::Look } else { Question::Login }
    }

    /// It is not asked before this moment, if a client has waited since `wanted`, or none waits.
    pub(super) fn earliest(&self, wanted: Option<Instant>) -> Instant {
        let lasted = self.asked - self.since;
        let soon = match self.course {
            Course::Starts => (lasted / 10).clamp(STARTING_LOGINS[0], STARTING_LOGINS[1]),
            Course::Stops => LOOKS,
        };
        self.asked
            + match (self.course, wanted) {
                (Course::Starts, None) => LONGEST,
                // No login was made for the clients that came since.
                (_, Some(wanted)) if wanted > self.asked => soon,
                // A client that has waited long waits only slightly longer.
                _ => soon.max((lasted / 100).min(LONGEST)),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it is asked in `watched`: logins, looks, and the longest pause. Somebody waits from the beginning, or nobody.
    fn asked(course: Course, watched: Duration, waits: bool) -> (u32, u32, Duration) {
        let start = Instant::now();
        let (mut unserved, mut now) = (Unserved::refused(None, course, start), start);
        let (mut logins, mut looks, mut longest) = (1, 0, Duration::ZERO);
        loop {
            let next = unserved.earliest(waits.then_some(start));
            if next - start > watched {
                return (logins, looks, longest);
            }
            longest = longest.max(next - now);
            now = next;
            match unserved.question(now) {
                Question::Login => {
                    unserved = Unserved::refused(Some(unserved), course, now);
                    logins += 1;
                }
                Question::Look => {
                    unserved.looked(now);
                    looks += 1;
                }
            }
        }
    }

    #[test]
    fn a_server_that_starts_is_found_within_a_tenth_of_a_second_and_later_within_a_hundredth_of_its_time() {
        let (logins, looks, longest) = asked(Course::Starts, Duration::from_secs(10), true);
        assert!((100..=125).contains(&logins) && looks == 0, "{logins} logins, {looks} looks");
        assert!(longest <= Duration::from_millis(101), "{longest:?}");
        let (logins, _, longest) = asked(Course::Starts, Duration::from_hours(1), true);
        assert!(logins < 4000, "{logins}");
        assert_eq!(longest, LONGEST);
        let (logins, ..) = asked(Course::Starts, Duration::from_millis(200), true);
        assert_eq!(logins, 11, "as fast as ever at the beginning");
    }

    #[test]
    fn a_server_that_stops_is_logged_in_to_once_a_second_and_its_end_is_seen_at_once() {
        for waits in [true, false] {
            let (logins, looks, longest) = asked(Course::Stops, Duration::from_secs(10), waits);
            assert!((10..=11).contains(&logins), "{logins}");
            assert!(looks > 200 && longest <= Duration::from_millis(101), "{looks} looks, {longest:?}");
        }
    }

    #[test]
    fn a_server_that_starts_is_logged_in_to_once_a_second_while_nobody_waits_and_at_once_when_somebody_comes() {
        let (logins, ..) = asked(Course::Starts, Duration::from_secs(10), false);
        assert_eq!(logins, 11);
        let start = Instant::now();
        let begun = Unserved::refused(None, Course::Starts, start);
        // However long it has lasted.
        for lasted in [1, 10, 3600].map(Duration::from_secs) {
            let asked = start + lasted;
            let unserved = Unserved::refused(Some(begun), Course::Starts, asked);
            let comes = asked + Duration::from_millis(300);
            assert_eq!(unserved.earliest(None), asked + LONGEST);
            assert_eq!(unserved.earliest(Some(comes)), asked + STARTING_LOGINS[1], "due when it comes");
            let since = asked - Duration::from_millis(1);
            assert_eq!(unserved.earliest(Some(since)), asked + STARTING_LOGINS[1].max(lasted / 100).min(LONGEST));
        }
    }

    #[test]
    fn another_course_begins_anew() {
        let start = Instant::now();
        let late = start + Duration::from_mins(1);
        let stops = Unserved::refused(None, Course::Stops, start);
        let starts = Unserved::refused(Some(Unserved::refused(Some(stops), Course::Stops, late)), Course::Starts, late);
        assert_eq!(starts.earliest(Some(start)), late + STARTING_LOGINS[0]);
        assert_eq!(starts.question(late), Question::Login);
    }
}
