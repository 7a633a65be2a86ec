//! A real terminal: a tmux of the test's own, with a shell in it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    child::Bounded,
    scratch::Scratch,
    wait::{patience, wait_until},
};

/// Ends with the test, and whatever runs in it.
pub struct Terminal {
    scratch: Scratch,
}

impl Terminal {
    /// A shell in a terminal of this size that shows UTF-8, with the product as `mainstay`.
    pub fn start(columns: u16, rows: u16) -> Self {
        let terminal = Self { scratch: Scratch::new() };
        let bin = Path::new(env!("CARGO_BIN_EXE_mainstay")).parent().unwrap().display().to_string();
        let path = format!("PATH={bin}:/usr/bin:/bin");
        let home = format!("HOME={}", terminal.scratch.directory().display());
        let shell = ["env", "-i", &path, &home, "TERM=screen-256color", "LC_ALL=C.UTF-8", "PS1=\\$ ", "sh"];
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let directory = terminal.scratch.directory().display().to_string();
        let mut words = vec!["new-session", "-d", "-x", &columns, "-y", &rows, "-c", &directory];
        words.extend(shell);
        terminal.tmux(&words);
        terminal.until("there is a prompt", |screen| screen.starts_with('$'));
        terminal
    }

    fn tmux(&self, words: &[&str]) -> Output {
        let socket = self.scratch.path("tmux");
        let mut command = Command::new("tmux");
        command.env_clear().envs([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C.UTF-8"), ("TERM", "screen-256color")]);
        // Nobody's configuration.
        command.args(["-u", "-f", "/dev/null", "-S"]).arg(socket).args(words);
        let output = command.bounded_output().expect("tmux: see tests/install-deps");
        assert!(output.status.success(), "tmux {words:?}: {output:?}");
        output
    }

    fn says(&self, words: &[&str]) -> String {
        String::from_utf8(self.tmux(words).stdout).unwrap()
    }

    /// Types a line into the shell.
    pub fn run(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.keys(&["Enter"]);
    }

    /// Presses keys, by the names that tmux gives them.
    pub fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Sends a signal to the only program that the shell runs.
    pub fn signal(&self, signal: Signal) {
        let shell = self.knows("#{pane_pid}");
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        let [child] = children.split_whitespace().collect::<Vec<_>>()[..] else { panic!("the shell runs {children:?}") };
        kill_process(Pid::from_raw(child.parse().unwrap()).unwrap(), signal).unwrap();
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// What can be seen.
    pub fn screen(&self) -> String {
        self.says(&["capture-pane", "-p"])
    }

    /// The same with the codes of its colours.
    pub fn coloured(&self) -> String {
        self.says(&["capture-pane", "-p", "-e"])
    }

    /// What tmux knows, as `#{alternate_on}`.
    pub fn knows(&self, format: &str) -> String {
        self.says(&["display-message", "-p", format]).trim_end().to_owned()
    }

    /// From now on all that is written to the terminal is kept.
    pub fn record(&self) {
        let file = self.scratch.path("recorded").display().to_string();
        self.tmux(&["pipe-pane", "-O", &format!("cat >> '{file}'")]);
    }

    pub fn recorded(&self) -> String {
        fs::read_to_string(self.scratch.path("recorded")).unwrap_or_default()
    }

    /// Waits until what can be seen is so; what can be seen then.
    #[track_caller]
    pub fn until(&self, what: &str, mut is_so: impl FnMut(&str) -> bool) -> String {
        let mut screen = String::new();
        let was_so = wait_until(patience(), || {
            screen = self.screen();
            is_so(&screen)
        });
        assert!(was_so, "waited in vain for: {what}\n{screen}");
        screen
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
