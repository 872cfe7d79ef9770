//! The defects: what each does, and the clause that it is made for.

use super::cached::{self, CachedStore};
use super::exclusive::{self, ExclusiveStore};
use super::layouts::{self, LayoutStore};
use super::store::{self, NewStore};
use super::{
    BrokenStore, bootstrap, counts, errors, fidelity, folding, numbers, pages, parts, reading,
    writers,
};

/// A backend that is broken in one way.
#[derive(Clone, Copy)]
pub(crate) struct Defective {
    /// The name of its type.
    pub(crate) name: &'static str,
    /// What it does, as a sentence without a subject.
    pub(crate) does: &'static str,
    /// The clause function that it is made for.
    pub(crate) clause: &'static str,
    /// Makes a store whose backends have it.
    pub(crate) store: NewStore,
}

macro_rules! defects {
    ($($clause:ident: $harness:ident<$module:ident::$defect:ident> $does:literal;)*) => {
        vec![$(Defective {
            name: stringify!($defect),
            does: $does,
            clause: stringify!($clause),
            store: store::new::<$harness<$module::$defect>>,
        }),*]
    };
}

/// Every defect, in the order of the clauses.
pub(crate) fn all() -> Vec<Defective> {
    defects! {
        b1_init_makes_a_store_of_the_declared_capabilities:
            BrokenStore<bootstrap::OtherLayout>
            "stamps another version of the layout";
        b1_init_makes_a_store_of_the_declared_capabilities:
            BrokenStore<bootstrap::DeclaresPower>
            "declares a durability that the author does not expect";
        b2_init_again_changes_nothing:
            BrokenStore<bootstrap::ClaimedByInit>
            "claims the worlds that `init` finds";
        b2_init_by_several_at_once_changes_nothing:
            BrokenStore<bootstrap::NotTwiceAtOnce>
            "fails in `init` while another backend makes the layout, too";
        b3_a_newer_layout_is_refused_untouched:
            LayoutStore<layouts::NewerIsTaken>
            "takes a newer layout for its own";
        b3_a_newer_layout_is_refused_untouched:
            LayoutStore<layouts::NewerIsMarked>
            "refuses a newer layout, and marks it";
        b4_an_older_layout_is_upgraded_with_its_data:
            LayoutStore<layouts::LastRowIsLost>
            "loses the last row of an upgrade";
        b4_a_failed_upgrade_leaves_the_store_as_it_was:
            LayoutStore<layouts::FailureLeavesRows>
            "leaves the rows of an upgrade that failed";
        b5_a_reset_recreates_a_layout_that_differs:
            LayoutStore<layouts::ResetKeepsNewer>
            "refuses to reset a newer layout";
        b5_a_reset_keeps_the_present_layout:
            LayoutStore<layouts::ResetTouchesPresent>
            "writes to the present layout when it is to reset";
        b6_what_is_not_ours_is_refused_untouched:
            LayoutStore<layouts::ResetTakesForeign>
            "resets the store of another program";
        b6_rows_of_the_first_layout_keep_their_order:
            LayoutStore<layouts::RowsAreOrderedByTime>
            "orders the rows of the first layout by their times";
        b7_calls_before_init_are_invalid:
            BrokenStore<bootstrap::ReadyAtOnce>
            "shows an empty log before `init`";
        b7_calls_before_init_are_invalid:
            BrokenStore<counts::UsageAtOnce>
            "tells the usage of a world before `init`";
        b8_only_a_shared_store_is_opened_twice:
            ExclusiveStore<exclusive::RefusesSecond>
            "declares `shared`, and refuses a second backend";
        b8_only_a_shared_store_is_opened_twice:
            ExclusiveStore<exclusive::RefusesSecondReset>
            "declares `shared`, and refuses a second backend that may reset";
        b8_only_a_shared_store_is_opened_twice:
            ExclusiveStore<exclusive::LetsSecondIn>
            "declares that it is not `shared`, and lets a second backend in";
        p1_readers_see_parts_whole:
            BrokenStore<parts::TornParts>
            "writes a large part in two steps, between which others read";
        p1_every_record_of_a_part_is_there:
            BrokenStore<parts::OddOneLost>
            "loses the last record of a large part of an odd number";
        p1_a_dropped_call_leaves_a_part_whole_or_absent:
            BrokenStore<parts::HalfWhenDropped>
            "writes half of a part whose call is dropped";
        p2_a_part_outlives_a_backend_that_is_dropped:
            CachedStore<cached::LostWhenDropped>
            "holds what it acknowledged in memory until `close`";
        p3_sequences_adjoin_in_order:
            BrokenStore<parts::EventsFirst>
            "gives events their sequences before the Puts that were given first";
        p4_payloads_come_back_as_given:
            BrokenStore<fidelity::CutAtNul>
            "cuts text at its first NUL";
        p4_a_payload_of_16_mib_comes_back_as_given:
            BrokenStore<fidelity::CutAtMax>
            "loses the last byte of a payload of 16 MiB";
        p4_timestamps_come_back_as_given:
            BrokenStore<fidelity::RoundedTimes>
            "keeps timestamps as floating-point numbers";
        p4_keys_come_back_as_given:
            BrokenStore<fidelity::CutKeys>
            "cuts keys after 255 characters";
        p4_names_come_back_as_given:
            BrokenStore<fidelity::CutCollections>
            "cuts the names of collections after 32 bytes";
        p5_a_repeated_part_writes_nothing:
            BrokenStore<numbers::KnowsLastPart>
            "knows no part again but the last";
        p5_a_part_is_repeated_after_another_claim:
            BrokenStore<writers::FencedFirst>
            "refuses a repeated part for its epoch";
        p5_a_part_is_repeated_after_reopening:
            BrokenStore<numbers::KnowsOwnParts>
            "knows only those parts again that came through the same backend";
        p6_a_fenced_writer_writes_nothing:
            BrokenStore<writers::NamesNobody>
            "does not name who fenced a writer";
        p7_only_the_next_number_is_written:
            BrokenStore<numbers::ZeroIsNext>
            "takes the number zero for the next";
        p7_only_the_next_number_is_written:
            BrokenStore<numbers::AnyNumber>
            "accepts any number for the next";
        p7_any_difference_is_other_content:
            BrokenStore<numbers::TimesIgnored>
            "takes a part for another that differs in its timestamps";
        p7_an_epoch_that_was_never_claimed_is_invalid:
            BrokenStore<numbers::AnyLaterEpoch>
            "takes an epoch that nobody has claimed yet for the present one";
        p7_a_claim_tells_where_to_go_on:
            BrokenStore<numbers::NoLink>
            "tells a claimant no link";
        p8_the_last_record_of_a_key_decides:
            BrokenStore<folding::FirstInPart>
            "lets the first payload of a key in a part decide";
        p8_the_log_keeps_each_record_that_is_logged:
            BrokenStore<folding::LogsLastPut>
            "logs of several Puts of a key in a row the last";
        p9_an_empty_part_takes_nothing:
            BrokenStore<parts::EmptyTakesNumber>
            "writes an event for an empty part";
        p9_an_empty_part_takes_nothing:
            BrokenStore<parts::EmptyAtHead>
            "answers an empty part with the head instead of the sequence after it";
        p10_a_part_is_kept_at_its_limit_and_refused_over_it:
            BrokenStore<parts::LargePartsCut>
            "keeps 65,535 records of a part at most";
        p11_a_refused_part_leaves_the_others_alone:
            BrokenStore<writers::OneRefusesAll>
            "refuses a batch because one of its parts is fenced";
        p11_writers_of_different_worlds_go_side_by_side:
            BrokenStore<writers::OneAtATime>
            "refuses whoever writes while another writer is at work";
        r1_a_read_sees_what_was_acknowledged:
            BrokenStore<reading::StaleBeside>
            "shows a world as it was when this backend read it first, until it writes itself";
        r2_pages_give_the_whole:
            BrokenStore<pages::SkipsBetweenPages>
            "goes on one record too far behind a page that ends at its bytes";
        r2_pages_give_the_whole:
            BrokenStore<pages::OneTooMany>
            "gives one row more than the limit of a collection's page";
        r2_a_writer_at_work_does_not_disturb_the_log:
            BrokenStore<pages::LogFromItsEnd>
            "goes on in the log by how much was left";
        r2_a_writer_at_work_does_not_disturb_the_state:
            BrokenStore<pages::StateByOffset>
            "goes on in the state by how many keys were passed";
        r3_the_state_is_the_records_folded:
            BrokenStore<folding::FirstTimeKept>
            "keeps the first time of a key that was deleted and put again";
        r3_the_state_is_the_records_folded:
            BrokenStore<folding::DeleteIgnored>
            "leaves a key that is deleted";
        r3_the_state_is_the_records_folded:
            BrokenStore<folding::FirstPutWins>
            "leaves the payload of a key that is put again";
        r3_the_log_folds_to_the_state:
            BrokenStore<folding::RecreatedUnlogged>
            "does not log a Put of a key that was deleted before";
        r4_worlds_hold_each_their_own:
            BrokenStore<reading::CaseIgnored>
            "takes worlds for one whose names differ in case";
        r4_a_world_that_does_not_exist_is_empty:
            BrokenStore<reading::SnapshotCreates>
            "creates the world that a snapshot is asked for";
        r5_a_page_carries_the_head:
            BrokenStore<pages::NoHead>
            "gives the newest row's sequence for the head";
        r5_a_snapshot_is_consistent:
            BrokenStore<reading::LiveSnapshot>
            "gives a snapshot that moves";
        r5_a_snapshot_of_another_world_is_invalid:
            BrokenStore<reading::OtherWorldLater>
            "answers `Unavailable` for another world than the snapshot's";
        r6_the_state_is_in_byte_order:
            BrokenStore<pages::OrderedByLength>
            "orders collections by the length of their names";
        r6_worlds_are_in_byte_order:
            BrokenStore<pages::WorldsByLength>
            "orders worlds by the length of their names";
        r7_only_a_declared_snapshot_lets_its_world_be_written:
            ExclusiveStore<exclusive::StopsWriters>
            "declares `snapshot`, and stops a world's writer beside one";
        r7_only_a_declared_snapshot_lets_its_world_be_written:
            ExclusiveStore<exclusive::LetsWritersOn>
            "does not declare `snapshot`, and lets a world's writer go on";
        s1_counts_are_exact:
            BrokenStore<counts::CountsCalls>
            "counts calls that wrote nothing as flushes";
        s1_a_batch_is_one_flush:
            BrokenStore<counts::CountsParts>
            "counts each part of a batch as a flush";
        s1_a_backend_counts_its_own:
            BrokenStore<counts::CountsForAll>
            "counts what other backends wrote";
        s2_usage_is_exact:
            BrokenStore<counts::UsageOfSequences>
            "tells the head for the number of log records";
        e1_a_call_that_fails_changes_nothing:
            BrokenStore<errors::ClaimsWhenClosed>
            "writes down a claim that it answers as `Closed`";
        e1_a_call_that_fails_changes_nothing:
            BrokenStore<errors::LeavesTrace>
            "raises the epoch of a world when it refuses a part";
        e2_no_error_shows_a_payload:
            BrokenStore<errors::ShowsPayload>
            "shows a payload of a part that it refuses";
        e3_after_close_every_call_is_closed:
            BrokenStore<errors::NeverClosed>
            "shows an empty log after `close`";
        e3_after_close_every_call_is_closed:
            BrokenStore<errors::ClosesOnce>
            "fails when it is closed again";
        e3_after_close_every_call_is_closed:
            BrokenStore<counts::UsageAfterClose>
            "tells the usage of a world after `close`";
        e4_the_error_of_a_part_names_it:
            BrokenStore<errors::NamesNothing>
            "does not say which part it refuses";
        c1_a_commit_is_durable_with_all_before_it:
            BrokenStore<parts::HalfParts>
            "keeps half of a part, and acknowledges it whole";
        c1_a_flush_and_a_ticket_are_durable:
            BrokenStore<parts::FirstOfBatch>
            "keeps the first part of a batch, and acknowledges all";
        c1_nothing_is_acknowledged_too_early:
            BrokenStore<reading::LateForOthers>
            "shows a part of one record to others from its own next call on";
        c2_each_record_is_persisted_once_in_order:
            BrokenStore<numbers::Forgetful>
            "forgets which parts it wrote, and writes them again";
        c6_shutdown_persists_all:
            CachedStore<cached::BatchLostByClose>
            "loses all parts of the last batch but the first when it is closed";
        c8_dropping_persists_what_was_accepted:
            CachedStore<cached::UnreadLostByClose>
            "loses what was not read again when it is closed";
        c10_only_open_world_claims:
            BrokenStore<reading::ReadCreates>
            "creates a world whose state is read";
        c10_a_fenced_world_is_not_claimed_again:
            BrokenStore<writers::NotFencing>
            "lets a stale writer through";
        c10_a_world_in_trouble_does_not_hold_up_others:
            BrokenStore<writers::InOrderOfClaims>
            "refuses the parts of a world as long as one that was claimed before has none";
    }
}
