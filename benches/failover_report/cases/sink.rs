//! TCP servers in this process, for the cases that need no database.

use std::{
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
};

use lab::failure::Failure;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

/// What a server does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Takes everything, says nothing.
    Discard,
    /// Sends back what comes.
    Echo,
    /// Answers the first bytes with its own and closes.
    AnswerOnce,
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Sink {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    pub(super) fn start(behaviour: Behaviour) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("sink".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener, behaviour) => {}
                    () = stopped.cancelled() => {}
                }
            });
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, behaviour: Behaviour) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // The peer's end is the end of this connection, whatever it looks like.
            let _ = handle(stream, behaviour).await;
        });
    }
}

async fn handle(mut stream: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    if behaviour == Behaviour::Discard {
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
        return Ok(());
    }
    let mut bytes = [0; 64];
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&bytes[..count]).await?;
        if behaviour == Behaviour::AnswerOnce {
            return Ok(());
        }
    }
}
