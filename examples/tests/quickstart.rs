//! The program `quickstart` says the same on every engine.

use std::process::Command;

use anyhow::{Result, ensure};
use conformance::Harness;
use conformance::engines::postgres::PostgresHarness;

const SAID: &str = "\
the group begins at sequence 2
fleets west: [\"Vingilot\",\"Eärrámë\"]
";

fn said(url: &str) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_quickstart"))
        .arg(url)
        .output()?;
    ensure!(output.status.success(), "{url}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn files_and_memory() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (scheme, name) in [("sqlite", "worlds.sqlite"), ("sled", "worlds")] {
        let path = folder.path().join(name);
        assert_eq!(said(&format!("{scheme}:{}", path.display()))?, SAID);
        assert!(path.exists());
    }
    assert_eq!(said("memory:")?, SAID);
    Ok(())
}

#[tokio::test]
async fn postgres() -> Result<()> {
    let harness = PostgresHarness::new().await;
    assert_eq!(said(&harness.location())?, SAID);
    Ok(())
}
