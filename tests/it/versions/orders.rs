//! A pause and a maintenance, at the boundaries of transactions.

use std::time::Duration;

use lab::servers::mysql::Oracle;

use crate::orders::{maint_mysqld, pause_mysqld};

#[test]
fn writers_wait_at_their_boundary_in_a_pause_and_nobody_is_broken() {
    pause_mysqld::writers_wait_at_their_boundary::<Oracle>();
}

#[test]
fn a_pause_ends_by_itself_and_a_transaction_that_outlives_it_commits() {
    pause_mysqld::a_transaction_outlives_it::<Oracle>();
}

#[test]
fn sessions_end_at_their_boundary_before_a_maintenance_however_long_a_client_thinks() {
    maint_mysqld::sessions_end_at_their_boundary::<Oracle>(&[0, 50, 1_000, 10_000].map(Duration::from_millis));
}

#[test]
fn what_outlives_the_time_of_a_maintenance_ends_and_is_rolled_back() {
    maint_mysqld::the_rest_is_rolled_back::<Oracle>();
}
