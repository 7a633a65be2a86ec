//! Why a connection ended, was rejected, or could not be made: closed sets, used as return value, log field and metric label.

use crate::labels;

labels! {
    /// Why a relayed connection ended.
    pub enum CloseReason {
        /// The client finished first, everything was delivered.
        ClientEof = "client_eof",
        /// The backend finished first, everything was delivered.
        ServerEof = "server_eof",
        /// The client aborted.
        ClientReset = "client_reset",
        /// The backend aborted.
        ServerReset = "server_reset",
        /// No byte in either direction for `idle_timeout`.
        IdleTimeout = "idle_timeout",
        /// One side was finished and the other silent for `half_close_timeout`.
        HalfCloseTimeout = "half_close_timeout",
        /// The backend's epoch was revoked.
        Revoked = "revoked",
        /// It was ended by command.
        Killed = "killed",
        /// The process was told to stop, and the time for sessions to finish was over.
        Shutdown = "shutdown",
        /// A fault of mainstay.
        Internal = "internal",
    }
}

labels! {
    /// Why a client was rejected before it reached a backend.
    pub enum RejectReason {
        /// No backend could serve within `hold.timeout`.
        HoldTimeout = "hold_timeout",
        /// `hold.max` clients already waited, or holding is off.
        HoldFull = "hold_full",
        /// A backend has `max_connections` sessions, and `hold.max` clients already waited for it.
        QueueFull = "queue_full",
        /// A backend had `max_connections` sessions, and none ended for the client within `hold.timeout`.
        QueueTimeout = "queue_timeout",
        /// `hold.max_per_ip` clients of its address already waited.
        HoldFullPerIp = "hold_full_per_ip",
        /// `max_connections` of the listener or of the process.
        MaxConnections = "max_connections",
        /// The client left while it was held.
        ClientGone = "client_gone",
        /// Every dial within the hold failed.
        DialFailed = "dial_failed",
        /// It had no first exchange with its backend within `client_login_timeout`.
        LoginTimeout = "login_timeout",
        /// The process is stopping.
        Shutdown = "shutdown",
        /// Out of file descriptors; rejected with the reserve descriptor.
        FileDescriptors = "file_descriptors",
        /// `deny` has its address, or `allow` does not.
        Denied = "denied",
        /// `max_connections_per_ip` of the listener.
        MaxConnectionsPerIp = "max_connections_per_ip",
        /// The PROXY header is required from its address, and it did not begin with one.
        BadProxyHeader = "bad_proxy_header",
    }
}

labels! {
    /// Why a dial to a backend failed.
    pub enum DialError {
        /// The connect was refused (RST).
        Refused = "refused",
        /// No route to the host or its network.
        Unreachable = "unreachable",
        /// No answer within `connect_timeout`.
        Timeout = "timeout",
        /// The epoch was revoked during the dial.
        Stale = "stale",
        /// This machine has no port, descriptor or memory left: not the backend's fault.
        LocalResources = "local_resources",
        /// The backend's name has no address.
        Unresolved = "unresolved",
        /// Anything else.
        Other = "other",
    }
}

labels! {
    /// Why `accept` failed.
    pub enum AcceptError {
        /// Out of descriptors (EMFILE, ENFILE).
        FileDescriptors = "file_descriptors",
        /// Out of memory or buffers (ENOMEM, ENOBUFS).
        Memory = "memory",
        /// The connection was gone before it was accepted (ECONNABORTED and the like).
        Aborted = "aborted",
        /// Anything else.
        Other = "other",
    }
}

labels! {
    /// Why there was no pipe for splice(2); bytes are copied instead.
    pub enum PipeError {
        /// The limit of pipes was reached.
        Limit = "limit",
        /// A pipe could not be made a moment ago, and none was tried since.
        Paused = "paused",
        /// Out of descriptors (EMFILE, ENFILE).
        FileDescriptors = "file_descriptors",
        /// The kernel gives this user only small pipes now (`fs.pipe-user-pages-soft`).
        TooSmall = "too_small",
        /// Anything else.
        Other = "other",
    }
}

labels! {
    /// The result of an attempt to load the configuration again.
    pub enum ReloadResult {
        /// It is in use.
        Success = "success",
        /// It cannot be used; the earlier one stays.
        Failure = "failure",
    }
}

labels! {
    /// The direction of relayed bytes.
    pub enum Direction {
        /// From the client to the backend.
        Upstream = "upstream",
        /// From the backend to the client.
        Downstream = "downstream",
    }
}

labels! {
    /// What a receiver of notifications is.
    pub enum ReceiverKind {
        /// A channel of Slack.
        Slack = "slack",
        /// `PagerDuty`.
        PagerDuty = "pagerduty",
        /// A URL.
        Webhook = "webhook",
        /// A program.
        Exec = "exec",
    }
}

labels! {
    /// What became of a notification.
    pub enum NotificationResult {
        /// The receiver has taken it.
        Sent = "sent",
        /// It was given up after the last try.
        Failed = "failed",
    }
}
