//! The server in a container that processes share: one for all, and none when they have gone.

use std::env;
use std::io::{Read, Write, stdin, stdout};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use testcontainers::bollard::Docker;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::harness::split_location;
use super::image::{self, Need};
use super::server::URL_VARIABLE;
use super::{PostgresHarness, container};
use crate::Harness;

/// Set in the processes that a test starts.
const USER_VARIABLE: &str = "AQEVIA_TEST_POSTGRES_USER_PROCESS";
/// Before the location that such a process prints.
const MARK: &str = "location: ";
/// How long a process may take to find the server, which the first has to start.
const FOUND: Duration = Duration::from_secs(120);
/// How long the container may outlive the processes.
const GONE: Duration = Duration::from_secs(60);
/// The time between two looks at it.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts processes that share a server, kills them, and waits until its container has gone.
///
/// `test` is the name of the test that calls this: the processes run it, and so come here as well.
///
/// # Panics
/// If the processes do not share a server, or if its container stays.
pub async fn shared_server_ends(test: &str) {
    if is_user() {
        let harness = PostgresHarness::new().await;
        return use_until_killed(&harness.location());
    }
    let engine = image::engine(Need::OwnServer).await;
    let engine = engine.unwrap_or_else(|error| panic!("{error}"));
    // Its note is elsewhere, so this is not the server that other tests use.
    let folder = tempfile::tempdir().expect("a folder");
    let mut users = [user(test, folder.path()), user(test, folder.path())];
    let mut servers = Vec::new();
    for user in &mut users {
        let location = location_of(user).await;
        servers.push(split_location(&location).expect("a location").0);
    }
    assert_eq!(servers[0], servers[1], "the server of two processes");
    for user in &mut users {
        user.kill().await.expect("the process is killed");
    }
    wait_until_gone(&engine, &servers[0]).await;
}

pub(super) fn user(test: &str, folder: &Path) -> Child {
    Command::new(env::current_exe().expect("the test binary"))
        .args(["--exact", test])
        .env(USER_VARIABLE, "1")
        .env("TMPDIR", folder)
        .env_remove(URL_VARIABLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("a process")
}

/// Whether this process is one that a test started.
pub(super) fn is_user() -> bool {
    env::var_os(USER_VARIABLE).is_some()
}

/// Says where the server is, and lives on.
pub(super) fn use_until_killed(location: &str) {
    let mut out = stdout();
    writeln!(out, "\n{MARK}{location}").expect("a word to the parent");
    out.flush().expect("a word to the parent");
    // Ends with the parent, if that does not kill first.
    let _ = stdin().read(&mut [0]);
}

/// What a process says of where its server is.
pub(super) async fn location_of(user: &mut Child) -> String {
    let out = user.stdout.take().expect("the output of a process");
    let mut lines = BufReader::new(out).lines();
    let location = async {
        while let Some(line) = lines.next_line().await.expect("a line") {
            if let Some(location) = line.strip_prefix(MARK) {
                return location.to_owned();
            }
        }
        panic!("a process found no server; what it says stands above");
    };
    let location = timeout(FOUND, location).await;
    location.expect("a server in time")
}

async fn wait_until_gone(engine: &Docker, server: &str) {
    let name = container::name_of(server);
    let deadline = Instant::now() + GONE;
    while engine.inspect_container(&name, None).await.is_ok() {
        assert!(
            Instant::now() < deadline,
            "the container {name} is still there {GONE:?} after its users were killed"
        );
        sleep(PAUSE).await;
    }
}
