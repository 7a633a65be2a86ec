use super::*;
use crate::{
    failover::{Cause, RevokeMode, label::Label},
    incidents::Kind,
    route::Clock,
};

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

/// A pool that has served for a while, looked at every 20 ms.
struct Story {
    course: Course,
    shown: Vec<Shown>,
    sight: Sight,
    now: u64,
}

impl Story {
    fn new() -> Self {
        let course = Course::new("orders".into(), Wall(Clock::start()), Time::ZERO);
        Self { course, shown: Vec::new(), sight: Sight::default(), now: 0 }
    }

    fn serving() -> Self {
        let mut story = Self::new();
        story.event(100, "activate", "db-a", 1, Some(Cause::Startup));
        story.pass_until(60_000);
        assert_eq!(story.shown, []);
        story
    }

    fn pass_until(&mut self, until: u64) {
        while self.now < until {
            self.now += 20;
            let shown = self.course.look(at(self.now), self.sight);
            self.shown.extend(shown);
        }
    }

    fn event(&mut self, millis: u64, kind: &'static str, backend: &str, epoch: u64, cause: Option<Cause>) {
        self.change(
            millis,
            StateEvent { kind, backend: Some(backend.into()), epoch: Epoch(epoch), ..StateEvent::default() },
            cause,
        );
    }

    fn change(&mut self, millis: u64, event: StateEvent, cause: Option<Cause>) {
        self.pass_until(millis);
        let evidence = "connect refused".into();
        self.sight.is_active = event.kind == "activate" || (event.kind != "revoke" && self.sight.is_active);
        self.course.event(&StateEvent { at: at(millis), cause: cause.map(Label::as_str), evidence, ..event });
    }

    fn revoke(&mut self, millis: u64, first_sign: u64, backend: &str, epoch: u64, cause: Cause) {
        let (backend, first_sign) = (Some(backend.into()), Some(at(first_sign)));
        let event = StateEvent { kind: "revoke", backend, epoch: Epoch(epoch), first_sign, ..StateEvent::default() };
        self.change(millis, event, Some(cause));
    }

    fn leave(&mut self, millis: u64, backend: &str, epoch: u64, cause: Cause) {
        let (backend, first_sign, sessions_end) = (Some(backend.into()), Some(at(millis)), Some(RevokeMode::LastWords));
        let event =
            StateEvent { kind: "revoke", backend, epoch: Epoch(epoch), first_sign, sessions_end, ..StateEvent::default() };
        self.change(millis, event, Some(cause));
    }

    fn conflict(&mut self, millis: u64, to: &'static str) {
        self.change(millis, StateEvent { kind: "conflict", to: Some(to), ..StateEvent::default() }, None);
    }

    fn lost(&mut self, millis: u64, epoch: u64, lost: u64) {
        let at = at(millis);
        self.course.felt(&[Trouble { epoch: Some(Epoch(epoch)), from: at, until: at, lost, ..Trouble::default() }]);
    }

    fn left(&mut self, millis: u64, epoch: u64, left: u64) {
        let at = at(millis);
        self.course.felt(&[Trouble { epoch: Some(Epoch(epoch)), from: at, until: at, left, ..Trouble::default() }]);
    }

    fn waited(&mut self, from: u64, until: u64) {
        let longest = at(until).since(at(from));
        let one = Trouble { from: at(from), until: at(until), held: 1, served_late: 1, longest, ..Trouble::default() };
        self.course.felt(&[one]);
    }

    /// The only one, which is over.
    fn only(mut self) -> Incident {
        self.pass_until(self.now + 5000);
        let over: Vec<_> = self.shown.iter().filter(|shown| shown.is_over).collect();
        assert_eq!((over.len(), self.course.is_pending()), (1, false), "{:#?}", self.shown);
        assert_eq!(over.last(), self.shown.iter().collect::<Vec<_>>().last());
        over[0].incident.clone()
    }
}

#[test]
fn clients_that_leave_a_server_that_is_gone_are_lost_and_those_of_one_that_shuts_down_are_not() {
    for (cause, lost) in [(Cause::Down, 3), (Cause::Starting, 1)] {
        let mut story = Story::serving();
        story.leave(60_000, "db-a", 1, cause);
        story.lost(60_001, 1, 1);
        // Each had sent a query after the server's last word, and read the word as its answer.
        story.left(60_010, 1, 1);
        story.left(60_300, 1, 1);
        story.event(61_000, "activate", "db-b", 2, Some(Cause::Eligible));
        story.left(61_500, 2, 1);
        assert_eq!(story.only().summary.sessions_aborted, lost, "{cause:?}");
    }
}

#[test]
fn a_failover_has_its_moments_and_what_clients_felt() {
    let mut story = Story::serving();
    story.event(60_003, "health", "db-a", 1, Some(Cause::TwoSignals));
    story.revoke(60_004, 60_000, "db-a", 1, Cause::Down);
    // Noted by the byte path before control saw anything, and by another epoch.
    story.lost(59_995, 1, 90);
    story.lost(60_001, 1, 7);
    story.lost(60_001, 9, 3);
    // By clients that had read why, and by others before it.
    story.left(60_001, 1, 2);
    story.left(59_950, 1, 50);
    // Long before: nothing of it.
    story.lost(59_800, 1, 1);
    story.event(60_055, "activate", "db-b", 2, Some(Cause::Eligible));
    story.waited(60_010, 60_060);
    story.sight.first_served = Some(at(60_061));
    let Incident { summary, first_sign, detected, revoked, activated, first_session, timeline, .. } = story.only();
    assert_eq!((summary.kind, &*summary.cause, &*summary.evidence), (Kind::Failover, "down", "connect refused"));
    assert_eq!((summary.from.as_deref(), summary.to.as_deref(), summary.epoch), (Some("db-a"), Some("db-b"), 2));
    let (felt, gap) = (summary.felt_seconds, summary.gap_seconds);
    assert!((felt - 0.066).abs() < 1e-9 && (gap - 0.051).abs() < 1e-9, "{felt} {gap}");
    let clients = &summary.clients;
    assert_eq!((summary.sessions_aborted, clients.held, clients.served_late, clients.turned_away), (99, 1, 1, 0));
    assert!((clients.longest_wait_seconds - 0.05).abs() < 1e-9);
    let after = |moment: Option<super::super::Moment>| moment.unwrap().since(first_sign.unwrap()).as_millis();
    assert_eq!([detected, revoked, activated, first_session].map(after), [3, 4, 55, 61]);
    assert_eq!(summary.ended, first_session);
    assert!(!summary.open && first_sign.unwrap() > summary.began, "clients felt it first");
    let words: Vec<_> = timeline.iter().map(|line| &*line.text).collect();
    assert_eq!(words.len(), 6, "{words:#?}");
    assert!(words[0].contains("first client feels") && words[5].contains("served by db-b"), "{words:#?}");
}

#[test]
fn the_same_backend_back_is_an_outage_and_an_open_one_is_shown_as_it_goes() {
    let mut story = Story::serving();
    story.revoke(60_000, 60_000, "db-a", 1, Cause::Down);
    story.pass_until(60_020);
    let open = &story.shown[0].incident.summary;
    assert!(open.open && open.kind == Kind::Outage && open.ended.is_none() && open.to.is_none(), "{open:?}");
    story.sight.held = 3;
    story.pass_until(70_000);
    assert!(story.shown.len() >= 10, "every second anew: {}", story.shown.len());
    let open = &story.shown.last().unwrap().incident.summary;
    assert!((9.0..10.0).contains(&open.felt_seconds) && open.clients.held == 3, "{open:?}");
    story.event(70_000, "activate", "db-a", 2, Some(Cause::Eligible));
    story.pass_until(70_500);
    story.sight = Sight { is_active: true, held: 0, first_served: Some(at(70_050)) };
    (0..3).for_each(|client| story.waited(60_000 + client, 70_050));
    let over = story.only().summary;
    assert_eq!((over.kind, over.clients.held, over.clients.served_late), (Kind::Outage, 3, 3));
    assert!((over.felt_seconds - 10.05).abs() < 1e-9, "{over:?}");
}

#[test]
fn who_comes_long_after_has_felt_nothing() {
    let mut story = Story::serving();
    story.revoke(60_000, 59_990, "db-a", 1, Cause::Down);
    story.event(60_100, "activate", "db-b", 2, Some(Cause::Eligible));
    story.pass_until(65_000);
    story.sight.first_served = Some(at(65_000));
    let incident = story.only();
    assert_eq!((incident.first_session, incident.summary.ended), (None, incident.activated));
    assert!(incident.summary.felt_seconds.abs() < 1e-9, "{incident:?}");
}

#[test]
fn two_that_follow_each_other_at_once_are_two() {
    let mut story = Story::serving();
    story.revoke(60_000, 60_000, "db-a", 1, Cause::Down);
    story.event(60_050, "activate", "db-b", 2, Some(Cause::Eligible));
    story.waited(60_010, 60_060);
    // Noted, and read, before control has told of the second one.
    story.lost(60_289, 2, 3);
    story.revoke(60_300, 60_290, "db-b", 2, Cause::Demoted);
    story.event(60_400, "activate", "db-a", 3, Some(Cause::Eligible));
    story.pass_until(70_000);
    let over: Vec<_> = story.shown.iter().filter(|shown| shown.is_over).map(|shown| &shown.incident.summary).collect();
    let moves: Vec<_> = over.iter().map(|one| (one.from.as_deref().unwrap(), one.to.as_deref().unwrap(), &*one.cause)).collect();
    assert_eq!(moves, [("db-a", "db-b", "down"), ("db-b", "db-a", "demoted")]);
    assert_eq!((over[0].clients.held, over[0].sessions_aborted, over[1].clients.held, over[1].sessions_aborted), (1, 0, 0, 3));
    assert!((over[0].gap_seconds - 0.05).abs() < 1e-9 && (over[1].gap_seconds - 0.1).abs() < 1e-9);
}

#[test]
fn what_was_ordered_counts_only_if_clients_felt_it() {
    for felt in [false, true] {
        let mut story = Story::serving();
        let begins = StateEvent { kind: "operation", to: Some("gate"), ..StateEvent::default() };
        story.change(60_000, begins, None);
        story.course.event(&StateEvent {
            at: at(60_000),
            kind: "operation",
            to: Some("gate"),
            cause: Some("switchover"),
            ..StateEvent::default()
        });
        story.revoke(60_800, 60_800, "db-a", 1, Cause::Command);
        if felt {
            story.lost(60_300, 1, 5);
        }
        story.event(60_900, "activate", "db-b", 2, Some(Cause::Command));
        story.pass_until(65_000);
        if felt {
            let incident = story.only();
            assert_eq!((incident.summary.kind, incident.summary.sessions_aborted), (Kind::Planned, 5));
        } else {
            assert_eq!(story.shown, []);
        }
    }
}

#[test]
fn a_conflict_lasts_until_it_is_gone() {
    // Nobody is withdrawn.
    let mut story = Story::serving();
    story.conflict(60_000, "present");
    story.pass_until(90_000);
    assert!(story.shown.iter().all(|shown| !shown.is_over));
    story.conflict(90_000, "gone");
    let incident = story.only();
    assert_eq!((incident.summary.kind, incident.revoked), (Kind::Conflict, None));
    assert!(incident.summary.felt_seconds.abs() < 1e-9 && incident.summary.gap_seconds.abs() < 1e-9, "{incident:?}");
    assert_eq!(incident.summary.ended.unwrap().since(incident.summary.began).as_secs(), 30);
    // The newer one wins, and the old one stays for a while.
    let mut story = Story::serving();
    story.conflict(60_000, "present");
    story.revoke(60_001, 60_001, "db-a", 1, Cause::Conflict);
    story.event(60_002, "activate", "db-b", 2, Some(Cause::Conflict));
    story.lost(60_003, 1, 4);
    story.sight.first_served = Some(at(60_010));
    story.pass_until(80_000);
    story.conflict(80_000, "gone");
    let incident = story.only().summary;
    assert_eq!((incident.kind, incident.sessions_aborted), (Kind::Conflict, 4));
    assert_eq!((incident.from.as_deref(), incident.to.as_deref()), (Some("db-a"), Some("db-b")));
    assert!((incident.felt_seconds - 0.007).abs() < 1e-9, "{incident:?}");
}

#[test]
fn a_slow_start_is_none_and_one_after_an_interruption_is() {
    let mut story = Story::new();
    story.pass_until(14_000);
    story.event(14_000, "activate", "db-a", 1, Some(Cause::Startup));
    story.pass_until(60_000);
    assert_eq!(story.shown, []);
    for (is_continued, from) in [(false, 15_000), (true, 100)] {
        let mut story = Story::new();
        if is_continued {
            story.course.continues();
        }
        story.pass_until(from - 20);
        assert_eq!(story.shown, []);
        story.pass_until(20_000);
        story.event(20_000, "activate", "db-a", 1, Some(Cause::Startup));
        let incident = story.only();
        assert_eq!((incident.summary.kind, &*incident.summary.cause), (Kind::Outage, "startup"));
        assert!((incident.summary.gap_seconds - 20.0).abs() < 1e-9, "{incident:?}");
    }
}

#[test]
fn a_pool_that_is_removed_ends_its_incident() {
    let mut story = Story::serving();
    story.revoke(60_000, 60_000, "db-a", 1, Cause::Down);
    story.pass_until(61_000);
    let shown = story.course.removed(at(61_000));
    assert!(shown.len() == 1 && shown[0].is_over && !story.course.is_pending());
    assert!(shown[0].incident.timeline.last().unwrap().text.contains("no longer configured"));
}
