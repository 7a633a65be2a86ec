//! Tests, those of the units too, take the ports that the kernel gives them: a fixed one may be somebody else's on this machine. In a network of a test's
//! own every port is free.

use super::{src, test_sources};

/// How a test opens a socket, or has a process open one.
const OPENS: [&str; 7] =
    ["bind(", "connect(", "connect_timeout(", "Process::start", "start_in_vain(", "mainstay(", "app::start("];

/// Addresses of this machine, up to the port.
const OWN: [&str; 7] = ["127.0.0.1:", "localhost:", "0.0.0.0:", "[::1]:", "[::]:", "[127, 0, 0, 1], ", "[0, 0, 0, 0], "];

/// Helpers that only a test in a network of its own calls.
const INSIDE: [&str; 1] = [
    // A resolver asks port 53.
    "tests/it/support/dns.rs",
];

/// The lines that name a fixed port of this machine, numbered from 1, in functions that open sockets outside a network of their own.
/// The functions stand behind `indent`.
fn fixed_ports(text: &str, indent: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut item: Vec<(usize, &str)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        item.push((number, line));
        let outermost = line.strip_prefix(indent).filter(|code| !code.starts_with(' '));
        if outermost.is_some_and(|code| code.starts_with('}') || code.ends_with(';')) {
            let has = |word: &str| item.iter().any(|(_, line)| line.contains(word));
            if OPENS.iter().any(|open| has(open)) && !has("Network::new()") {
                found.extend(item.iter().filter(|(_, line)| names_fixed_port(line)).map(|(number, _)| number));
            }
            item.clear();
        }
    }
    found
}

fn names_fixed_port(line: &str) -> bool {
    let code = line.split("// ").next().unwrap();
    OWN.iter().flat_map(|host| code.match_indices(host)).any(|(at, host)| {
        let is_fixed = code[at + host.len()..].starts_with(|first: char| first.is_ascii_digit() && first != '0');
        is_fixed && !code[..at].ends_with("replace(\"")
    })
}

#[test]
fn tests_use_no_fixed_port() {
    let mut wrong = Vec::new();
    let units = src().into_iter().map(|(name, text)| (name, text, "    "));
    let sources = units.chain(test_sources().into_iter().map(|(name, text)| (name, text, "")));
    for (name, text, indent) in sources.filter(|(name, ..)| !INSIDE.contains(&name.as_str())) {
        let lines = fixed_ports(&text, indent);
        wrong.extend(lines.iter().map(|line| format!("{name}:{line}: a fixed port; take port 0, or a network of its own")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_fixed_port_is_one_of_this_machine_where_a_socket_is_opened() {
    for (body, is_fixed) in [
        ("TcpListener::bind(\"127.0.0.1:5432\");", true),
        ("socket.bind(&([127, 0, 0, 1], 5432).into());", true),
        ("let address = \"[::1]:6001\";\n    TcpStream::connect(address);", true),
        ("settings[\"listen\"] = json!(\"0.0.0.0:6001\");\n    Process::start(&settings);", true),
        ("TcpListener::bind(\"127.0.0.1:0\");", false),
        ("TcpListener::bind(LOOPBACK); // not 127.0.0.1:5432", false),
        ("Network::new().inside(|| TcpListener::bind(\"127.0.0.1:5432\"));", false),
        ("TcpStream::connect(backend);\n    assert_eq!(told, \"198.51.100.7:5432\");", false),
        ("parse(\"listen: 127.0.0.1:5432\");", false),
        ("connect(text.replace(\"127.0.0.1:5432\", \"127.0.0.1:0\"));", false),
    ] {
        let text = format!("fn before() {{\n    connect(it);\n}}\n\nfn test() {{\n    {body}\n}}\n");
        assert_eq!(!fixed_ports(&text, "").is_empty(), is_fixed, "{body}");
    }
}
