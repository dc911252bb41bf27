//! Latency and rate over time as a picture.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::load::Outcome;
use crate::load::outcome::{Latency, SecondOutcome};

/// Draws a run into an SVG file: percentiles of latency above, deliveries per second below.
pub(super) fn draw(outcome: &Outcome, file: &Path) -> Result<(), String> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    chart(outcome, &area).map_err(|error| error.to_string())
}

fn chart(
    outcome: &Outcome,
    area: &DrawingArea<SVGBackend<'_>, Shift>,
) -> Result<(), Box<dyn Error>> {
    area.fill(&WHITE)?;
    let (above, below) = area.split_vertically(SIZE.1 * 2 / 3);
    let seconds = &outcome.seconds;
    let times = 0.0..seconds.last().map_or(1.0, |last| last.second as f64 + 1.0);
    let worst =
        seconds.iter().map(|second| millis(second.latency.max)).fold(LEAST_MS * 10.0, f64::max);
    let mut chart = ChartBuilder::on(&above)
        .caption(&outcome.title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(times.clone(), (LEAST_MS..worst * 1.2).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .y_desc("latency, milliseconds")
        .y_label_formatter(&|millis| format!("{millis}"))
        .draw()?;
    let measured = || seconds.iter().filter(|second| second.latency.count > 0);
    for (number, (label, of)) in PERCENTILES.into_iter().enumerate() {
        let color = COLORS[number].to_rgba();
        let point =
            |second: &SecondOutcome| (middle(second), millis(of(&second.latency)).max(LEAST_MS));
        chart
            .draw_series(LineSeries::new(measured().map(point), color.stroke_width(2)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    let most = seconds.iter().map(|second| second.received).max().unwrap_or_default().max(1);
    let mut chart = ChartBuilder::on(&below)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(times, 0.0..most as f64 * 1.1)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("seconds")
        .y_desc("deliveries a second")
        .draw()?;
    let points = seconds.iter().map(|second| (middle(second), second.received as f64));
    chart.draw_series(LineSeries::new(points, COLORS[0].stroke_width(2)))?;
    area.present()?;
    Ok(())
}

fn middle(second: &SecondOutcome) -> f64 {
    second.second as f64 + 0.5
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

type Of = fn(&Latency) -> u64;

const PERCENTILES: [(&str, Of); 3] = [
    ("p50", |latency| latency.p50),
    ("p99", |latency| latency.p99),
    ("max", |latency| latency.max),
];

const SIZE: (u32, u32) = (1000, 620);
const LEAST_MS: f64 = 0.05;

/// Told apart on white, also by those who see few colours.
const COLORS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(213, 94, 0)];
