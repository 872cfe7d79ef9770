//! A backend on another store, written with what `aqevia_storage` publishes and nothing else.
//!
//! It is the worked example of this crate's README: small enough to be read in an hour, and whole.
#![expect(
    clippy::unwrap_used,
    reason = "what the harness arranges and cannot have is a test that fails"
)]

#[path = "redb/backend.rs"]
mod backend;
#[path = "redb/error.rs"]
mod error;
#[path = "redb/files.rs"]
mod files;
#[path = "redb/harness.rs"]
mod harness;
#[path = "redb/layout.rs"]
mod layout;
#[path = "redb/look.rs"]
mod look;
#[path = "redb/read.rs"]
mod read;
#[path = "redb/snapshot.rs"]
mod snapshot;
#[path = "redb/store.rs"]
mod store;
#[path = "redb/write.rs"]
mod write;

use std::path::PathBuf;

use conformance::certificate::{HISTORIES, KILLS, Plan, certify};
use conformance::process::Launcher;
use harness::RedbHarness;

conformance::conformance_suite!(RedbHarness);

/// Writes the certificate: a short one, or the long one into the folder of `AQEVIA_CERTIFICATES`.
#[test]
fn certificate() {
    let asked = std::env::var_os("AQEVIA_CERTIFICATES").map(PathBuf::from);
    let plan = Plan {
        store: "redb".to_owned(),
        launcher: Launcher::of_test(concat!(module_path!(), "::child")),
        kills: if asked.is_some() { KILLS } else { 5 },
        histories: if asked.is_some() { HISTORIES } else { 8 },
        seed: 1,
        own: Vec::new(),
    };
    let certificate = certify::<RedbHarness>(&plan, &mut |_| {}).unwrap();
    assert!(certificate.holds(), "{}", certificate.to_markdown());
    let own = tempfile::tempdir().unwrap();
    let folder = asked.unwrap_or_else(|| own.path().to_owned());
    let [page, _] = certificate.write_to(&folder).unwrap();
    assert!(page.ends_with("redb.md"));
}
