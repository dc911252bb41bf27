//! Pictures of a table.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::outcome::{Line, Table, WARM_UP_TICKS};
use super::world::TICK_SECONDS;

/// The drop rate over the time of the first seed, a line for each policy.
pub(super) fn drops(table: &Table, file: &Path) -> Result<()> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
        area.fill(&WHITE)?;
        let Some(first) = table.outcomes().first() else { return Ok(()) };
        let minutes = first.ticks.len() as f64 * TICK_SECONDS / 60.0;
        let title = format!("Drop rate of all sessions, seed {}", first.seed);
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..minutes, (0.3..60.0).log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("minutes")
            .y_desc("percent")
            .y_label_formatter(&|percent| format!("{percent}"))
            .draw()?;
        let of_seed = table.outcomes().iter().filter(|outcome| outcome.seed == first.seed);
        for (number, outcome) in of_seed.enumerate() {
            let color = Palette99::pick(number).to_rgba();
            let points = outcome.ticks.chunks(6).enumerate().map(|(at, ticks)| {
                let mean = ticks.iter().sum::<f64>() / ticks.len() as f64;
                (at as f64 * 6.0 * TICK_SECONDS / 60.0, (mean * 100.0).clamp(0.3, 60.0))
            });
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(1)))?
                .label(outcome.policy)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2))
                });
        }
        let warm = WARM_UP_TICKS as f64 * TICK_SECONDS / 60.0;
        chart.draw_series([PathElement::new([(warm, 0.3), (warm, 60.0)], BLACK.mix(0.5))])?;
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("draw {}: {error}", file.display()))
}

/// Each policy as a point: its drop rate against its highest load.
pub(super) fn against(table: &Table, file: &Path) -> Result<()> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
        area.fill(&WHITE)?;
        let lines: Vec<Line> = table.lines();
        let mut chart = ChartBuilder::on(&area)
            .caption("Drop rate against the highest load", ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d((0.5..60.0).log_scale(), (0.8..6.0).log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("mean drop rate, percent")
            .y_desc("highest load in one tick of a hundred")
            .x_label_formatter(&|percent| format!("{percent}"))
            .y_label_formatter(&|load| format!("{load:.1}"))
            .draw()?;
        for (number, line) in lines.iter().enumerate() {
            let at = ((line.drop * 100.0).clamp(0.5, 60.0), line.p99_load.clamp(0.8, 6.0));
            let color = Palette99::pick(number).to_rgba();
            chart.draw_series([Circle::new(at, 4, color.filled())])?;
            chart.draw_series([Text::new(format!("  {}", line.policy), at, ("sans-serif", 13))])?;
        }
        area.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("draw {}: {error}", file.display()))
}

const SIZE: (u32, u32) = (1000, 480);
