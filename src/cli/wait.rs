//! `mainstay wait`: for Kubernetes, compose and CI.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde::Deserialize;

use super::client::{self, Admin};
use crate::failover::escaped;

const PERIOD: Duration = Duration::from_millis(200);

const DONE: u8 = 0;
const NOBODY_SERVES: u8 = 69;

/// Wait until a running mainstay has started, is ready, or is live.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: Admin,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value_t = Goal::Ready)]
    goal: Goal,
    /// Give up after this long: 500ms, 30s, 5m, 1h
    #[arg(long, value_parser = duration, default_value = "30s")]
    max: Duration,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Goal {
    /// The first checks of every pool are finished
    Startup,
    /// Every pool can serve clients
    Ready,
    /// The process works, whatever the databases do: a liveness probe where no port can be reached
    Live,
}

impl Goal {
    const fn path(self) -> &'static str {
        match self {
            Self::Startup => "/startupz",
            Self::Ready => "/readyz",
            Self::Live => "/livez",
        }
    }
}

#[derive(Deserialize)]
struct Verdict {
    #[serde(default)]
    reasons: Vec<String>,
}

/// Waits. What is missing is printed on standard error whenever it changes. The exit code is 0, or 69 when the time is over.
pub fn run(args: &Args) -> u8 {
    let start = Instant::now();
    let mut told = String::new();
    loop {
        let patience = args.max.saturating_sub(start.elapsed()).clamp(PERIOD, client::TIMEOUT);
        let missing = match client::get(&args.admin.address, args.goal.path(), patience) {
            Ok(answer) if answer.status == 200 => return DONE,
            Ok(answer) => match serde_json::from_slice::<Verdict>(&answer.body) {
                Ok(verdict) => verdict.reasons.iter().map(|reason| escaped(reason)).collect::<Vec<_>>().join("\n"),
                Err(_) => format!(
                    "{} answers with HTTP status {}, which is not an answer of mainstay",
                    args.admin.address, answer.status
                ),
            },
            Err(error) => error.to_string(),
        };
        if missing != told {
            eprintln!("{missing}");
            told = missing;
        }
        let left = args.max.saturating_sub(start.elapsed());
        if left.is_zero() {
            eprintln!("gave up after {:?}", args.max);
            return NOBODY_SERVES;
        }
        sleep(left.min(PERIOD));
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let advice = || "write a number and ms, s, m or h, as in 30s".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| advice())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(advice()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let read = |text| duration(text).ok().map(|d| d.as_millis());
        assert_eq!(
            ["500ms", "30s", "5m", "1h", "0s"].map(read),
            [Some(500), Some(30_000), Some(300_000), Some(3_600_000), Some(0)]
        );
        assert_eq!(["", "30", "s", "-1s", "1.5s", "1d", "99999999999999999999s"].map(read), [None; 7]);
    }
}
