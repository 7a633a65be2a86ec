//! How often the service manager wants a sign of life (`sd_watchdog_enabled(3)`).

use std::time::Duration;

use super::environment::{Variable, set};

/// Mainstay's decision loop shows a sign of life each second; a deadline that is shorter than this would be missed by chance.
const SHORTEST: Duration = Duration::from_secs(3);

/// The service manager restarts the service when there is no sign of life for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog(pub Duration);

impl Watchdog {
    /// The one that `WATCHDOG_USEC` asks for, unless `WATCHDOG_PID` means another process.
    ///
    /// # Errors
    /// What is wrong with the variables, in words.
    pub fn of(variable: Variable<'_>) -> Result<Option<Self>, String> {
        let number = |name: &str| match set(variable, name) {
            None => Ok(None),
            Some(text) => match text.to_str().and_then(|text| text.parse::<u64>().ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(format!("{name} is no number")),
            },
        };
        let Some(micros) = number("WATCHDOG_USEC")? else { return Ok(None) };
        let is_ours = number("WATCHDOG_PID")?.is_none_or(|pid| pid == u64::from(std::process::id()));
        Ok((is_ours && micros > 0).then(|| Self(Duration::from_micros(micros))))
    }

    /// Whether mainstay can show signs of life so often.
    pub fn is_too_short(self) -> bool {
        self.0 < SHORTEST
    }

    /// At least so much time lies between two signs of life: four are sent within the deadline.
    pub(super) fn pause(self) -> Duration {
        self.0 / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Duration>, String> {
        let value = |name: &str| variables.iter().find(|(is, _)| *is == name).map(|(_, value)| (*value).into());
        Watchdog::of(&value).map(|watchdog| watchdog.map(|watchdog| watchdog.0))
    }

    #[test]
    fn the_deadline_is_for_one_process_only() {
        let own = std::process::id().to_string();
        let second = Ok(Some(Duration::from_secs(1)));
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("WATCHDOG_USEC", "1000000")]), second);
        assert_eq!(of(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", &own)]), second);
        assert_eq!(of(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "1")]), Ok(None));
        assert_eq!(of(&[("WATCHDOG_USEC", "0")]), Ok(None));
        assert_eq!(of(&[("WATCHDOG_USEC", "soon")]), Err("WATCHDOG_USEC is no number".to_owned()));
        assert_eq!(of(&[("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "me")]), Err("WATCHDOG_PID is no number".to_owned()));
    }
}
