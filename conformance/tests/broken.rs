//! The suite bites: a backend that is broken in one way fails the clause that names it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the backends below are test code, in modules of their own"
)]

use conformance::{Clause, Harness};

#[path = "broken/mod.rs"]
mod backends;

use backends::layouts::{self, LayoutHarness};
use backends::{BrokenHarness, bootstrap, errors, persisting, reading, writers};

/// Runs a clause, and expects it to say itself that it does not hold.
fn finds<H: Harness>(name: &str) {
    let all = Clause::all::<H>();
    let clause = all.iter().find(|clause| clause.name == name);
    let clause = clause.unwrap_or_else(|| panic!("there is no clause {name}"));
    let found = violation(clause).unwrap_or_else(|| panic!("{name} does not find the defect"));
    let violated = format!("{}: ", clause.id());
    assert!(
        found.contains(&violated),
        "{name} breaks on the way: {found}"
    );
}

/// Runs a clause on a thread of its own; the message of its panic, if it panics.
fn violation(clause: &Clause) -> Option<String> {
    let panic = std::thread::spawn(clause.run).join().err()?;
    let message = panic.downcast_ref::<String>().cloned();
    message.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
}

#[test]
fn the_wrapper_alone_passes_every_clause() {
    passes::<BrokenHarness<backends::Sound>>();
    conformance::histories::<BrokenHarness<backends::Sound>>();
}

#[test]
fn the_stamp_alone_passes_every_clause() {
    passes::<LayoutHarness<layouts::Nothing>>();
}

fn passes<H: Harness>() {
    for clause in Clause::all::<H>() {
        assert_eq!(violation(&clause), None, "{}", clause.name);
    }
}

/// One test a defect: what it does, the clause that finds it, and its type.
macro_rules! defects {
    ($harness:ident: $($does:ident: $clause:ident by $defect:ty;)*) => {$(
        #[test]
        fn $does() {
            finds::<$harness<$defect>>(stringify!($clause));
        }
    )*};
}

defects! {
    LayoutHarness:
    a_newer_layout_taken_for_this:
        b3_a_newer_layout_is_refused_untouched by layouts::NewerIsTaken;
    a_newer_layout_marked: b3_a_newer_layout_is_refused_untouched by layouts::NewerIsMarked;
    an_upgrade_that_loses_a_row:
        b4_an_older_layout_is_upgraded_with_its_data by layouts::LastRowIsLost;
    a_failed_upgrade_that_leaves_rows:
        b4_a_failed_upgrade_leaves_the_store_as_it_was by layouts::FailureLeavesRows;
    a_reset_that_refuses: b5_a_reset_recreates_a_layout_that_differs by layouts::ResetKeepsNewer;
    a_reset_of_the_present_layout:
        b5_a_reset_keeps_the_present_layout by layouts::ResetTouchesPresent;
    a_reset_of_another_program:
        b6_what_is_not_ours_is_refused_untouched by layouts::ResetTakesForeign;
    an_upgrade_that_orders_by_time:
        b6_rows_of_the_first_layout_keep_their_order by layouts::RowsAreOrderedByTime;
}

defects! {
    BrokenHarness:
    a_layout_of_another_version:
        b1_init_makes_a_store_of_the_declared_capabilities by bootstrap::OtherLayout;
    an_init_that_changes_the_store: b2_init_again_changes_nothing by bootstrap::ClaimedByInit;
    reads_before_init: b7_calls_before_init_are_invalid by bootstrap::ReadyAtOnce;
    half_a_part_acknowledged_whole:
        p1_every_record_of_a_part_is_there by persisting::HalfParts;
    a_part_visible_half_by_half: p1_readers_see_parts_whole by persisting::TornParts;
    a_part_held_in_ram_until_close:
        p2_a_part_outlives_a_backend_that_is_dropped by persisting::HeldUntilClose;
    records_in_another_order: p3_sequences_adjoin_in_order by persisting::Reversed;
    text_cut_at_a_nul: p4_payloads_come_back_as_given by persisting::CutAtNul;
    a_part_forgotten_and_written_again: p5_a_repeated_part_writes_nothing by writers::Forgetful;
    a_repeat_refused_after_another_claim:
        p5_a_part_is_repeated_after_another_claim by writers::FencedFirst;
    a_stale_writer_let_through: p6_a_fenced_writer_writes_nothing by writers::NotFencing;
    a_fence_that_names_nobody: p6_a_fenced_writer_writes_nothing by writers::NamesNobody;
    any_number_accepted: p7_only_the_next_number_is_written by writers::AnyNumber;
    the_first_record_of_a_key_decides:
        p8_the_last_record_of_a_key_decides by persisting::FirstInPart;
    an_empty_part_that_takes_a_number:
        p9_an_empty_part_takes_nothing by persisting::EmptyTakesNumber;
    a_large_part_cut:
        p10_a_part_is_kept_at_its_limit_and_refused_over_it by persisting::LargePartsCut;
    a_batch_refused_for_one_part:
        p11_a_refused_part_leaves_the_others_alone by writers::OneRefusesAll;
    reads_one_part_behind: r1_a_read_sees_what_was_acknowledged by reading::Behind;
    a_page_that_skips_a_row: r2_pages_give_the_whole by reading::SkipsBetweenPages;
    pages_by_offset: r2_a_writer_at_work_does_not_disturb_the_state by reading::PagesByOffset;
    a_delete_that_leaves_the_state:
        r3_the_state_is_the_records_folded by persisting::DeleteIgnored;
    the_first_put_wins: r3_the_state_is_the_records_folded by persisting::FirstPutWins;
    worlds_told_apart_without_case: r4_worlds_hold_each_their_own by reading::CaseIgnored;
    a_page_without_its_head: r5_a_page_carries_the_head by reading::NoHead;
    a_snapshot_that_moves: r5_a_snapshot_is_consistent by reading::LiveSnapshot;
    a_state_ordered_by_length: r6_the_state_is_in_byte_order by reading::OrderedByLength;
    flushes_counted_that_wrote_nothing: s1_counts_are_exact by errors::CountsCalls;
    a_refused_part_that_leaves_a_trace: e1_a_call_that_fails_changes_nothing by errors::LeavesTrace;
    an_error_with_its_payload: e2_no_error_shows_a_payload by errors::ShowsPayload;
    reads_after_close: e3_after_close_every_call_is_closed by errors::NeverClosed;
    an_error_without_its_part: e4_the_error_of_a_part_names_it by errors::NamesNothing;
    a_commit_that_is_lost: c1_a_commit_is_durable_with_all_before_it by persisting::HalfParts;
    a_retry_written_twice: c2_each_record_is_persisted_once_in_order by writers::Forgetful;
    a_world_taken_over_unseen: c10_a_fenced_world_is_not_claimed_again by writers::NotFencing;
}

/// Histories find what takes several steps to show; the message tells how to run them again.
#[test]
fn histories_find_defects() {
    for (what, histories) in [
        (
            "forgetful",
            conformance::histories::<BrokenHarness<writers::Forgetful>> as fn(),
        ),
        (
            "first put wins",
            conformance::histories::<BrokenHarness<persisting::FirstPutWins>>,
        ),
        (
            "held until close",
            conformance::histories::<BrokenHarness<persisting::HeldUntilClose>>,
        ),
        (
            "not fencing",
            conformance::histories::<BrokenHarness<writers::NotFencing>>,
        ),
    ] {
        let panic = std::thread::spawn(histories).join().err();
        let message = panic.and_then(|panic| panic.downcast::<String>().ok());
        let message = message.unwrap_or_else(|| panic!("histories do not find: {what}"));
        assert!(message.contains("PROPTEST_RNG_SEED="), "{message}");
    }
}
