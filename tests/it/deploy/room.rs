//! A place such as a container gives: a network of its own, a `/run` of its own, the files of a Secret, names for addresses.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    thread,
};

use lab::process::{send, tail};
use rustix::process::{Pid, Signal};

use crate::support::{child, netns::Network, scratch::Scratch, wait::until};

/// The user of the image.
pub(super) const MAINSTAY: (u32, u32) = (65532, 65532);

/// Mounts what the room has, and becomes the user without any right. `ip netns exec` has made the mounts its own already.
const ENTER: &str = r#"
set -eu
room=$1 user=$2 group=$3
shift 3
mount -t tmpfs -o mode=755 none /run
mkdir /run/secrets /run/mainstay
touch /run/program
mount --bind "$room/secrets" /run/secrets
mount --bind "$room/run" /run/mainstay
mount --bind "$PROGRAM" /run/program
mount --bind "$room/hosts" /etc/hosts
mount -t tmpfs -o mode=755 none /var/lib
mkdir -m 777 /var/lib/mainstay
exec setpriv --reuid="$user" --regid="$group" --clear-groups --bounding-set=-all --no-new-privs -- "$@"
"#;

/// The room. What was started in it shares `/run/mainstay`.
pub(super) struct Room {
    network: Network,
    pub files: Scratch,
}

impl Room {
    /// `hosts` is what stands in `/etc/hosts`, `secrets` the files in `/run/secrets`.
    pub(super) fn new(hosts: &str, secrets: &[(&str, &str)]) -> Self {
        let room = Self { network: Network::new(), files: Scratch::new() };
        room.files.file("hosts", hosts, 0o644);
        fs::create_dir(room.files.path("secrets")).unwrap();
        fs::create_dir(room.files.path("run")).unwrap();
        // As an emptyDir is.
        fs::set_permissions(room.files.path("run"), fs::Permissions::from_mode(0o777)).unwrap();
        for (name, content) in secrets {
            fs::create_dir_all(room.files.path("secrets").join(name).parent().unwrap()).unwrap();
            room.files.file(&format!("secrets/{name}"), content, 0o444);
        }
        room
    }

    /// A command in it. mainstay is `/run/program` there.
    pub(super) fn command(&self, (user, group): (u32, u32), words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.network.name(), "sh", "-c", ENTER, "sh"]).arg(self.files.directory());
        command.args([user.to_string(), group.to_string()]).args(words).env("PROGRAM", env!("CARGO_BIN_EXE_mainstay"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// A server that goes on in it; `name.log` has what it said.
    pub(super) fn start(&self, name: &str, command: &mut Command) -> Guest {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.files.path(&format!("{name}.log"))).unwrap();
        Guest(command.stderr(log).spawn().unwrap())
    }

    /// mainstay with a configuration, once it takes orders.
    pub(super) fn mainstay(&self, config: &str, environment: &[(&str, &str)]) -> Guest {
        let file = self.files.file("mainstay.yaml", config, 0o644);
        let mut command = self.command(MAINSTAY, &["/run/program", "run", "--config", file.to_str().unwrap()]);
        let guest = self.start("mainstay", command.envs(environment.iter().copied()));
        until(&format!("mainstay has its socket\n{}", self.said("mainstay")), || {
            self.files.path("run/admin.sock").exists().then_some(())
        });
        guest
    }

    pub(super) fn said(&self, name: &str) -> String {
        fs::read_to_string(self.files.path(&format!("{name}.log"))).unwrap_or_default()
    }
}

/// A test that fails shows what the servers said.
impl Drop for Room {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for entry in fs::read_dir(self.files.directory()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "log") {
                eprintln!("{}: {}", path.display(), tail(&path));
            }
        }
    }
}

/// A server in a room. It is killed with its test.
pub(super) struct Guest(Child);

impl Guest {
    pub(super) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Its exit code, when it has ended.
    pub(super) fn ends(&mut self) -> Option<i32> {
        child::ended(&mut self.0).code()
    }

    pub(super) fn signal(&self, signal: Signal) {
        send(Pid::from_child(&self.0), signal);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
