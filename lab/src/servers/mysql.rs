//! A real `MySQL`: that of Debian's unstable suite, which `tests/install-servers` unpacks (`make versions`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    mysqld::{Flavour, Mysqld, client, command},
    owner, succeed,
};
use crate::template::Template;

const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/servers/mysql");
const BASE: &str = concat!("--basedir=", env!("CARGO_MANIFEST_DIR"), "/../target/servers/mysql/root/usr");

/// `MySQL` as Oracle publishes it.
pub enum Oracle {}

pub type MySql = Mysqld<Oracle>;

/// One of its programs; else what is missing.
fn program(name: &str) -> Result<PathBuf, String> {
    let path = Path::new(PLACE).join("bin").join(name);
    if path.exists() { Ok(path) } else { Err(format!("{} is missing: `make versions` unpacks it", path.display())) }
}

impl Flavour for Oracle {
    const NAME: &'static str = "MySQL";
    const READ_ONLY: &'static str = "super_read_only";
    const CHANGE_SOURCE: &'static str = "CHANGE REPLICATION SOURCE";
    const SOURCE: &'static str = "Source";
    const REPLICA: &'static str = "Replica";
    // A source may be away for longer than its ten attempts take.
    const FROM: &'static str = "Source_auto_position=1, Source_retry_count=86400";
    const FROM_AS_FORMER_PRIMARY: &'static str = Self::FROM;
    const ARGUMENTS: &'static [&'static str] = &[
        BASE,
        "--secure-file-priv=NULL",
        "--innodb-redo-log-capacity=8M",
        // Every connection that ends without a word is a line in the log.
        "--log-error-verbosity=3",
        "--mysqlx=OFF",
        "--log-bin=bin",
        "--relay-log=relay",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--sync-binlog=0",
        // Its performance schema would take 240 MB.
        "--performance-schema-digests-size=100",
        "--performance-schema-error-size=0",
        "--table-open-cache=200",
        "--performance-schema-accounts-size=10",
        "--performance-schema-hosts-size=10",
        "--performance-schema-users-size=10",
        "--performance-schema-events-statements-history-long-size=0",
        "--table-definition-cache=400",
    ];
    const RIGHTS: &'static str =
        "REPLICATION CLIENT, PROCESS, CONNECTION_ADMIN, SYSTEM_VARIABLES_ADMIN, REPLICATION_SLAVE_ADMIN, RELOAD";

    fn server() -> PathBuf {
        program("mysqld").unwrap_or_else(|missing| panic!("{missing}"))
    }

    fn client() -> PathBuf {
        program("mysql").unwrap_or_else(|missing| panic!("{missing}"))
    }

    fn install(root: &Path) {
        let data = root.join("data");
        let accounts = "CREATE USER root@'%';\nGRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;\n";
        let template = Template::of("mysql", &Path::new(PLACE).join("packages"), accounts);
        if template.as_ref().is_some_and(|template| template.fill(&data).unwrap()) {
            return;
        }
        let init = root.join("init.sql");
        fs::write(&init, accounts).unwrap();
        owner("mysql").own(&init).unwrap();
        let paths = [("init-file", &init), ("datadir", &data)].map(|(name, at)| format!("--{name}={}", at.display()));
        let arguments = [BASE, "--secure-file-priv=NULL", "--innodb-redo-log-capacity=8M", "--initialize-insecure"];
        succeed(command(Self::server()).args(arguments).args(paths));
        // It holds the server's own identity, which it makes anew.
        fs::remove_file(data.join("auto.cnf")).unwrap();
        if let Some(template) = template {
            template.take(&data).unwrap();
        }
    }
}

impl MySql {
    /// # Errors
    /// What is missing on this machine.
    pub fn available() -> Result<(), String> {
        program("mysqld").map(drop)
    }

    /// One that follows it by file and position.
    pub fn replica_by_position(&self, arguments: &[&str]) -> Self {
        let replica = Self::start(arguments);
        let status = self.sql("SHOW BINARY LOG STATUS");
        let mut place = status.split('\t');
        let (file, position) = (place.next().unwrap(), place.next().unwrap());
        replica.follow_from(self.port, &format!("source_log_file='{file}', source_log_pos={position}"));
        replica
    }
}

/// Statements by the server's own client: what it printed, or what it said of an error.
pub fn mysql(arguments: &[&str], statements: &str) -> Result<String, String> {
    client::<Oracle>(arguments, statements)
}
