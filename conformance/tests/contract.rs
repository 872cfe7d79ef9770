//! The clauses of CONTRACT.md, the functions in `src/clauses/` and the list of the suite are one.

use std::collections::BTreeSet;
use std::path::Path;

use conformance::Clause;
use conformance::engines::memory::MemoryHarness;

const CONTRACT: &str = include_str!("../../aqevia-storage/CONTRACT.md");

#[test]
fn each_clause_of_the_contract_has_a_function_and_each_function_a_clause() {
    let promised: BTreeSet<_> = CONTRACT.lines().filter_map(promised_id).collect();
    let clauses = Clause::all::<MemoryHarness>();
    let tested: BTreeSet<_> = clauses.iter().map(|clause| clause.id()).collect();
    assert!(!promised.is_empty(), "CONTRACT.md has clauses");
    assert_eq!(promised, tested);
}

#[test]
fn each_function_of_a_clause_is_in_the_list_once() {
    let clauses = Clause::all::<MemoryHarness>();
    let listed: Vec<_> = clauses
        .iter()
        .map(|clause| clause.name.to_owned())
        .collect();
    let once: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "a function is in the list twice");
    assert_eq!(once, written_functions());
}

/// `- **P5** A part …` promises `P5`.
fn promised_id(line: &str) -> Option<String> {
    let id = line.strip_prefix("- **")?.split_once("**")?.0;
    Some(id.to_owned())
}

/// The names of all public functions below `src/clauses/`.
#[expect(
    clippy::expect_used,
    reason = "the sources are there where the tests are built"
)]
fn written_functions() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clauses");
    let files = std::fs::read_dir(folder).expect("the folder of the clauses");
    let sources = files.map(|file| std::fs::read_to_string(file.expect("a file").path()));
    sources
        .flat_map(|source| {
            let source = source.expect("a source file");
            let lines = source
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn "));
            let names = lines.filter_map(|line| line.split_once('<'));
            names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        })
        .collect()
}
