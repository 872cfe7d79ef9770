//! A server of the test's own that is killed, paused, cut off and filled under a writer.

use conformance::engines::postgres::{
    Outage, server_outages, server_without_room, shared_server_ends,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_is_killed_keeps_what_it_acknowledged() {
    let report = server_outages(Outage::Kill, 3).await;
    assert_eq!(report.recovery_ms.len(), 3);
    assert!(report.unavailable + report.ambiguous > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_is_paused_keeps_what_it_acknowledged() {
    let report = server_outages(Outage::Pause, 2).await;
    assert_eq!(report.recovery_ms.len(), 2);
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

/// The test starts its own binary again, which runs this same test as one of two users of a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_of_killed_processes_ends_by_itself() {
    const TEST: &str = "server::server_of_killed_processes_ends_by_itself";
    shared_server_ends(TEST).await;
}
