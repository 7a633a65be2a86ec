//! A headless Chromium, told what to do by its `DevTools` protocol over two pipes (<https://chromedevtools.github.io/devtools-protocol/>).

use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{
    child::ended,
    scratch::Scratch,
    wait::{until, within},
};

/// For an answer of the browser, which may have to lay out or to paint first.
const PATIENCE: Duration = Duration::from_mins(1);

/// Ends with the test.
pub(super) struct Browser {
    process: Child,
    wire: RefCell<Wire>,
}

struct Wire {
    input: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    /// What came unasked, and no page has taken yet.
    events: Vec<Value>,
}

impl Browser {
    /// `more` are arguments of the program.
    pub(super) fn start(scratch: &Scratch, more: &[&str]) -> Self {
        // It wants its pipes as descriptors 3 and 4.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh", "chromium-headless-shell"]);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]);
        command.arg(format!("--user-data-dir={}", scratch.path("browser").display())).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (tell, messages) = mpsc::channel();
        thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap_or_default();
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        let browser = Self { process, wire: RefCell::new(Wire { input, messages, last: 0, events: Vec::new() }) };
        let version = browser.call(None, "Browser.getVersion", &json!({}));
        println!("{}", version["product"]);
        browser
    }

    /// Has it do something; its answer.
    #[track_caller]
    fn call(&self, session: Option<&str>, method: &str, params: &Value) -> Value {
        let wire = &mut *self.wire.borrow_mut();
        wire.last += 1;
        let mut message = json!({"id": wire.last, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let is_sent = wire.input.write_all(format!("{message}\0").as_bytes());
        is_sent.expect("chromium-headless-shell, which `make browser` installs");
        loop {
            let message = wire.messages.recv_timeout(PATIENCE).unwrap_or_else(|why| panic!("{method}: {why}"));
            if message["id"] == wire.last {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            if message["id"].is_null() {
                wire.events.push(message);
            }
        }
    }

    /// A new page, which shows nothing yet.
    pub(super) fn page(&self) -> Page<'_> {
        let target = self.call(None, "Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = self.call(None, "Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        let page = Page { browser: self, session: attached["sessionId"].as_str().unwrap().to_owned(), target };
        for domain in ["Page", "Runtime", "Log"] {
            page.call(&format!("{domain}.enable"), &json!({}));
        }
        page.size(1280, 900);
        page
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        ended(&mut self.process);
    }
}

/// A tab.
pub(super) struct Page<'a> {
    browser: &'a Browser,
    session: String,
    target: Value,
}

impl Page<'_> {
    #[track_caller]
    fn call(&self, method: &str, params: &Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }

    /// Has every document run this before its own scripts.
    pub(super) fn prepare(&self, script: &str) {
        self.call("Page.addScriptToEvaluateOnNewDocument", &json!({"source": script}));
    }

    #[track_caller]
    pub(super) fn open(&self, url: &str) {
        let opened = self.call("Page.navigate", &json!({"url": url}));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
    }

    /// The value of an expression, or of what it promises.
    #[track_caller]
    pub(super) fn ask(&self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    #[track_caller]
    pub(super) fn text(&self, expression: &str) -> String {
        self.ask(expression).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(super) fn until(&self, what: &str, expression: &str) {
        until(what, || (self.ask(expression) == true).then_some(()));
    }

    /// Waits until the page shows a text.
    #[track_caller]
    pub(super) fn shows(&self, text: &str) {
        until(text, || self.text("document.body?.innerText").contains(text).then_some(()));
    }

    #[track_caller]
    pub(super) fn click(&self, selector: &str) {
        let found = self.ask(&format!("(one => {{ one?.click(); return !!one; }})(document.querySelector({}))", json!(selector)));
        assert_eq!(found, true, "there is no {selector}");
    }

    /// Clicks the button with this text.
    #[track_caller]
    pub(super) fn press(&self, button: &str) {
        let is_it = format!("one => one.innerText.trim() === {} && !one.disabled", json!(button));
        let script =
            format!("(one => {{ one?.click(); return !!one; }})([...document.querySelectorAll('button')].find({is_it}))");
        within(PATIENCE, &format!("the button {button} can be pressed"), || (self.ask(&script) == true).then_some(()));
    }

    /// Presses a key and lets it go, as a person does.
    pub(super) fn key(&self, key: &str) {
        let (code, number, text) = match key {
            "Enter" => ("Enter", 13, "\r"),
            " " => ("Space", 32, " "),
            "Tab" => ("Tab", 9, ""),
            "Escape" => ("Escape", 27, ""),
            "ArrowLeft" => ("ArrowLeft", 37, ""),
            "Home" => ("Home", 36, ""),
            other => panic!("{other}"),
        };
        let mut event = json!({"type": "keyDown", "key": key, "code": code, "windowsVirtualKeyCode": number});
        if !text.is_empty() {
            event["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", &event);
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", &event);
    }

    /// Types into what has the focus.
    pub(super) fn type_in(&self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }

    pub(super) fn size(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// `light` or `dark`.
    pub(super) fn theme(&self, theme: &str) {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.call("Emulation.setEmulatedMedia", &media);
    }

    /// A picture of what can be seen.
    pub(super) fn picture(&self, file: &Path) {
        let shot = self.call("Page.captureScreenshot", &json!({"format": "png", "optimizeForSpeed": false}));
        std::fs::write(file, STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// What the console has said since it was last asked: of the page, and of the browser about it.
    pub(super) fn console(&self) -> Vec<String> {
        // What was said before this has then come.
        self.ask("0");
        let wire = &mut *self.browser.wire.borrow_mut();
        let (own, others) = wire.events.drain(..).partition(|event| event["sessionId"] == self.session.as_str());
        wire.events = others;
        let said = |event: Value| {
            let params = &event["params"];
            match event["method"].as_str()? {
                "Runtime.consoleAPICalled" => Some(params["args"].to_string()),
                "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
                "Log.entryAdded" => Some(format!("{} {}", params["entry"]["text"], params["entry"]["url"])),
                _ => None,
            }
        };
        let own: Vec<Value> = own;
        own.into_iter().filter_map(said).collect()
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.browser.call(None, "Target.closeTarget", &json!({"targetId": self.target}));
        }
    }
}
