//! A run as a picture: four panels over one axis of time, in SVG.

use std::fmt::{self, Write};
use std::time::Duration;

use super::engine::Tick;
use super::options::Fault;
use super::report::{Report, WHOLE_MAX};
use super::watch::Sample;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const HEIGHT: f64 = 132.0;
const GAP: f64 = 46.0;
const BOTTOM: f64 = 44.0;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#404a56}\
.name{font-size:13px;font-weight:600;fill:#1d2630}\
.head{font-size:17px;font-weight:600;fill:#1d2630}\
.grid{stroke:#e6e9ed}.axis{stroke:#b4bcc6}\
.line{fill:none;stroke-width:1.5;stroke-linejoin:round}\
.goal{stroke:#c23b3b;stroke-dasharray:5 4}";
const BLUE: &str = "#2f6fb5";
const ORANGE: &str = "#d9822b";
const RED: &str = "#c23b3b";
const SHADE: &str = "#f6e3d3";

/// The columns of the picture: of each the longest tick is drawn.
const COLUMNS: usize = 432;

/// A line of a panel: its name, its colour, and its points over seconds.
type Series = (&'static str, &'static str, Vec<(f64, f64)>);

struct Panel {
    name: &'static str,
    unit: &'static str,
    series: Vec<Series>,
    goal: Option<f64>,
}

/// Draws a run.
///
/// # Errors
/// None: a text takes all that is written to it.
pub fn svg(report: &Report) -> Result<String, fmt::Error> {
    let panels = panels(report);
    let end = report
        .seen
        .samples
        .last()
        .map_or(1.0, |last| last.at_s.max(1.0));
    let height = TOP + panels.len() as f64 * (HEIGHT + GAP) - GAP + BOTTOM;
    let mut out = String::new();
    write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\"><style>{STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
    )?;
    let store = report.store.split(':').next().unwrap_or_default();
    let (fault, options) = (report.options.fault, &report.options);
    write!(
        out,
        "<text class=\"head\" x=\"{LEFT}\" y=\"28\">{store}, fault: {}; {} entities, {} dirty a \
         tick, 60 ticks/s</text>",
        fault.name(),
        options.entities,
        options.dirty
    )?;
    for (index, panel) in panels.iter().enumerate() {
        let top = TOP + index as f64 * (HEIGHT + GAP);
        shade(&mut out, report, top, end)?;
        draw(&mut out, panel, top, end)?;
    }
    seconds(&mut out, height, end)?;
    out.push_str("</svg>\n");
    Ok(out)
}

fn panels(report: &Report) -> [Panel; 4] {
    let of = |figure: fn(&Sample) -> f64| {
        let samples = report.seen.samples.iter();
        samples
            .map(|sample| (sample.at_s, figure(sample)))
            .collect::<Vec<_>>()
    };
    let ticks = |time: fn(&Tick) -> Duration| worst(&report.played.ticks, time);
    [
        Panel {
            name: "longest tick",
            unit: "ms",
            series: vec![
                ("whole, lock waits included", BLUE, ticks(|tick| tick.whole)),
                ("in our calls", ORANGE, ticks(|tick| tick.calls)),
            ],
            goal: Some(millis(WHOLE_MAX)),
        },
        Panel {
            name: "waiting to be persisted",
            unit: "",
            series: vec![
                (
                    "pending records",
                    BLUE,
                    of(|sample| sample.pending_records as f64),
                ),
                ("dirty entities", ORANGE, of(|sample| sample.dirty as f64)),
            ],
            goal: None,
        },
        Panel {
            name: "age of the oldest of these",
            unit: "s",
            series: vec![("exposure", BLUE, of(|sample| sample.exposure_age_s))],
            goal: None,
        },
        Panel {
            name: "memory of the process",
            unit: "MiB",
            series: vec![("resident", BLUE, of(mib))],
            goal: None,
        },
    ]
}

fn mib(sample: &Sample) -> f64 {
    sample.memory_bytes.unwrap_or_default() as f64 / f64::from(1 << 20)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The longest time of each column, in milliseconds.
fn worst(ticks: &[Tick], time: fn(&Tick) -> Duration) -> Vec<(f64, f64)> {
    let columns = ticks.chunks(ticks.len().div_ceil(COLUMNS).max(1));
    let points = columns.filter_map(|column| {
        let longest = column.iter().map(time).max()?;
        Some((column.first()?.at.as_secs_f64(), millis(longest)))
    });
    points.collect()
}

fn x(at_s: f64, end: f64) -> f64 {
    LEFT + at_s / end * (WIDTH - LEFT - RIGHT)
}

/// The time of the fault, and that in which the controller was degraded.
fn shade(out: &mut String, report: &Report, top: f64, end: f64) -> fmt::Result {
    let seen = &report.seen;
    if let (Some(began), Some(ended)) = (seen.fault_began_s, seen.fault_ended_s)
        && report.options.fault != Fault::None
    {
        let (from, to) = (x(began, end), x(ended, end));
        let width = to - from;
        write!(
            out,
            "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{HEIGHT}\" \
             fill=\"{SHADE}\"/>"
        )?;
        if top == TOP {
            let (middle, y) = (from + width / 2.0, top - 6.0);
            let name = report.options.fault.name();
            write!(
                out,
                "<text x=\"{middle:.1}\" y=\"{y}\" text-anchor=\"middle\" fill=\"{RED}\">{name}\
                 </text>"
            )?;
        }
    }
    // A stroke along the bottom where it was degraded.
    let mut degraded = seen.samples.iter().filter(|sample| !sample.healthy);
    let Some(first) = degraded.next() else {
        return Ok(());
    };
    let last = degraded.next_back().unwrap_or(first);
    let (from, to, y) = (x(first.at_s, end), x(last.at_s, end), top + HEIGHT);
    write!(
        out,
        "<line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{RED}\" \
         stroke-width=\"4\"><title>degraded</title></line>"
    )
}

fn draw(out: &mut String, panel: &Panel, top: f64, end: f64) -> fmt::Result {
    let points = panel.series.iter().flat_map(|(.., points)| points);
    let most = points.map(|(_, value)| *value).fold(0.0, f64::max);
    let step = step(most.max(panel.goal.unwrap_or_default()).max(1e-3) / 3.0);
    let lines = (most.max(panel.goal.unwrap_or_default()) / step)
        .ceil()
        .max(1.0);
    let y = |value: f64| top + HEIGHT - value / (lines * step) * HEIGHT;
    let (right, label) = (WIDTH - RIGHT, LEFT - 8.0);
    let mut value = 0.0;
    while value <= lines * step * 1.001 {
        let (at, text) = (y(value), at_y(y(value)));
        let shown = short(value);
        write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{label}\" y=\"{text:.1}\" text-anchor=\"end\">{shown}</text>"
        )?;
        value += step;
    }
    let unit = if panel.unit.is_empty() {
        String::new()
    } else {
        format!(", {}", panel.unit)
    };
    let above = top - 10.0;
    write!(
        out,
        "<text class=\"name\" x=\"{LEFT}\" y=\"{above}\">{}{unit}</text>",
        panel.name
    )?;
    if let Some(goal) = panel.goal {
        let at = y(goal);
        write!(
            out,
            "<line class=\"goal\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
        )?;
    }
    for (index, (name, colour, points)) in panel.series.iter().enumerate() {
        out.push_str("<polyline class=\"line\" points=\"");
        for (at_s, value) in points {
            write!(out, "{:.1},{:.1} ", x(*at_s, end), y(*value))?;
        }
        let legend = right - 190.0 * (panel.series.len() - 1 - index) as f64;
        write!(
            out,
            "\" stroke=\"{colour}\"/><text x=\"{legend}\" y=\"{above}\" text-anchor=\"end\" \
             style=\"fill:{colour}\">{name}</text>"
        )?;
    }
    Ok(())
}

/// Where a label stands, so that its middle is at a line.
fn at_y(line: f64) -> f64 {
    line + 4.0
}

/// The axis of time.
fn seconds(out: &mut String, height: f64, end: f64) -> fmt::Result {
    let (line, text) = (height - BOTTOM, height - BOTTOM + 20.0);
    let right = WIDTH - RIGHT;
    write!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{line}\" y2=\"{line}\"/>"
    )?;
    let step = step(end / 8.0);
    let mut at_s = 0.0;
    while at_s <= end {
        let (at, shown) = (x(at_s, end), short(at_s));
        write!(
            out,
            "<text x=\"{at:.1}\" y=\"{text}\" text-anchor=\"middle\">{shown} s</text>"
        )?;
        at_s += step;
    }
    Ok(())
}

/// The next of 1, 2, 5, 10, 20, … that is not less.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= least * 0.999);
    step.unwrap_or(10.0 * power)
}

fn short(value: f64) -> String {
    match value {
        1000.0.. => format!("{}k", value / 1000.0),
        1.0.. => format!("{}", (value * 10.0).round() / 10.0),
        _ => format!("{}", (value * 1000.0).round() / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{short, step};

    #[test]
    fn steps_are_round_numbers() {
        let steps = [0.03, 1.0, 1.1, 2.4, 6.0, 5000.0, 30_000.0].map(step);
        assert_eq!(steps, [0.05, 1.0, 2.0, 5.0, 10.0, 5000.0, 50_000.0]);
        assert_eq!(
            [0.0, 0.5, 12.0, 20_000.0, 2500.0].map(short),
            ["0", "0.5", "12", "20k", "2.5k"]
        );
    }
}
