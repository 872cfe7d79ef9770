//! A server of the test's own that is killed, paused, cut off and filled under a writer, and
//! whose commits are told not to wait.

use conformance::engines::postgres::{
    Outage, paused_server_is_removed, server_outages, server_whose_wait_is_cancelled,
    server_without_room, shared_server_ends,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_is_killed_keeps_what_it_acknowledged() {
    let report = server_outages(Outage::Kill, 3).await;
    assert!(
        report.recovery_ms.is_some_and(|ms| ms.max > 0.0),
        "{report:?}"
    );
    assert!(report.unavailable + report.ambiguous > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_is_paused_keeps_what_it_acknowledged() {
    let report = server_outages(Outage::Pause, 2).await;
    assert_eq!(report.unavailable + report.ambiguous, 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_is_cut_off_keeps_what_it_acknowledged() {
    let report = server_outages(Outage::CutOff, 2).await;
    assert!(report.unavailable + report.ambiguous > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_without_room_refuses_parts_as_full_and_takes_them_later() {
    let report = server_without_room().await;
    assert!(report.parts > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_whose_wait_is_cancelled_leaves_a_part_in_doubt() {
    server_whose_wait_is_cancelled().await;
}

/// The test starts its own binary again, which runs this same test as one of two users of a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_of_killed_processes_ends_by_itself() {
    const TEST: &str = "server::server_of_killed_processes_ends_by_itself";
    shared_server_ends(TEST).await;
}

/// The test starts its own binary again, which runs this same test as the process to be killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_a_killed_process_left_paused_is_removed() {
    const TEST: &str = "server::server_that_a_killed_process_left_paused_is_removed";
    paused_server_is_removed(TEST).await;
}
