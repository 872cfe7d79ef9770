//! A container whose server a killed process leaves behind paused, so that it answers nobody.

use super::image::{self, Need};
use super::own::OwnServer;
use super::sharing::{is_user, location_of, use_until_killed, user};
use super::{container, owner};

/// Starts a process that pauses a server of its own, kills the process, and checks that whoever
/// starts a server next removes that one, and nobody before.
///
/// `test` is the name of the test that calls this: the process runs it, and so comes here as well.
///
/// # Panics
/// If the container of the process that lives is removed, or if that of the killed one stays.
pub async fn paused_server_is_removed(test: &str) {
    if is_user() {
        let server = OwnServer::start(None).await;
        server.pause().await;
        return use_until_killed(server.url());
    }
    let engine = image::engine(Need::OwnServer).await;
    let engine = engine.unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut user = user(test, folder.path());
    let name = container::name_of(&location_of(&mut user).await);
    let is_there = async || engine.inspect_container(&name, None).await.is_ok();
    owner::remove_abandoned(&engine)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(is_there().await, "the owner of {name} lives");

    user.kill().await.expect("the process is killed");
    OwnServer::start(None).await.end().await;
    assert!(!is_there().await, "the owner of {name} was killed");
}
