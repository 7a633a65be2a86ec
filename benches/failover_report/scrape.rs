//! The answer of `/metrics`: Prometheus text format 0.0.4, as mainstay writes it.

/// All samples of one answer.
#[derive(Clone, Debug)]
pub(crate) struct Scrape(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Scrape {
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(parse_line).collect())
    }

    /// Sum of the samples with this name and these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = |sample: &&Sample| {
            let has = |(key, value): &(&str, &str)| sample.labels.iter().any(|(k, v)| k == key && v == value);
            sample.name == name && labels.iter().all(has)
        };
        self.0.iter().filter(wanted).map(|sample| sample.value).sum()
    }

    /// Upper bounds of a histogram's buckets with the number of observations up to each, over all its series, in order. The last
    /// bound is infinite.
    pub(crate) fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.0.iter().filter(|sample| sample.name == name) {
            let bound =
                sample.labels.iter().find(|(key, _)| key == "le").and_then(|(_, le)| le.replace("+Inf", "inf").parse().ok());
            let Some(bound) = bound else { continue };
            match buckets.iter_mut().find(|(known, _)| f64::total_cmp(known, &bound).is_eq()) {
                Some((_, count)) => *count += sample.value,
                None => buckets.push((bound, sample.value)),
            }
        }
        buckets.sort_by(|(left, _), (right, _)| left.total_cmp(right));
        buckets
    }
}

/// `name{label="value",…} number`. No label value of mainstay's holds a comma followed by a name and `="`.
fn parse_line(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.replace("+Inf", "inf").parse().ok()?;
    let (name, labels) = series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest.trim_end_matches('}')));
    let labels = labels.split("\",").filter_map(|label| {
        let (key, value) = label.split_once("=\"")?;
        Some((key.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Some(Sample { name: name.to_owned(), labels: labels.collect(), value })
}
