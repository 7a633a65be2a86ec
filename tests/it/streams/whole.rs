//! Every byte arrives, in order, at its own connection.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::mpsc,
    thread,
};

use mainstay::reason::CloseReason;

use crate::support::{
    echo::{Backend, reset},
    front::Front,
    noise::Noise,
    random::Random,
    wait::{patience, until},
};

/// What one session sends each way; the client tells the backend first.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    up: u64,
    down: u64,
}

impl Plan {
    fn send(self, mut to: &TcpStream) {
        for number in [self.seed, self.up, self.down] {
            to.write_all(&number.to_le_bytes()).unwrap();
        }
    }

    /// In a quarter of the sessions one `side` waits for the other, and in another quarter the other for the one.
    const fn order(self, side: u64) -> Order {
        if self.seed % 4 == side { Order::Last } else { Order::Together }
    }

    fn read(mut from: &TcpStream) -> Self {
        let mut number = || {
            let mut bytes = [0; 8];
            from.read_exact(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        };
        Self { seed: number(), up: number(), down: number() }
    }
}

/// Who speaks when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Both at once.
    Together,
    /// This side only when the other one has finished: without a half-close it would wait for ever.
    Last,
}

/// Sends one stream and finishes, and receives and compares another to its end.
fn exchange(stream: &TcpStream, out: (u64, u64), back: (u64, u64), order: Order, random: &mut Random) -> Result<(), String> {
    let mut chance = random.fork();
    // A small window makes a slow reader, and leaves bytes in every buffer on the way.
    if chance.between(0, 3) == 0 {
        socket2::SockRef::from(stream).set_recv_buffer_size(32 << 10).unwrap();
    }
    let (finished, others_end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            if order == Order::Last {
                let _ended = others_end.recv_timeout(3 * patience());
            }
            Noise::new(out.0).send(stream, out.1, &mut chance).map_err(|error| format!("sending: {error}"))?;
            stream.shutdown(Shutdown::Write).map_err(|error| format!("finishing: {error}"))
        });
        let mut noise = Noise::new(back.0);
        let received = noise.receive(stream, random);
        drop(finished);
        received?;
        if noise.bytes != back.1 {
            return Err(format!("ended after {} of {} bytes", noise.bytes, back.1));
        }
        sender.join().unwrap()
    })
}

fn bytes_each_way() -> u64 {
    let wanted = std::env::var("MAINSTAY_TEST_BYTES").ok().map(|text| text.parse().unwrap());
    wanted.unwrap_or(1 << 30)
}

#[test]
fn a_gigabyte_each_way_at_random_sizes_with_random_half_closes_arrives_unchanged() {
    // More of them, twice side by side, take more memory than the kernel gives to TCP (`tcp_mem`): it then resets one.
    const SESSIONS: u64 = 32;
    let mut random = Random::seeded();
    let share = bytes_each_way() / SESSIONS;
    let (tell, told) = mpsc::channel();
    let mut chance = random.fork();
    let chances = std::sync::Mutex::new(move || chance.fork());
    let backend = Backend::start(move |stream| {
        let plan = Plan::read(&stream);
        let mut random = chances.lock().unwrap()();
        let result = exchange(&stream, (!plan.seed, plan.down), (plan.seed, plan.up), plan.order(1), &mut random);
        let _ = tell.send(result.map_err(|what| format!("backend: {plan:?}: {what}")));
    });
    let front = Front::before(&[backend.address]);

    // Pairs of sessions share their bytes unevenly, so that either side finishes first, early or late, or without a byte.
    let mut plans = Vec::new();
    for pair in 0..SESSIONS / 2 {
        let mut split = || if random.between(0, 8) == 0 { 0 } else { random.next() % share };
        let (up, down) = (split(), split());
        plans.push(Plan { seed: 2 * pair, up, down });
        plans.push(Plan { seed: 2 * pair + 1, up: 2 * share - up, down: 2 * share - down });
    }
    let clients: Vec<_> = plans
        .iter()
        .map(|plan| {
            let (plan, stream, mut random) = (*plan, front.connect(), random.fork());
            thread::spawn(move || {
                plan.send(&stream);
                exchange(&stream, (plan.seed, plan.up), (!plan.seed, plan.down), plan.order(2), &mut random)
                    .map_err(|what| format!("client: {plan:?}: {what}"))
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap().unwrap();
    }
    for _ in 0..SESSIONS {
        told.recv_timeout(patience()).unwrap().unwrap();
    }
    until("every session is accounted for", || (front.backend().connections_active.get() == 0).then_some(()));
    let closed = |reason| front.backend().closed.get(reason).get();
    assert_eq!(closed(CloseReason::ClientEof) + closed(CloseReason::ServerEof), SESSIONS);
}

#[test]
fn segments_of_a_single_byte_both_ways_arrive_unchanged() {
    const LEN: usize = 256 << 10;
    fn drip(stream: &TcpStream, seed: u64) {
        stream.set_nodelay(true).unwrap();
        let mut noise = Noise::new(seed);
        let mut stream = stream;
        for _ in 0..LEN {
            stream.write_all(noise.next(1)).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
    }
    fn collect(stream: &TcpStream, seed: u64) {
        let mut noise = Noise::new(seed);
        noise.receive(stream, &mut Random::new(seed)).unwrap();
        assert_eq!(noise.bytes, LEN as u64);
    }
    let (tell, told) = mpsc::channel();
    let backend = Backend::start(move |stream| {
        thread::scope(|scope| {
            scope.spawn(|| drip(&stream, 2));
            collect(&stream, 1);
        });
        tell.send(()).unwrap();
    });
    let front = Front::before(&[backend.address]);
    let client = front.connect();
    thread::scope(|scope| {
        scope.spawn(|| drip(&client, 1));
        collect(&client, 2);
    });
    told.recv_timeout(patience()).unwrap();
}

/// Reads bytes that must all be `id`; how many there were, and whether the stream was cut.
fn only(mut stream: &TcpStream, id: u8, pause_every: usize) -> (u64, bool) {
    socket2::SockRef::from(stream).set_recv_buffer_size(32 << 10).unwrap();
    let mut piece = vec![0; 8 << 10];
    let mut bytes = 0;
    let mut reads = 0;
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return (bytes, false),
            Ok(got) => {
                assert!(piece[..got].iter().all(|byte| *byte == id), "connection {id} got a byte of another one");
                bytes += got as u64;
                reads += 1;
                if pause_every != 0 && reads % pause_every == 0 {
                    thread::yield_now();
                    // The pace of a slow reader.
                    thread::sleep(std::time::Duration::from_micros(500));
                }
            }
            Err(_) => return (bytes, true),
        }
    }
}

#[test]
fn no_byte_strays_to_another_connection() {
    const CONNECTIONS: u8 = 200;
    /// More than fits into the buffers of the kernel for those who read slowly.
    fn len(id: u8) -> usize {
        if id.is_multiple_of(8) { 8 << 20 } else { 300_000 }
    }
    let (tell, told) = mpsc::channel();
    // Answers with the byte that it is spoken to with. Slow readers and resets leave bytes behind in buffers on the way.
    let backend = Backend::start(move |stream| {
        let mut id = [0; 1];
        stream.peek(&mut id).unwrap();
        let [id] = id;
        let result = thread::scope(|scope| {
            let writer = scope.spawn(|| (&stream).write_all(&vec![id; len(id)]).and_then(|()| stream.shutdown(Shutdown::Write)));
            let (bytes, cut) = only(&stream, id, usize::from(id % 3));
            // The kernel tells of a reset once, to whoever asks first.
            (bytes, writer.join().unwrap().is_err() || cut)
        });
        tell.send((id, result)).unwrap();
        if id % 5 == 0 {
            reset(stream);
        }
    });
    let front = Front::before(&[backend.address]);
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|id| {
            let client = front.connect();
            thread::spawn(move || {
                if id % 4 == 1 {
                    let mut writer = &client;
                    writer.write_all(&vec![id; len(id) / 2]).unwrap();
                    return reset(client);
                }
                let (bytes, cut) = thread::scope(|scope| {
                    scope.spawn(|| {
                        let mut writer = &client;
                        let _ = writer.write_all(&vec![id; len(id)]);
                        let _ = client.shutdown(Shutdown::Write);
                    });
                    only(&client, id, usize::from(id % 4))
                });
                // A backend's reset may throw away what its own kernel had not sent yet; then the cut must show.
                assert!(bytes == len(id) as u64 || (cut && id % 5 == 0), "connection {id}: {bytes} bytes, cut: {cut}");
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    for _ in 0..CONNECTIONS {
        let (id, (bytes, cut)) = told.recv_timeout(patience()).unwrap();
        assert!(if id % 4 == 1 { cut } else { bytes == len(id) as u64 }, "connection {id}: {bytes} bytes, cut: {cut}");
    }
}

#[test]
fn an_urgent_byte_harms_nobody() {
    let backend = Backend::echo();
    let front = Front::before(&[backend.address]);
    let (mut client, mut bystander) = (front.connect(), front.connect());
    for _ in 0..100 {
        client.write_all(b"before").unwrap();
        socket2::SockRef::from(&client).send_out_of_band(b"!").unwrap();
        client.write_all(b"after").unwrap();
        bystander.write_all(b"x").unwrap();
        bystander.read_exact(&mut [0; 1]).unwrap();
    }
    // It comes in its place, and is not urgent any more.
    let mut answer = vec![0; 1200];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"before!after".repeat(100));
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}
