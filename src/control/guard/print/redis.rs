//! Redis and Valkey: `INFO` for the version and the modules, and `CONFIG GET`, which needs a right of its own.

use super::{Answer, Draft, plain, sized};
use crate::{
    config::RedisCheck,
    control::probe::{
        Deadline,
        finding::Refusal,
        redis::{Login, Standing, facts::value, resp::Reply},
        standing::Standing as _,
    },
    failover::Printable,
    net::{addr::BackendAddr, addresses::Addresses},
    route::{PrintGroup, PrintItem},
};

const VERSION: &[&str] =
    &["redis_version", "redis_git_sha1", "redis_build_id", "server_name", "valkey_version", "valkey_release_stage"];

/// Parameters that a primary and a replica that are configured alike do not share, and the accounts of replication.
const LEFT_OUT: &[&str] = &[
    "aclfile",
    "appenddirname",
    "appendfilename",
    "availability-zone",
    "bind",
    "bind-source-addr",
    "cluster-config-file",
    "cluster-port",
    "daemonize",
    "dbfilename",
    "dir",
    "logfile",
    "masterauth",
    "masteruser",
    "pidfile",
    "port",
    "primaryauth",
    "primaryuser",
    "replica-announced",
    // Whoever promotes changes it.
    "replica-priority",
    "replicaof",
    "supervised",
    "syslog-ident",
    "tls-port",
    "unixsocket",
];

/// Parameters that `CONFIG SET` cannot change: the server does not tell.
const NEEDS_RESTART: &[&str] = &[
    "always-show-logo",
    "cluster-enabled",
    "databases",
    "disable-thp",
    "enable-debug-command",
    "enable-module-command",
    "enable-protected-configs",
    "io-threads",
    "io-threads-do-reads",
    "rdbchecksum",
    "set-proc-title",
    "syslog-enabled",
    "syslog-facility",
    "tcp-backlog",
    "unixsocketperm",
];

pub(super) async fn read(
    check: &RedisCheck,
    (address, addresses): (&BackendAddr, &Addresses),
    draft: &mut Draft<'_>,
    deadline: Deadline,
) -> Answer {
    let mut session = Login::new(address, check).session(addresses, deadline).await?;
    let asked = ask(&mut session, check.user.as_deref().unwrap_or("default"), draft, deadline).await;
    Box::new(session).close().await;
    asked
}

async fn ask(session: &mut Standing, user: &str, draft: &mut Draft<'_>, deadline: Deadline) -> Answer {
    let info = info(session, "server", deadline).await?;
    for name in VERSION {
        if let Some(version) = value(&info, name) {
            draft.add(PrintGroup::Version, name, plain(version));
        }
    }
    for line in self::info(session, "modules", deadline).await?.lines() {
        // `module:name=search,ver=20811,api=1,filters=0,…`
        let fields = line.strip_prefix("module:").map(|module| module.split(',').filter_map(|field| field.split_once('=')));
        let field = |wanted| fields.clone()?.find(|(name, _)| *name == wanted).map(|(_, value)| value);
        if let (Some(name), Some(version)) = (field("name"), field("ver")) {
            draft.add(PrintGroup::Plugin, name, plain(version));
        }
    }
    match session.run(&["CONFIG", "GET", "*"], deadline).await {
        Ok(Reply::List(words)) => {
            for pair in words.chunks_exact(2) {
                parameter(draft, &pair[0], &pair[1]);
            }
        }
        Ok(_) => return Err(no_answer("CONFIG GET")),
        Err(Refusal { is_denied: true, .. }) => {
            let user = Printable::word(user);
            let words =
                format!("the user {user} may not read the configuration: ACL SETUSER {user} +config|get (and in its ACL file)");
            draft.print.unseen.insert(PrintGroup::Setting, words);
        }
        Err(refusal) => return Err(refusal),
    }
    Ok(())
}

fn parameter(draft: &mut Draft<'_>, name: &str, value: &str) {
    let is_path = name.starts_with("tls-") && (name.ends_with("-file") || name.ends_with("-dir"));
    // The old names of others.
    let is_old = name.contains("slave") || name.contains("ziplist");
    if is_path || is_old || name.contains("-announce-") || name.ends_with("cpulist") || LEFT_OUT.contains(&name) {
        return;
    }
    draft.add(PrintGroup::Setting, name, PrintItem { needs_restart: NEEDS_RESTART.contains(&name), ..sized(name, value) });
}

async fn info(session: &mut Standing, section: &str, deadline: Deadline) -> Result<String, Refusal> {
    match session.run(&["INFO", section], deadline).await? {
        Reply::Bulk(text) => Ok(text),
        _ => Err(no_answer("INFO")),
    }
}

fn no_answer(command: &str) -> Refusal {
    Refusal { is_denied: false, why: format!("the answer to {command} is none").into() }
}
