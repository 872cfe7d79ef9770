//! The program `game_loop`.

use anyhow::{Result, ensure};

use crate::program::command;

const GAME_LOOP: &str = env!("CARGO_BIN_EXE_game_loop");

fn said(url: &str) -> Result<String> {
    let output = command(GAME_LOOP).arg(url).output()?;
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

#[test]
fn a_setting_of_the_environment_that_does_not_parse_is_named() -> Result<()> {
    let name = "PERSIST_FLUSH_INTERVAL_MS";
    let output = command(GAME_LOOP)
        .arg("memory:")
        .env(name, "soon")
        .output()?;
    let told = String::from_utf8(output.stderr)?;
    assert!(!output.status.success(), "{told}");
    assert!(told.contains(&format!("{name}=soon: must be")), "{told}");
    Ok(())
}

#[test]
fn the_url_goes_before_the_environment_and_that_before_the_program() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let play = |arguments: &[&str], vars: &[(&str, &str)]| -> Result<()> {
        let mut command = command(GAME_LOOP);
        command.current_dir(folder.path()).args(arguments);
        let output = command.envs(vars.iter().copied()).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    };
    let has = |file: &str| folder.path().join(file).exists();
    let url = ("AQEVIA_STORAGE_URL", "sqlite:url.sqlite");
    play(&["sqlite:argument.sqlite"], &[url])?;
    assert!(has("argument.sqlite") && !has("url.sqlite"));
    let path = ("AQEVIA_SQLITE_PATH", "path.sqlite");
    play(&[], &[url, path])?;
    assert!(has("url.sqlite") && !has("path.sqlite"));
    play(&[], &[path])?;
    assert!(has("path.sqlite") && !has("game_loop.sqlite"));
    play(&[], &[])?;
    assert!(has("game_loop.sqlite"));
    Ok(())
}
