//! A scripted server on a port of its own.

use std::{future::Future, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// Serves each connection with `script`, until the test ends.
pub(crate) async fn serve<F: Future<Output = ()> + Send + 'static>(
    script: impl Fn(TcpStream, usize) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(script(stream, number));
        }
    });
    port
}

/// Reads what the client sent so far; `false` when it is gone.
pub(crate) async fn read(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    matches!(stream.read(&mut buffer).await, Ok(1..))
}

/// Reads one request, answers with these bytes, then stays silent until the client leaves.
pub(crate) async fn answer(mut stream: TcpStream, bytes: &[u8]) {
    if read(&mut stream).await && stream.write_all(bytes).await.is_ok() {
        while read(&mut stream).await {}
    }
}

/// One message: its kind, its length, its body.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

/// An `ErrorResponse`.
pub(crate) fn error(severity: &str, code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("S{severity}\0V{severity}\0C{code}\0M{text}\0\0").as_bytes())
}

/// What a server says after a login that needs no password.
pub(crate) fn welcome() -> Vec<u8> {
    [message(b'R', &[0; 4]), message(b'K', &[0; 8]), message(b'Z', b"I")].concat()
}

/// The facts of a primary on timeline 7.
pub(crate) fn facts() -> Vec<u8> {
    row(Some("7"), Some("42"))
}

/// The facts of a primary that may name no timeline, and no cluster.
pub(crate) fn row(timeline: Option<&str>, system_id: Option<&str>) -> Vec<u8> {
    row_of("15.1", timeline, system_id)
}

/// The same, with this version.
pub(crate) fn row_of(version: &str, timeline: Option<&str>, system_id: Option<&str>) -> Vec<u8> {
    let row = [
        ("in_recovery", Some("f")),
        ("read_only", Some("off")),
        ("timeline", timeline),
        ("system_id", system_id),
        ("lag_bytes", None),
        ("version", Some(version)),
    ];
    let count = u16::try_from(row.len()).unwrap().to_be_bytes();
    let (mut names, mut values) = (count.to_vec(), count.to_vec());
    for (name, value) in row {
        names.extend(name.bytes().chain([0; 19]));
        match value {
            Some(text) => {
                values.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                values.extend(text.bytes());
            }
            None => values.extend([0xff; 4]),
        }
    }
    [message(b'T', &names), message(b'D', &values), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat()
}

/// A session like that of a healthy primary, up to the client's goodbye.
pub(crate) async fn healthy(mut stream: TcpStream) {
    if !read(&mut stream).await || stream.write_all(&welcome()).await.is_err() {
        return;
    }
    while read(&mut stream).await {
        if stream.write_all(&facts()).await.is_err() {
            return;
        }
    }
}

/// Sends these bytes again and again, pausing in between.
pub(crate) async fn forever(mut stream: TcpStream, bytes: &[u8], pause: Duration) {
    while stream.write_all(bytes).await.is_ok() {
        // The slowness of a server.
        sleep(pause).await;
    }
}
