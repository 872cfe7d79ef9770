//! Several processes at one store, of which one at a time has it (clause B8).
//!
//! A test starts its own binary again; what is then run is the same test, which finds the path of
//! the store in its environment.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use aqevia_storage::{ErrorKind, SchemaPolicy, StorageBackend};
use aqevia_storage_sled::SledConfig;

use crate::store::{Folder, Writer, arda, backend, event, json, log, open};

const PATH: &str = "AQEVIA_TEST_SLED_PATH";

fn child(test: &str, folder: &Folder) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command.env(PATH, folder.store());
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until the child has the store and has written to it. What it says is to be kept: it
/// cannot end in order without somebody to say it to.
fn wait_for_it(child: &mut Child) -> BufReader<ChildStdout> {
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let is_open = said
        .by_ref()
        .lines()
        .any(|line| line.unwrap() == "it is open");
    assert!(is_open, "the child has it");
    said
}

/// The child: has the store open until its parent ends it or closes its input.
async fn keep_open(path: std::ffi::OsString) {
    let store = open(SledConfig::new(path)).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let event = event(&arda(), json("1"));
    writer.persist(vec![event]).await.unwrap();
    std::io::stdout().write_all(b"it is open\n").unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_that_another_process_has_open_is_unavailable_with_what_to_do() {
    if let Some(path) = env::var_os(PATH) {
        return keep_open(path).await;
    }
    let folder = Folder::new();
    let test = "processes::a_store_that_another_process_has_open_is_unavailable_with_what_to_do";
    let mut child = child(test, &folder);
    let _said = wait_for_it(&mut child);
    let store = backend(folder.impatient());
    let error = store.init(SchemaPolicy::Upgrade).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let path = folder.store();
    let says = format!(
        "another backend, in this process or another, has {path:?} open and did not close it \
         within 200 ms: close it first"
    );
    assert!(error.to_string().contains(&says), "{error}");

    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let store = backend(folder.config());
    store.init(SchemaPolicy::Upgrade).await.unwrap();
    assert_eq!(log(&*store, &arda()).await.len(), 1);
}

#[tokio::test]
async fn a_store_is_free_when_the_process_that_had_it_is_killed() {
    if let Some(path) = env::var_os(PATH) {
        return keep_open(path).await;
    }
    let folder = Folder::new();
    let mut child = child(
        "processes::a_store_is_free_when_the_process_that_had_it_is_killed",
        &folder,
    );
    let _said = wait_for_it(&mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let store = open(folder.config()).await;
    assert_eq!(log(&*store, &arda()).await.len(), 1);
}

#[tokio::test]
async fn a_store_that_another_backend_is_about_to_close_is_waited_for() {
    let folder = Folder::new();
    let first = open(folder.config()).await;
    let second = backend(folder.config());
    let (initialised, ()) = tokio::join!(second.init(SchemaPolicy::Upgrade), async {
        tokio::task::yield_now().await;
        first.close().await.unwrap();
    });
    initialised.unwrap();
}

#[tokio::test]
async fn a_program_that_opens_sled_by_itself_is_waited_for_and_named() {
    let folder = Folder::new();
    open(folder.config()).await.close().await.unwrap();
    let theirs = folder.sled();
    let store = backend(folder.impatient());
    let error = store.init(SchemaPolicy::Upgrade).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(theirs);
    let store = backend(folder.config());
    store.init(SchemaPolicy::Upgrade).await.unwrap();
}
