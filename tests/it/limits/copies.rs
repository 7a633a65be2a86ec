//! A child process has copies of all sockets until it runs its program.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;

use super::{Counted, ask, come};
use crate::support::{
    child::ended,
    echo,
    process::{Process, settings},
    scratch::Scratch,
    wait::until,
};

/// Who runs this file waits in execve(2), as if the disk did not answer, until this is dropped (or 45 seconds are over).
struct Lease(Child);

/// A lease for writing: it is given only while nobody has the file open, and whoever opens it waits until it is given back.
const HOLD: &str = "import fcntl, os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGURG])
file = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
while True:
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        break
    except BlockingIOError:
        pass
signal.sigwait([signal.SIGURG])
open(os.path.dirname(sys.argv[1]) + '/wanted', 'w').write('yes\\n')
sys.stdin.read()";

impl Lease {
    /// Waits until somebody waits for it.
    fn of(script: &Path, scratch: &Scratch) -> Self {
        let holder = Command::new("python3").args(["-c", HOLD]).arg(script).stdin(Stdio::piped()).spawn().unwrap();
        until("a process waits for its program", || scratch.written("wanted"));
        Self(holder)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        ended(&mut self.0);
    }
}

/// A place that is free is free at the backend, too.
#[test]
fn a_session_has_ended_at_the_backend_before_the_next_one_begins_while_a_check_starts() {
    let (scratch, backend) = (Scratch::new(), Counted::new(b'a'));
    let script = scratch.script("exit 0");
    let mut file = settings(&[backend.address]);
    let pool = &mut file["pools"][0];
    pool["check"] = json!({"exec": [script], "interval": "100ms", "fast_interval": "100ms", "timeout": "1m"});
    pool["hold"] = json!({"timeout": "1h"});
    pool["backends"] = json!([{"name": "db-a", "address": backend.address.to_string(), "max_connections": 1}]);
    // A process of its own: a child must not copy the sockets of the test.
    let process = Process::start(&file).serving();
    let mut first = come(process.address, 0);
    assert_eq!(ask(&mut first).unwrap(), b'a');
    // From here on the process of a check has all sockets that are open now.
    let lease = Lease::of(&script, &scratch);
    let mut next = come(process.address, 1);
    until("it waits", || (process.metric("mainstay_connections_queued", &[]) == 1).then_some(()));
    echo::reset(first);
    assert_eq!(ask(&mut next).unwrap(), b'a');
    assert_eq!(backend.book(|book| (book.most, book.most_accepted)), (1, 1));
    drop(lease);
}
