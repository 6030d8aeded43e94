//! Three panels over one time: urgency, CPU, latency.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::{Moment, Story};

/// Of the whole picture, in pixels.
const SIZE: (u32, u32) = (960, 760);

/// The longest latency that is shown, in milliseconds: the time-out.
const SLOWEST: f64 = 2_000.0;

/// One line of a panel.
struct Line<'a> {
    name: &'a str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Draws `story` into `file`.
pub(super) fn draw(story: &Story, title: &str, file: &Path) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 18))?;
    let panels = root.split_evenly((3, 1));
    let [urgency, cpu, latency] = panels.as_slice() else {
        return Err("three panels were asked for".into());
    };
    let end = story.moments.last().map_or(1.0, |moment| moment.at);
    let known = |what: fn(&Moment) -> Option<f64>| {
        let points = story.moments.iter().filter_map(|m| Some((m.at, what(m)?)));
        points.collect::<Vec<_>>()
    };
    panel(
        urgency,
        (end, 1.05),
        "demand, 0 to 1",
        &[
            Line {
                name: "intensity, by the agent",
                colour: RED,
                points: known(|m| m.intensity),
            },
            Line {
                name: "counted with by the market",
                colour: BLUE,
                points: known(|m| m.counted),
            },
        ],
    )?;
    panel(
        cpu,
        (end, 2_000.0),
        "CPU, millicores",
        &[
            Line {
                name: "offered",
                colour: BLACK,
                points: known(|m| Some(m.offered)),
            },
            Line {
                name: "used",
                colour: GREEN,
                points: known(|m| Some(m.usage)),
            },
            Line {
                name: "need, by the market",
                colour: BLUE,
                points: known(|m| m.need),
            },
            Line {
                name: "limit",
                colour: RED,
                points: known(|m| m.limit),
            },
            Line {
                name: "the neighbour's limit",
                colour: MAGENTA,
                points: known(|m| m.neighbour),
            },
        ],
    )?;
    let p95 = story.latencies.iter();
    let p95 = p95.flat_map(|(from, to, ms)| [(*from, *ms), (*to, *ms)]);
    panel(
        latency,
        (end, SLOWEST * 1.05),
        "latency, ms",
        &[Line {
            name: "p95 of 5 s",
            colour: MAGENTA,
            points: p95.collect(),
        }],
    )?;
    root.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    (end, top): (f64, f64),
    unit: &str,
    lines: &[Line<'_>],
) -> Result<(), Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("seconds")
        .y_desc(unit)
        .draw()?;
    for line in lines {
        let colour = line.colour;
        // What is above the panel is shown at its edge.
        let points = line.points.iter().map(|(at, value)| (*at, value.min(top)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(1)))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}
