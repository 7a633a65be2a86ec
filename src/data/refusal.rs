//! Rejects a client in its own protocol where the pool's check names one, else by RST.

use std::{sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    client::{Accepted, Client},
    close,
    event_loop::{Socket, timeout},
};
use crate::{
    config::Refusal,
    reason::RejectReason,
    route::WaitEnd,
    wire::{
        Protocol, mysql,
        postgres::{STARTUP_HEADER, STARTUP_MAX, Startup, error_response},
        redis::{self, LOADING, TOO_MANY},
    },
};

/// A rejected client, and the reason.
pub(super) struct Refused {
    pub(super) client: Client,
    pub(super) reason: RejectReason,
    pub(super) why: Arc<str>,
}

impl Refused {
    /// A client for which there is no backend.
    pub(super) fn for_want_of_a_backend(client: Client, reason: RejectReason) -> Self {
        let listener = client.listener();
        let why = match reason {
            RejectReason::QueueFull | RejectReason::QueueTimeout => listener.why_full(),
            _ => listener.why(),
        };
        Self { client, reason, why }
    }

    /// Counts it, and sends the error.
    pub(super) async fn tell(self) {
        let Self { client: Client { socket, peer, budget, guards, .. }, reason, why } = self;
        let listener = &guards.listener;
        budget.waited(
            &listener.pool,
            match reason {
                RejectReason::HoldTimeout | RejectReason::DialFailed => WaitEnd::TurnedAway,
                RejectReason::HoldFull | RejectReason::HoldFullPerIp => WaitEnd::Refused,
                _ => WaitEnd::Left,
            },
        );
        listener.turned_away(reason, peer, &why);
        if reason != RejectReason::ClientGone {
            let why = if listener.refusal == Refusal::Detailed { &*why } else { "" };
            refuse(socket, listener.pool.protocol, reason, why).await;
        }
    }
}

/// Rejects a client that was accepted over the limit. It is never served.
pub(super) fn serve_refusal(accepted: Accepted, reason: RejectReason, counted: TaskTrackerToken) -> impl Future<Output = ()> {
    let client = accepted.arrive(None);
    async move {
        let _counted = counted;
        if let Some(client) = client {
            Refused { client: *client, reason, why: "".into() }.tell().await;
        }
    }
}

/// How long a client may take to send its first packet before it is reset.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Sends the client the reason, then closes. `why` is for people and must hold no secret; it may be empty.
async fn refuse(mut client: Socket, protocol: Protocol, reason: RejectReason, why: &str) {
    let told = match protocol {
        Protocol::Unknown => false,
        Protocol::Postgres => timeout(TIMEOUT, postgres(&mut client, reason, why)).await.unwrap_or(false),
        // As the servers themselves do when they have too many clients: without waiting for a packet.
        Protocol::Mysql => say(&mut client, &mysql_error(reason, why)).await,
        Protocol::Redis => say(&mut client, redis_error(reason, why).as_bytes()).await,
    };
    if told {
        close::finish(client, TIMEOUT).await;
    } else {
        close::reset(&client);
    }
}

fn nobody_serves(why: &str) -> String {
    format!("mainstay: no database node may serve now{}", because(why))
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

async fn say(client: &mut Socket, last_words: &[u8]) -> bool {
    client.write_all(last_words).await.is_ok() && client.shutdown().await.is_ok()
}

/// Answers encryption requests with `N` until the client's `StartupMessage`, then sends the error; `false` when none came, or the
/// client expects no answer.
async fn postgres(client: &mut Socket, reason: RejectReason, why: &str) -> bool {
    // A client asks for GSS, then for TLS, then starts up: at most three packets.
    for _ in 0..3 {
        let (Ok(len), Ok(code)) = (client.read_u32().await, client.read_u32().await) else { return false };
        match Startup::of(code) {
            Startup::Encryption if len == 8 => {
                if client.write_all(b"N").await.is_err() {
                    return false;
                }
            }
            Startup::Cancel => return false,
            _ if (STARTUP_HEADER..=STARTUP_MAX).contains(&(len as usize)) => {
                let mut rest = client.take(u64::from(len) - 8);
                if tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.is_err() {
                    return false;
                }
                return client.write_all(&postgres_error(reason, why)).await.is_ok() && client.shutdown().await.is_ok();
            }
            _ => return false,
        }
    }
    false
}

/// An error packet in place of the greeting (`MySQL` documentation, "Connection Phase", "`ERR_Packet`"): without an SQLSTATE,
/// because the client's capabilities are not known yet.
fn mysql_error(reason: RejectReason, why: &str) -> Vec<u8> {
    // ER_CON_COUNT_ERROR and ER_SERVER_SHUTDOWN: clients and poolers retry.
    let (code, message) = match reason {
        RejectReason::MaxConnections => (mysql::TOO_MANY, "Too many connections".to_owned()),
        RejectReason::QueueFull | RejectReason::QueueTimeout => {
            (mysql::TOO_MANY, format!("Too many connections{}", because(why)))
        }
        RejectReason::MaxConnectionsPerIp => (mysql::TOO_MANY, "mainstay: too many connections from this address".to_owned()),
        RejectReason::Shutdown => (mysql::SHUTDOWN, "mainstay is shutting down".to_owned()),
        _ => (mysql::SHUTDOWN, nobody_serves(why)),
    };
    // Clients cut messages at 512 bytes.
    let message: Vec<u8> = message.chars().filter(|c| !c.is_control()).take(500).collect::<String>().into_bytes();
    mysql::frame(0, &[&[mysql::ERROR], &code.to_le_bytes()[..], &message].concat())
}

/// An error reply (Redis documentation, "Redis serialization protocol specification", "Simple errors"). Clients know these first
/// words: they retry after `LOADING`.
fn redis_error(reason: RejectReason, why: &str) -> String {
    let why: String = why.chars().filter(|c| !c.is_control()).collect();
    match reason {
        RejectReason::MaxConnections | RejectReason::MaxConnectionsPerIp => redis::error(&format!("ERR {TOO_MANY} reached")),
        RejectReason::QueueFull | RejectReason::QueueTimeout => redis::error(&format!("ERR {TOO_MANY} reached{}", because(&why))),
        RejectReason::Shutdown => redis::error(&format!("{LOADING} mainstay is shutting down")),
        _ => redis::error(&format!("{LOADING} {}", nobody_serves(&why))),
    }
}

/// A `FATAL` error of `PostgreSQL`.
fn postgres_error(reason: RejectReason, why: &str) -> Vec<u8> {
    // 57P03 cannot_connect_now and 53300 too_many_connections: clients and poolers retry.
    let (code, message) = match reason {
        RejectReason::MaxConnections => ("53300", "mainstay: too many connections".to_owned()),
        RejectReason::QueueFull | RejectReason::QueueTimeout => {
            ("53300", format!("mainstay: too many connections{}", because(why)))
        }
        RejectReason::MaxConnectionsPerIp => ("53300", "mainstay: too many connections from this address".to_owned()),
        RejectReason::Shutdown => ("57P03", "mainstay is shutting down".to_owned()),
        _ => ("57P03", nobody_serves(why)),
    };
    error_response("FATAL", code, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_no_reason_is_told_no_empty_one() {
        assert_eq!(redis_error(RejectReason::HoldTimeout, ""), "-LOADING mainstay: no database node may serve now\r\n");
        assert_eq!(nobody_serves("db-a: down"), "mainstay: no database node may serve now (db-a: down)");
    }

    #[test]
    fn who_finds_no_place_at_a_backend_is_told_so_in_the_databases_words() {
        let (full, why) = (RejectReason::QueueFull, "db-a is at its max_connections, 5");
        assert_eq!(redis_error(full, why), "-ERR max number of clients reached (db-a is at its max_connections, 5)\r\n");
        assert_eq!(redis_error(RejectReason::QueueTimeout, ""), "-ERR max number of clients reached\r\n");
        let packet = mysql_error(full, why);
        assert_eq!(packet[5..7], 1040_u16.to_le_bytes());
        assert_eq!(packet[7..], *b"Too many connections (db-a is at its max_connections, 5)");
        let packet = postgres_error(RejectReason::QueueTimeout, why);
        let text = String::from_utf8_lossy(&packet[5..]);
        let fields: Vec<&str> = text.split('\0').collect();
        assert_eq!(fields[2..4], ["C53300", "Mmainstay: too many connections (db-a is at its max_connections, 5)"]);
    }

    #[test]
    fn a_redis_error_is_one_line() {
        assert_eq!(
            redis_error(RejectReason::HoldTimeout, "db-a is\r\ndown"),
            "-LOADING mainstay: no database node may serve now (db-a isdown)\r\n"
        );
    }

    #[test]
    fn a_mysql_error_is_a_whole_packet() {
        let packet = mysql_error(RejectReason::HoldTimeout, "db-a is\r\ndown");
        let length = usize::from(packet[0]) | usize::from(packet[1]) << 8;
        assert_eq!((packet.len(), packet[3], packet[4]), (length + 4, 0, 0xff));
        assert_eq!(packet[5..7], 1053_u16.to_le_bytes());
        assert_eq!(packet[7..], *b"mainstay: no database node may serve now (db-a isdown)");
    }

    #[test]
    fn the_error_is_a_whole_message_with_the_state_drivers_retry_on() {
        let packet = postgres_error(RejectReason::HoldTimeout, "db-a is down\0");
        assert_eq!(packet[0], b'E');
        let len = u32::from_be_bytes(packet[1..5].try_into().unwrap()) as usize;
        assert_eq!(len + 1, packet.len());
        let text = String::from_utf8_lossy(&packet[5..]);
        let fields: Vec<&str> = text.split('\0').collect();
        assert_eq!(fields[..3], ["SFATAL", "VFATAL", "C57P03"]);
        assert_eq!(fields[3], "Mmainstay: no database node may serve now (db-a is down)");
        assert!(packet.ends_with(&[0, 0]));
    }
}
