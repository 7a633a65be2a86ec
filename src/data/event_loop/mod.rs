//! The event loop under the byte path: one thread, one epoll, and the tasks of that thread.
//!
//! | file | what it does |
//! |---|---|
//! | [`task`] | who runs next, and how others wake it |
//! | [`socket`] | a socket, and what the kernel has told of it |
//! | [`timer`] | deadlines, most of which never come |
//!
//! The rest of mainstay runs on tokio, and what is shared with it ([`tokio::sync`], [`tokio::io`]'s traits) works here as well: a
//! waker is a waker. The byte path has a loop of its own because a general one does more than is needed there: for a round trip
//! mainstay needs 1,800 instructions of its own with this one, 4,700 with tokio's (`docs/performance-tried.md`). What it leaves out,
//! because a task and its sockets never leave their thread:
//!
//! - Whether a socket is ready is a plain byte, and who waits for it is always the one task that owns it.
//! - A socket is closed without being taken out of epoll first: the kernel does that.
//! - A deadline is set and taken back without a system call, and a loop that waits reads no clock.
//!
//! A turn of the loop: every task that can go on does so; then one look at the kernel, which waits if nobody could go on; then the
//! deadlines that have passed. A task that wants the others to have their turn first ([`yield_now`]) goes on after that look.

mod socket;
mod task;
mod timer;

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    io,
    mem::{self, MaybeUninit},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
};
use socket::Registry;
pub use socket::{Interest, Socket, Watched};
use task::{Key, Mailbox, Tasks};
use timer::Timers;
pub use timer::{Elapsed, Sleep, sleep, sleep_until, timeout};

/// What is taken from the kernel at one look.
const EVENTS: usize = 256;

/// Tasks that have their turn between two looks at the kernel: those who wake each other must not keep the others waiting.
const TURNS: usize = 256;

/// What an event carries that is of no socket: another thread has left something, or a deadline has come. (A socket's place is far
/// below these.)
const MAIL: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;

thread_local! {
    static LOCAL: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

/// What belongs to the loop of a thread.
struct Local {
    epoll: OwnedFd,
    tasks: Tasks,
    sockets: Registry,
    timers: RefCell<Timers>,
    /// They go on after the next look.
    yielded: RefCell<Vec<Waker>>,
    looks: Cell<u64>,
}

/// A loop that runs on no thread yet.
pub struct EventLoop {
    epoll: OwnedFd,
    mailbox: Arc<Mailbox>,
    timers: Timers,
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

/// How other threads reach a loop.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Mailbox>);

impl Handle {
    /// Has the loop's thread do this soon; never, when the loop has ended.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.0.post(Box::new(job));
    }
}

impl EventLoop {
    /// A loop.
    ///
    /// # Errors
    /// When the kernel has no descriptor left for it: it needs three.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mailbox = Mailbox::new()?;
        let timers = Timers::new()?;
        for (descriptor, data) in [(mailbox.bell(), MAIL), (timers.alarm(), ALARM)] {
            epoll::add(&epoll, descriptor, EventData::new_u64(data), EventFlags::IN | EventFlags::ET)?;
        }
        Ok(Self { epoll, mailbox: Arc::new(mailbox), timers })
    }

    /// How other threads reach it.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.mailbox))
    }

    /// Runs on this thread until `future` is ready; then drops every task that has not ended, and with it what that holds. After
    /// something has happened, it stays awake for the moment `busy_poll`.
    ///
    /// # Errors
    /// When epoll fails, which no correct program sees.
    ///
    /// # Panics
    /// When the thread runs a loop already.
    pub fn run<F: Future>(self, busy_poll: Option<Duration>, future: F) -> io::Result<F::Output> {
        let local = Rc::new(Local {
            epoll: self.epoll,
            tasks: Tasks::new(self.mailbox),
            sockets: Registry::default(),
            timers: RefCell::new(self.timers),
            yielded: RefCell::default(),
            looks: Cell::new(0),
        });
        let before = LOCAL.replace(Some(Rc::clone(&local)));
        assert!(before.is_none(), "a thread has one event loop");
        let _leave = Leave(&local);
        let mut future = pin!(future);
        let waker = local.tasks.main_waker();
        waker.wake_by_ref();
        let mut awake = Awake { moment: busy_poll, until: None };
        loop {
            for _ in 0..TURNS {
                match local.tasks.next() {
                    Some(Key::MAIN) => {
                        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                            return Ok(output);
                        }
                    }
                    Some(key) => local.tasks.run(key),
                    None => break,
                }
            }
            local.look(&mut awake)?;
        }
    }
}

/// Until when a loop with nothing to do does not sleep.
struct Awake {
    moment: Option<Duration>,
    until: Option<Instant>,
}

impl Awake {
    /// Something has happened.
    fn prolong(&mut self) {
        self.until = self.moment.map(|moment| Instant::now() + moment);
    }

    fn is_over(&mut self) -> bool {
        self.until = self.until.filter(|until| Instant::now() < *until);
        self.until.is_none()
    }
}

impl Local {
    /// Takes what the kernel has to tell, and waits for it if nobody could go on otherwise.
    fn look(&self, awake: &mut Awake) -> io::Result<()> {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.timers.borrow_mut().arm()?;
        let yielded = self.yielded.take();
        let waits = yielded.is_empty() && !self.tasks.has_work() && awake.is_over();
        let mut buffer = [MaybeUninit::<Event>::uninit(); EVENTS];
        let events = match epoll::wait(&self.epoll, &mut buffer, if waits { None } else { Some(&AT_ONCE) }) {
            Ok((events, _)) => &*events,
            Err(Errno::INTR) => &[],
            Err(errno) => return Err(errno.into()),
        };
        self.looks.set(self.looks.get() + 1);
        for event in events {
            match event.data.u64() {
                MAIL => self.tasks.empty_mailbox(),
                ALARM => {
                    let passed = self.timers.borrow_mut().pass();
                    passed.into_iter().for_each(Waker::wake);
                }
                _ => self.sockets.tell(event),
            }
        }
        if !events.is_empty() {
            awake.prolong();
        }
        yielded.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

/// Leaves the thread without a loop, and without its tasks.
struct Leave<'a>(&'a Local);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.tasks.end();
        LOCAL.take();
    }
}

/// What belongs to the loop of this thread.
///
/// # Panics
/// When it runs none.
fn local() -> Rc<Local> {
    match LOCAL.with_borrow(Option::clone) {
        Some(local) => local,
        None => panic!("this thread runs no event loop"),
    }
}

/// Starts a task on this thread. One that panics ends alone: what it held is dropped, and the panic hook has told of it.
///
/// # Panics
/// When the thread runs no loop.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    local().tasks.add(Box::pin(task));
}

/// Lets every other task that can go on do so, and looks at the kernel, before this one goes on.
pub async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        after_others(cx);
        Poll::Pending
    })
    .await;
}

/// Polls again when every other task that can go on has done so, and the kernel was looked at.
pub(super) fn after_others(cx: &Context<'_>) {
    local().yielded.borrow_mut().push(cx.waker().clone());
}

/// How often this thread's loop has looked at the kernel.
pub(super) fn looks() -> u64 {
    local().looks.get()
}

/// For tests of what runs in a loop.
#[cfg(test)]
pub(crate) mod testing {
    use std::{
        future::Future,
        net::{TcpListener, TcpStream},
    };

    use super::{EventLoop, Socket};

    /// Runs a loop until `future` is ready.
    pub(crate) fn run<F: Future>(future: F) -> F::Output {
        EventLoop::new().unwrap().run(None, future).unwrap()
    }

    /// Both ends of a new connection.
    pub(crate) fn pair() -> (Socket, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = listener.accept().unwrap().0;
        let [far, near] = [far, near].map(|stream| {
            stream.set_nonblocking(true).unwrap();
            Socket::new(stream).unwrap()
        });
        (far, near)
    }
}

#[cfg(test)]
mod tests {
    use std::{
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
        testing::{pair, run},
        *,
    };

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn deadlines_come_in_their_order_and_not_before_their_time() {
        run(async {
            let order = Rc::new(RefCell::new(Vec::new()));
            let start = Instant::now();
            for millis in [30, 10, 20, 10] {
                let order = Rc::clone(&order);
                spawn(async move {
                    sleep(Duration::from_millis(millis)).await;
                    assert!(start.elapsed() >= Duration::from_millis(millis));
                    order.borrow_mut().push(millis);
                });
            }
            sleep(Duration::from_millis(60)).await;
            assert_eq!(*order.borrow(), [10, 10, 20, 30]);
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
            let refused = Socket::connect(socket().into(), address).await;
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut connected = Socket::connect(socket().into(), listener.local_addr().unwrap()).await.unwrap();
            let mut near = listener.accept().unwrap().0;
            connected.write_all(b"x").await.unwrap();
            io::Read::read_exact(&mut near, &mut [0]).unwrap();
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
            let listener = Watched::listener(socket).unwrap();
            let _clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
            for _ in 0..2 {
                timeout(PATIENCE, listener.readable()).await.unwrap();
                listener.as_ref().accept().unwrap();
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
        let (looked, used) = EventLoop::new()
            .unwrap()
            .run(Some(moment), async {
                // The deadline is something that happens.
                sleep(Duration::from_millis(1)).await;
                let (start, before) = (looks(), cpu());
                sleep(moment * 10).await;
                (looks() - start, cpu().saturating_sub(before))
            })
            .unwrap();
        assert!(looked > 1000, "{looked} looks");
        assert!(used < moment * 2, "{used:?}");
    }
}
