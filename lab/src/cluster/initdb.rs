//! The server's own tools that make a data directory.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    error::{ClusterError, STEP_TIMEOUT, doing},
    shared::{Auth, Options, Shared},
};
use crate::{process, template::Template, wait};

/// Settings of the lab: small and quick. What the lab does to a server is kill, stop and freeze its processes; the kernel keeps
/// what they wrote, so `fsync` protects against nothing here, and without it a killed server does not sync its whole directory
/// before it starts again (seconds on a slow disk). A test that pulls the plug adds `fsync = on` to [`Options::settings`].
const SETTINGS: &str = "
# mainstay lab
fsync = off
shared_buffers = 16MB
max_wal_size = 256MB
# A checkpoint removes nothing that a standby on a busy machine has not got yet.
wal_keep_size = 256MB
wal_log_hints = on
wal_retrieve_retry_interval = 100ms
# In the data directory, so that a killed server leaves nothing outside it.
dynamic_shared_memory_type = mmap
autovacuum = off
log_line_prefix = '%m [%p] '
";

/// Of initdb. Each new server writes its first segment of WAL in full, and so does each of its standbys.
const ARGUMENTS: [&str; 7] = [
    "--no-sync",
    "--no-instructions",
    "--username=postgres",
    "--encoding=UTF8",
    "--locale=C",
    "--auth-local=trust",
    "--wal-segsize=1",
];

/// Makes the data directory of a primary.
pub(crate) fn initdb(shared: &Shared, data: &Path, options: &Options) -> Result<(), ClusterError> {
    let password = if let Auth::Scram(password) = &options.auth { Some(password) } else { None };
    let template = Template::of("postgres", &shared.binaries.directory().join("initdb"), (ARGUMENTS, password));
    let copied = template.as_ref().map_or(Ok(false), |template| template.fill(data));
    if doing("cannot copy a data directory", copied)? {
        // The system's may be of another version.
        if shared.binaries.has("pg_resetwal") {
            renew(shared, data)?;
        }
    } else {
        make(shared, data, options)?;
        let taken = template.map_or(Ok(()), |template| template.take(data));
        doing("cannot keep a data directory as a template", taken)?;
    }
    let append = || {
        let mut file = File::options().append(true).open(data.join("postgresql.conf"))?;
        file.write_all(SETTINGS.as_bytes())?;
        options.settings.iter().try_for_each(|line| writeln!(file, "{line}"))
    };
    doing("cannot write postgresql.conf", append())
}

/// Makes another cluster of a copied one, with a system identifier of its own, as initdb draws it: seconds, microseconds, process
/// (`BootStrapXLOG`). It is the first thing in the control file; `pg_resetwal` begins a log of that cluster, and mends the checksum.
fn renew(shared: &Shared, data: &Path) -> Result<(), ClusterError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let process = u64::from(std::process::id()) & 0xfff;
    let id = (now.as_secs() << 32) | (u64::from(now.subsec_micros()) << 12) | process;
    let write = || File::options().write(true).open(data.join("global/pg_control"))?.write_all(&id.to_ne_bytes());
    doing("cannot write the control file", write())?;
    run(shared, shared.command("pg_resetwal").arg("--force").arg("-D").arg(data), "pg_resetwal")
}

fn make(shared: &Shared, data: &Path, options: &Options) -> Result<(), ClusterError> {
    let mut command = shared.command("initdb");
    command.args(ARGUMENTS);
    match &options.auth {
        Auth::Trust => command.arg("--auth-host=trust"),
        Auth::Scram(password) => {
            let file = shared.base.join("password");
            doing("cannot write the password file", fs::write(&file, password))?;
            doing("cannot give the password file to the user postgres", shared.owner.own(&file))?;
            command.arg("--auth-host=scram-sha-256").arg("--pwfile").arg(file)
        }
    };
    run(shared, command.arg("-D").arg(data), "initdb")
}

/// Makes the data directory of a standby that follows the server on this host (or in this directory of sockets) and port.
pub(crate) fn base_backup(shared: &Shared, host: &str, port: u16, data: &Path) -> Result<(), ClusterError> {
    let mut command = shared.command("pg_basebackup");
    let source = format!("host={host} port={port} user=postgres");
    command.args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf", "--wal-method=stream", "-d", &source]);
    run(shared, command.arg("-D").arg(data), "pg_basebackup")
}

/// Runs a tool to its end, which must come in time.
fn run(shared: &Shared, command: &mut Command, name: &str) -> Result<(), ClusterError> {
    let log = shared.base.join(format!("{name}.log"));
    let output = doing("cannot open a log file", File::create(&log))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).process_group(0);
    let mut child = doing(&format!("cannot run {name}"), command.spawn())?;
    let mut status = None;
    wait::wait_until(STEP_TIMEOUT, || {
        status = child.try_wait().transpose();
        status.is_some()
    });
    match status {
        Some(Ok(status)) if status.success() => Ok(()),
        Some(Ok(_)) => Err(ClusterError::Failed(name.to_owned(), process::tail(&log))),
        Some(Err(error)) => Err(ClusterError::Io(format!("cannot wait for {name}"), error)),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Err(ClusterError::Timeout(format!("{name} ends"), process::tail(&log)))
        }
    }
}
