//! The relay between two loopback connections, all on one thread: the kernel's work for four sockets, and ours.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use criterion::{Criterion, Throughput};
use mainstay::{
    config::RelayMode,
    data::relay::{Relay, RelaySettings, supply_pipes},
    failover::{Epoch, Time},
    metrics::{BackendMetrics, Metrics, PoolLabels},
    route::{Revocation, Session},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

async fn pair() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (far, near) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let (far, near) = (far?, near?.0);
    far.set_nodelay(true)?;
    near.set_nodelay(true)?;
    Ok((far, near))
}

fn metrics() -> Result<Arc<BackendMetrics>, Box<dyn std::error::Error>> {
    let labels = PoolLabels { name: "orders".into(), listeners: vec![], backends: vec![("db-a".into(), "db-a:5432".into())] };
    let series = Metrics::new()?.series(&labels)?;
    series.backends.into_iter().next().ok_or_else(|| "no backend".into())
}

/// A client and a backend with a relay between them, which ends with the runtime.
fn relayed(runtime: &Runtime, mode: RelayMode) -> Result<(TcpStream, TcpStream), Box<dyn std::error::Error>> {
    let ((client, near_client), (backend, near_backend)) =
        runtime.block_on(async { Ok::<_, std::io::Error>((pair().await?, pair().await?)) })?;
    let metrics = metrics()?;
    let session = Session {
        client: client.local_addr()?,
        pool: "orders".into(),
        listener: "rw".into(),
        backend: "db-a".into(),
        epoch: Epoch(1),
        since: Time::from_millis(0),
        upstream_bytes: AtomicU64::new(0),
        downstream_bytes: AtomicU64::new(0),
    };
    runtime.spawn(async move {
        let settings = RelaySettings { mode, idle: None, half_close: Duration::from_hours(1), reset: Duration::from_secs(30) };
        Relay::new(near_client, near_backend, (0, 0), &settings, &session, &metrics).run(&Revocation::default()).await
    });
    Ok((client, backend))
}

async fn round_trip(client: &mut TcpStream, backend: &mut TcpStream) -> std::io::Result<()> {
    let (mut request, mut answer) = ([1; 100], [2; 300]);
    client.write_all(&request).await?;
    backend.read_exact(&mut request).await?;
    backend.write_all(&answer).await?;
    client.read_exact(&mut answer).await?;
    Ok(())
}

async fn stream(client: &mut TcpStream, backend: &mut TcpStream, out: &[u8], back: &mut [u8]) -> std::io::Result<()> {
    tokio::try_join!(backend.write_all(out), client.read_exact(back))?;
    Ok(())
}

fn measure(c: &mut Criterion) -> Result<(), Box<dyn std::error::Error>> {
    const STREAM: usize = 4 << 20;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    supply_pipes(16, Box::new(|_| {}));
    let (mut client, mut backend) = relayed(&runtime, RelayMode::Auto)?;
    c.bench_function("relay/round_trip", |b| {
        b.iter(|| runtime.block_on(round_trip(&mut client, &mut backend)));
    });
    let mut group = c.benchmark_group("relay/stream");
    group.throughput(Throughput::Bytes(STREAM as u64));
    let (out, mut back) = (vec![3; STREAM], vec![0; STREAM]);
    for mode in [RelayMode::Copy, RelayMode::Splice, RelayMode::Auto] {
        let (mut client, mut backend) = relayed(&runtime, mode)?;
        group.bench_function(format!("{mode:?}").to_lowercase(), |b| {
            b.iter(|| runtime.block_on(stream(&mut client, &mut backend, &out, &mut back)));
        });
    }
    group.finish();
    Ok(())
}

pub(crate) fn benches(c: &mut Criterion) {
    measure(c).unwrap_or_else(|error| panic!("the relay could not be measured: {error}"));
}
