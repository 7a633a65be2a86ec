//! The cases, each a question with bounds.

mod check;
mod delay;
mod failover;
mod hostile;
mod idle;
mod in_place;
mod lateness;
mod patroni;
mod promoted;
mod replica;
mod returning;
mod run;
mod sink;
mod switchover;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use clap::ValueEnum;
use lab::{
    failure::Failure,
    pairs::{
        mysql::{MariaDbPair, MySqlPair},
        patroni::PatroniPair,
        postgres::PostgresPair,
        redis::RedisPair,
    },
    servers::{mariadb::MariaDb, mysql::MySql, redis::Redis},
    stop::Stop,
};

use self::switchover::{Goals, Load};
use crate::{
    rng::Rng,
    table::{CaseResult, Row},
};

/// What a case needs of the harness.
#[derive(Debug)]
pub(crate) struct Bench {
    /// How often each case is repeated.
    pub(crate) runs: u32,
    pub(crate) rng: Rng,
    pub(crate) stop: Stop,
    /// Where mainstay's logs are kept.
    pub(crate) logs: PathBuf,
    /// The server's version, once a case has met one.
    pub(crate) postgres: Option<String>,
}

impl Bench {
    /// Where mainstay's log of a case goes.
    pub(crate) fn log(&self, case: &str) -> PathBuf {
        self.logs.join(format!("{case}.log"))
    }
}

/// One case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Case {
    Kill9,
    Sigstop,
    SigstopUnnoticed,
    StopFast,
    SigstopShort,
    BackendKilled,
    Saturated,
    PasswordChanged,
    OldPrimaryReturns,
    Hostile,
    Lateness,
    Idle,
    RedisKill9,
    MariadbKill9,
    MysqlKill9,
    PostgresPromotion,
    RedisPromotion,
    MariadbPromotion,
    MysqlPromotion,
    Patroni,
    Switchover,
    SwitchoverBusy,
    SwitchoverCrowd,
    SwitchoverRedis,
    SwitchoverMariadb,
    SwitchoverMysql,
    SwitchoverPatroni,
    SwitchoverAborted,
    AutomaticPromotion,
    AutomaticPromotionMysql,
    CutOff,
}

impl Case {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill9 => "kill9",
            Self::Sigstop => "sigstop",
            Self::SigstopUnnoticed => "sigstop_unnoticed",
            Self::StopFast => "stop_fast",
            Self::SigstopShort => "sigstop_short",
            Self::BackendKilled => "backend_killed",
            Self::Saturated => "saturated",
            Self::PasswordChanged => "password_changed",
            Self::OldPrimaryReturns => "old_primary_returns",
            Self::Hostile => "hostile",
            Self::Lateness => "lateness",
            Self::Idle => "idle",
            Self::RedisKill9 => "redis_kill9",
            Self::MariadbKill9 => "mariadb_kill9",
            Self::MysqlKill9 => "mysql_kill9",
            Self::PostgresPromotion => "postgres_promotion",
            Self::RedisPromotion => "redis_promotion",
            Self::MariadbPromotion => "mariadb_promotion",
            Self::MysqlPromotion => "mysql_promotion",
            Self::Patroni => "patroni",
            Self::Switchover => "switchover",
            Self::SwitchoverBusy => "switchover_busy",
            Self::SwitchoverCrowd => "switchover_crowd",
            Self::SwitchoverRedis => "switchover_redis",
            Self::SwitchoverMariadb => "switchover_mariadb",
            Self::SwitchoverMysql => "switchover_mysql",
            Self::SwitchoverPatroni => "switchover_patroni",
            Self::SwitchoverAborted => "switchover_aborted",
            Self::AutomaticPromotion => "automatic_promotion",
            Self::AutomaticPromotionMysql => "automatic_promotion_mysql",
            Self::CutOff => "cut_off",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Kill9 => "Every process of the primary is killed (kill -9), the synchronous standby is promoted at once.",
            Self::Sigstop => "Every process of the primary is frozen (SIGSTOP), the synchronous standby is promoted at once.",
            Self::SigstopUnnoticed => {
                "As sigstop, but the standby is promoted only after mainstay has declared the frozen primary down."
            }
            Self::StopFast => "The primary is stopped (pg_ctl stop -m fast), then the standby is promoted.",
            Self::SigstopShort => "Every process of the primary is frozen for 0.8 s, less than a verdict takes.",
            Self::BackendKilled => "One server process is killed (kill -9): the server recovers in place.",
            Self::Saturated => "All connections an ordinary role may have are taken.",
            Self::PasswordChanged => "The password of the check's role is changed and its session ended.",
            Self::OldPrimaryReturns => "After a failover the old primary is started again, as a primary.",
            Self::Hostile => {
                "With 64 file descriptors in all: 10,000 connections that send garbage, then 1,000 that send nothing."
            }
            Self::Lateness => "Relayed bulk traffic keeps every core busy for 10 s: are the checks on time?",
            Self::Idle => "4,000 idle sessions: what do they cost?",
            Self::RedisKill9 => "A Redis primary is killed (kill -9), its replica is promoted at once; eight clients write.",
            Self::MariadbKill9 => "A MariaDB primary is killed (kill -9), its replica is promoted at once; eight clients write.",
            Self::MysqlKill9 => "A MySQL primary is killed (kill -9), its replica is promoted at once; eight clients write.",
            Self::PostgresPromotion => {
                "As kill9, but the standby is promoted some time after the primary died (hold.timeout is 90 s; a tenth of the runs waits long)."
            }
            Self::RedisPromotion => "The same for Redis (REPLICAOF NO ONE).",
            Self::MariadbPromotion => "The same for MariaDB (STOP REPLICA, then read_only off, without RESET).",
            Self::MysqlPromotion => "The same for MySQL.",
            Self::Patroni => {
                "A Patroni 3 cluster (two nodes, etcd, synchronous mode): its API hangs, a switchover, its leader is killed."
            }
            Self::Switchover => {
                "`mainstay switchover`, PostgreSQL: eight clients write in transactions of 2 ms and pause for 10 ms on average."
            }
            Self::SwitchoverBusy => "The same; the clients never pause.",
            Self::SwitchoverCrowd => "The same; 20 clients never pause, and 200 sessions are idle.",
            Self::SwitchoverRedis => "`mainstay switchover`, Redis (FAILOVER): eight clients, as in switchover.",
            Self::SwitchoverMariadb => "`mainstay switchover`, MariaDB: eight clients, as in switchover.",
            Self::SwitchoverMysql => "`mainstay switchover`, MySQL: eight clients, as in switchover.",
            Self::SwitchoverPatroni => "`mainstay switchover`, PostgreSQL under Patroni 3: eight clients, as in switchover.",
            Self::SwitchoverAborted => "`mainstay switchover`, PostgreSQL: the command that stops the old primary fails.",
            Self::AutomaticPromotion => {
                "`promotion.automatic`, two nodes, synchronous: the primary is killed (kill -9), and comes back as a primary later."
            }
            Self::AutomaticPromotionMysql => "The same for MySQL with semi-synchronous replication.",
            Self::CutOff => "`promotion.automatic`: mainstay cannot reach the primary, and the standby can.",
        }
    }

    /// Measures it.
    pub(crate) fn run(self, bench: &mut Bench) -> Result<CaseResult, Failure> {
        // The servers of `lab` panic when they do not do as they should; why, is on standard error then.
        let rows = catch_unwind(AssertUnwindSafe(|| self.rows(bench)));
        let rows = match rows.unwrap_or_else(|_| Err(Failure::Said("a server did not do what was asked of it".into()))) {
            Ok(rows) => Ok(rows),
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => Err(failure.to_string()),
        };
        Ok(CaseResult { name: self.name(), title: self.title(), rows })
    }

    /// It needs a server that the machine's own packages do not have.
    const fn needs_mysql(self) -> bool {
        matches!(self, Self::MysqlKill9 | Self::MysqlPromotion | Self::SwitchoverMysql | Self::AutomaticPromotionMysql)
    }

    fn rows(self, bench: &mut Bench) -> Rows {
        if self.needs_mysql() {
            MySql::available().map_err(Failure::Said)?;
        }
        match self {
            Self::Kill9 => failover::kill9(bench),
            Self::Sigstop => failover::sigstop(bench),
            Self::SigstopUnnoticed => failover::sigstop_unnoticed(bench),
            Self::StopFast => failover::stop_fast(bench),
            Self::SigstopShort => in_place::sigstop_short(bench),
            Self::BackendKilled => in_place::backend_killed(bench),
            Self::Saturated => check::saturated(bench),
            Self::PasswordChanged => check::password_changed(bench),
            Self::OldPrimaryReturns => returning::old_primary_returns(bench),
            Self::Hostile => hostile::run(bench),
            Self::Lateness => lateness::run(bench),
            Self::Idle => idle::run(bench),
            Self::RedisKill9 => replica::kill9::<Redis>(bench, self.name()),
            Self::MariadbKill9 => replica::kill9::<MariaDb>(bench, self.name()),
            Self::MysqlKill9 => replica::kill9::<MySql>(bench, self.name()),
            Self::PostgresPromotion => failover::promotion(bench),
            Self::RedisPromotion => replica::promotion::<Redis>(bench, self.name()),
            Self::MariadbPromotion => replica::promotion::<MariaDb>(bench, self.name()),
            Self::MysqlPromotion => replica::promotion::<MySql>(bench, self.name()),
            Self::Patroni => patroni::run(bench),
            Self::Switchover => {
                let goals = Goals { drain_median: Some(100.0), added: Some(150.0), hold: Some(400.0), told: true };
                switchover::run::<PostgresPair>(bench, self.name(), Load::THINKING, goals)
            }
            Self::SwitchoverBusy => {
                let goals = Goals { hold: Some(1000.0), told: true, ..Goals::default() };
                switchover::run::<PostgresPair>(bench, self.name(), Load::BUSY, goals)
            }
            Self::SwitchoverCrowd => {
                let goals = Goals { told: true, ..Goals::default() };
                switchover::run::<PostgresPair>(bench, self.name(), Load::CROWD, goals)
            }
            Self::SwitchoverRedis => {
                let goals = Goals { hold: Some(300.0), ..Goals::default() };
                switchover::run::<RedisPair>(bench, self.name(), Load::THINKING, goals)
            }
            Self::SwitchoverMariadb => {
                let goals = Goals { hold: Some(500.0), ..Goals::default() };
                switchover::run::<MariaDbPair>(bench, self.name(), Load::THINKING, goals)
            }
            Self::SwitchoverMysql => {
                let goals = Goals { hold: Some(500.0), ..Goals::default() };
                switchover::run::<MySqlPair>(bench, self.name(), Load::THINKING, goals)
            }
            Self::SwitchoverPatroni => {
                let goals = Goals { hold: Some(4000.0), told: true, ..Goals::default() };
                switchover::run::<PatroniPair>(bench, self.name(), Load::THINKING, goals)
            }
            Self::SwitchoverAborted => switchover::aborted(bench),
            Self::AutomaticPromotion => promoted::kill9_alone::<PostgresPair>(bench, self.name()),
            Self::AutomaticPromotionMysql => promoted::kill9_alone::<MySqlPair>(bench, self.name()),
            Self::CutOff => promoted::cut_off(bench),
        }
    }
}

/// The rows of a case.
type Rows = Result<Vec<Row>, Failure>;
