use super::*;
use crate::engines::memory::MemoryHarness;

fn certificate() -> Certificate {
    Certificate {
        store: "silmaril".to_owned(),
        short: None,
        date: "2026-03-01".to_owned(),
        machine: "linux x86_64, release build".to_owned(),
        suite: suite_version(),
        engine: "silmaril 3".to_owned(),
        layout: 1,
        durability: "Power".to_owned(),
        shared: true,
        snapshot: true,
        clauses: 74,
        broken: Map::new(),
        nothing_asked: Map::new(),
        checks: Vec::new(),
    }
}

fn map(name: &str, text: &str) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), Value::String(text.to_owned()))])
}

fn assert_says(certificate: &Certificate, lines: &[&str]) {
    let page = certificate.to_markdown();
    for line in lines {
        assert!(page.lines().any(|found| found == *line), "{line}\n{page}");
    }
}

#[test]
fn functions_that_ask_nothing_do_not_count_as_passed() {
    let mut certificate = certificate();
    certificate.nothing_asked = map("b3_a", "it has no layout");
    certificate.broken = map("p1_b", "P1: no");
    assert_says(
        &certificate,
        &[
            "| clauses | 72 of 74 functions pass; 1 does not hold; 1 asks nothing of such a store |",
            "It has no layout: `b3_a`.",
        ],
    );
}

#[test]
fn a_check_that_was_not_tried_is_listed_with_the_reason() {
    let report = || json!({ "not_tried": "a server keeps it", "parts": 0 });
    let mut certificate = certificate();
    certificate.checks = vec![Check::run("no room", "It fills up.", report)];
    assert!(certificate.figure("no room", "parts").is_none());
    let page = certificate.to_markdown();
    let section = "\n## No room\n\nIt fills up.\n\nNot tried: a server keeps it.\n";
    assert!(page.ends_with(section), "{page}");
}

#[test]
fn what_a_check_is_stands_above_its_figures() {
    let mut certificate = certificate();
    let run = || json!({ "parts": 3, "recovery_ms": null, "not_tried": null });
    certificate.checks = vec![Check::run("no room", "It fills up.", run)];
    let section = "\n## No room\n\nIt fills up.\n\n| | |\n| --- | --- |\n| parts | 3 |\n\
                   | recovery ms | none |\n";
    let page = certificate.to_markdown();
    assert!(page.ends_with(section), "{page}");
}

#[test]
fn a_short_run_is_no_certificate() {
    let short = shortness(5, 8).unwrap();
    assert!(short.starts_with("5 of 500 kills, 8 of 512 histories"));
    let mut certificate = certificate();
    certificate.short = Some("5 of 500 kills".to_owned());
    let page = certificate.to_markdown();
    assert!(page.starts_with("# Short run: silmaril\n"), "{page}");
    assert_says(
        &certificate,
        &["**A short run (5 of 500 kills): no certificate.**"],
    );
}

#[test]
fn the_json_holds_all_that_the_page_shows() {
    let mut certificate = certificate();
    certificate.short = Some("1 of 500 kills".to_owned());
    certificate.nothing_asked = map("b3_a", "it has no layout");
    let run = || json!({ "times": { "p50": 0.259, "max": 143.525 }, "none": null });
    certificate.checks = vec![
        Check::run("one", "About one.", run),
        Check::run("two", "About two.", || panic!("P2: no")),
    ];
    let json = serde_json::to_string(&certificate).unwrap();
    let again: Certificate = serde_json::from_str(&json).unwrap();
    assert_eq!(again, certificate);
    assert_eq!(again.to_markdown(), certificate.to_markdown());
}

#[test]
fn the_functions_that_ask_nothing_of_a_store_in_memory_are_b3_to_b6() {
    let store = first_store::<MemoryHarness>().unwrap();
    let ids = store.nothing_asked.keys().map(|name| &name[..2]);
    let ids: Vec<_> = ids.collect();
    assert_eq!(ids, ["b3", "b4", "b4", "b5", "b5", "b6", "b6"]);
}
