//! What was measured as pictures: an SVG a section, in it a panel for each thing that was done at
//! several sizes, both axes logarithmic, and below it the ratios and goals.

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::report::{Figure, Quantity, Report, Section, Unit};

const COLUMNS: usize = 3;
const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 290.0;
const HEAD: f64 = 92.0;
/// Of a panel: where its axes are, in it.
const LEFT: f64 = 66.0;
const RIGHT: f64 = 316.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 206.0;
/// From the lines of an axis to what stands at it.
const ROWS: [f64; 3] = [17.0, 35.0, 51.0];
/// So far inside of the axes the first and the last size are.
const INSET: f64 = 20.0;
/// Numbers that are nearer to each other than this would overlap.
const APART: f64 = 40.0;

const STYLE: &str = "\
text{font:11px system-ui,sans-serif;fill:#404a56}\
.head{font-size:17px;font-weight:600;fill:#1d2630}\
.name{font-size:12px;font-weight:600;fill:#1d2630}\
.grid{stroke:#e6e9ed}.axis{stroke:#b4bcc6}\
.line{fill:none;stroke-width:1.5;stroke-linejoin:round}\
.missed{fill:#c23b3b;font-weight:600}";
const OURS: &str = "#2f6fb5";
const OTHER: &str = "#d9822b";

/// Things that were done to one engine at several sizes, the smallest first.
type Panel<'a> = Vec<(f64, &'a Figure)>;

/// Writes a picture of each section that has figures of several sizes.
pub(crate) fn write(folder: &Path, report: &Report) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for section in Section::value_variants() {
        let panels = panels(*section, &report.figures);
        if !panels.is_empty() {
            let path = folder.join(section.name()).with_extension("svg");
            let written = fs::write(&path, svg(*section, &panels)?);
            written.with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(())
}

fn panels(section: Section, figures: &[Figure]) -> Vec<Panel<'_>> {
    let mut panels: Vec<Panel<'_>> = Vec::new();
    for figure in figures.iter().filter(|figure| figure.section == section) {
        let Some(at) = figure.at else {
            continue;
        };
        let point = (at as f64, figure);
        let same = |panel: &&mut Panel<'_>| panel.first().is_some_and(|(_, of)| of.alike(figure));
        match panels.iter_mut().find(same) {
            Some(panel) => panel.push(point),
            None => panels.push(vec![point]),
        }
    }
    for panel in &mut panels {
        panel.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    }
    panels
}

fn svg(section: Section, panels: &[Panel<'_>]) -> Result<String, fmt::Error> {
    let columns = COLUMNS.min(panels.len()).max(2);
    let width = WIDTH * columns as f64;
    let height = HEAD + HEIGHT * panels.len().div_ceil(columns) as f64;
    let mut out = String::new();
    write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\"><style>{STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\
         <text class=\"head\" x=\"24\" y=\"32\">{}</text>",
        section.name()
    )?;
    for (line, y) in section.about().lines().zip([52, 67, 82]) {
        write!(out, "<text x=\"24\" y=\"{y}\">{}</text>", escaped(line))?;
    }
    for (index, panel) in panels.iter().enumerate() {
        let x = WIDTH * (index % columns) as f64;
        let y = HEAD + HEIGHT * (index / columns) as f64;
        write!(out, "<g transform=\"translate({x} {y})\">")?;
        draw(&mut out, panel, panels)?;
        out.push_str("</g>");
    }
    out.push_str("</svg>\n");
    Ok(out)
}

/// Draws a panel. Those of one unit share a scale, so that they can be compared.
fn draw(out: &mut String, panel: &Panel<'_>, all: &[Panel<'_>]) -> fmt::Result {
    let Some((_, first)) = panel.first() else {
        return Ok(());
    };
    let unit = first.ours.unit;
    let shown = all.iter().flatten().flat_map(|(_, figure)| values(figure));
    let shown = shown.filter(|quantity| quantity.unit == unit);
    let up = Scale::whole(shown.map(|quantity| quantity.value), BOTTOM, TOP);
    let sizes = panel.iter().map(|(at, _)| *at);
    let along = Scale::of(sizes, LEFT + INSET, RIGHT - INSET);
    write!(
        out,
        "<text class=\"name\" x=\"{LEFT}\" y=\"16\">{}: {}</text>",
        first.engine,
        escaped(&first.what)
    )?;
    powers(out, &up, unit)?;
    let other = first.other.as_ref().map_or("", |other| other.name);
    write!(
        out,
        "<text x=\"{LEFT}\" y=\"34\" style=\"fill:{OURS}\">ours</text>\
         <text x=\"{RIGHT}\" y=\"34\" text-anchor=\"end\" style=\"fill:{OTHER}\">{}</text>",
        escaped(other)
    )?;
    let place = |(at, quantity): (f64, Quantity)| (along.place(at), up.place(quantity.value));
    let others = panel.iter().filter_map(|(at, figure)| {
        let other = figure.other.as_ref()?;
        Some((*at, other.quantity))
    });
    line(out, OTHER, others.map(place))?;
    let ours = panel.iter().map(|(at, figure)| (*at, figure.ours));
    line(out, OURS, ours.map(place))?;
    below(out, panel, &along)
}

/// What is drawn of a figure.
fn values(figure: &Figure) -> impl Iterator<Item = Quantity> {
    let other = figure.other.as_ref().map(|other| other.quantity);
    std::iter::once(figure.ours).chain(other)
}

/// The lines at the powers of ten.
fn powers(out: &mut String, up: &Scale, unit: Unit) -> fmt::Result {
    let label = LEFT - 8.0;
    for power in up.powers() {
        let value = 10_f64.powi(power);
        let (at, shown) = (up.place(value), short(Quantity { value, unit }));
        let text = at + 4.0;
        write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{label}\" y=\"{text:.1}\" text-anchor=\"end\">{shown}</text>"
        )?;
    }
    write!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>"
    )
}

fn line(out: &mut String, colour: &str, points: impl Iterator<Item = (f64, f64)>) -> fmt::Result {
    let mut circles = String::new();
    out.push_str("<polyline class=\"line\" points=\"");
    for (x, y) in points {
        write!(out, "{x:.1},{y:.1} ")?;
        write!(
            circles,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>"
        )?;
    }
    write!(out, "\" stroke=\"{colour}\"/>{circles}")
}

/// Below the axis: the sizes, and under each the ratio and the goal.
fn below(out: &mut String, panel: &Panel<'_>, along: &Scale) -> fmt::Result {
    let [at_y, ratio_y, goal_y] = ROWS.map(|row| BOTTOM + row);
    let label = LEFT - 8.0;
    let has_other = panel.iter().any(|(_, figure)| figure.other.is_some());
    let has_goal = panel.iter().any(|(_, figure)| figure.goal.is_some());
    for (name, y, shown) in [("ratio", ratio_y, has_other), ("goal", goal_y, has_goal)] {
        if shown {
            write!(
                out,
                "<text x=\"{label}\" y=\"{y}\" text-anchor=\"end\">{name}</text>"
            )?;
        }
    }
    let mut last = f64::NEG_INFINITY;
    for (at, figure) in panel {
        let x = along.place(*at);
        if x - last < APART {
            continue;
        }
        last = x;
        let class = match figure.met {
            Some(false) => " class=\"missed\"",
            _ => "",
        };
        let ratio = figure.other.as_ref().map(|other| other.ratio);
        let ratio = ratio.map(|ratio| format!("{:.2}", ratio.median));
        let goal = figure.goal.map(|goal| goal.to_string());
        let (ratio, goal) = (ratio.unwrap_or_default(), goal.unwrap_or_default());
        let (count, goal) = (thousands(*at), escaped(&goal));
        write!(
            out,
            "<text x=\"{x:.1}\" y=\"{at_y}\" text-anchor=\"middle\">{count}</text>\
             <text x=\"{x:.1}\" y=\"{ratio_y}\" text-anchor=\"middle\"{class}>{ratio}</text>\
             <text x=\"{x:.1}\" y=\"{goal_y}\" text-anchor=\"middle\">{goal}</text>"
        )?;
    }
    Ok(())
}

/// A logarithmic axis.
struct Scale {
    /// Powers of ten.
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// From the least of the values to the most.
    fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let powers = values.filter(|value| *value > 0.0).map(f64::log10);
        let (least, most) = powers.fold((f64::INFINITY, f64::NEG_INFINITY), |range, power| {
            (range.0.min(power), range.1.max(power))
        });
        // Without a value any range does.
        let (least, most) = if least <= most {
            (least, most)
        } else {
            (0.0, 1.0)
        };
        Self {
            least,
            most,
            from,
            to,
        }
    }

    /// The same from a power of ten to another.
    fn whole(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let scale = Self::of(values, from, to);
        let (least, most) = (scale.least.floor(), scale.most.ceil());
        Self {
            least,
            most: most.max(least + 1.0),
            ..scale
        }
    }

    fn powers(&self) -> std::ops::RangeInclusive<i32> {
        self.least as i32..=self.most as i32
    }

    /// Where a value is; if there is but one, in the middle. What is not above zero has no place
    /// and is put at the least.
    fn place(&self, value: f64) -> f64 {
        let power = value.max(f64::MIN_POSITIVE).log10().max(self.least);
        let share = match self.most - self.least {
            range if range > 0.0 => (power - self.least) / range,
            _ => 0.5,
        };
        self.from + share * (self.to - self.from)
    }
}

/// A power of ten without its digits behind the point.
fn short(quantity: Quantity) -> String {
    let shown = quantity.to_string();
    match shown.split_once(' ') {
        Some((number, unit)) if number.contains('.') && quantity.value >= 1e-9 => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => shown,
    }
}

fn thousands(count: f64) -> String {
    match count {
        1e6.. => format!("{}M", count / 1e6),
        1e3.. => format!("{}k", count / 1e3),
        _ => count.to_string(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Goal;
    use crate::rounds::Spread;

    fn figure(what: &str, at: usize) -> Figure {
        let ratio = Spread {
            median: 0.5,
            least: 0.4,
            most: 0.6,
        };
        Figure::ours(Section::Hand, "sqlite", what, Quantity::seconds(2e-4))
            .at(at)
            .beside("a < b", Quantity::seconds(1e-4), ratio)
            .with_goal(Goal::AtLeast(0.9))
    }

    #[test]
    fn a_panel_is_of_one_thing_at_several_sizes() {
        let figures = [
            figure("events", 10),
            figure("mixed", 1),
            figure("events", 1),
        ];
        let panels = panels(Section::Hand, &figures);
        let sizes = |panel: &Panel<'_>| panel.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!(
            panels.iter().map(sizes).collect::<Vec<_>>(),
            [vec![1.0, 10.0], vec![1.0]]
        );
        let svg = svg(Section::Hand, &panels).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert_eq!(svg.matches("class=\"missed\">0.50<").count(), 3);
        assert!(svg.contains("a &lt; b") && svg.contains("&gt;= 0.9"));
    }

    #[test]
    fn an_axis_goes_from_a_power_of_ten_to_another() {
        let scale = Scale::whole([2e-4, 5e-2].into_iter(), 0.0, 30.0);
        assert_eq!(scale.powers(), -4..=-1);
        assert_eq!(
            [1e-4, 1e-2, 1e-1, 0.0].map(|value| scale.place(value).round()),
            [0.0, 20.0, 30.0, 0.0]
        );
        let one = Scale::of([100.0].into_iter(), 0.0, 30.0);
        assert_eq!(one.place(100.0), 15.0);
        let shown = [1e-5, 1e-3, 10.0].map(|value| short(Quantity::seconds(value)));
        assert_eq!(shown, ["10 µs", "1 ms", "10 s"]);
        assert_eq!([1.0, 2500.0, 5e6].map(thousands), ["1", "2.5k", "5M"]);
    }
}
