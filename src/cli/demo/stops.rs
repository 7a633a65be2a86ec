//! How mainstay stops a node of the demo: its hook is this program again, which asks the demo to do it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use super::nodes::{NodeError, Nodes};

/// Both ends answer at once.
const TIMEOUT: Duration = Duration::from_secs(20);
const STOPPED: &str = "stopped";

/// The demo's end.
#[derive(Debug)]
pub(super) struct Stops(TcpListener);

impl Stops {
    pub(super) fn new() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// The command of the hook.
    pub(super) fn command(&self) -> io::Result<[String; 4]> {
        let program = std::env::current_exe()?.display().to_string();
        Ok([program, "demo".into(), "--stop".into(), self.0.local_addr()?.port().to_string()])
    }

    /// Stops the node that a hook has asked for, if one has.
    pub(super) fn serve(&self, nodes: &Nodes) -> Result<(), NodeError> {
        let Ok((mut hook, _)) = self.0.accept() else { return Ok(()) };
        hook.set_nonblocking(false)?;
        hook.set_read_timeout(Some(TIMEOUT))?;
        let mut name = String::new();
        BufReader::new(hook.try_clone()?).take(100).read_line(&mut name)?;
        if let Some(node) = (0..2).find(|node| Nodes::name(*node) == name.trim()) {
            nodes.stop(node)?;
            hook.write_all(STOPPED.as_bytes())?;
        }
        Ok(())
    }
}

/// The hook's end; the process's exit code.
pub(super) fn ask(port: u16) -> u8 {
    let name = std::env::var("MAINSTAY_BACKEND").unwrap_or_default();
    let ask = || {
        let mut demo = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        demo.set_read_timeout(Some(TIMEOUT))?;
        writeln!(demo, "{name}")?;
        let mut answer = String::new();
        demo.read_to_string(&mut answer)?;
        Ok::<_, io::Error>(answer == STOPPED)
    };
    u8::from(!ask().unwrap_or(false))
}
