//! The program `game_loop`.

use std::process::Command;

use anyhow::{Result, ensure};

fn said(url: &str) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_game_loop"))
        .arg(url)
        .output()?;
    ensure!(output.status.success(), "{url}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn a_game_goes_on_from_what_is_stored() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (scheme, name) in [("sqlite", "game.sqlite"), ("sled", "game")] {
        let url = format!("{scheme}:{}", folder.path().join(name).display());
        // The sum of 1 to 60 in each run: the second begins with that of the first.
        for points in ["1830 points", "3660 points"] {
            let said = said(&url)?;
            assert!(said.starts_with(points), "{url}: {said}");
        }
    }
    Ok(())
}
