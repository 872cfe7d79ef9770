//! The figures as tables for `docs/performance.md`: what was done, over the sizes of it.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use clap::ValueEnum;

use crate::report::{Figure, Report, Section};

/// A table a section. Ratios where there are any, else ours; what misses its goal is bold.
pub(crate) fn tables(report: &Report) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for section in Section::value_variants() {
        let of_it = |figure: &&Figure| figure.section == *section;
        let figures: Vec<&Figure> = report.figures.iter().filter(of_it).collect();
        if !figures.is_empty() {
            write_table(&mut out, *section, &figures)?;
        }
    }
    Ok(out)
}

fn write_table(out: &mut String, section: Section, figures: &[&Figure]) -> fmt::Result {
    let sizes: BTreeSet<Option<u64>> = figures.iter().map(|figure| figure.at).collect();
    write!(out, "| `bench {}` |", section.name())?;
    for size in &sizes {
        let size = size.map(|size| size.to_string());
        write!(out, " {} |", size.unwrap_or_default())?;
    }
    writeln!(out, " goal |\n|{}", " --- |".repeat(sizes.len() + 2))?;
    let mut rows: Vec<Vec<&Figure>> = Vec::new();
    for figure in figures {
        match rows
            .iter_mut()
            .find(|row| row.iter().any(|of| of.alike(figure)))
        {
            Some(row) => row.push(figure),
            None => rows.push(vec![figure]),
        }
    }
    for row in rows {
        if let Some(first) = row.first() {
            write!(out, "| {}, {} |", first.engine, first.what)?;
        }
        for size in &sizes {
            let figure = row.iter().find(|figure| figure.at == *size);
            let cell = figure.map(|figure| cell(figure));
            write!(out, " {} |", cell.unwrap_or_default())?;
        }
        let goals = row.iter().filter_map(|figure| figure.goal);
        let mut goals: Vec<String> = goals.map(|goal| goal.to_string()).collect();
        goals.dedup();
        writeln!(out, " {} |", goals.join(", "))?;
    }
    out.push('\n');
    Ok(())
}

fn cell(figure: &Figure) -> String {
    let shown = match &figure.other {
        Some(other) => format!("{:.2}", other.ratio.median),
        None => figure.ours.to_string(),
    };
    let shown = match figure.met {
        Some(false) => format!("**{shown}**"),
        _ => shown,
    };
    match &figure.by_hand {
        Some(by_hand) => format!("{shown} (by hand {:.2})", by_hand.median),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Goal, Quantity};
    use crate::rounds::Spread;

    #[test]
    fn a_row_has_all_sizes_of_what_was_done() {
        let figure = |at, median| {
            let ours = Quantity::seconds(1.0);
            let ratio = Spread {
                median,
                least: median,
                most: median,
            };
            let figure = Figure::ours(Section::Hand, "sqlite", "events", ours).at(at);
            let figure = figure.beside("by hand", ours, ratio);
            figure.with_goal(Goal::AtLeast(0.9))
        };
        let figures = vec![figure(10, 0.5), figure(1, 0.95)];
        let table = tables(&Report { figures }).unwrap();
        let row = table.lines().nth(2);
        assert_eq!(row, Some("| sqlite, events | 0.95 | **0.50** | >= 0.9 |"));
    }
}
