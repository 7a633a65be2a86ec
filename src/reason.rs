//! Why a connection ended, was refused, or could not be made: closed sets, used as return value, log field and metric label.

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
        /// The process was told to stop and the time to finish was over.
        Shutdown = "shutdown",
        /// A fault of our own.
        Internal = "internal",
    }
}

labels! {
    /// Why a client was turned away before it reached a backend.
    pub enum RejectReason {
        /// Nobody could serve within `hold.timeout`.
        HoldTimeout = "hold_timeout",
        /// `hold.max` clients were waiting already, or holding is off.
        HoldFull = "hold_full",
        /// `hold.max_per_ip` clients of its address were waiting already.
        HoldFullPerIp = "hold_full_per_ip",
        /// `max_connections` of the listener or of the process.
        MaxConnections = "max_connections",
        /// The client left while it was held.
        ClientGone = "client_gone",
        /// Every dial within the hold failed.
        DialFailed = "dial_failed",
        /// It did not come to a first exchange with its backend within `client_login_timeout`.
        LoginTimeout = "login_timeout",
        /// The process is stopping.
        Shutdown = "shutdown",
        /// Out of file descriptors; shed with the reserve descriptor.
        FileDescriptors = "file_descriptors",
        /// `deny` has its address, or `allow` has not.
        Denied = "denied",
        /// `max_connections_per_ip` of the listener.
        MaxConnectionsPerIp = "max_connections_per_ip",
        /// It came from where the PROXY header is required, and did not begin with one.
        BadProxyHeader = "bad_proxy_header",
    }
}

labels! {
    /// Why a dial to a backend failed.
    pub enum DialError {
        /// RST to our SYN.
        Refused = "refused",
        /// No route to the host or its network.
        Unreachable = "unreachable",
        /// No answer within `connect_timeout`.
        Timeout = "timeout",
        /// The epoch was revoked while the dial was under way.
        Stale = "stale",
        /// Our side has no port, descriptor or memory left: no fault of the backend.
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
    /// Why a pipe for splice(2) could not be had; bytes are copied instead.
    pub enum PipeError {
        /// As many sessions as may have one had one.
        Limit = "limit",
        /// One could not be made a moment ago, and none was tried since.
        Paused = "paused",
        /// Out of descriptors (EMFILE, ENFILE).
        FileDescriptors = "file_descriptors",
        /// The kernel gives this user only small ones any more (`fs.pipe-user-pages-soft`).
        TooSmall = "too_small",
        /// Anything else.
        Other = "other",
    }
}

labels! {
    /// How an attempt to change the configuration ended.
    pub enum ReloadResult {
        /// It is used.
        Success = "success",
        /// It cannot be used; the one before stays.
        Failure = "failure",
    }
}

labels! {
    /// Which way bytes went.
    pub enum Direction {
        /// From the client to the backend.
        Upstream = "upstream",
        /// From the backend to the client.
        Downstream = "downstream",
    }
}
