//! A real `MariaDB`.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use super::{
    free_port,
    mysqld::{Flavour, Mysqld, client, command},
    succeed,
};
use crate::template::Template;

/// Where Debian and its children put the library of Galera.
const GALERA: &str = "/usr/lib/galera/libgalera_smm.so";

/// Where it puts the server.
const SERVER: &str = "/usr/sbin/mariadbd";

/// `MariaDB`, as the machine has it.
pub enum Maria {}

pub type MariaDb = Mysqld<Maria>;

impl Flavour for Maria {
    const NAME: &'static str = "MariaDB";
    const READ_ONLY: &'static str = "read_only";
    const CHANGE_SOURCE: &'static str = "CHANGE MASTER";
    const SOURCE: &'static str = "Master";
    const REPLICA: &'static str = "Slave";
    const FROM: &'static str = "Master_use_gtid=slave_pos";
    // What it wrote itself counts as received.
    const FROM_AS_FORMER_PRIMARY: &'static str = "Master_use_gtid=slave_pos, Master_demote_to_slave=1";
    const ARGUMENTS: &'static [&'static str] = &[
        // Nothing goes on after the start that would write a line of its own.
        "--innodb-buffer-pool-load-at-startup=OFF",
        // Every connection that ends without a word is a line in the log.
        "--log-warnings=9",
        "--log-bin",
        "--log-slave-updates",
        "--innodb-log-file-size=8M",
    ];
    const RIGHTS: &'static str = "SLAVE MONITOR, PROCESS, CONNECTION ADMIN, READ_ONLY ADMIN, REPLICATION SLAVE ADMIN, RELOAD";

    fn server() -> PathBuf {
        "mariadbd".into()
    }

    fn client() -> PathBuf {
        "mariadb".into()
    }

    fn install(root: &Path) {
        let paths = [format!("--tmpdir={}", root.join("tmp").display()), format!("--datadir={}", root.join("data").display())];
        let plain = ["--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M"];
        let template = Template::of("mariadb", Path::new(SERVER), plain);
        let data = root.join("data");
        if template.as_ref().is_some_and(|template| template.fill(&data).unwrap()) {
            return;
        }
        succeed(command("mariadb-install-db").args(plain).args(paths));
        if let Some(template) = template {
            template.take(&data).unwrap();
        }
    }
}

impl MariaDb {
    /// The first node of a Galera cluster, or one that joins that of `first`.
    pub fn galera(first: Option<&Self>) -> Self {
        let [group, transfer, state] = [(); 3].map(|()| free_port(&[Ipv4Addr::LOCALHOST]));
        let peer = first.map_or_else(String::new, |first| format!("127.0.0.1:{}", first.galera_port()));
        let arguments = [
            "--wsrep-on=ON".to_owned(),
            format!("--wsrep-provider={GALERA}"),
            format!("--wsrep-cluster-address=gcomm://{peer}"),
            format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{group};ist.recv_addr=127.0.0.1:{transfer};\
                 gcache.size=16M;pc.recovery=false"
            ),
            format!("--wsrep-sst-receive-address=127.0.0.1:{state}"),
            "--wsrep-sst-method=rsync".into(),
            "--wsrep-node-address=127.0.0.1".into(),
            "--binlog-format=ROW".into(),
            "--innodb-autoinc-lock-mode=2".into(),
        ];
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(first.is_none().then_some("--wsrep-new-cluster"));
        Self::start(&arguments)
    }

    fn galera_port(&self) -> u16 {
        let options = self.arguments.iter().find_map(|argument| argument.split_once("listen_addr=tcp://127.0.0.1:")).unwrap();
        options.1.split(';').next().unwrap().parse().unwrap()
    }
}

/// Statements by the server's own client: what it printed, or what it said of an error.
pub fn mariadb(arguments: &[&str], statements: &str) -> Result<String, String> {
    client::<Maria>(arguments, statements)
}
