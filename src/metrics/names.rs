//! Every metric once. Names follow Prometheus: base units, `_total` for counters.
//!
//! With `metrics: {detail: short}` a series of an enum that is 0 is shown only if somebody misses it: `rate` and `increase` do not see
//! the first step of a series that was not there before. So what an alert counts, or a panel counts one by one, is there from the start.

/// Name and help text of a metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Def {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// In short: the words whose series are shown while they are 0. `None`: every one.
    pub(super) zeros: Option<&'static [&'static str]>,
}

impl Def {
    /// Whether the series of this word is shown while it is 0.
    pub(super) fn shows_zero(self, word: &str) -> bool {
        self.zeros.is_none_or(|words| words.contains(&word))
    }
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $help:literal $(, zeros $zeros:tt)?;)+) => {
        $(pub(super) const $constant: Def = Def { name: $name, help: $help, zeros: metrics!(@zeros $($zeros)?) };)+

        /// Every metric.
        #[cfg(test)]
        pub(super) const ALL: &[Def] = &[$($constant),+];
    };
    (@zeros) => { None };
    (@zeros $zeros:tt) => { Some(&$zeros) };
}

metrics! {
    BUILD_INFO = "mainstay_build_info", "Version of this mainstay; always 1.";
    START_TIME = "mainstay_start_time_seconds", "When this mainstay started, in seconds since 1970.";
    CONFIG_LAST_RELOAD_SUCCESSFUL = "mainstay_config_last_reload_successful", "1 when the last attempt to load the configuration succeeded.";
    CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP = "mainstay_config_last_reload_success_timestamp_seconds", "When the configuration in use was loaded, in seconds since 1970.";
    CONFIG_RELOADS = "mainstay_config_reloads_total", "Attempts to load the configuration again, by result.";
    READY = "mainstay_ready", "1 when every pool can serve: it has an active backend, or serves only readers and has one.";
    PHASE = "mainstay_phase", "1 for the phase of the process.";
    PANICS = "mainstay_panics_total", "Panics, which are bugs in mainstay.";
    LOG_DROPPED = "mainstay_log_dropped_total", "Log lines that were lost because the log could not be written fast enough.";
    REPORTS_DROPPED = "mainstay_reports_dropped_total", "Reports of the byte path that were lost because the supervisor was behind.";
    WATCHDOG_TRIPS = "mainstay_watchdog_trips_total", "Times that the control thread did not run, or that no probe of a backend finished in time.";
    STATE_WRITE_PENDING = "mainstay_state_write_pending", "1 while a change of the state that must survive a restart is not yet on disk.";
    STATE_WRITE_FAILURES = "mainstay_state_write_failures_total", "Failed attempts to write a state file.";

    NOTIFICATIONS = "mainstay_notifications_total", "Notifications that a receiver has taken, or that were given up, by kind of receiver.";
    NOTIFICATIONS_DROPPED = "mainstay_notifications_dropped_total", "Notifications that were left out because there were too many.";

    CONNECTIONS_ACCEPTED = "mainstay_connections_accepted_total", "Client connections that were accepted.";
    CONNECTIONS_REJECTED = "mainstay_connections_rejected_total", "Client connections that were rejected before they reached a backend.", zeros ["hold_timeout", "hold_full", "queue_full", "queue_timeout", "hold_full_per_ip", "max_connections", "dial_failed", "login_timeout", "file_descriptors", "max_connections_per_ip", "bad_proxy_header"];
    ACCEPT_ERRORS = "mainstay_accept_errors_total", "Failed calls of accept.", zeros ["file_descriptors", "memory"];
    CONNECTIONS_ACTIVE = "mainstay_connections_active", "Sessions between a client and this backend.";
    CONNECTIONS_LIMIT = "mainstay_connections_limit", "max_connections of the backend; 0 when it has none.";
    CONNECTIONS_HELD = "mainstay_connections_held", "Clients that wait because no backend may serve, or takes more.";
    CONNECTIONS_QUEUED = "mainstay_connections_queued", "Those of the held clients that found a backend which had max_connections sessions.";
    HOLD_DURATION = "mainstay_hold_duration_seconds", "How long held clients waited.";
    CLIENT_WAIT = "mainstay_client_wait_seconds_total", "Time that clients waited because no backend served them, counted when a wait is over.";
    CONNECTIONS_CLOSED = "mainstay_connections_closed_total", "Sessions that ended.", zeros ["client_eof", "server_eof", "client_reset", "server_reset", "revoked", "internal"];
    CONNECTION_DURATION = "mainstay_connection_duration_seconds", "How long sessions lasted.";
    RELAY_BYTES = "mainstay_relay_bytes_total", "Bytes relayed, counted as they are relayed.";
    RELAY_SPLICED_BYTES = "mainstay_relay_spliced_bytes_total", "Bytes relayed inside the kernel; a part of mainstay_relay_bytes_total.", zeros [];
    PIPE_ERRORS = "mainstay_pipe_errors_total", "Times that mainstay could not get a pipe for splice(2) and copied the bytes instead.";
    DIAL_DURATION = "mainstay_dial_duration_seconds", "How long it took to connect a client to the backend.";
    DIAL_FAILURES = "mainstay_dial_failures_total", "Failed attempts to connect a client to the backend.", zeros ["refused", "unreachable", "timeout", "local_resources"];
    DIAL_RETRIES = "mainstay_dial_retries_total", "Dials that were tried again for a client.";

    BACKEND_INFO = "mainstay_backend_info", "Address and server version of the backend; always 1.";
    BACKEND_UP = "mainstay_backend_up", "1 when the backend answers its checks.";
    BACKEND_ELIGIBLE = "mainstay_backend_eligible", "1 when the backend may be active.";
    BACKEND_ACTIVE = "mainstay_backend_active", "1 when new clients go to this backend.";
    BACKEND_HEALTH = "mainstay_backend_health", "1 for the observed health of the backend.", zeros [];
    BACKEND_ROLE = "mainstay_backend_role", "1 for the role that the database reports.", zeros [];
    BACKEND_REASON = "mainstay_backend_reason", "1 for the reason why the backend may or may not be active.", zeros [];
    BACKEND_CHECK_ALERT = "mainstay_backend_check_alert", "1 while the check of the backend does not work, by the outcome.", zeros [];
    BACKEND_READER = "mainstay_backend_reader", "1 when the backend may be read as a replica.";
    BACKEND_READER_REASON = "mainstay_backend_reader_reason", "1 for the reason why the backend may or may not be read.", zeros [];
    BACKEND_REPLICATION_LAG = "mainstay_backend_replication_lag_bytes", "Replication lag that the backend reports; 0 when it reports none.";
    BACKEND_DB_EPOCH = "mainstay_backend_db_epoch", "The database's own epoch, which rises with each promotion (PostgreSQL: timeline); 0 when it reports none.";
    PROBES = "mainstay_probes_total", "Finished probes.", zeros ["ok", "saturated", "misconfigured", "wrong_cluster"];
    PROBE_DURATION = "mainstay_probe_duration_seconds", "How long probes took.";
    PROBE_LAST_TIMESTAMP = "mainstay_probe_last_timestamp_seconds", "When the last probe finished, in seconds since 1970; 0 before the first.";
    PROBE_LATENESS = "mainstay_probe_lateness_seconds", "How late probes started; high when this machine is overloaded.";
    TRANSITIONS = "mainstay_transitions_total", "Changes of the observed health.", zeros [];
    SESSIONS_REVOKED = "mainstay_sessions_revoked_total", "Sessions that end because their backend was revoked, or their reader closed.", zeros ["down", "demoted", "conflict", "command"];

    BACKEND_PROOF = "mainstay_backend_proof", "1 for whether the backend has proven itself since it last changed.", zeros [];
    PROOF_RESULT = "mainstay_proof_result", "1 for the last result of each proof of the backend, since it last changed.";
    PROOF_DURATION = "mainstay_proof_duration_seconds", "How long each proof of the backend took last.";
    BACKEND_PRINT_INFO = "mainstay_backend_print_info", "A short name of what the backend is made of: version, settings, extensions; always 1.";

    POOL_SERVING = "mainstay_pool_serving", "1 when a backend is active, or the pool only serves readers and has one.";
    POOL_EPOCH = "mainstay_pool_epoch", "Number of the last activation.";
    FAILOVERS = "mainstay_failovers_total", "Changes from one active backend to another.";
    FAILOVER_DETECTION = "mainstay_failover_detection_seconds", "From the first sign of trouble to the revocation.";
    FAILOVER_GAP = "mainstay_failover_gap_seconds", "From the revocation to the next activation, while no backend was active.";
    OUTAGE = "mainstay_outage_seconds_total", "Time during which no backend was active.";
    AVAILABILITY = "mainstay_availability_ratio", "Part of the time in the window, as far as it was watched, during which a backend was active.";
    OPERATIONS = "mainstay_operations_total", "Operations that ended, by kind and result.";
    OPERATION_STEPS = "mainstay_operation_step_seconds", "How long each step took in the last operation of its kind that came so far.", zeros [];
    PROMOTIONS = "mainstay_promotions_total", "Operations in which a standby was told to become the primary, by the result of the operation.", zeros [];
    PROMOTIONS_REFUSED = "mainstay_promotions_refused_total", "Times that an automatic promotion was due and not begun, by the condition that did not hold.", zeros [];
    ROLLBACK_READY = "mainstay_rollback_ready", "1 when mainstay rollback would lose nothing now.";
    ROLLBACK_LOST = "mainstay_rollback_lost_bytes", "What the backend that was active before lacks and does not receive any more, in bytes; in transactions of MySQL and MariaDB. 0 when it follows, or nobody knows.";
    DRILL_SUCCESS = "mainstay_drill_last_success_timestamp_seconds", "When mainstay drill --switch was last done, there and back, in seconds since 1970; 0 before.";
    COMMIT_PROBE = "mainstay_commit_probe_seconds", "How long the last commit took that was tried on the active backend; of one that has not ended, how long it has been under way; 0 before.";
    PAUSED = "mainstay_paused", "1 while new clients are held by command.";
    PRIMARY_CONFLICT = "mainstay_primary_conflict", "1 while more than one backend says it is the primary.";
    FAILOVER_READY = "mainstay_failover_ready", "1 when another backend would take over if the active one died now.";
    FAILOVER_READY_REASON = "mainstay_failover_ready_reason", "1 for the reason why a failover would or would not succeed now.", zeros [];

    PROCESS_CPU = "process_cpu_seconds_total", "Processor time used, user and system.";
    PROCESS_OPEN_FDS = "process_open_fds", "Open file descriptors.";
    PROCESS_MAX_FDS = "process_max_fds", "Limit of open file descriptors.";
    PROCESS_VIRTUAL_MEMORY = "process_virtual_memory_bytes", "Virtual memory.";
    PROCESS_RESIDENT_MEMORY = "process_resident_memory_bytes", "Resident memory.";
    PROCESS_START_TIME = "process_start_time_seconds", "When the process started, in seconds since 1970.";
    PROCESS_THREADS = "process_threads", "Threads.";
}
