//! Listening sockets that systemd has opened, each for the listener that it names.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    process::{Command, Stdio},
    time::Duration,
};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::{
    child,
    echo::Backend,
    front::unix_client,
    process::{Process, Signal, Stderr, settings, start_in_vain},
    scratch::Scratch,
    wait::until,
};

/// Sockets that a program inherits, from descriptor 3 on.
pub struct Passing {
    prefix: Vec<String>,
    _sockets: Vec<OwnedFd>,
}

impl Passing {
    /// As systemd starts a service: with the sockets, their names and its own number. A shell becomes the service.
    pub fn of(names: &str, sockets: &[&dyn AsFd]) -> Self {
        let sockets: Vec<_> = sockets.iter().map(|socket| inheritable(*socket)).collect();
        let moves = (3..).zip(&sockets).map(|(to, socket)| format!("{to}<&{0} {0}<&-", socket.as_raw_fd()));
        let moves = moves.collect::<Vec<_>>().join(" ");
        let count = sockets.len();
        let script = format!("exec {moves}; export LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES='{names}'; exec \"$@\"");
        let prefix = ["bash", "-c", &script, "bash"].map(str::to_owned).to_vec();
        Self { prefix, _sockets: sockets }
    }

    pub fn prefix(&self) -> Vec<&str> {
        self.prefix.iter().map(String::as_str).collect()
    }

    fn start(&self, settings: &Value) -> Process {
        Process::start_under(&self.prefix(), settings, Stderr::Read)
    }
}

/// A descriptor of the same socket that the programs of this process inherit, above those that a program expects.
fn inheritable(socket: &dyn AsFd) -> OwnedFd {
    let own = fcntl_dupfd_cloexec(socket.as_fd(), 50).unwrap();
    fcntl_setfd(&own, FdFlags::empty()).unwrap();
    own
}

fn tcp() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn address(socket: &TcpListener) -> String {
    socket.local_addr().unwrap().to_string()
}

fn round_trip(stream: &mut (impl Read + Write)) {
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
}

/// Two listeners at the addresses of these sockets, and the admin endpoint at that of the third.
fn two_listeners(backend: &Backend, rw: &TcpListener, ro: &TcpListener) -> Value {
    let mut settings = settings(&[backend.address]);
    let pool = settings["pools"][0].as_object_mut().unwrap();
    pool.remove("listen");
    let rw = json!({"name": "rw", "listen": address(rw), "tcp_user_timeout": "7s", "keepalive": {"idle": "11s"}});
    pool.insert("listeners".to_owned(), json!([rw, {"name": "ro", "listen": address(ro)}]));
    settings
}

#[test]
fn each_socket_goes_to_the_listener_it_names_and_gets_its_options() {
    let (rw, ro, admin, backend) = (tcp(), tcp(), tcp(), Backend::echo());
    let mut settings = two_listeners(&backend, &rw, &ro);
    settings["admin"]["listen"] = address(&admin).into();
    for names in ["admin:orders.ro:orders.rw", "admin:ro:rw", "mainstay.socket:mainstay.socket:mainstay.socket", ""] {
        let sockets = Passing::of(names, &[&admin, &ro, &rw]);
        let process = sockets.start(&settings).serving();
        assert_eq!((process.address, process.admin), (rw.local_addr().unwrap(), admin.local_addr().unwrap()), "{names}");
        for socket in [&rw, &ro] {
            let mut client = crate::support::front::client(socket.local_addr().unwrap());
            round_trip(&mut client);
        }
    }
    // mainstay and this test have the same sockets, so this shows what it has set.
    let of_rw = SockRef::from(&rw);
    assert_eq!(of_rw.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
    assert_eq!(of_rw.tcp_keepalive_time().unwrap(), Duration::from_secs(11));
    assert!(of_rw.keepalive().unwrap() && of_rw.tcp_nodelay().unwrap() && of_rw.nonblocking().unwrap());
    assert_eq!(SockRef::from(&ro).tcp_user_timeout().unwrap(), None);
}

#[test]
fn a_pool_names_its_only_listener_whatever_port_systemd_has_chosen() {
    let (socket, backend) = (tcp(), Backend::echo());
    let process = Passing::of("orders", &[&socket]).start(&settings(&[backend.address])).serving();
    assert_eq!(process.address, socket.local_addr().unwrap());
    round_trip(&mut process.connect());
}

#[test]
fn unix_sockets_keep_their_files_and_the_admin_socket_takes_orders() {
    let (scratch, backend) = (Scratch::new(), Backend::echo());
    let (clients, admin) = (scratch.path("orders.sock"), scratch.path("admin.sock"));
    let (for_clients, for_admin) = (UnixListener::bind(&clients).unwrap(), UnixListener::bind(&admin).unwrap());
    let mut settings = settings(&[backend.address]);
    settings["pools"][0]["listen"] = json!(["127.0.0.1:0", format!("unix:{}", clients.display())]);
    settings["admin"]["listen"] = json!(["127.0.0.1:0", format!("unix:{}", admin.display())]);
    let mut process = Passing::of("admin:orders.default", &[&for_admin, &for_clients]).start(&settings).serving();
    round_trip(&mut unix_client(&clients));
    let shutdown = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(["shutdown", "--admin", &format!("unix:{}", admin.display())])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child::output(shutdown);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    process.ends_within(crate::support::wait::patience());
    assert!(clients.exists() && admin.exists(), "they are systemd's");
    // Whoever comes now waits for the next one.
    let mut early = unix_client(&clients);
    early.write_all(b"x").unwrap();
    let _process = Passing::of("admin:orders.default", &[&for_admin, &for_clients]).start(&settings).serving();
    early.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn a_socket_that_nobody_would_accept_from_is_refused_with_the_names_that_are_known() {
    let (rw, ro, other, backend) = (tcp(), tcp(), tcp(), Backend::echo());
    let settings = two_listeners(&backend, &rw, &ro);
    let refused = |names: &str, sockets: &[&dyn AsFd]| {
        let (code, said) = start_in_vain(&Passing::of(names, sockets).prefix(), &settings);
        assert_eq!(code, Some(78), "{said}");
        said
    };
    let (writing, reading, elsewhere) = (address(&rw), address(&ro), address(&other));
    let known = format!("FileDescriptorName= may be admin (127.0.0.1:0), orders.rw ({writing}), orders.ro ({reading})");
    for name in ["users", "orders"] {
        let said = refused(name, &[&other]);
        let nobody = format!("systemd passed a socket {name} at {elsewhere}, and nothing is configured for it; {known}");
        assert!(said.contains(&nobody), "{said}");
    }
    let said = refused("orders.rw", &[&ro]);
    let both = format!(
        "systemd passed the socket orders.rw at {reading}, and orders.rw listens on {writing}: write the same address in both"
    );
    assert!(said.contains(&both), "{said}");
    let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect_timeout(&rw.local_addr().unwrap(), Duration::from_secs(5)).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    for wrong in [&datagram as &dyn AsFd, &connected, &null] {
        let said = refused("rw", &[wrong]);
        assert!(said.contains("systemd passed a socket rw that cannot be used: ") && said.contains(&known), "{said}");
    }
    // What a name has in it stays a text.
    let said = refused("a\x1b[31m", &[&other]);
    assert!(said.contains("a socket a\\u{1b}[31m at"), "{said}");
}

#[test]
fn variables_that_are_wrong_or_of_another_process_take_no_descriptor() {
    let backend = Backend::echo();
    let settings = settings(&[backend.address]);
    let prefix = ["sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=40 exec \"$@\"", "sh"];
    let (code, said) = start_in_vain(&prefix, &settings);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("LISTEN_FDS=40, but not so many sockets were passed"), "{said}");
    let process = Process::start_under(&["env", "LISTEN_PID=1", "LISTEN_FDS=40"], &settings, Stderr::Read).serving();
    round_trip(&mut process.connect());
}

/// The tool of systemd itself: it listens, and becomes mainstay when the first client comes.
#[test]
fn systemd_socket_activate_starts_it_and_the_first_client_is_served() {
    let (scratch, backend) = (Scratch::new(), Backend::echo());
    let path = scratch.path("orders.sock");
    let mut settings = settings(&[backend.address]);
    settings["pools"][0]["listen"] = format!("unix:{}", path.display()).into();
    let file = scratch.file("mainstay.yaml", settings.to_string(), 0o600);
    let tool = Command::new("systemd-socket-activate")
        .args(["--listen", path.to_str().unwrap(), "--fdname", "orders"])
        .args([env!("CARGO_BIN_EXE_mainstay"), "run", "--config", file.to_str().unwrap()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("systemd-socket-activate cannot be run ({error}); tests/install-deps installs it"));
    until("it listens", || path.exists().then_some(()));
    let mut client = unix_client(&path);
    round_trip(&mut client);
    rustix::process::kill_process(rustix::process::Pid::from_child(&tool), Signal::TERM).unwrap();
    let said = child::output(tool);
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("systemd has opened this socket"), "{said}");
}
