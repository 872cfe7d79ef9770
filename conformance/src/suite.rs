//! Running clauses: each on a store of its own.

use crate::Harness;
use crate::harness::has_layout;

/// Passes the list of clauses to a macro: `for_each_clause!([path::to::name] arguments)` becomes
/// `path::to::name! { (arguments) module::function, … }`.
///
/// This is the one list: the tests, the table and the comparison with CONTRACT.md are made of it.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_clause {
    ([$($then:tt)+] $($arguments:tt)*) => {
        $($then)+! {
            ($($arguments)*)
            bootstrap::b1_init_makes_a_store_of_the_declared_capabilities,
            bootstrap::b2_init_again_changes_nothing,
            bootstrap::b2_init_by_several_at_once_changes_nothing,
            bootstrap::b3_a_newer_layout_is_refused_untouched,
            bootstrap::b4_an_older_layout_is_upgraded_with_its_data,
            bootstrap::b4_a_failed_upgrade_leaves_the_store_as_it_was,
            bootstrap::b5_a_reset_recreates_a_layout_that_differs,
            bootstrap::b5_a_reset_keeps_the_present_layout,
            bootstrap::b6_what_is_not_ours_is_refused_untouched,
            bootstrap::b6_rows_of_the_first_layout_keep_their_order,
            bootstrap::b7_calls_before_init_are_invalid,
            bootstrap::b8_only_a_shared_store_is_opened_twice,
            batches::p1_readers_see_parts_whole,
            batches::p1_every_record_of_a_part_is_there,
            batches::p1_a_dropped_call_leaves_a_part_whole_or_absent,
            batches::p2_a_part_outlives_a_backend_that_is_dropped,
            batches::p3_sequences_adjoin_in_order,
            fidelity::p4_payloads_come_back_as_given,
            fidelity::p4_a_payload_of_16_mib_comes_back_as_given,
            fidelity::p4_timestamps_come_back_as_given,
            fidelity::p4_keys_come_back_as_given,
            fidelity::p4_names_come_back_as_given,
            writers::p5_a_repeated_part_writes_nothing,
            writers::p5_a_part_is_repeated_after_another_claim,
            writers::p5_a_part_is_repeated_after_reopening,
            writers::p6_a_fenced_writer_writes_nothing,
            writers::p7_only_the_next_number_is_written,
            writers::p7_any_difference_is_other_content,
            writers::p7_an_epoch_that_was_never_claimed_is_invalid,
            writers::p7_a_claim_tells_where_to_go_on,
            batches::p8_the_last_record_of_a_key_decides,
            batches::p8_the_log_keeps_each_record_that_is_logged,
            batches::p9_an_empty_part_takes_nothing,
            batches::p10_a_part_is_kept_at_its_limit_and_refused_over_it,
            batches::p11_a_refused_part_leaves_the_others_alone,
            batches::p11_writers_of_different_worlds_go_side_by_side,
            reads::r1_a_read_sees_what_was_acknowledged,
            reads::r2_pages_give_the_whole,
            reads::r2_a_writer_at_work_does_not_disturb_the_log,
            reads::r2_a_writer_at_work_does_not_disturb_the_state,
            reads::r3_the_state_is_the_records_folded,
            reads::r3_the_log_folds_to_the_state,
            isolation::r4_worlds_hold_each_their_own,
            isolation::r4_a_world_that_does_not_exist_is_empty,
            isolation::r5_a_page_carries_the_head,
            isolation::r5_a_snapshot_is_consistent,
            isolation::r5_a_snapshot_of_another_world_is_invalid,
            isolation::r6_the_state_is_in_byte_order,
            isolation::r6_worlds_are_in_byte_order,
            isolation::r7_only_a_declared_snapshot_lets_its_world_be_written,
            stats::s1_counts_are_exact,
            stats::s1_a_batch_is_one_flush,
            stats::s1_a_backend_counts_its_own,
            stats::s2_usage_is_exact,
            errors::e1_a_call_that_fails_changes_nothing,
            errors::e2_no_error_shows_a_payload,
            errors::e3_after_close_every_call_is_closed,
            errors::e4_the_error_of_a_part_names_it,
            controller::c1_a_commit_is_durable_with_all_before_it,
            controller::c1_a_flush_and_a_ticket_are_durable,
            controller::c1_nothing_is_acknowledged_too_early,
            controller::c2_each_record_is_persisted_once_in_order,
            controller::c3_at_the_bound_records_are_handed_back,
            controller::c3_a_group_that_never_fits_is_invalid,
            controller::c4_parts_are_made_of_whole_groups,
            trouble::c5_a_refused_group_fails_alone,
            capture::c5_a_refused_entity_fails_alone,
            shutdown::c6_shutdown_persists_all,
            shutdown::c6_shutdown_returns_what_is_pending,
            shutdown::c6_shutdown_returns_what_is_in_doubt,
            shutdown::c6_shutdown_does_not_wait_for_a_write_that_hangs,
            trouble::c7_the_engine_goes_on_while_the_store_is_away,
            trouble::c7_a_controller_starts_while_the_store_is_away,
            shutdown::c8_dropping_persists_what_was_accepted,
            shutdown::c8_dropping_ends_without_a_store,
            capture::c9_a_change_after_its_capture_is_dirty_again,
            capture::c9_a_capture_and_what_came_before_it_are_one_group,
            capture::c9_what_is_not_captured_is_still_dirty,
            claims::c10_only_open_world_claims,
            claims::c10_a_fenced_world_is_not_claimed_again,
            claims::c10_a_world_in_trouble_does_not_hold_up_others,
        }
    };
}

/// A clause's test, for a harness.
#[derive(Clone, Copy, Debug)]
pub struct Clause {
    /// The name of the function in [`clauses`](crate::clauses), which begins with the clause's id.
    pub name: &'static str,
    /// Runs it on a new store, and panics if the store breaks the clause.
    pub run: fn(),
}

impl Clause {
    /// All clauses for a harness, in the order of CONTRACT.md.
    #[must_use]
    pub fn all<H: Harness>() -> Vec<Self> {
        macro_rules! table {
            (() $($module:ident::$name:ident,)*) => {
                vec![$(Self {
                    name: stringify!($name),
                    run: || run_clause::<H>(crate::clauses::$module::$name),
                }),*]
            };
        }
        for_each_clause!([table])
    }

    /// The clause's id in CONTRACT.md: `P5`.
    #[must_use]
    pub fn id(&self) -> String {
        let id = self.name.split('_').next().unwrap_or_default();
        id.to_ascii_uppercase()
    }

    /// Why the function asks nothing of a harness' store, if it does not.
    pub fn asks_nothing<H: Harness>(&self, harness: &H) -> Option<&'static str> {
        let of_first_layout = OF_FIRST_LAYOUT.contains(&self.name);
        if !has_layout(harness) && (of_first_layout || OF_LAYOUT.contains(&self.name)) {
            return Some("the store ends with its process, and has no layout to find");
        }
        (of_first_layout && !harness.first_layout()).then_some(
            "no store of the first published layout exists in this engine; that the present \
             layout is number 1 is all that is compared",
        )
    }
}

/// The functions that ask nothing of a store without a layout.
const OF_LAYOUT: [&str; 4] = [
    "b3_a_newer_layout_is_refused_untouched",
    "b5_a_reset_recreates_a_layout_that_differs",
    "b5_a_reset_keeps_the_present_layout",
    "b6_what_is_not_ours_is_refused_untouched",
];

/// Those that ask nothing of it either, nor of an engine that is newer than the first layout.
const OF_FIRST_LAYOUT: [&str; 3] = [
    "b4_an_older_layout_is_upgraded_with_its_data",
    "b4_a_failed_upgrade_leaves_the_store_as_it_was",
    "b6_rows_of_the_first_layout_keep_their_order",
];

/// Runs a clause on a new store, on a runtime of its own with several threads.
///
/// # Panics
/// If the store breaks the clause; the message has the clause's id.
pub fn run_clause<H: Harness>(clause: impl AsyncFn(&H)) {
    on_runtime(async {
        let harness = H::new().await;
        clause(&harness).await;
    });
}

/// Runs work on a runtime of its own with several threads.
pub(crate) fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work)
}

/// Makes one test of each clause, and one of generated histories, for a [`Harness`].
///
/// The tests bear the names of the functions in [`clauses`](crate::clauses); a second harness in
/// one file takes a module of its own. The crate's front page has an example.
#[macro_export]
macro_rules! conformance_suite {
    ($harness:ty) => {
        $crate::for_each_clause!([$crate::clause_tests] $harness);

        /// Generated histories: the store answers and holds what the model says.
        #[test]
        fn histories() {
            $crate::histories::<$harness>();
        }

        /// The same histories leave the same store as in the reference backend.
        #[test]
        fn equivalence() {
            $crate::equivalence::<$harness>($crate::EQUIVALENCE_SEEDS);
        }

        /// Faults of every kind, each with and without another writer's claim.
        #[test]
        fn faults() {
            $crate::faults::<$harness>();
        }

        $crate::process_tests!($harness);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! clause_tests {
    (($harness:ty) $($module:ident::$name:ident,)*) => {$(
        #[test]
        fn $name() {
            $crate::run_clause::<$harness>($crate::clauses::$module::$name);
        }
    )*};
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The functions in whose text something is called.
    fn functions_that_call(what: &str) -> Vec<&'static str> {
        let source = include_str!("clauses/bootstrap.rs");
        let functions = source.split("\npub async fn ").skip(1);
        // What follows the function, up to the next public one, is not its own.
        let functions = functions.filter_map(|text| text.split_once("\n}\n"));
        functions
            .filter(|(text, _)| text.contains(what))
            .filter_map(|(text, _)| text.split('<').next())
            .collect()
    }

    #[test]
    fn functions_that_may_ask_nothing_are_those_that_look_for_a_layout() {
        assert_eq!(functions_that_call("has_layout(harness)"), OF_LAYOUT);
        assert_eq!(functions_that_call("has_first_layout("), OF_FIRST_LAYOUT);
    }
}
