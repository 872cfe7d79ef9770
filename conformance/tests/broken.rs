//! The suite bites: a backend that is broken in one way fails the clause that it breaks.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the backends below are test code, in modules of their own"
)]

#[path = "broken/mod.rs"]
mod backends;

use backends::attempt::violation;
use backends::cached::{self, CachedStore};
use backends::document::{Document, summary};
use backends::exclusive::{self, ExclusiveStore};
use backends::layouts::{self, LayoutStore};
use backends::matrix::{Check, Matrix};
use backends::store::{self, Chosen, NewStore, Store};
use backends::{BrokenStore, Sound, folding, numbers, table, writers};

#[test]
fn the_matrix_of_defects_and_clauses_is_that_of_the_docs() {
    let kept = Document::kept();
    let matrix = Matrix::of(table::all(), kept.as_ref());
    eprintln!("{}", summary(&matrix));
    let complaints = matrix.complaints();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let document = match kept {
        Some(kept) => kept.check(&matrix),
        None => Document::write(&matrix),
    };
    assert!(document.is_ok(), "{}", document.err().unwrap_or_default());
}

#[test]
fn the_wrapper_alone_passes_everything() {
    passes::<BrokenStore<Sound>>();
}

#[test]
fn the_stamp_alone_passes_everything() {
    passes::<LayoutStore<layouts::Nothing>>();
}

#[test]
fn the_journal_alone_passes_everything() {
    passes::<CachedStore<cached::KeepsAll>>();
}

#[test]
fn a_store_that_is_neither_shared_nor_has_snapshots_passes_everything() {
    passes::<ExclusiveStore<exclusive::Exclusive>>();
}

#[test]
fn a_store_that_is_not_shared_passes_everything() {
    passes::<ExclusiveStore<exclusive::ExclusiveWithSnapshots>>();
}

#[test]
fn a_store_whose_snapshots_stop_writers_passes_everything() {
    passes::<ExclusiveStore<exclusive::SharedWithoutSnapshots>>();
}

fn passes<S: Store + Default>() {
    for check in Check::all() {
        assert_eq!(
            violation(store::new::<S>, check.run),
            None,
            "{}",
            check.name
        );
    }
    let histories = conformance::histories::<Chosen>;
    assert_eq!(violation(store::new::<S>, histories), None, "histories");
}

/// Histories find what takes several steps to show; the message tells how to run them again.
#[test]
fn histories_find_defects() {
    let defects: [(&str, NewStore); 4] = [
        ("Forgetful", store::new::<BrokenStore<numbers::Forgetful>>),
        (
            "FirstPutWins",
            store::new::<BrokenStore<folding::FirstPutWins>>,
        ),
        ("NotFencing", store::new::<BrokenStore<writers::NotFencing>>),
        (
            "LostWhenDropped",
            store::new::<CachedStore<cached::LostWhenDropped>>,
        ),
    ];
    for (defect, store) in defects {
        let message = violation(store, conformance::histories::<Chosen>).unwrap_or_default();
        let told = message.contains("PROPTEST_RNG_SEED=");
        assert!(told, "histories on {defect}: {message:?}");
    }
}
