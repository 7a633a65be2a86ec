//! The loop, on real sockets and threads.

use std::{
    future::poll_fn,
    mem,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use super::{
    local::local,
    testing::{pair, run},
    *,
};
use crate::net::listener::BoundListener;

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn deadlines_come_in_their_order_and_not_before_their_time() {
    run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let start = Instant::now();
        for millis in [30, 10, 20, 10] {
            let order = Rc::clone(&order);
            spawn(async move {
                let deadline = Instant::now() + Duration::from_millis(millis);
                sleep_until(deadline).await;
                assert!(Instant::now() >= deadline);
                order.borrow_mut().push(deadline);
            });
        }
        while order.borrow().len() < 4 {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(order.borrow().is_sorted());
        sleep_until(start).await;
        assert_eq!(timeout(Duration::from_millis(5), sleep(Duration::MAX)).await, Err(Elapsed));
        assert_eq!(timeout(Duration::MAX, async { 7 }).await, Ok(7));
    });
}

#[test]
fn deadlines_that_were_taken_back_leave_nothing() {
    run(async {
        for _ in 0..10_000 {
            let passes = async { a_turn().await };
            assert_eq!(timeout(Duration::from_mins(1), passes).await, Ok(()));
        }
        let (set, heap) = local().timers.borrow().sizes();
        assert!(set == 0 && heap <= 200, "{set} are set, {heap} are in the heap");
    });
}

/// Waits once, so that a deadline is set.
async fn a_turn() {
    let mut waited = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn a_job_that_panics_ends_neither_the_loop_nor_the_jobs_after_it() {
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let done = Arc::new(Notify::new());
    handle.run(|| panic!("on purpose"));
    let notify = Arc::clone(&done);
    handle.run(move || notify.notify_one());
    assert_eq!(event_loop.run(None, timeout(PATIENCE, done.notified())).unwrap(), Ok(()));
}

#[test]
fn other_threads_wake_tasks_and_leave_jobs() {
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let (notify, woken) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, answers) = mpsc::channel();
    let others: Vec<_> = (0..4)
        .map(|n| {
            let (handle, told, notify, woken) = (handle.clone(), told.clone(), Arc::clone(&notify), Arc::clone(&woken));
            thread::spawn(move || {
                for _ in 0..500 {
                    let (told, notify) = (told.clone(), Arc::clone(&notify));
                    // The job starts a task that another job will wake.
                    handle.run(move || {
                        spawn(async move {
                            notify.notified().await;
                            told.send(n).unwrap();
                        });
                    });
                }
                woken.notify_one();
            })
        })
        .collect();
    drop(told);
    let main = async {
        for _ in 0..4 {
            // One permit may stand for several: the threads are joined below.
            let _ = timeout(Duration::from_millis(50), woken.notified()).await;
        }
        for thread in others {
            thread.join().unwrap();
        }
        yield_now().await;
        yield_now().await;
        let waker = Arc::clone(&notify);
        thread::spawn(move || waker.notify_waiters()).join().unwrap();
        let mut heard = 0;
        while heard < 2000 {
            yield_now().await;
            heard += answers.try_iter().count();
        }
    };
    assert_eq!(event_loop.run(None, async { timeout(PATIENCE, main).await }).unwrap(), Ok(()));
    // A loop that has ended drops what it is given.
    let (told, hears) = mpsc::channel::<()>();
    handle.run(move || drop(told));
    assert!(hears.recv().is_err());
}

#[test]
fn the_end_of_the_loop_drops_its_tasks_and_closes_what_they_hold() {
    let (far, near) = run(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = listener.accept().unwrap().0;
        let held = Socket::new(near.try_clone().unwrap()).unwrap();
        spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        yield_now().await;
        (far, near)
    });
    drop(near);
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(io::Read::read(&mut &far, &mut [0]).unwrap(), 0);
}

#[test]
fn who_yields_lets_sockets_have_their_turn() {
    run(async {
        let ((mut client, ours), (mut backend, server)) = (pair(), pair());
        spawn(async {
            loop {
                yield_now().await;
            }
        });
        spawn(async move {
            let (mut ours, mut server) = (ours, server);
            let mut bytes = [0; 3];
            ours.read_exact(&mut bytes).await.unwrap();
            server.write_all(&bytes).await.unwrap();
        });
        client.write_all(b"abc").await.unwrap();
        let mut heard = [0; 3];
        timeout(PATIENCE, backend.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(&heard, b"abc");
    });
}

#[test]
fn a_loop_that_waits_uses_no_processor() {
    run(async {
        let (client, ours) = pair();
        // The kernel has told of both, and bytes that nobody reads are no news.
        rustix::net::send(&client, b"abc", rustix::net::SendFlags::empty()).unwrap();
        ours.readable().await;
        let looks = looks();
        sleep(Duration::from_millis(100)).await;
        assert!(self::looks() - looks <= 3, "{} looks", self::looks() - looks);
    });
}

#[test]
fn a_refused_connection_is_told_as_such() {
    run(async {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM.nonblocking(), None).unwrap();
        let soon = || Instant::now() + PATIENCE;
        let refused = Socket::connect(socket().into(), address, soon()).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connected = Socket::connect(socket().into(), listener.local_addr().unwrap(), soon()).await.unwrap();
        let mut near = listener.accept().unwrap().0;
        connected.write_all(b"x").await.unwrap();
        io::Read::read_exact(&mut near, &mut [0]).unwrap();
    });
}

#[test]
fn a_connection_that_nobody_answers_times_out() {
    run(async {
        let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM.nonblocking(), None).unwrap();
        // The kernel answers nobody while as many wait as may.
        let full = socket();
        full.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match Socket::connect(socket().into(), address, Instant::now() + Duration::from_millis(50)).await {
                Ok(connected) => waiting.push(connected),
                Err(error) => break error,
            }
            assert!(waiting.len() < 10, "everybody is answered");
        };
        assert_eq!(error.raw_os_error(), Some(Errno::TIMEDOUT.raw_os_error()));
    });
}

#[test]
fn a_task_is_woken_once_when_it_is_a_second_old_and_one_that_has_ended_is_not_missed() {
    run(async {
        let (told, ages) = (Rc::new(RefCell::new(Vec::new())), [0, 400, 1_400]);
        for after in ages {
            let told = Rc::clone(&told);
            spawn(async move {
                sleep(Duration::from_millis(after)).await;
                // One that does not get so old.
                spawn(async {
                    CoarseTimer::start();
                });
                let (born, mut timer, mut turns) = (Instant::now(), None, 0);
                poll_fn(|_| {
                    turns += 1;
                    let timer = *timer.get_or_insert_with(CoarseTimer::start);
                    if timer.has_elapsed() { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                told.borrow_mut().push((born.elapsed(), turns));
            });
        }
        sleep(Duration::from_millis(1_400 + 2_200)).await;
        let told = told.take();
        assert_eq!(told.len(), ages.len(), "{told:?}");
        let right = Duration::from_secs(1)..Duration::from_millis(2_200);
        assert!(told.iter().all(|(age, turns)| right.contains(age) && *turns == 2), "{told:?}");
        sleep(Duration::from_secs(2)).await;
        assert!(!coarse_timer::is_counting(), "it counts for nobody");
    });
}

#[test]
fn what_the_kernel_still_tells_of_a_closed_socket_is_not_taken_for_another() {
    run(async {
        let (_client, closed) = pair();
        let local = local();
        let stale = closed.event_data();
        drop(closed);
        // Gets the same place.
        let (ours, _other) = pair();
        let place = |data: u64| data & u64::from(u32::MAX);
        assert_eq!(place(stale), place(ours.event_data()));
        local.sockets.tell(&Event { flags: EventFlags::IN, data: EventData::new_u64(stale) });
        assert_eq!(timeout(Duration::from_millis(20), ours.readable()).await, Err(Elapsed));
        local.sockets.tell(&Event { flags: EventFlags::IN, data: EventData::new_u64(ours.event_data()) });
        assert_eq!(timeout(PATIENCE, ours.readable()).await, Ok(()));
    });
}

#[test]
fn a_listener_is_told_of_as_long_as_somebody_waits_unless_it_is_deaf() {
    run(async {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Watched::listener(BoundListener::Tcp(socket).into()).unwrap();
        let _clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        for _ in 0..2 {
            timeout(PATIENCE, listener.readable()).await.unwrap();
            let BoundListener::Tcp(socket) = &**listener.as_ref() else { unreachable!() };
            socket.accept().unwrap();
            listener.forget(Interest::Readable);
        }
        assert_eq!(timeout(Duration::from_millis(20), listener.readable()).await, Err(Elapsed));
        listener.set_deaf(true).unwrap();
        let _third = TcpStream::connect(address).unwrap();
        let looks = looks();
        assert_eq!(timeout(Duration::from_millis(20), listener.readable()).await, Err(Elapsed));
        assert!(self::looks() - looks <= 3, "a deaf listener keeps the loop awake");
        listener.set_deaf(false).unwrap();
        timeout(PATIENCE, listener.readable()).await.unwrap();
    });
}

#[test]
fn a_loop_that_stays_awake_looks_for_a_moment_and_then_sleeps() {
    let moment = Duration::from_millis(40);
    let cpu = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let mut looked = 0;
    // On a busy machine it has less of its moments, so it gets more of them.
    for _ in 0..100 {
        let (more, used) = EventLoop::new()
            .unwrap()
            .run(Some(moment), async {
                // The deadline is something that happens.
                sleep(Duration::from_millis(1)).await;
                let (start, before) = (looks(), cpu());
                sleep(moment * 10).await;
                (looks() - start, cpu().saturating_sub(before))
            })
            .unwrap();
        assert!(used < moment * 2, "{used:?}");
        looked += more;
        if looked > 1000 {
            return;
        }
    }
    panic!("{looked} looks in a hundred moments");
}

#[test]
fn a_task_whose_end_panics_ends_alone() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(thread::panicking(), "on purpose");
        }
    }
    run(async {
        let (bomb, ended) = (Bomb, Rc::new(Notify::new()));
        spawn(async move {
            yield_now().await;
            // Its own end, and that of what it holds.
            drop(bomb);
        });
        spawn(poll_fn({
            let held = Bomb;
            move |_| {
                let _ = &held;
                Poll::Ready(())
            }
        }));
        let other = Rc::clone(&ended);
        spawn(async move {
            sleep(Duration::from_millis(10)).await;
            other.notify_one();
        });
        assert_eq!(timeout(PATIENCE, ended.notified()).await, Ok(()));
    });
}
