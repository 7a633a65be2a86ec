//! Group Replication: two members on one machine. Its members set `super_read_only` themselves, which is what the check goes by.

use mainstay::failover::Role;
use serde_json::json;

use super::seen;
use crate::{
    promoter::wait,
    proofs::Pool,
    support::{mysql::MySql, wait::until},
};

/// Joins the group, or begins it.
fn join(server: &MySql, begins: &str, seeds: &[&MySql]) {
    let seeds: Vec<_> = seeds.iter().map(|seed| seed.address().to_string()).collect();
    server.sql(&format!(
        "SET GLOBAL group_replication_communication_stack = 'MYSQL'; \
         SET GLOBAL group_replication_group_name = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa'; \
         SET GLOBAL group_replication_local_address = '{}'; SET GLOBAL group_replication_group_seeds = '{}'; \
         SET GLOBAL group_replication_bootstrap_group = {begins}; START GROUP_REPLICATION USER='root'; \
         SET GLOBAL group_replication_bootstrap_group = OFF",
        server.address(),
        seeds.join(","),
    ));
}

fn members(server: &MySql) -> String {
    server.sql("SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE MEMBER_STATE = 'ONLINE'")
}

#[test]
fn the_writer_of_a_group_is_its_primary_and_no_other_member_is_used() {
    let member = || {
        MySql::start(&[
            "--plugin-load-add=group_replication.so",
            "--loose-group-replication-start-on-boot=OFF",
            "--report-host=127.0.0.1",
        ])
    };
    let (first, second) = (member(), member());
    join(&first, "ON", &[&first, &second]);
    until("it is a group", || (members(&first) == "1").then_some(()));
    first.sql("CREATE USER app@'%'; GRANT REPLICATION CLIENT ON *.* TO app@'%'; GRANT SELECT ON performance_schema.* TO app@'%'; CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY)");
    join(&second, "OFF", &[&first, &second]);
    until("both are in it", || (members(&first) == "2" && members(&second) == "2").then_some(()));
    until("the second has all of it", || second.try_sql("SELECT 1 FROM d.t").ok());
    let is = |server: &MySql, writer: bool| {
        let finding = wait(seen(server));
        println!("{}: {:?}", finding.evidence, finding.facts);
        assert_eq!(finding.facts.role == Some(Role::Primary) && !finding.facts.read_only, writer, "{}", finding.evidence);
    };
    is(&first, true);
    is(&second, false);
    let prove =
        |server: &MySql| Pool::new(&json!({"mysql": {"user": "app"}}), &json!({})).prove(server.address(), Some(first.address()));
    println!("{}", members(&second));
    let told = prove(&second).to_string();
    assert!(told.contains("it is ONLINE in its group"), "{told}");

    first.sql("STOP GROUP_REPLICATION");
    until("the second is the writer", || {
        let facts = wait(seen(&second)).facts;
        (facts.role == Some(Role::Primary) && !facts.read_only).then_some(())
    });
    is(&first, false);
    second.sql("INSERT INTO d.t VALUES (1)");
}
