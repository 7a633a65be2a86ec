//! The Compose command reads `compose.yaml`, and what it would start is played: the start scripts of both `PostgreSQL` nodes, mainstay,
//! Prometheus and Alertmanager with the very files, in one network where every service has an address. There is no engine here, and no
//! Grafana.

use std::fs;

use lab::{cluster::programs::Binaries, directory::Owner};
use rustix::process::Signal;
use serde_json::Value;

use super::tools::compose;
use crate::{
    deploy::{
        compose::HERE,
        documents,
        room::{Guest, MAINSTAY, Room},
        text, word,
    },
    support::{
        child::Bounded,
        netns::run,
        repository::path,
        scratch::Scratch,
        wait::{patience, until, within},
    },
};

#[test]
fn the_compose_command_takes_the_file_and_no_wrong_word_in_it() {
    let read = compose(&["-f", "compose.yaml", "config", "--quiet"]);
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_eq!(String::from_utf8_lossy(&read.stderr), "");
    let right = text("compose.yaml");
    let own = Scratch::new();
    let wrong = [
        ("healthcheck:", "healthchek:"),
        ("read_only:", "readonly:"),
        ("secrets: [password]", "secrets: [pasword]"),
        ("networks: [data]", "networks: [date]"),
        ("restart: unless-stopped", "restart: [unless-stopped]"),
        ("127.0.0.1:3000:3000", "127.0.0.1:3000:grafana"),
        ("- db-a:/var", "- db-c:/var"),
        ("interval: 2s", "interval: two"),
        ("\nservices:", "\nservice:"),
        ("    file: ./deploy", "    flie: ./deploy"),
    ];
    for (from, to) in wrong {
        assert!(right.contains(from), "{from}");
        let file = own.file("compose.yaml", right.replace(from, to), 0o644);
        let output =
            compose(&["-f", file.to_str().unwrap(), "--project-directory", path("").to_str().unwrap(), "config", "--quiet"]);
        assert!(!output.status.success(), "{to} is taken");
    }
}

#[test]
fn the_scripts_and_the_configuration_of_alertmanager_have_no_fault() {
    run(&["shellcheck", path("deploy/compose/postgres.sh").to_str().unwrap()]);
    run(&["shellcheck", path("tests/validators/install").to_str().unwrap()]);
    run(&["amtool", "check-config", path(&format!("{HERE}/alertmanager.yml")).to_str().unwrap()]);
    let jobs = documents(&text("deploy/kubernetes/examples/sidecar-classic/job.yaml"));
    let script = word(&jobs[0]["spec"]["template"]["spec"]["containers"][0]["command"][2]);
    let own = Scratch::new();
    run(&["shellcheck", "--shell=sh", own.file("job.sh", script, 0o644).to_str().unwrap()]);
}

/// Where the services are, by the names of `compose.yaml`.
const HOSTS: &str = "127.0.0.1 localhost prometheus alertmanager
127.0.0.2 db-a
127.0.0.3 db-b
127.0.0.4 mainstay
";
const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

/// What `compose.yaml` starts, as far as it can be had here.
struct Picture {
    room: Room,
}

impl Picture {
    fn new() -> Self {
        Self { room: Room::new(HOSTS, &[("password", PASSWORD)]) }
    }

    /// A node by its script, with the environment that it has in `compose.yaml`.
    fn node(&self, name: &str, number: u8) -> Guest {
        let all = documents(&text("compose.yaml"));
        let service = &all[0]["services"][name];
        let Some(Owner::Other { uid, gid }) = Owner::of("postgres") else { panic!("this test needs root and the user postgres") };
        let place = self.room.files.path(name);
        if !place.exists() {
            fs::create_dir(&place).unwrap();
            Owner::Other { uid, gid }.own(&place).unwrap();
        }
        let script = path("deploy/compose/postgres.sh");
        let mut command = self.room.command(
            (uid, gid),
            &["sh", self.room.files.file("postgres.sh", fs::read(script).unwrap(), 0o755).to_str().unwrap()],
        );
        for (key, value) in service["environment"].as_object().unwrap() {
            command.env(key, word(value));
        }
        // Each has an address of one machine, so it listens on that only.
        command.env("LISTEN", format!("127.0.0.{number}")).env("SOCKETS", &place);
        command
            .env("PGDATA", place.join("data"))
            .env("PATH", format!("{}:/usr/bin:/bin", Binaries::find().unwrap().directory().display()));
        self.room.start(name, &mut command)
    }

    fn sql(&self, host: &str, sql: &str) -> Option<String> {
        let words = ["psql", "-XAtq", "-h", host, "-U", "postgres", "-d", "postgres", "-c", sql];
        let output =
            self.room.command(MAINSTAY, &words).env("PGPASSWORD", PASSWORD).stdout(std::process::Stdio::piped()).bounded_output();
        let output = output.unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    #[track_caller]
    fn says(&self, host: &str, sql: &str, expected: &str) {
        within(3 * patience(), &format!("{host}: {sql} is {expected}"), || (self.sql(host, sql)? == expected).then_some(()));
    }

    /// A command of mainstay beside it.
    fn order(&self, words: &[&str]) -> (Option<i32>, String) {
        let all = [&["/run/program"], words, &["--admin", "unix:/run/mainstay/admin.sock"]].concat();
        let output = self.room.command(MAINSTAY, &all).stdout(std::process::Stdio::piped()).bounded_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said.into_owned())
    }

    /// Prometheus and Alertmanager with the files that are mounted into them.
    fn monitoring(&self) -> [Guest; 2] {
        for (name, file) in [
            ("prometheus.yml", "deploy/compose/prometheus.yml"),
            ("rules.yaml", "deploy/prometheus/rules.yaml"),
            ("alertmanager.yml", "deploy/compose/alertmanager.yml"),
        ] {
            self.room.files.file(name, text(file), 0o644);
        }
        for name in ["tsdb", "alerts"] {
            fs::create_dir(self.room.files.path(name)).unwrap();
            std::os::unix::fs::chown(self.room.files.path(name), Some(MAINSTAY.0), Some(MAINSTAY.1)).unwrap();
        }
        let of = |name: &str| self.room.files.path(name).display().to_string();
        let start = |program: &str, args: &[&str]| {
            let words = [&[program], args].concat();
            self.room.start(program, &mut self.room.command(MAINSTAY, &words))
        };
        let (config, storage) = (format!("--config.file={}", of("alertmanager.yml")), format!("--storage.path={}", of("alerts")));
        let alertmanager = start(
            "prometheus-alertmanager",
            &[&config, &storage, "--web.listen-address=127.0.0.1:9093", "--cluster.listen-address="],
        );
        let (config, storage) =
            (format!("--config.file={}", of("prometheus.yml")), format!("--storage.tsdb.path={}", of("tsdb")));
        let prometheus = start("prometheus", &[&config, &storage, "--web.listen-address=127.0.0.1:9090"]);
        [alertmanager, prometheus]
    }

    /// What an address of the picture answers, as JSON.
    fn get(&self, url: &str) -> Option<Value> {
        let words = ["curl", "--silent", "--fail", "--max-time", "5", url];
        let output = self.room.command(MAINSTAY, &words).stdout(std::process::Stdio::piped()).bounded_output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    fn alerts(&self) -> Vec<String> {
        let alerts = self.get("http://alertmanager:9093/api/v2/alerts").unwrap_or_default();
        crate::deploy::list(&alerts).iter().map(|alert| word(&alert["labels"]["alertname"]).to_owned()).collect()
    }
}

#[test]
fn the_picture_is_played_with_a_failover_and_the_old_primary_comes_back_as_a_standby() {
    let picture = Picture::new();
    // The second one is there first, and waits.
    let _b = picture.node("db-b", 3);
    let mut a = picture.node("db-a", 2);
    picture.says("db-a", "SELECT pg_is_in_recovery()", "f");
    picture.says("db-b", "SELECT pg_is_in_recovery()", "t");
    picture.says("db-a", "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1");
    let config = text(&format!("{HERE}/mainstay/mainstay.yaml")).replace("0.0.0.0", "127.0.0.4");
    let _mainstay = picture.room.mainstay(&config, &[]);
    until("clients reach the primary", || (picture.order(&["wait", "--max", "1s"]).0 == Some(0)).then_some(()));
    let _monitoring = picture.monitoring();
    let up = "http://prometheus:9090/api/v1/query?query=mainstay_pool_serving";
    within(3 * patience(), "Prometheus has scraped mainstay by its name", || {
        let answer = picture.get(up)?;
        (answer["data"]["result"][0]["value"][1] == "1").then_some(())
    });
    picture.says("mainstay", "CREATE TABLE IF NOT EXISTS orders (id int)", "");
    picture.says("mainstay", "INSERT INTO orders VALUES (1)", "");
    // What the standby has not got would be lost.
    picture.says("db-b", "SELECT count(*) FROM orders", "1");

    a.signal(Signal::KILL);
    assert!(a.ends().is_none(), "killed");
    until("mainstay says so", || (picture.order(&["wait", "--max", "0s"]).0 == Some(69)).then_some(()));
    within(4 * patience(), "Alertmanager was told of the outage", || {
        picture.alerts().contains(&"DatabaseOutage".to_owned()).then_some(())
    });
    let (code, said) = picture.order(&["promote", "orders", "--reason", "db-a is dead"]);
    assert_eq!(code, Some(0), "{said}");
    picture.says("mainstay", "SELECT pg_is_in_recovery()", "f");
    picture.says("mainstay", "INSERT INTO orders VALUES (2)", "");
    picture.says("db-b", "SELECT count(*) FROM orders", "2");

    let _a = picture.node("db-a", 2);
    picture.says("db-a", "SELECT pg_is_in_recovery()", "t");
    picture.says("db-b", "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1");
    picture.says("db-a", "SELECT count(*) FROM orders", "2");
    within(3 * patience(), "the alert is over", || (!picture.alerts().contains(&"DatabaseOutage".to_owned())).then_some(()));
    assert!(!picture.room.said("mainstay").contains(PASSWORD));
}
