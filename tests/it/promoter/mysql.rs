//! `MySQL` 8, which is not here: servers that follow a script, and what they are told.

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex},
};

use mainstay::control::promotion::Severity;
use serde_json::json;

use super::{FAILED, OCCASION, ample, done, lacks, member, promoter, wait};
use crate::{
    mysql::scripted::{OK, frame, greeting_of, receive, start, table},
    support::echo::Backend,
};

const POSITION: &str = "3E11FA47-71CA-11E1-9E33-C80AA9429562:1-23,\n7D9AF1D2-71CA-11E1-9E33-C80AA9429562:1-5";

/// What a server is, and what it was told.
#[derive(Default)]
struct Server {
    refuses_writes: bool,
    follows: bool,
    grants: &'static str,
    /// How often it says that it does not have everything yet.
    behind: u32,
    told: Vec<String>,
}

impl Server {
    fn answer(&mut self, question: &str) -> Vec<u8> {
        let read_only = if self.refuses_writes { "1" } else { "0" };
        if ["SET ", "STOP ", "RESET ", "KILL "].iter().any(|order| question.starts_with(order)) {
            self.told.push(question.to_owned());
            match question {
                "SET GLOBAL super_read_only = 1" => self.refuses_writes = true,
                "SET GLOBAL read_only = 0" => self.refuses_writes = false,
                "RESET REPLICA ALL" => self.follows = false,
                _ => {}
            }
            return frame(1, OK);
        }
        match question {
            q if q.contains("SHOW GLOBAL VARIABLES") => {
                table(&["Variable_name", "Value"], &[&["read_only", "OFF"], &["super_read_only", "OFF"], &["server_id", "1"]])
            }
            q if q.contains("@@global.super_read_only") => {
                table(&["read_only", "super_read_only", "server_id"], &[&[read_only, read_only, "1"]])
            }
            "SHOW REPLICA STATUS" if self.follows => {
                let columns =
                    ["Source_Host", "Replica_IO_Running", "Replica_SQL_Running", "Last_SQL_Errno", "Seconds_Behind_Source"];
                let places = ["Source_Log_File", "Relay_Source_Log_File", "Read_Source_Log_Pos", "Exec_Source_Log_Pos"];
                table(&[&columns[..], &places].concat(), &[&["db-a", "Yes", "Yes", "0", "0", "bin.1", "bin.1", "900", "900"]])
            }
            "SHOW REPLICA STATUS" => table(&["Source_Host"], &[]),
            "SHOW GRANTS" => table(&["Grants"], &[&[self.grants]]),
            q if q.starts_with("SELECT CONNECTION_ID()") => table(&["id"], &[&["11"]]),
            q if q.starts_with("SELECT CURRENT_USER()") => table(&["account"], &[&["mainstay@10.%"]]),
            q if q.contains("@@global.gtid_executed AS position") => table(&["position"], &[&[POSITION]]),
            q if q.starts_with("SELECT GTID_SUBSET('3E11FA47-71CA-11E1-9E33-C80AA9429562:1-23,7D9AF1D2") => {
                let has_all = self.behind == 0;
                self.behind = self.behind.saturating_sub(1);
                table(&["position"], &[&[if has_all { "1" } else { "0" }]])
            }
            other => panic!("{other}"),
        }
    }
}

fn serve(server: Server) -> (Backend, Arc<Mutex<Server>>) {
    let server = Arc::new(Mutex::new(server));
    let shared = Arc::clone(&server);
    let backend = start(move |stream| {
        stream.write_all(&greeting_of("8.0.36", "mysql_native_password"))?;
        receive(stream)?;
        stream.write_all(&frame(2, OK))?;
        loop {
            let (_, packet) = receive(stream)?;
            // Anything but a query is the logout.
            let [3, question @ ..] = packet.as_slice() else { return stream.read(&mut [0]).map(drop) };
            let answer = shared.lock().unwrap().answer(&String::from_utf8_lossy(question));
            stream.write_all(&answer)?;
        }
    });
    (backend, server)
}

fn told(server: &Mutex<Server>) -> Vec<String> {
    let mut told = std::mem::take(&mut server.lock().unwrap().told);
    // How many seconds are left is the machine's.
    told.retain(|statement| !statement.starts_with("SET SESSION lock_wait_timeout = "));
    told
}

#[test]
fn a_switchover_and_a_failover_in_the_words_of_today() {
    let (old, source) = serve(Server { grants: "GRANT USAGE ON *.* TO `mainstay`@`10.%`", ..Server::default() });
    let grants = "GRANT SYSTEM_VARIABLES_ADMIN,RELOAD ON *.* TO `mainstay`@`10.%`";
    let (new, replica) = serve(Server { refuses_writes: true, follows: true, behind: 3, grants, ..Server::default() });
    let (from, to) = (member("db-a", old.address), member("db-b", new.address));
    let promoter = promoter(&json!("mysql"), &json!({"how": "sql"}));
    let missing = wait(promoter.preflight(Some(&from), &to, ample()));
    lacks(
        &missing,
        Severity::Forbids,
        "on db-a the account lacks SYSTEM_VARIABLES_ADMIN: GRANT SYSTEM_VARIABLES_ADMIN ON *.* TO 'mainstay'@'10.%'",
    );
    lacks(&missing, Severity::Forbids, "on db-b the account lacks REPLICATION_SLAVE_ADMIN: GRANT");
    assert_eq!(missing.len(), 2, "{missing:#?}");
    assert_eq!((told(&source), told(&replica)), (Vec::new(), Vec::new()), "a preflight changes something");

    done(wait(promoter.demote(&from, &to, &OCCASION, ample())));
    assert_eq!((told(&source), told(&replica)), (vec!["SET GLOBAL super_read_only = 1".to_owned()], Vec::new()));
    assert_eq!(replica.lock().unwrap().behind, 0, "it did not wait until the replica had everything");
    done(wait(promoter.undo_demote(&from, ample())));
    assert_eq!(told(&source), ["SET GLOBAL read_only = 0"]);

    done(wait(promoter.demote(&from, &to, &OCCASION, ample())));
    done(wait(promoter.promote(Some(&from), &to, &OCCASION, ample())));
    assert_eq!(told(&replica), ["STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL read_only = 0"]);

    let (new, replica) = serve(Server { refuses_writes: true, follows: true, grants, ..Server::default() });
    done(wait(promoter.promote(None, &member("db-b", new.address), &FAILED, ample())));
    assert_eq!(told(&replica), ["STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL read_only = 0"]);
}
