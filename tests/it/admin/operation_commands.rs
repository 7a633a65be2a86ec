//! The commands that begin an operation and wait for its end, as processes of their own.

use std::{
    io::{self, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use mainstay::{
    cli::exit,
    failover::{OperationEnd, OperationResult, Step},
    route::{Done, OperationLog, OperationView, Refusal, RefusalCode, Verb},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{
    fixture::{Fixture, begin, end, failed_over, switchover},
    orders::Obeying,
};
use crate::support::{
    child::{Lines, ended},
    echo::Backend,
    process::{Process, settings},
    scratch::Scratch,
    wait::until,
};

const PLAN: &str = "switchover from db-a to db-b: gate, drain, demote, promote, activate";
const BEGUN: &str = "operation 7 has begun";
const DONE: (OperationResult, OperationEnd) = (OperationResult::Done, OperationEnd::Complete);

/// A pool whose operation goes on as the test says.
struct Stage {
    fixture: Fixture,
    operation: Arc<Mutex<OperationView>>,
    pool: Obeying,
}

impl Stage {
    /// What becomes of an abort is in `aborts`.
    fn new(aborts: impl Fn(&OperationLog, &mut OperationView) -> Result<Done, Refusal> + Send + 'static) -> Self {
        let fixture = Fixture::new(failed_over());
        let operation = Arc::new(Mutex::new(switchover(7)));
        let (log, kept) = (Arc::clone(&fixture.operations), Arc::clone(&operation));
        let done = |operation| Done { lines: vec![PLAN.into()], sessions: 0, operation };
        let pool = Obeying::start(fixture.orders.lock().unwrap().take().unwrap(), move |order| match &order.verb {
            Verb::Switchover { .. } | Verb::Promote { .. } if !order.dry_run => {
                log.show(kept.lock().unwrap().clone());
                Ok(done(Some(7)))
            }
            Verb::Abort { .. } => aborts(&log, &mut kept.lock().unwrap()),
            _ => Ok(done(None)),
        });
        Self { fixture, operation, pool }
    }

    /// As the core aborts.
    fn obedient() -> Self {
        Self::new(|log, operation| {
            if operation.can_abort {
                let why = (OperationResult::Aborted, OperationEnd::Command);
                end(operation, 1900, why, "switchover aborted in step drain (command); everything is as it was: db-a is active");
                log.show(operation.clone());
                return Ok(Done { lines: vec!["aborted; everything is as it was".into()], ..Done::default() });
            }
            let (code, message) = (RefusalCode::PointOfNoReturn, "the old primary was told to stop; wait for its end".into());
            Err(Refusal { code, message })
        })
    }

    fn change(&self, change: impl FnOnce(&mut OperationView)) {
        let mut operation = self.operation.lock().unwrap();
        change(&mut operation);
        self.fixture.operations.show(operation.clone());
    }

    fn begin(&self, step: Step, at: u64) {
        self.change(|operation| begin(operation, step, at));
    }

    fn run(&self, words: &[&str]) -> Waiting {
        Waiting::start(&format!("unix:{}", self.fixture.socket.display()), words)
    }

    fn aborts(&self) -> usize {
        self.pool.told().iter().filter(|told| told.0 == Verb::Abort { id: 7 }).count()
    }
}

/// A command that waits.
struct Waiting {
    child: Child,
    out: Lines,
    err: Lines,
}

impl Waiting {
    fn start(admin: &str, words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.args(words).args(["--admin", admin]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        Self { child, out, err }
    }

    fn ctrl_c(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// The next lines on standard output.
    #[track_caller]
    fn prints(&self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.out.next().as_deref(), Some(*line));
        }
    }

    /// The next line on standard error has this in it.
    #[track_caller]
    fn says(&self, text: &str) {
        let line = self.err.next();
        assert!(line.as_ref().is_some_and(|line| line.contains(text)), "{line:?}, not {text}");
    }

    /// Nothing more is printed, and this is the exit code.
    #[track_caller]
    fn ends(mut self, code: u8) {
        assert_eq!((self.out.next(), self.err.next()), (None, None));
        assert_eq!(ended(&mut self.child).code(), Some(i32::from(code)));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_step_is_printed_as_it_begins_and_ends_and_then_the_end() {
    let stage = Stage::obedient();
    let command = stage.run(&["switchover", "orders", "--to", "db-b", "--force", "--reason", "new kernel"]);
    command.prints(&[PLAN, BEGUN]);
    let told = stage.pool.told().remove(0);
    assert_eq!((told.0, told.2.as_str()), (Verb::Switchover { to: Some("db-b".into()), force: true }, "new kernel"));
    stage.begin(Step::Gate, 1000);
    command.prints(&["gate: begins"]);
    stage.begin(Step::Drain, 1001);
    command.prints(&["gate: over after 1 ms", "drain: begins"]);
    stage.change(|operation| operation.steps[1].lines = vec!["12 sessions ended at a boundary".into(), "evil\u{1b}[31m".into()]);
    stage.begin(Step::Demote, 1095);
    command.prints(&["drain: over after 94 ms", "  12 sessions ended at a boundary", "  evil\\u{1b}[31m", "demote: begins"]);
    stage.change(|operation| {
        begin(operation, Step::Promote, 3095);
        begin(operation, Step::Activate, 3100);
        end(operation, 3112, DONE, "db-b is active; switchover done");
    });
    command.prints(&[
        "demote: over after 2.0 s",
        "promote: begins",
        "promote: over after 5 ms",
        "activate: begins",
        "activate: over after 12 ms",
        "db-b is active; switchover done",
    ]);
    command.ends(exit::DONE);
}

#[test]
fn an_end_that_is_not_wanted_is_told_on_standard_error() {
    for (result, why) in [(OperationResult::Aborted, OperationEnd::StepFailed), (OperationResult::Failed, OperationEnd::Deadline)]
    {
        let stage = Stage::obedient();
        let command = stage.run(&["promote", "orders", "--to", "db-b", "--accept-loss"]);
        command.prints(&[PLAN, BEGUN]);
        let promote = Verb::Promote { to: Some("db-b".into()), accept_loss: true, force: false };
        assert_eq!(stage.pool.told().remove(0).0, promote);
        stage.begin(Step::Gate, 1000);
        command.prints(&["gate: begins"]);
        stage.change(|operation| {
            operation.steps[0].lines = vec!["permission denied".into()];
            end(operation, 1003, (result, why), "it ended\u{1b}[31m badly");
        });
        command.prints(&["gate: over after 3 ms", "  permission denied"]);
        command.says("it ended\\u{1b}[31m badly");
        command.ends(exit::FAILED);
    }
}

#[test]
fn json_is_one_object_at_the_end() {
    let stage = Stage::obedient();
    let command = stage.run(&["switchover", "orders", "--json"]);
    until("the order", || (!stage.pool.told().is_empty()).then_some(()));
    stage.begin(Step::Gate, 1000);
    stage.change(|operation| end(operation, 1400, DONE, "db-b is active; switchover done"));
    let operation: Value = serde_json::from_str(&command.out.next().unwrap()).unwrap();
    assert_eq!(
        (&operation["id"], &operation["took_ms"], &operation["end"]["result"]),
        (&json!(7), &json!(400.0), &json!("done"))
    );
    command.ends(exit::DONE);
    let stage = Stage::obedient();
    let command = stage.run(&["switchover", "orders", "--json"]);
    until("the order", || (!stage.pool.told().is_empty()).then_some(()));
    command.ctrl_c();
    // Before that it may say that it waits for the answer to the order.
    until("the abort", || command.err.next().filter(|line| line == "aborting …"));
    let operation: Value = serde_json::from_str(&command.out.next().unwrap()).unwrap();
    assert_eq!(operation["end"]["result"], "aborted");
    command.ends(exit::FAILED);
}

#[test]
fn what_begins_no_operation_or_shall_not_be_waited_for_ends_with_the_answer() {
    let stage = Stage::obedient();
    let command = stage.run(&["switchover", "orders", "--no-wait"]);
    command.prints(&[PLAN, BEGUN]);
    command.ends(exit::DONE);
    let command = stage.run(&["promote", "orders", "--no-wait", "--json"]);
    let answer = json!({"done": [PLAN], "sessions": 0, "operation": 7}).to_string();
    assert_eq!(
        serde_json::from_str::<Value>(&command.out.next().unwrap()).unwrap(),
        serde_json::from_str::<Value>(&answer).unwrap()
    );
    command.ends(exit::DONE);
    for words in [&["switchover", "orders", "--dry-run"][..], &["promote", "orders", "--dry-run"]] {
        let command = stage.run(words);
        command.prints(&["nothing was changed (--dry-run)", PLAN]);
        command.ends(exit::DONE);
    }
    for words in [&["drill", "orders"][..], &["drill", "orders", "--no-wait"]] {
        let command = stage.run(words);
        command.prints(&[PLAN]);
        command.ends(exit::DONE);
    }
    let command = stage.run(&["switchover", "users"]);
    command.says("not done: there is no pool of this name; pools: orders");
    command.ends(exit::FAILED);
    let command = stage.run(&["switchover", "orders", "--to", "db-z", "--json"]);
    let answer: Value = serde_json::from_str(&command.out.next().unwrap()).unwrap();
    assert_eq!(answer["error"]["code"], "unknown_backend");
    command.ends(exit::FAILED);
}

#[test]
fn ctrl_c_before_the_point_of_no_return_aborts_and_waits_for_the_end() {
    let stage = Stage::obedient();
    let command = stage.run(&["switchover", "orders"]);
    stage.begin(Step::Gate, 1000);
    stage.begin(Step::Drain, 1001);
    command.prints(&[PLAN, BEGUN, "gate: begins", "gate: over after 1 ms", "drain: begins"]);
    command.ctrl_c();
    command.says("aborting …");
    command.says("switchover aborted in step drain (command); everything is as it was: db-a is active");
    command.prints(&["drain: over after 899 ms"]);
    let (_, _, reason, _) = stage.pool.told().into_iter().find(|told| told.0 == Verb::Abort { id: 7 }).unwrap();
    assert_eq!((reason.as_str(), stage.aborts()), ("Ctrl-C", 1));
    command.ends(exit::FAILED);
}

#[test]
fn ctrl_c_after_the_point_of_no_return_goes_on_waiting() {
    let stage = Stage::obedient();
    let command = stage.run(&["switchover", "orders"]);
    command.prints(&[PLAN, BEGUN]);
    stage.begin(Step::Demote, 1000);
    command.prints(&["demote: begins"]);
    command.ctrl_c();
    command.says("cannot be aborted any more; waiting for its end");
    assert_eq!(stage.aborts(), 0);
    stage.change(|operation| end(operation, 1400, DONE, "db-b is active; switchover done"));
    command.prints(&["demote: over after 400 ms", "db-b is active; switchover done"]);
    command.ends(exit::DONE);
}

#[test]
fn an_abort_that_comes_too_late_is_told_and_waiting_goes_on() {
    let stage = Stage::new(|_, _| {
        Err(Refusal { code: RefusalCode::PointOfNoReturn, message: "the old primary was told to stop; wait for its end".into() })
    });
    let command = stage.run(&["switchover", "orders"]);
    stage.begin(Step::Drain, 1000);
    command.prints(&[PLAN, BEGUN, "drain: begins"]);
    command.ctrl_c();
    command.says("aborting …");
    command.says("it cannot be aborted any more: the old primary was told to stop; wait for its end.");
    stage.change(|operation| end(operation, 1400, DONE, "db-b is active; switchover done"));
    command.prints(&["drain: over after 400 ms", "db-b is active; switchover done"]);
    command.ends(exit::DONE);
}

#[test]
fn an_abort_that_is_refused_can_be_tried_again() {
    let refuses = Mutex::new(true);
    let stage = Stage::new(move |log, operation| {
        if std::mem::take(&mut *refuses.lock().unwrap()) {
            return Err(Refusal { code: RefusalCode::Busy, message: "other orders for this pool are waiting".into() });
        }
        end(operation, 1400, (OperationResult::Aborted, OperationEnd::Command), "switchover aborted");
        log.show(operation.clone());
        Ok(Done::default())
    });
    let command = stage.run(&["switchover", "orders"]);
    command.prints(&[PLAN, BEGUN]);
    command.ctrl_c();
    command.says("aborting …");
    command.says("not aborted: other orders for this pool are waiting. Ctrl-C tries again");
    command.ctrl_c();
    command.says("aborting …");
    command.says("switchover aborted");
    command.ends(exit::FAILED);
    assert_eq!(stage.aborts(), 2);
}

#[test]
fn a_second_ctrl_c_leaves_the_operation_alone() {
    // The abort is taken, but the operation does not end.
    let stage = Stage::new(|_, _| Ok(Done::default()));
    let command = stage.run(&["switchover", "orders"]);
    command.prints(&[PLAN, BEGUN]);
    command.ctrl_c();
    command.says("aborting …");
    until("the abort", || (stage.aborts() == 1).then_some(()));
    command.ctrl_c();
    command.says("left; operation 7 goes on without this command");
    command.ends(exit::FAILED);
    let stage = Stage::obedient();
    let command = stage.run(&["switchover", "orders"]);
    command.prints(&[PLAN, BEGUN]);
    stage.begin(Step::Promote, 1000);
    command.prints(&["promote: begins"]);
    command.ctrl_c();
    command.says("cannot be aborted any more");
    command.ctrl_c();
    command.says("left; operation 7 goes on without this command");
    command.ends(exit::FAILED);
    assert_eq!(stage.aborts(), 0);
}

#[test]
fn ctrl_c_while_the_servers_are_looked_at_aborts_what_begins_then() {
    let stage = Stage::obedient();
    // The supervisor is kept from answering.
    let held = stage.operation.lock().unwrap();
    let command = stage.run(&["switchover", "orders"]);
    until("the order", || (!stage.pool.told().is_empty()).then_some(()));
    command.ctrl_c();
    command.says("it is aborted as soon as it has begun");
    drop(held);
    command.prints(&[PLAN, BEGUN]);
    command.says("aborting …");
    command.says("switchover aborted in step drain");
    command.ends(exit::FAILED);
    assert_eq!(stage.aborts(), 1);
    let held = stage.operation.lock().unwrap();
    let command = stage.run(&["switchover", "orders"]);
    until("the order", || (stage.pool.told().len() == 3).then_some(()));
    command.ctrl_c();
    command.says("it is aborted as soon as it has begun");
    command.ctrl_c();
    command.says("left without an answer; the order may still be carried out");
    command.ends(exit::FAILED);
    drop(held);
}

#[test]
fn another_mainstay_at_the_same_address_is_noticed() {
    let stage = Stage::obedient();
    let command = stage.run(&["switchover", "orders"]);
    stage.begin(Step::Gate, 1000);
    command.prints(&[PLAN, BEGUN, "gate: begins"]);
    // The numbers start again with the process.
    stage.change(|operation| {
        operation.at = mainstay::failover::Time::from_millis(999_000);
        end(operation, 999_400, DONE, "db-b is active; switchover done");
    });
    command.says("mainstay does not know operation 7 any more: it was restarted");
    command.ends(exit::FAILED);
}

#[test]
fn a_whole_switchover_is_shown_from_its_first_step_to_its_last() {
    let (scratch, old, new) = (Scratch::new(), Backend::echo(), Backend::echo());
    let socket = format!("unix:{}", scratch.path("admin.sock").display());
    let mut settings = settings(&[old.address, new.address]);
    settings["admin"]["listen"] = json!(["127.0.0.1:0", socket]);
    let process = Process::start(&settings).serving();
    until("the other backend", || (process.status()["pools"][0]["failover_ready"] == true).then_some(()));
    let plan = "switchover from db-a to db-b: gate, drain, activate";
    let dry = Waiting::start(&socket, &["switchover", "orders", "--dry-run"]);
    dry.prints(&["nothing was changed (--dry-run)", plan]);
    dry.ends(exit::DONE);
    let drill = Waiting::start(&socket, &["drill", "orders"]);
    drill.prints(&["failover: ready", "switchover: possible, to db-b: gate, drain, activate"]);
    let command = Waiting::start(&socket, &["switchover", "orders", "--reason", "kernel"]);
    // What was only tried has taken no number.
    command.prints(&[plan, "operation 1 has begun"]);
    for step in ["gate", "drain", "activate"] {
        command.prints(&[&format!("{step}: begins")]);
        let over = command.out.next().unwrap();
        assert!(over.starts_with(&format!("{step}: over after ")), "{over}");
        if step == "drain" {
            command.prints(&["  0 sessions ended at a boundary"]);
        }
    }
    command.prints(&["db-b is active; switchover done"]);
    command.ends(exit::DONE);
    let (_, body) = process.get("/api/v1/events");
    let events: Value = serde_json::from_str(&body).unwrap();
    let of =
        |kind: &str| events["events"].as_array().unwrap().iter().filter(|one| one["kind"] == kind).cloned().collect::<Vec<_>>();
    let told: Vec<_> = of("operation").iter().map(|one| one["evidence"].as_str().unwrap().to_owned()).collect();
    let begins = |step: &str| format!("operation 1: switchover from db-a to db-b: step {step} begins");
    let over = "operation 1: step drain over: 0 sessions ended at a boundary".to_owned();
    let done = "operation 1: db-b is active; switchover done".to_owned();
    assert_eq!(told, [begins("gate"), begins("drain"), over, begins("activate"), done]);
    assert_eq!(of("suspend")[0]["evidence"], "a switchover is under way");
    let steps = process.logged("operation: step begins");
    assert_eq!((&steps["operation"], &steps["kind"], &steps["step"]), (&json!(1), &json!("switchover"), &json!("gate")));
    assert_eq!(process.logged("operation: over")["result"], "done");
}

#[test]
fn a_mainstay_that_dies_is_told_and_ends_the_wait() {
    // Never answers: its session stays in the middle of a request, and the drain waits for it.
    let dumb = Backend::start(|stream| drop(io::copy(&mut &stream, &mut io::sink())));
    let (scratch, other) = (Scratch::new(), Backend::echo());
    let socket = format!("unix:{}", scratch.path("admin.sock").display());
    let mut settings = settings(&[dumb.address, other.address]);
    settings["admin"]["listen"] = json!(["127.0.0.1:0", socket]);
    settings["pools"][0]["switchover"] = json!({"drain_timeout": "0s"});
    let process = Process::start(&settings).serving();
    let mut session = process.connect();
    session.write_all(b"?").unwrap();
    until("the session", || (process.metric("mainstay_connections_active", &[("backend", "db-a")]) == 1).then_some(()));
    let command = Waiting::start(&socket, &["switchover", "orders"]);
    let plan = command.out.next().unwrap();
    assert!(plan.starts_with("switchover from db-a to db-b: "), "{plan}");
    until("the drain", || command.out.next().filter(|line| line == "drain: begins"));
    process.signal(Signal::KILL);
    command.says("there is no answer; asking again for 5s: mainstay cannot be reached");
    command.says("the connection is lost, and how operation ");
    command.ends(exit::FAILED);
}
