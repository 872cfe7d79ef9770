//! The certificate as a page.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

use super::{Certificate, Check};

/// Renders a certificate. The JSON beside it holds the same.
pub(super) fn render(certificate: &Certificate) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write(certificate, &mut page);
    page
}

fn write(certificate: &Certificate, page: &mut String) -> std::fmt::Result {
    let Certificate { store, short, .. } = certificate;
    match short {
        None => writeln!(page, "# Certificate: {store}\n")?,
        Some(lacks) => writeln!(
            page,
            "# Short run: {store}\n\n**A short run ({lacks}): no certificate.**\n"
        )?,
    }
    let verdict = match certificate.holds() {
        true => "Everything that was run holds.",
        false => "**NOT certified**: see below what does not hold.",
    };
    writeln!(
        page,
        "{verdict} Written by `conformance certify`; the JSON beside it is the same. Times are in \
         milliseconds: half of them are at most `p50`, 99 of 100 at most `p99`, and none is over \
         `max`.\n"
    )?;
    write_head(certificate, page)?;
    for (clause, reason) in &certificate.broken {
        let reason = quoted(&text(reason));
        writeln!(page, "\n`{clause}` does not hold:\n\n{reason}")?;
    }
    certificate
        .checks
        .iter()
        .try_for_each(|check| write_check(check, page))
}

fn write_head(certificate: &Certificate, page: &mut String) -> std::fmt::Result {
    writeln!(page, "| | |\n| --- | --- |")?;
    let checked = format!(
        "shared {}, snapshot {}",
        certificate.shared, certificate.snapshot
    );
    let durability = match certificate.durability.as_str() {
        "None" => "None".to_owned(),
        "Process" => "Process: see the crash sweep".to_owned(),
        more => format!("{more}; kills are checked, the loss of power is not"),
    };
    for (name, value) in [
        ("engine", &certificate.engine),
        ("layout", &certificate.layout.to_string()),
        ("suite", &certificate.suite),
        ("date (UTC)", &certificate.date),
        ("machine", &certificate.machine),
        ("capabilities, declared and checked both ways", &checked),
        ("durability, declared", &durability),
        ("clauses", &clauses(certificate)),
    ] {
        writeln!(page, "| {name} | {value} |")?;
    }
    for (reason, names) in by_reason(&certificate.nothing_asked) {
        writeln!(page, "\n{}: {}.", sentence(&reason), names.join(", "))?;
    }
    Ok(())
}

fn clauses(certificate: &Certificate) -> String {
    let broken = certificate.broken.len() as u64;
    let asks = |name: &&String| !certificate.broken.contains_key(*name);
    let nothing = certificate.nothing_asked.keys().filter(asks).count() as u64;
    let passed = certificate.clauses.saturating_sub(broken + nothing);
    let mut clauses = format!("{passed} of {} functions pass", certificate.clauses);
    for (count, one, several) in [
        (broken, "does not hold", "do not hold"),
        (
            nothing,
            "asks nothing of such a store",
            "ask nothing of such a store",
        ),
    ] {
        match count {
            0 => {}
            1 => clauses += &format!("; 1 {one}"),
            count => clauses += &format!("; {count} {several}"),
        }
    }
    clauses
}

/// The functions that ask nothing, by the reason why.
fn by_reason(nothing_asked: &Map<String, Value>) -> BTreeMap<String, Vec<String>> {
    let mut reasons: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, reason) in nothing_asked {
        let names = reasons.entry(text(reason)).or_default();
        names.push(format!("`{name}`"));
    }
    reasons
}

fn write_check(check: &Check, page: &mut String) -> std::fmt::Result {
    writeln!(page, "\n## {}\n\n{}", sentence(&check.name), check.about)?;
    if let Some(reason) = &check.not_tried {
        writeln!(page, "\nNot tried: {reason}.")?;
    }
    if let Some(reason) = &check.failure {
        writeln!(page, "\nDoes not hold:\n\n{}", quoted(reason))?;
    }
    write_figures(&check.figures, page)
}

fn write_figures(figures: &Map<String, Value>, page: &mut String) -> std::fmt::Result {
    if figures.is_empty() {
        return Ok(());
    }
    writeln!(page)?;
    if let Some(columns) = columns(figures) {
        return write_rows(&columns, figures, page);
    }
    writeln!(page, "| | |\n| --- | --- |")?;
    for (name, value) in figures {
        writeln!(page, "| {} | {} |", name.replace('_', " "), text(value))?;
    }
    Ok(())
}

/// The names of the figures, where each row has the same ones.
fn columns(rows: &Map<String, Value>) -> Option<Vec<&String>> {
    let mut rows = rows.values();
    let columns: Vec<_> = rows.next()?.as_object()?.keys().collect();
    let same = |row: &Value| {
        row.as_object()
            .is_some_and(|row| row.keys().eq(columns.iter().copied()))
    };
    rows.all(same).then_some(columns)
}

fn write_rows(
    columns: &[&String],
    rows: &Map<String, Value>,
    page: &mut String,
) -> std::fmt::Result {
    let heads: Vec<_> = columns.iter().map(|name| name.replace('_', " ")).collect();
    writeln!(page, "| | {} |", heads.join(" | "))?;
    writeln!(page, "| --- |{}", " --- |".repeat(columns.len()))?;
    for (name, row) in rows {
        let cells: Vec<_> = columns
            .iter()
            .filter_map(|column| row.get(column))
            .map(text)
            .collect();
        writeln!(page, "| {name} | {} |", cells.join(" | "))?;
    }
    Ok(())
}

/// A figure in a cell of a table.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.replace('|', "\\|").replace('\n', " "),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(items) => {
            let items = items.iter();
            let items = items.map(|(name, value)| format!("{name}: {}", text(value)));
            items.collect::<Vec<_>>().join("; ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn quoted(reason: &str) -> String {
    let lines = reason.lines().map(|line| format!("> {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn sentence(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
