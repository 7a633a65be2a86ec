//! What is asked of mainstay again and again, and shown on a screen of its own until a key or a signal ends it.

use std::{
    future::Future,
    io,
    pin::Pin,
    time::{Duration, SystemTime},
};

use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, sleep_until},
};

use super::{
    client::Unreachable,
    terminal::{Charset, Colour, FullScreen, Key, Keys, Paint, Style, cut, width, wrap},
};

/// From one question to the next.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
/// A question that has no answer for this long is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// An answer that is awaited.
pub(super) type Asked<A> = Pin<Box<dyn Future<Output = Result<A, Unreachable>>>>;

/// What a screen shows.
pub(super) trait Live {
    /// What mainstay answers.
    type Answer;

    /// Asks once more.
    fn ask(&self) -> Asked<Self::Answer>;

    /// Takes an answer.
    fn take(&mut self, answer: Self::Answer);

    /// A key that the screen itself does not know.
    fn press(&mut self, key: Key);

    /// Whether every key but Ctrl-C is for [`Live::press`], because a text is typed.
    fn is_typing(&self) -> bool {
        false
    }

    /// What stands there. Lines that are too long are cut.
    fn frame(&self, style: Style, size: (usize, usize)) -> Frame;
}

/// What stands on a screen.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// Always seen.
    pub(super) head: Vec<String>,
    /// Scrolled.
    pub(super) body: Vec<String>,
    /// The last line: what keys do.
    pub(super) foot: String,
}

/// When mainstay last answered, and since when it has not.
#[derive(Debug, Default)]
struct Hearing {
    last: Option<SystemTime>,
    silent: Option<(SystemTime, String)>,
    asked: Option<(SystemTime, Instant)>,
}

/// Shows it until `q`, Ctrl-C, SIGINT, SIGTERM or SIGHUP. Whether mainstay answered when it was last asked.
///
/// # Errors
/// When the terminal is gone, or the system refuses what is needed.
pub(super) fn run(live: &mut impl Live) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(show(live))
}

async fn show<L: Live>(live: &mut L) -> io::Result<bool> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut screen = FullScreen::enter()?;
    let (mut keys, mut scrolled) = (Keys::new(), Scroll::default());
    let style = Style { paint: Paint::of_stdout(), charset: Charset::of_environment() };
    let mut hearing = Hearing::default();
    let (mut asked, mut again): (Option<Asked<L::Answer>>, _) = (None, Instant::now());
    loop {
        let size = screen.size();
        screen.show(compose(live, style, size, &mut scrolled, &hearing))?;
        select! {
            answer = async { match &mut asked { Some(asked) => asked.await, None => std::future::pending().await } } => {
                asked = None;
                hearing.hear(live, answer);
            }
            () = sleep_until(again), if asked.is_none() => {
                let now = Instant::now();
                again = (again + PERIOD).max(now);
                hearing.asked = Some((SystemTime::now(), now));
                asked = Some(live.ask());
            }
            key = keys.next() => match key {
                Key::Interrupt => break,
                key if live.is_typing() => live.press(key),
                Key::Char('q') => break,
                Key::Suspend => screen.suspend()?,
                key if scrolled.press(key) => {}
                key => live.press(key),
            },
            _ = resized.recv() => {}
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
            // What is told of the time goes on although mainstay is silent.
            () = sleep(PERIOD) => {}
        }
    }
    Ok(hearing.silent.is_none() && hearing.last.is_some())
}

impl Hearing {
    fn hear<L: Live>(&mut self, live: &mut L, answer: Result<L::Answer, Unreachable>) {
        let asked = self.asked.take();
        match answer {
            Ok(answer) => {
                (self.last, self.silent) = (Some(SystemTime::now()), None);
                live.take(answer);
            }
            Err(error) => {
                let since = self.silent.take().map(|(since, _)| since);
                let since = since.or(asked.map(|(wall, _)| wall)).unwrap_or_else(SystemTime::now);
                self.silent = Some((since, error.to_string()));
            }
        }
    }

    /// Since when it has not answered, and why that is known.
    fn silence(&self) -> Option<(SystemTime, &str)> {
        let waiting = self.asked.filter(|(_, began)| began.elapsed() >= PATIENCE);
        let waiting = waiting.map(|(since, _)| (since, "It has accepted the connection or the question, and says nothing."));
        self.silent.as_ref().map(|(since, why)| (*since, &**why)).or(waiting)
    }
}

/// The lines of a screen: the head, as much of the body as has room, and the foot.
fn compose(
    live: &impl Live,
    style: Style,
    (columns, rows): (usize, usize),
    scrolled: &mut Scroll,
    hearing: &Hearing,
) -> Vec<String> {
    let silence = hearing.silence();
    // What is old has no colours: green would be a lie.
    let shown = if silence.is_some() { Style { paint: Paint::Off, ..style } } else { style };
    let Frame { head, mut body, foot } = live.frame(shown, (columns, rows));
    let mut lines = Vec::new();
    if let Some((since, why)) = silence {
        let ago = SystemTime::now().duration_since(since).unwrap_or_default().as_secs();
        lines.push(style.paint.text(Colour::Bad, &format!("MAINSTAY DOES NOT ANSWER since {}, for {ago} s", time_of_day(since))));
        lines.extend(wrap(why, columns));
        if let Some(last) = hearing.last {
            lines.push(format!("What follows is what it said last, at {}:", time_of_day(last)));
            lines.extend(head.iter().map(|line| style.paint.text(Colour::Quiet, line)));
            body = body.iter().map(|line| style.paint.text(Colour::Quiet, line)).collect();
        }
    } else if hearing.last.is_none() {
        lines.push("asking mainstay …".to_owned());
    } else {
        lines.extend(head);
    }
    // Where there is hardly any room, the first line is what matters.
    let above = if rows < 3 { rows } else { rows - 1 };
    lines.truncate(above);
    let room = above - lines.len();
    let (from, to) = scrolled.window(body.len(), room);
    lines.extend(body.drain(from..to));
    lines.resize(above, String::new());
    let place =
        if to - from < scrolled.total { format!("lines {}-{to} of {}   ", from + 1, scrolled.total) } else { String::new() };
    lines.push(style.paint.text(Colour::Quiet, &apart(&(place + &foot), &time_of_day(SystemTime::now()), columns)));
    lines.truncate(rows);
    lines.iter().map(|line| cut(&style.charset.shown(line), columns)).collect()
}

/// Both in one line, the second at its end if there is room.
pub(super) fn apart(left: &str, right: &str, columns: usize) -> String {
    let gap = columns.saturating_sub(width(left) + width(right));
    if gap > 2 { format!("{left}{}{right}", " ".repeat(gap)) } else { left.to_owned() }
}

/// `02:00:03 UTC`.
fn time_of_day(at: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(at).to_string();
    format!("{} UTC", text.get(11..19).unwrap_or_default())
}

/// Which part of the body is seen.
#[derive(Debug, Default)]
struct Scroll {
    top: usize,
    total: usize,
    room: usize,
}

impl Scroll {
    /// The lines that are seen, of so many, with room for so many.
    fn window(&mut self, total: usize, room: usize) -> (usize, usize) {
        (self.total, self.room) = (total, room);
        self.top = self.top.min(total.saturating_sub(room));
        (self.top, (self.top + room).min(total))
    }

    /// Whether the key scrolls.
    fn press(&mut self, key: Key) -> bool {
        let page = self.room.saturating_sub(1).max(1);
        self.top = match key {
            Key::Up | Key::Char('k') => self.top.saturating_sub(1),
            Key::Down | Key::Char('j') => self.top + 1,
            Key::PageUp => self.top.saturating_sub(page),
            Key::PageDown | Key::Char(' ') => self.top + page,
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => usize::MAX - page,
            _ => return false,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrolling_stays_within_what_there_is() {
        let mut scroll = Scroll::default();
        assert_eq!(scroll.window(100, 10), (0, 10));
        for (key, seen) in [
            (Key::Up, (0, 10)),
            (Key::Down, (1, 11)),
            (Key::PageDown, (10, 20)),
            (Key::End, (90, 100)),
            (Key::Char(' '), (90, 100)),
            (Key::PageUp, (81, 91)),
            (Key::Home, (0, 10)),
        ] {
            assert!(scroll.press(key));
            assert_eq!(scroll.window(100, 10), seen, "{key:?}");
        }
        assert!(!scroll.press(Key::Char('x')));
        scroll.press(Key::End);
        scroll.window(100, 10);
        assert_eq!((scroll.window(5, 10), scroll.window(0, 0)), ((0, 5), (0, 0)), "what became less");
    }
}
