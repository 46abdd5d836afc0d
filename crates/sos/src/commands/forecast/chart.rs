//! A fan chart as SVG: what came, what was expected, and the widest interval around it.

use jiff::Timestamp;
use plotters::prelude::*;

use super::Issued;
use super::input::Input;

const SIZE: (u32, u32) = (1000, 420);
/// Steps drawn, at most: the latest.
const MOST_STEPS: usize = 3000;
/// Steps of the past drawn before the first forecast, as a share of what is forecast.
const BEFORE: f64 = 0.5;

const ACTUAL: RGBColor = RGBColor(40, 40, 40);
const EXPECTED: RGBColor = RGBColor(20, 110, 180);

/// One step of a forecast: seconds, mean, low, high.
type Point = (i64, f64, f64, f64);

/// The chart as text.
pub(crate) fn draw(input: &Input, issued: &[Issued]) -> String {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        // Drawing into a string cannot fail for want of a file; a chart of nothing stays empty.
        let _ = drawn(&root, input, issued);
        let _ = root.present();
    }
    text
}

fn drawn(
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    input: &Input,
    issued: &[Issued],
) -> Result<(), Box<dyn std::error::Error>> {
    root.fill(&WHITE)?;
    let segments = segments(issued);
    let (Some(first), Some(last)) =
        (segments.first().and_then(|s| s.first()), segments.last().and_then(|s| s.last()))
    else {
        return Ok(());
    };
    let step = input.step().as_secs();
    let start = first.0 - (BEFORE * (last.0 - first.0 + step) as f64) as i64;
    let actual: Vec<(i64, f64)> = (0..input.rows())
        .map(|row| (input.time(row).as_second(), input.target[row]))
        .filter(|(time, value)| *time >= start && *time <= last.0 && value.is_finite())
        .collect();
    let all = segments.iter().flatten().flat_map(|p| [p.1, p.2, p.3]).chain(actual.iter().map(|a| a.1));
    let (low, high) = all.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let room = ((high - low) * 0.05).max(1e-9);
    let mut chart = ChartBuilder::on(root)
        .margin(14)
        .caption(format!("{}: forecast and what came", input.name), ("sans-serif", 18))
        .x_label_area_size(34)
        .y_label_area_size(70)
        .build_cartesian_2d(start..last.0 + step, low - room..high + room)?;
    let day = last.0 - start <= 3 * 86_400;
    let label = |second: &i64| time_label(input, *second, day);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(8)
        .x_label_formatter(&label)
        .label_style(("sans-serif", 13))
        .draw()?;
    for (n, segment) in segments.iter().enumerate() {
        let upper = segment.iter().map(|p| (p.0, p.3));
        let lower = segment.iter().rev().map(|p| (p.0, p.2));
        let band = Polygon::new(upper.chain(lower).collect::<Vec<_>>(), EXPECTED.mix(0.22).filled());
        let drawn = chart.draw_series(std::iter::once(band))?;
        if n == 0 {
            drawn
                .label(interval(issued))
                .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 18, y + 5)], EXPECTED.mix(0.22).filled()));
        }
        let line = chart
            .draw_series(LineSeries::new(segment.iter().map(|p| (p.0, p.1)), EXPECTED.stroke_width(2)))?;
        if n == 0 {
            line.label("expected")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], EXPECTED.stroke_width(2)));
        }
    }
    chart
        .draw_series(LineSeries::new(actual, ACTUAL.stroke_width(1)))?
        .label("measured")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], ACTUAL.stroke_width(1)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()?;
    Ok(())
}

/// Forecasts as lines; where several cover a step, the one issued last does.
fn segments(issued: &[Issued]) -> Vec<Vec<Point>> {
    let mut segments = Vec::new();
    let mut steps = 0;
    let mut until = i64::MAX;
    for Issued { forecast, .. } in issued.iter().rev() {
        let (low, high) = (forecast.quantiles.first(), forecast.quantiles.last());
        let points: Vec<Point> = (0..forecast.mean.len())
            .map(|at| {
                let mean = forecast.mean[at];
                let side = |q: Option<&(f64, Vec<f64>)>| q.map_or(mean, |(_, row)| row[at]);
                (forecast.grid.at(at).as_second(), mean, side(low), side(high))
            })
            .filter(|p| p.0 < until)
            .collect();
        let Some(first) = points.first() else { continue };
        until = first.0;
        steps += points.len();
        segments.push(points);
        if steps >= MOST_STEPS {
            break;
        }
    }
    segments.reverse();
    segments
}

fn interval(issued: &[Issued]) -> String {
    let quantiles = issued.first().map(|i| i.forecast.quantiles.as_slice()).unwrap_or_default();
    match quantiles {
        [(low, _), .., (high, _)] => format!("{:.0} % interval", (high - low) * 100.0),
        _ => "interval".to_owned(),
    }
}

fn time_label(input: &Input, second: i64, hours: bool) -> String {
    let Ok(time) = Timestamp::from_second(second) else { return String::new() };
    let local = input.zone.to_datetime(time);
    let format = if hours { "%d %b %H:%M" } else { "%d %b %Y" };
    local.strftime(format).to_string()
}
