//! What a process of the product counts, as its operator reads it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::http::Http;

/// All counters and gauges of one process at one time.
#[derive(Debug, Clone)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads `/metrics` of the admin listener at `base` (`http://host:port`).
    pub async fn read(base: &str) -> Result<Self> {
        let answer = Http::new().get(&format!("{base}/metrics")).await?;
        ensure!(answer.status == 200, "{base}/metrics: status {}", answer.status);
        Self::parse(&answer.text())
    }

    fn parse(text: &str) -> Result<Self> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("{line:?}"))?;
            let value = value.parse().with_context(|| format!("{line:?}"))?;
            Ok((name.to_owned(), value))
        };
        samples.map(sample).collect::<Result<_>>().map(Self)
    }

    /// The value of `name`, with its labels if it has any; nothing was counted yet under labels that are
    /// not there.
    pub fn get(&self, name: &str) -> Result<f64> {
        match self.0.get(name) {
            Some(value) => Ok(*value),
            None if name.ends_with('}') => Ok(0.0),
            None => {
                let names: Vec<&String> = self.0.keys().collect();
                anyhow::bail!("no metric {name} among {names:?}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_name_and_labels() {
        let text = "# TYPE a counter\na_total 3\nb_total{kind=\"x y\"} 0.5\n# EOF\n";
        let metrics = Metrics::parse(text).expect("metrics");
        assert_eq!(metrics.get("a_total").expect("there"), 3.0);
        assert_eq!(metrics.get("b_total{kind=\"x y\"}").expect("there"), 0.5);
        assert_eq!(metrics.get("b_total{kind=\"z\"}").expect("none yet"), 0.0);
        metrics.get("c_total").expect_err("no such metric");
        Metrics::parse("nonsense").expect_err("no sample");
    }
}
