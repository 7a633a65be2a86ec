//! What the look-alike answers: to its clients, and to mainstay.

use std::time::{Duration, Instant};

use crate::{
    catalog::{self, Table},
    seats::Taken,
    server::Service,
    system::{Fault, Written},
    wire::{Message, Outbox, ServerError},
};

/// How long a query of the user takes that is asked to be timed, and with an update that made it slow.
const QUERY: Duration = Duration::from_millis(10);
const SLOW_QUERY: Duration = Duration::from_millis(100);

impl Service {
    pub(crate) async fn answer(&self, message: &Message, seat: &Taken, port: u16, out: &mut Outbox) {
        let sql = message.text();
        let sql = sql.trim().to_ascii_lowercase();
        let first = sql.split_whitespace().next().unwrap_or_default();
        if sql.trim_end_matches(';').is_empty() {
            out.empty_query();
        } else if matches!(first, "insert" | "write") {
            self.write(last_number(&sql), out).await;
        } else if let Some(rows) = self.report(&sql) {
            table(out, &rows);
        } else if let Some((_, query)) = sql.split_once(" cursor for ") {
            self.cursor(query, out).await;
        } else if sql.contains("as in_recovery") {
            table(out, &catalog::facts(&self.system.view(self.id)));
        } else if sql.contains("pg_stat_activity a left join") {
            table(out, &self.seats.show(&sql));
        } else if let Some(rows) = catalog::told(&sql, &self.system.view(self.id), (self.seats.count(), port)) {
            table(out, &rows);
        } else if sql.contains("pg_logical_emit_message") {
            self.commit(seat, out).await;
        } else if sql == "select pg_catalog.pg_promote(false)" {
            self.system.update(self.id, crate::system::Node::promote);
            out.row_description(&["pg_promote"]).data_row(&[Some("t")]).command_complete("SELECT 1");
        } else if matches!(first, "set" | "begin" | "rollback" | "checkpoint") {
            out.command_complete(&first.to_ascii_uppercase());
        } else if sql.contains("pg_is_in_recovery") {
            table(out, &catalog::facts(&self.system.view(self.id)));
        } else {
            let known = "this demo server knows: insert into demo values (N); select id from demo; select count(*) from demo";
            out.error(&ServerError::error("0A000", known));
        }
        out.ready();
    }

    /// The rows that clients wrote, or their number and sum.
    fn report(&self, sql: &str) -> Option<Table> {
        let (fault, rows) = self.system.read(self.id, |node| (node.build.fault, node.rows().clone()));
        if sql.starts_with("select id") {
            let mut table = Table::new(&["id"]);
            for row in &rows {
                table.add(&[Some(&row.to_string())]);
            }
            return Some(table);
        }
        if sql.starts_with("select count(*), sum(id)") {
            let mut rows: Vec<u64> = rows.range(..=last_number(sql)?).copied().collect();
            if fault == Some(Fault::Wrong) {
                rows.pop();
            }
            let mut table = Table::new(&["count", "sum"]);
            table.add(&[Some(&rows.len().to_string()), Some(&rows.iter().sum::<u64>().to_string())]);
            return Some(table);
        }
        sql.starts_with("select count").then(|| {
            let mut table = Table::new(&["count"]);
            table.add(&[Some(&rows.len().to_string())]);
            table
        })
    }

    /// What a query of the user is asked by: the time, the cursor, its rows, the time.
    async fn cursor(&self, query: &str, out: &mut Outbox) {
        let began = Instant::now();
        let fault = self.system.read(self.id, |node| node.build.fault);
        tokio::time::sleep(if fault == Some(Fault::Slow) { SLOW_QUERY } else { QUERY }).await;
        // Behind it the rows are fetched, and the time is asked.
        let query = query.split(';').next().unwrap_or_default();
        let Some(rows) = self.report(query) else {
            out.error(&ServerError::error("0A000", "this demo server knows no such query"));
            return;
        };
        out.row_description(&["now"]).data_row(&[Some("0")]).command_complete("SELECT 1").command_complete("DECLARE CURSOR");
        table(out, &rows);
        let took = began.elapsed().as_micros().to_string();
        out.row_description(&["now"]).data_row(&[Some(&took)]).command_complete("SELECT 1");
    }

    async fn commit(&self, seat: &Taken, out: &mut Outbox) {
        let done = tokio::select! {
            done = self.system.commit(self.id) => done,
            () = seat.end.cancelled() => false,
        };
        if done {
            let lsn = catalog::lsn(self.system.view(self.id).position);
            out.row_description(&["pg_logical_emit_message"]).data_row(&[Some(&lsn)]).command_complete("SELECT 1");
        } else {
            out.error(&ServerError::fatal("57P01", "terminating connection"));
        }
    }

    async fn write(&self, row: Option<u64>, out: &mut Outbox) {
        let Some(row) = row else {
            out.error(&ServerError::error("42601", "which number? write: insert into demo values (N)"));
            return;
        };
        match self.system.write(self.id, row).await {
            Written::Done => out.command_complete("INSERT 0 1"),
            Written::ReadOnly => out.error(&ServerError::error("25006", "cannot execute INSERT in a read-only transaction")),
            Written::Duplicate => out.error(&ServerError::error("23505", "this row exists already")),
            Written::Gone => out.error(&ServerError::fatal("57P01", "terminating connection")),
        };
    }
}

fn table(out: &mut Outbox, table: &Table) {
    out.row_description(table.names());
    for row in table.rows() {
        out.data_row(&row.iter().map(Option::as_deref).collect::<Vec<_>>());
    }
    out.command_complete(&format!("SELECT {}", table.rows().len()));
}

/// The last number in a statement: what `insert into demo values (N)` and `write N` have in common.
fn last_number(sql: &str) -> Option<u64> {
    sql.split(|c: char| !c.is_ascii_digit()).rfind(|part| !part.is_empty())?.parse().ok()
}
