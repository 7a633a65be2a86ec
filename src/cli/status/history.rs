//! The last minutes of a pool, as strips.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::{
    cli::{
        client::{self, AdminAddr, Ask, Unreachable},
        terminal::{Colour, Paint, Style, pad, width},
    },
    failover::escaped,
};

/// Steps that are shown: ten minutes.
const STEPS: usize = 60;
const STEPS_OF_A_MINUTE: usize = 6;

#[derive(Debug, Deserialize)]
struct Answer {
    pools: Vec<PoolHistory>,
}

/// One pool of `/api/v1/history`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PoolHistory {
    pub(super) name: String,
    connections: Vec<Option<f64>>,
    held: Vec<Option<f64>>,
    backends: Vec<BackendHistory>,
}

#[derive(Clone, Debug, Deserialize)]
struct BackendHistory {
    name: String,
    state: String,
}

/// Asks for the last minutes of a pool; `None` of one that is gone, or when mainstay is too old to know.
///
/// # Errors
/// When there is no answer.
pub(super) async fn ask(address: &AdminAddr, pool: &str) -> Result<Option<PoolHistory>, Unreachable> {
    let path = format!("/api/v1/history?last={STEPS}&pool={}", utf8_percent_encode(pool, NON_ALPHANUMERIC));
    let answer = client::call(address, &path, &Ask::default(), client::TIMEOUT).await?;
    let known: Option<Answer> = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200);
    Ok(known.and_then(|answer| answer.pools.into_iter().next()))
}

impl PoolHistory {
    /// A strip for each backend and for what is counted, as long as the terminal is wide.
    pub(super) fn lines(&self, style: Style, columns: usize) -> Vec<String> {
        let names = self.backends.iter().map(|backend| width(&escaped(&backend.name)));
        let label = names.chain(["sessions".len()]).max().unwrap_or(0).min(columns / 3);
        let room = columns.saturating_sub(label + 6).min(STEPS);
        if room < 10 {
            return Vec::new();
        }
        let legend = "A active, U could be, R up but not eligible, M maint, D down, ? unknown";
        let mut lines = vec![style.paint.text(Colour::Quiet, &format!("  last {} min: {legend}", room / STEPS_OF_A_MINUTE))];
        for backend in &self.backends {
            let letters: Vec<char> = backend.state.chars().collect();
            let strip = letters[letters.len().saturating_sub(room)..].iter().collect::<String>();
            lines.push(format!("    {}  {}", pad(&escaped(&backend.name), label), coloured(style.paint, &strip)));
        }
        for (what, numbers) in [("sessions", &self.connections), ("held", &self.held)] {
            let numbers: Vec<u64> = numbers[numbers.len().saturating_sub(room)..].iter().copied().map(whole).collect();
            let most = numbers.iter().max().copied().unwrap_or(0);
            if most > 0 {
                lines.push(format!("    {}  {} most {most}", pad(what, label), style.charset.bars(numbers.iter().copied())));
            }
        }
        lines
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
fn whole(number: Option<f64>) -> u64 {
    number.unwrap_or(0.0) as u64
}

/// Each run of letters in its colour.
fn coloured(paint: Paint, strip: &str) -> String {
    let (mut out, mut rest) = (String::new(), strip);
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| c != first).unwrap_or(rest.len());
        let colour = match first {
            'A' => Colour::Good,
            'D' => Colour::Bad,
            'M' => Colour::Warning,
            '.' | '?' => Colour::Quiet,
            _ => Colour::Plain,
        };
        out.push_str(&paint.text(colour, &escaped(&rest[..end])));
        rest = &rest[end..];
    }
    out
}
