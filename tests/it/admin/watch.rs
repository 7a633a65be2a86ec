//! `mainstay status --watch` in a real terminal (tmux), and piped.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use mainstay::{
    failover::{BackendId, FailoverReady, Printable},
    lifecycle::Phase,
    route::Snapshot,
};
use serde_json::{Value, json};

use super::fixture::{Fixture, dead, down, failed_over, primary};
use crate::support::{
    child::ended,
    echo::{Backend, refusing},
    process::{Process, Signal, settings},
    scratch::Scratch,
    tmux::Terminal,
    wait::{patience, until},
};

/// Both are up, and `db-b` is ready to take over.
fn calm() -> Snapshot {
    let backends = vec![primary("db-a"), primary("db-b")];
    Snapshot { active: Some(BackendId(0)), backends, failover_ready: FailoverReady::Yes, last_failover: None, ..failed_over() }
}

fn watch(f: &Fixture, terminal: &Terminal, before: &str) {
    terminal.run(&format!("{before}mainstay status --watch --admin {}", f.address));
}

fn is_restored(terminal: &Terminal) {
    until("the screen is as it was", || (terminal.knows("#{alternate_on} #{cursor_flag}") == "0 1").then_some(()));
}

#[test]
fn what_is_wrong_is_the_first_thing_that_is_seen() {
    let f = Fixture::new(calm());
    let terminal = Terminal::start(100, 24);
    watch(&f, &terminal, "");
    let screen = terminal.until("all is well", |screen| screen.starts_with("All is well: 1 pool "));
    assert_eq!(screen.lines().nth(2).unwrap().get(..10), Some("ok orders:"), "{screen}");
    assert!(screen.contains("* db-a") && screen.lines().last().unwrap().starts_with("q quits"), "{screen}");
    f.publisher.snapshot(failed_over());
    let screen = terminal.until("a failover", |screen| screen.starts_with("WARNING: look at 1 of 1 pool; clients are served"));
    assert!(screen.contains("* db-b") && screen.contains("!  orders: Clients go to db-b."), "{screen}");
    assert!(screen.contains("no backend served for 51 ms"), "{screen}");
    f.publisher.snapshot(dead());
    let screen = terminal.until("an outage", |screen| screen.starts_with("TROUBLE in 1 of 1 pool "));
    assert!(screen.lines().nth(2).unwrap().starts_with("!! orders: NO BACKEND MAY SERVE."), "{screen}");
    // The strip of `db-a` has what was, the one of `db-b` ends as it is.
    let strip =
        |name: &str| screen.lines().rfind(|line| line.starts_with(&format!("    {name} "))).unwrap_or_default().to_owned();
    assert!(strip("db-a").ends_with('D') && strip("db-b").ends_with('D') && strip("db-a").contains('.'), "{screen}");
}

#[test]
fn only_what_changed_is_written_again() {
    let f = Fixture::new(calm());
    let terminal = Terminal::start(100, 24);
    watch(&f, &terminal, "");
    let first = terminal.until("all is well", |screen| screen.starts_with("All is well"));
    terminal.record();
    let clock = |screen: &str| screen.lines().last().unwrap().to_owned();
    let mut seen = vec![clock(&first)];
    terminal.until("the clock went on four times", |screen| {
        if seen.last() != Some(&clock(screen)) {
            seen.push(clock(screen));
        }
        seen.len() > 4
    });
    let written = terminal.recorded();
    assert!(!written.contains("\x1b[2J") && !written.contains("listener"), "{written:?}");
    assert!(written.contains("\x1b[24;1H") && written.len() < 2500, "{} bytes: {written:?}", written.len());
}

#[test]
fn every_way_out_restores_the_terminal() {
    let f = Fixture::new(calm());
    let terminal = Terminal::start(90, 20);
    terminal.run("stty -g > before");
    for how in ["q", "C-c", "SIGTERM", "SIGHUP", "SIGINT"] {
        watch(&f, &terminal, "");
        terminal.until("it is shown", |screen| screen.starts_with("All is well"));
        assert_eq!(terminal.knows("#{alternate_on} #{cursor_flag}"), "1 0");
        let signal = match how {
            "SIGTERM" => Some(Signal::TERM),
            "SIGHUP" => Some(Signal::HUP),
            "SIGINT" => Some(Signal::INT),
            _ => None,
        };
        match signal {
            Some(signal) => terminal.signal(signal),
            None => terminal.keys(&[how]),
        }
        is_restored(&terminal);
        terminal.run(&format!("echo {how} left with $?"));
        terminal.until("the shell is back", |screen| screen.contains(&format!("{how} left with 0\n")));
        // What is typed must not look like what is printed.
        terminal.run("clear; stty -g | cmp - before && echo the' 'same");
        terminal.until("the settings of the terminal", |screen| screen.contains("the same\n"));
    }
}

#[test]
fn ctrl_z_gives_the_terminal_back_until_it_goes_on() {
    let f = Fixture::new(calm());
    let terminal = Terminal::start(90, 20);
    terminal.run("set -m");
    watch(&f, &terminal, "");
    terminal.until("it is shown", |screen| screen.starts_with("All is well"));
    terminal.keys(&["C-z"]);
    is_restored(&terminal);
    terminal.run("echo still the' 'shell");
    terminal.until("the shell works", |screen| screen.contains("still the shell\n"));
    terminal.run("fg");
    terminal.until("it is shown again", |screen| screen.starts_with("All is well"));
    terminal.keys(&["q"]);
    is_restored(&terminal);
}

#[test]
fn a_mainstay_that_stops_says_so() {
    let f = Fixture::new(calm());
    let terminal = Terminal::start(100, 24);
    watch(&f, &terminal, "");
    terminal.until("all is well", |screen| screen.starts_with("All is well"));
    f.advance(Phase::Draining);
    terminal.until("it stops", |screen| screen.starts_with("MAINSTAY WAS TOLD TO STOP and is draining. All is well: 1 pool"));
}

/// Whether a screen shows what it should.
type IsRight<'a> = &'a dyn Fn(&str) -> bool;

#[test]
fn it_fits_every_size_and_loses_nothing_that_matters() {
    let f = Fixture::new(dead());
    let terminal = Terminal::start(200, 50);
    watch(&f, &terminal, "");
    terminal.until("everything fits", |screen| {
        screen.starts_with("TROUBLE") && screen.contains("VERSION") && screen.contains("ADDRESS")
    });
    let has_table = |screen: &str| screen.contains("MAY SERVE") && screen.contains("ADDRESS");
    let sizes: [(u16, u16, IsRight<'_>); 6] = [
        (50, 30, &|screen| screen.contains("MAY SERVE") && !screen.contains("ADDRESS")),
        (30, 8, &|screen| screen.contains("\n!! orders: NO BACKEND MAY") && screen.contains("\nlines 1-5 of ")),
        (100, 30, &has_table),
        (20, 3, &|screen| screen.starts_with("TROUBLE in 1 of 1 po\n") && screen.contains("\nlines ")),
        (1, 1, &|screen| screen == "T\n"),
        (80, 24, &has_table),
    ];
    for (columns, rows, is_right) in sizes {
        terminal.resize(columns, rows);
        let screen = terminal.until(&format!("it is drawn for {columns} columns"), |screen| {
            // What tmux has cut is no picture of ours: that ends with the line of the keys.
            let ends = screen.lines().last().is_some_and(|last| rows < 3 || last.contains("q quits") || last.contains("lines "));
            ends && is_right(screen)
        });
        assert!(screen.starts_with('T') && screen.lines().count() <= rows.into(), "{screen}");
        assert!(screen.lines().all(|line| line.chars().count() <= columns.into()), "{screen}");
        if columns == 50 {
            assert!(screen.replace("\n   ", " ").contains("db-b is down"), "the sentence goes on in the next line:\n{screen}");
        }
    }
}

#[test]
fn colours_go_where_nobody_wants_them_and_words_say_the_same() {
    let f = Fixture::new(dead());
    let terminal = Terminal::start(100, 24);
    watch(&f, &terminal, "");
    terminal.until("it is shown", |screen| screen.starts_with("TROUBLE"));
    assert!(terminal.coloured().contains("\x1b[1m\x1b[31mTROUBLE"), "{:?}", terminal.coloured());
    terminal.keys(&["q"]);
    is_restored(&terminal);
    watch(&f, &terminal, "NO_COLOR=1 ");
    let plain = terminal.until("it is shown", |screen| screen.starts_with("TROUBLE"));
    assert!(!terminal.coloured().contains('\x1b'), "{:?}", terminal.coloured());
    assert!(plain.contains("\n!! orders: NO BACKEND MAY SERVE"), "{plain}");
}

#[test]
fn what_the_terminal_cannot_show_is_not_sent() {
    let f = Fixture::new(Snapshot { pool: "größe".into(), ..calm() });
    let _held = f.series.pool.held.guard();
    let terminal = Terminal::start(100, 24);
    watch(&f, &terminal, "");
    terminal.until("letters and bars", |screen| screen.contains("ok größe:") && screen.contains('█'));
    for locale in ["C", "de_DE.ISO-8859-1"] {
        terminal.keys(&["q"]);
        is_restored(&terminal);
        watch(&f, &terminal, &format!("LC_ALL={locale} "));
        let screen =
            terminal.until("letters and bars of ASCII", |screen| screen.contains("ok gr??e:") && screen.contains("# most 1"));
        assert!(screen.is_ascii(), "{screen}");
    }
}

#[test]
fn nothing_of_a_stranger_reaches_the_terminal_raw() {
    let nasty = "\x1b]0;evil\x07\x1b[2J\u{9b}2J\u{202e}\u{200b}\r\nall is well";
    let mut snapshot = failed_over();
    let backend = &mut snapshot.backends[0];
    (backend.name, backend.address, backend.facts.version) = (nasty.into(), nasty.into(), Some(Printable::from(nasty)));
    backend.proof_what = nasty.into();
    let last = snapshot.last_failover.as_mut().unwrap();
    (last.from, last.evidence) = (nasty.into(), nasty.into());
    let f = Fixture::new(Snapshot { pool: format!("pool{nasty}").into(), ..snapshot });
    let terminal = Terminal::start(250, 24);
    terminal.record();
    watch(&f, &terminal, "");
    terminal.until("it is shown", |screen| screen.starts_with("WARNING") && screen.contains(r"pool\u{1b}]0;evil\u{7}\u{1b}[2J"));
    terminal.keys(&["/", "p", "Enter"]);
    terminal.until("it is found", |screen| screen.contains("1 pools with"));
    terminal.keys(&["q"]);
    is_restored(&terminal);
    let written = terminal.recorded();
    for raw in ["\x1b]", "\x07\x1b", "\u{9b}", "\u{202e}", "\u{200b}"] {
        assert!(!written.contains(raw), "{raw:?} in {written:?}");
    }
    // Those of the screen itself: when it begins, and once when it was found that something must be drawn anew.
    assert_eq!(written.matches("\x1b[2J").count(), 2, "{written:?}");
}

#[test]
fn a_mainstay_that_is_gone_is_told_and_its_return_is_seen() {
    let (backend, scratch) = (Backend::echo(), Scratch::new());
    let socket = format!("unix:{}", scratch.path("admin.sock").display());
    let mut settings = settings(&[backend.address]);
    settings["admin"]["listen"] = json!(["127.0.0.1:0", socket]);
    let process = Process::start(&settings).serving();
    let terminal = Terminal::start(100, 30);
    terminal.run(&format!("mainstay status --watch --admin {socket}"));
    terminal.until("it is served", |screen| screen.starts_with("All is well"));
    process.freeze();
    let screen = terminal.until("it says nothing", |screen| screen.starts_with("MAINSTAY DOES NOT ANSWER since "));
    assert!(screen.contains("What follows is what it said last, at ") && screen.contains("All is well"), "{screen}");
    assert!(!terminal.coloured().contains("\x1b[32m"), "what is old is not green: {:?}", terminal.coloured());
    process.signal(Signal::CONT);
    terminal.until("it goes on", |screen| screen.starts_with("All is well"));
    drop(process);
    let screen = terminal.until("it is gone", |screen| screen.starts_with("MAINSTAY DOES NOT ANSWER since "));
    let since = screen[..44].split(',').next().unwrap().to_owned();
    let screen = terminal.until("it counts", |screen| screen.contains(", for 2 s") || screen.contains(", for 3 s"));
    assert!(screen.starts_with(&since) && screen.contains("mainstay cannot be reached at unix:"), "{screen}");
    let _process = Process::start(&settings).serving();
    terminal.until("it is back", |screen| screen.starts_with("All is well"));
    terminal.keys(&["q"]);
    is_restored(&terminal);
}

/// 200 pools, of which the one in the middle has no backend.
fn many() -> (Value, Backend, socket2::Socket) {
    let (backend, (socket, refusing)) = (Backend::echo(), refusing());
    let mut settings = settings(&[backend.address]);
    let mut pools = Vec::new();
    for number in 0..200 {
        let mut pool = settings["pools"][0].clone();
        pool["name"] = json!(format!("pool-{number:03}"));
        // Those of one test must not keep the machine busy.
        pool["check"]["interval"] = json!("5s");
        if number == 100 {
            pool["backends"] = json!([{"name": "db-a", "address": refusing.to_string()}]);
        }
        pools.push(pool);
    }
    settings["pools"] = json!(pools);
    (settings, backend, socket)
}

#[test]
fn of_two_hundred_pools_the_one_in_trouble_is_first_and_all_are_found() {
    let (settings, _backend, _socket) = many();
    let process = Process::start(&settings).serving();
    let terminal = Terminal::start(100, 24);
    terminal.run(&format!("mainstay status --watch --admin {}", process.admin));
    // On a busy machine the other 199 are served later.
    let screen = terminal.until("all have been checked", |screen| {
        screen.starts_with("TROUBLE in 1 of 200 pools ") && screen.contains("\nok  pool-000  db-a  0 sessions")
    });
    assert!(screen.lines().nth(2).unwrap().starts_with("!! pool-100: NO BACKEND MAY SERVE"), "{screen}");
    assert!(screen.lines().last().unwrap().starts_with("lines 1-"), "{screen}");
    terminal.keys(&["End"]);
    terminal.until("the last one", |screen| screen.contains("ok  pool-199") && !screen.contains("pool-100"));
    terminal.keys(&["PPage", "Up"]);
    terminal.until("a page before", |screen| !screen.contains("pool-199") && screen.contains("pool-17"));
    terminal.keys(&["/", "1", "3", "q", "BSpace", "Enter"]);
    let screen = terminal.until("those with 13", |screen| screen.contains("12 pools with \"13\""));
    assert!(screen.contains("pool-013") && screen.contains("pool-139") && !screen.contains("pool-012"), "{screen}");
    terminal.keys(&["Escape"]);
    terminal.until("all again", |screen| screen.contains("!! pool-100"));
    terminal.keys(&["d"]);
    terminal.until("with all tables", |screen| screen.contains("ok pool-000: "));
    terminal.keys(&["q"]);
    is_restored(&terminal);
}

/// The lines of a program, as they come.
fn lines_of(reading: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || BufReader::new(reading).lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    told
}

#[test]
fn a_pipe_gets_a_table_at_first_and_after_each_change() {
    let f = Fixture::new(calm());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(["status", "--watch", "--admin", &f.address.to_string()]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    // A table ends with the line of the process.
    let table = || {
        let mut table = Vec::new();
        while table.last().is_none_or(|last: &String| !last.starts_with("mainstay 1.2.3, running")) {
            table.push(lines.recv_timeout(patience()).unwrap());
        }
        table
    };
    let first = table();
    assert!(first[0].starts_with("at 20") && first[1].starts_with("orders: Clients go to db-a."), "{first:?}");
    // Sessions come and go; that is no change.
    let _session = f.series.backends[0].connections_active.guard();
    f.publisher.snapshot(Snapshot { active: Some(BackendId(1)), backends: vec![down("db-a"), primary("db-b")], ..calm() });
    let second = table();
    assert!(second[0].is_empty() && second[1].starts_with("at 20"), "{second:?}");
    assert!(second[2].starts_with("orders: Clients go to db-b.") && !second.concat().contains('\x1b'), "{second:?}");
    child.kill().unwrap();
    ended(&mut child);
}

#[test]
fn it_ends_when_nobody_reads_its_pipe() {
    let f = Fixture::new(calm());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(["status", "--watch", "--admin", &f.address.to_string()]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    // The first line, and no more: as `head -n 1`.
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("at 20"), "{first}");
    assert_eq!(ended(&mut child).code(), Some(0));
}
