//! The relay between two loopback connections, all on one thread: the kernel's work for four sockets, and ours.

use std::{
    error::Error,
    io,
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use mainstay::{
    config::RelayMode,
    data::{
        event_loop::{self, EventLoop, Socket},
        relay::{Relay, RelaySettings, supply_pipes},
    },
    failover::{Epoch, Time},
    metrics::{BackendMetrics, Metrics, PoolLabels},
    net::endpoint::Peer,
    route::{Frontend, Listening, Route, RouteId, Session},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn pair() -> io::Result<(Socket, Socket)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let far = TcpStream::connect(listener.local_addr()?)?;
    let near = listener.accept()?.0;
    for stream in [&far, &near] {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
    }
    Ok((Socket::new(far)?, Socket::new(near)?))
}

fn metrics() -> Result<Arc<BackendMetrics>, Box<dyn Error>> {
    let labels = PoolLabels { name: "orders".into(), listeners: vec![], backends: vec![("db-a".into(), "db-a:5432".into())] };
    let series = Metrics::new()?.series(&labels)?;
    series.backends.into_iter().next().ok_or_else(|| "no backend".into())
}

/// A client and a backend with a relay between them, which ends with the event loop.
fn relayed(mode: RelayMode, metrics: Arc<BackendMetrics>) -> io::Result<(Socket, Socket)> {
    let ((client, near_client), (backend, near_backend)) = (pair()?, pair()?);
    let frontend = Arc::new(Frontend { pool: "orders".into(), listener: "rw".into() });
    let route = Route::new("db-a".into(), &metrics, RouteId::Active(Epoch(1)), [].into(), Arc::default());
    let session = Session::new(Peer::Unix, frontend, Arc::new(route), Time::from_millis(0));
    event_loop::spawn(async move {
        let settings = RelaySettings {
            mode,
            idle: None,
            half_close: Duration::from_hours(1),
            reset: Duration::from_secs(30),
            keepalive: None,
        };
        let listening = Listening::begin(Arc::default()).await;
        Relay::new(near_client, near_backend, (0, 0), &settings, &session, &metrics).run(&listening).await;
    });
    Ok((client, backend))
}

/// How long it takes to do something so often through a relay.
fn timed(
    mode: RelayMode,
    metrics: &Arc<BackendMetrics>,
    times: u64,
    mut act: impl AsyncFnMut(&mut Socket, &mut Socket) -> io::Result<()>,
) -> Duration {
    let run = async {
        let (mut client, mut backend) = relayed(mode, Arc::clone(metrics))?;
        let start = Instant::now();
        for _ in 0..times {
            act(&mut client, &mut backend).await?;
        }
        io::Result::Ok(start.elapsed())
    };
    let took = EventLoop::new().and_then(|event_loop| event_loop.run(None, run)?);
    took.unwrap_or_else(|error| panic!("the relay could not be measured: {error}"))
}

async fn round_trip(client: &mut Socket, backend: &mut Socket) -> io::Result<()> {
    let (mut request, mut answer) = ([1; 100], [2; 300]);
    client.write_all(&request).await?;
    backend.read_exact(&mut request).await?;
    backend.write_all(&answer).await?;
    client.read_exact(&mut answer).await?;
    Ok(())
}

fn measure(c: &mut Criterion) -> Result<(), Box<dyn Error>> {
    const STREAM: usize = 4 << 20;
    supply_pipes(16, Box::new(|_| {}));
    let metrics = metrics()?;
    c.bench_function("relay/round_trip", |b| b.iter_custom(|times| timed(RelayMode::Auto, &metrics, times, round_trip)));
    let mut group = c.benchmark_group("relay/stream");
    group.throughput(Throughput::Bytes(STREAM as u64));
    let (out, mut back) = (vec![3; STREAM], vec![0; STREAM]);
    for mode in [RelayMode::Copy, RelayMode::Splice, RelayMode::Auto] {
        group.bench_function(format!("{mode:?}").to_lowercase(), |b| {
            b.iter_custom(|times| {
                let stream = async |client: &mut Socket, backend: &mut Socket| {
                    tokio::try_join!(backend.write_all(&out), client.read_exact(&mut back)).map(drop)
                };
                timed(mode, &metrics, times, stream)
            });
        });
    }
    group.finish();
    Ok(())
}

pub(crate) fn benches(c: &mut Criterion) {
    measure(c).unwrap_or_else(|error| panic!("the relay could not be measured: {error}"));
}
