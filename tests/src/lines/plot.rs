//! A row as a picture: latency over time, a series for each set-up, with the faults marked.
//!
//! A point is the worst latency, in order, of the messages that were due in one pixel's time: a mean
//! would hide what the picture is for. What took longer than the top of the picture, or never came, is
//! at the top.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::outcome::Outcome;

/// Draws the outcomes of one row into an SVG file.
pub(super) fn draw(outcomes: &[Outcome], file: &Path) -> Result<()> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    chart(outcomes, &area).map_err(|error| anyhow!("draw {}: {error}", file.display()))
}

fn chart(
    outcomes: &[Outcome],
    area: &DrawingArea<SVGBackend<'_>, Shift>,
) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let Some(Outcome { row, seed, .. }) = outcomes.first() else {
        return Ok(());
    };
    let title = format!("{}: {} msg/s, seed {seed}", row.name, row.rate);
    let times = 0.0..row.duration.as_secs_f64();
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(times, (LEAST_MS..MOST_MS).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("seconds")
        .y_desc("milliseconds, in order, worst")
        .y_label_formatter(&|millis| format!("{millis}"))
        .draw()?;
    for (number, outcome) in outcomes.iter().enumerate() {
        let color = COLORS[number % COLORS.len()].to_rgba();
        chart
            .draw_series(LineSeries::new(worst(outcome), color.stroke_width(1)))?
            .label(outcome.setup)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    // The same for every set-up but for the line and a millisecond.
    for outcome in outcomes.iter().take(1) {
        for (number, fault) in outcome.faults.iter().enumerate() {
            let at = fault.at.as_secs_f64();
            let mark = [(at, LEAST_MS), (at, MOST_MS)];
            chart.draw_series([PathElement::new(mark, BLACK.mix(0.6).stroke_width(1))])?;
            let height = MOST_MS / 1.5_f64.powi(number as i32 + 1);
            let label = format!(" {}", fault.label);
            chart.draw_series([Text::new(label, (at, height), ("sans-serif", 15))])?;
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

/// The worst latency of each pixel's time, where messages were due.
fn worst(outcome: &Outcome) -> Vec<(f64, f64)> {
    let step = outcome.row.duration / SIZE.0;
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut end = Duration::ZERO;
    for message in &outcome.messages {
        let took = message.delivered.map_or(f64::INFINITY, |took| took.as_secs_f64() * 1000.0);
        let took = took.clamp(LEAST_MS, MOST_MS);
        match points.last_mut() {
            Some((_, worst)) if message.due < end => *worst = worst.max(took),
            _ => {
                points.push((message.due.as_secs_f64(), took));
                end = message.due + step;
            }
        }
    }
    points
}

const SIZE: (u32, u32) = (1000, 420);

/// Half of a round trip.
const LEAST_MS: f64 = 10.0;

/// Later than that is as good as never.
const MOST_MS: f64 = 10_000.0;

/// Told apart on white, also by those who see few colours.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];
