//! A mainstay that is used by the commands that people type.

use std::process::{Child, Command, Stdio};

use mainstay::cli::exit;
use serde_json::{Value, json};

use super::{
    child::{Bounded, output},
    process::Process,
    wait::until,
};

/// A mainstay, and the address where it takes orders.
pub struct Site {
    pub process: Process,
    pub admin: String,
}

/// What a command printed, and how it ended.
pub struct Said {
    pub code: u8,
    pub out: String,
    pub err: String,
}

impl Site {
    /// `settings` of a mainstay that takes orders at `socket`.
    pub fn start(settings: &mut Value, socket: &std::path::Path) -> Self {
        let admin = format!("unix:{}", socket.display());
        settings["admin"]["listen"] = json!(["127.0.0.1:0", admin]);
        Self { process: Process::start(settings).serving(), admin }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.args(words).args(["--admin", &self.admin]);
        command
    }

    pub fn run(&self, words: &[&str]) -> Said {
        said(words, self.command(words).bounded_output().unwrap())
    }

    /// A command that goes on meanwhile; `Said::of` waits for it.
    pub fn begin(&self, words: &[&str]) -> Child {
        self.command(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn active(&self) -> Option<String> {
        self.process.status()["pools"][0]["active"].as_str().map(str::to_owned)
    }

    pub fn serves(&self, name: &str) {
        until(&format!("{name} is active"), || (self.active()? == name).then_some(()));
    }

    pub fn metric(&self, name: &str) -> u64 {
        self.process.metric(&format!("mainstay_{name}"), &[])
    }

    pub fn operations(&self) -> Vec<Value> {
        let list: Value = serde_json::from_str(&self.process.get("/api/v1/operations").1).unwrap();
        list["operations"].as_array().unwrap().clone()
    }

    /// The events of trials so far: what, and in which words.
    pub fn trials(&self) -> Vec<(String, String)> {
        let list: Value = serde_json::from_str(&self.process.get("/api/v1/events").1).unwrap();
        let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
        let events = list["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "trial");
        events.map(|event| (text(event, "to"), text(event, "evidence"))).collect()
    }

    pub fn trial_is(&self, what: &str) -> String {
        until(what, || self.trials().into_iter().find(|(to, _)| to == what).map(|(_, evidence)| evidence))
    }
}

fn said(words: &[&str], output: std::process::Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
    let said = Said { code, out: text(output.stdout), err: text(output.stderr) };
    println!("# mainstay {}\n{}{}(exit {code})", words.join(" "), said.out, said.err);
    said
}

impl Said {
    pub fn of(words: &[&str], child: Child) -> Self {
        said(words, output(child))
    }

    #[track_caller]
    pub fn is_done(&self, text: &str) {
        assert!(self.code == exit::DONE && self.out.contains(text), "{text}: {} {}{}", self.code, self.out, self.err);
    }

    #[track_caller]
    pub fn is_refused(&self, text: &str) {
        assert!(self.code == exit::FAILED && self.err.contains(text), "{text}: {} {}{}", self.code, self.out, self.err);
    }
}
