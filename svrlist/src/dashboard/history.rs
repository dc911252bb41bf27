//! `/api/history`: what is asked, what is sampled, and the JSON of the answer.

use std::ops::Range;
use std::time::Duration;

use serde::Serialize;
use shared::io::http::Query;

use super::Refusal;
use super::facts::{Facts, Seen, State};
use crate::history::{COARSE_FOR, EdgeValue, Grid, History, LineValue, Series, SiteValue};

/// A question, checked but for the time, which is not known yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    series: Vec<Series>,
    from_ms: Option<u64>,
    to_ms: Option<u64>,
    points: usize,
}

impl Ask {
    /// Reads `series=a,b&from_ms=&to_ms=&points=`. `series` may be repeated.
    pub fn read(query: &Query) -> Result<Self, Refusal> {
        let names = || query.all("series").flat_map(|value| value.split(','));
        if names().count() > SERIES_MAX {
            let count = format!("{} names", names().count());
            return Err(Refusal::field("series", &count, "at most 32 names"));
        }
        let named = |name| {
            Series::parse(name).ok_or_else(|| Refusal::field("series", name, SERIES_ALLOWED))
        };
        let series: Vec<Series> = names().map(named).collect::<Result<_, _>>()?;
        if series.is_empty() {
            return Err(Refusal::field("series", "", SERIES_ALLOWED));
        }
        let points = number(query, "points", 1..POINTS_MAX + 1, "a number from 1 to 2000")?;
        let ms = "milliseconds since 1970";
        Ok(Self {
            series,
            from_ms: number(query, "from_ms", 0..MS_MAX, ms)?,
            to_ms: number(query, "to_ms", 0..MS_MAX, ms)?,
            points: points.unwrap_or(POINTS) as usize,
        })
    }

    /// The time asked about: an hour up to now unless it was said.
    fn time(&self, now_ms: u64) -> Result<Range<u64>, Refusal> {
        // Everybody who asks within a step is answered the same.
        let to = self.to_ms.unwrap_or_else(|| now_ms.next_multiple_of(NOW_STEP_MS));
        let from = self.from_ms.unwrap_or_else(|| to.saturating_sub(SPAN.as_millis() as u64));
        if from >= to {
            return Err(Refusal::field("from_ms", &from.to_string(), "less than to_ms"));
        }
        if u128::from(to - from) > COARSE_FOR.as_millis() {
            return Err(Refusal::field(
                "from_ms",
                &from.to_string(),
                "at most 31 days before to_ms",
            ));
        }
        Ok(from..to)
    }
}

fn number(
    query: &Query,
    field: &'static str,
    range: Range<u64>,
    allowed: &'static str,
) -> Result<Option<u64>, Refusal> {
    let Some(value) = query.get(field).filter(|value| !value.is_empty()) else { return Ok(None) };
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.map(Some).ok_or_else(|| Refusal::field(field, value, allowed))
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    now_ms: u64,
    from_ms: u64,
    to_ms: u64,
    /// From point to point.
    step_ms: u64,
    series: Vec<SeriesJson>,
}

#[derive(Clone, Debug, Serialize)]
struct SeriesJson {
    name: String,
    unit: &'static str,
    /// The beginning of a time in milliseconds since 1970, and its mean; `null` without samples.
    points: Vec<(u64, Option<f64>)>,
}

impl Answer {
    /// Answers a question.
    pub fn new(ask: &Ask, history: &History, now_ms: u64) -> Result<Self, Refusal> {
        let time = ask.time(now_ms)?;
        let grid = Grid::new(time.clone(), ask.points, now_ms);
        let series = |series: &Series| SeriesJson {
            name: series.to_string(),
            unit: series.unit().as_str(),
            points: history.read(series, &grid),
        };
        Ok(Self {
            now_ms,
            from_ms: time.start,
            to_ms: time.end,
            step_ms: grid.step_ms,
            series: ask.series.iter().map(series).collect(),
        })
    }
}

/// What there is to be sampled at a moment. Those whose loss matters least come last.
pub fn samples(facts: &Facts) -> Vec<(Series, f64)> {
    let mut samples = Vec::new();
    let mut heard: Vec<&Seen> = Vec::new();
    heard.extend(facts.edges.iter().filter(|seen| seen.state != State::Lost));
    let mut sites = std::collections::BTreeMap::new();
    for Seen { edge, .. } in &heard {
        let of = |value| Series::Edge { edge: edge.name.clone(), value };
        samples.push((of(EdgeValue::Connections), f64::from(edge.connections)));
        samples.push((of(EdgeValue::Load), edge.load));
        // Counts in doubles: exact up to thousands of terabits.
        samples.push((of(EdgeValue::BitsOut), edge.bits_out as f64));
        *sites.entry(&edge.site).or_insert(0.0) += edge.bits_out as f64;
    }
    for (site, bits_out) in sites {
        let of = |value| Series::Site { site: site.clone(), value };
        samples.push((of(SiteValue::BitsOut), bits_out));
        let price = facts.conditions().prices.get(site).copied().unwrap_or(0.0);
        samples.push((of(SiteValue::Price), price));
    }
    for Seen { edge, .. } in &heard {
        for line in &edge.lines {
            let of = |value| Series::Line { edge: edge.name.clone(), line: line.number, value };
            samples.push((of(LineValue::Up), f64::from(u8::from(line.up))));
            if line.up {
                samples.push((of(LineValue::Rtt), line.measured.rtt_ms));
                samples.push((of(LineValue::Loss), line.measured.loss_in));
                samples.push((of(LineValue::LossUp), line.measured.loss_out));
                samples.push((of(LineValue::Jitter), line.measured.jitter_ms));
            }
        }
    }
    samples.extend(pairs(facts));
    samples
}

/// The drop rates of the pairs of which most is known.
fn pairs(facts: &Facts) -> impl Iterator<Item = (Series, f64)> {
    let view = &facts.conditions().view;
    let mut known: Vec<_> =
        view.pairs().filter(|(_, _, reports)| *reports >= PAIR_REPORTS_MIN).collect();
    known.sort_by(|(cell, edge, a), (other, of, b)| {
        b.total_cmp(a).then_with(|| (cell, edge).cmp(&(other, of)))
    });
    known.truncate(PAIRS_MAX);
    known.into_iter().filter_map(|(cell, edge, _)| {
        let seen = facts.edge(edge).filter(|seen| seen.state != State::Lost)?;
        let estimate = view.row(cell).estimate(&seen.edge, cell.region.position());
        Some((Series::Pair { cell, edge: edge.clone() }, estimate.expected_pp()))
    })
}

/// Series of one answer.
pub const SERIES_MAX: usize = 32;

/// Points of a series, and as many as there are unless it is said.
pub const POINTS_MAX: u64 = 2000;
const POINTS: u64 = 300;

/// How far back an answer goes unless it is said.
pub const SPAN: Duration = Duration::from_secs(3600);

/// Pairs that are sampled: those with the most reports, if they have so many.
pub const PAIRS_MAX: usize = 500;
const PAIR_REPORTS_MIN: f64 = 5.0;

const NOW_STEP_MS: u64 = 10_000;

/// The year 5138.
const MS_MAX: u64 = 100_000_000_000_000;

const SERIES_ALLOWED: &str = "names such as line.EDGE.N.rtt_ms (loss, loss_up, jitter_ms, up), \
    edge.NAME.load (connections, bits_out), site.NAME.bits_out (price), \
    pair.REGION/CARRIER.EDGE.drop_pp, separated by commas";
