//! A replay that nobody disturbs, and one of a store that is complete.

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::engine::Engine;
use crate::program::{Folder, shipped};
use crate::stored::Stored;
use crate::stream;

/// Of the last state, as the recording tells it: each entity as `[world,collection,key,payload]`,
/// these lines sorted by their bytes.
const FINAL_SHA256: &str = "76672868aec12837156e6353aa4fa89645f4c3189e886461b80ed835d119b711";

#[test]
fn the_shipped_game_ends_in_the_state_of_its_recording() -> Result<()> {
    let folder = Folder::new()?;
    let done = folder.succeed(&["--dump", "dump.jsonl"])?;
    assert_eq!(done.row("turns"), "101");
    assert_eq!(
        done.row("records"),
        "24,032 (20,522 puts, 130 deletes, 3,380 events)"
    );
    assert!(
        done.row("verdict")
            .starts_with("verified after reopening: 2,238 entities and 3,380")
    );
    let dump = std::fs::read_to_string(folder.path("dump.jsonl"))?;
    let mut lines: Vec<String> = dump.lines().map(canonical).collect::<Result<_>>()?;
    lines.sort();
    let digest = Sha256::digest(lines.concat());
    assert_eq!(format!("{digest:x}"), FINAL_SHA256);
    Ok(())
}

#[test]
fn the_shipped_game_is_the_same_in_every_engine() -> Result<()> {
    for engine in [Engine::Sled, Engine::Postgres] {
        let folder = Folder::new()?;
        let store = engine.store(&folder)?;
        let done = folder.succeed(&["--store", &store.url])?;
        assert_eq!(done.row("turns"), "101", "{engine:?}");
        assert!(
            done.row("verdict")
                .starts_with("verified after reopening: 2,238 entities and 3,380"),
            "{engine:?}"
        );
        assert!(done.row("on disk").ends_with("bytes"), "{engine:?}");
    }
    Ok(())
}

/// A line of a dump as the recording writes an entity.
fn canonical(line: &str) -> Result<String> {
    let entity: serde_json::Value = serde_json::from_str(line)?;
    let field = |name| entity.get(name).unwrap_or(&serde_json::Value::Null);
    let fields = ["world", "collection", "key", "payload"].map(field);
    Ok(serde_json::to_string(&fields)? + "\n")
}

#[test]
fn the_state_is_dumped_in_byte_order_with_the_bytes_of_the_stream() -> Result<()> {
    let folder = Folder::new()?;
    let put = |world, key, payload| stream::line(world, 1, "put", key, payload);
    let lines = [
        put("b", "é", r#"{"n": 1.50}"#),
        put("b", "z", "null"),
        put("a", r#"\"\\ "#, r#"["\u00e9"]"#),
    ];
    let input = folder.write("game.jsonl", lines.concat())?;
    folder.succeed(&["--input", &input, "--dump", "dump.jsonl"])?;
    let dump = std::fs::read_to_string(folder.path("dump.jsonl"))?;
    let expected = [
        r#"{"world":"a","collection":"puts","key":"\"\\ ","payload":["\u00e9"]}"#,
        r#"{"world":"b","collection":"puts","key":"z","payload":null}"#,
        r#"{"world":"b","collection":"puts","key":"é","payload":{"n": 1.50}}"#,
    ];
    assert_eq!(dump.lines().collect::<Vec<_>>(), expected);
    Ok(())
}

#[test]
fn every_turn_is_one_group_in_either_mode() -> Result<()> {
    let (acknowledged, forgotten) = (Folder::new()?, Folder::new()?);
    let input = acknowledged.write("game.jsonl", stream::short()?)?;
    let done = acknowledged.succeed(&["--input", &input])?;
    assert_eq!((done.row("turns"), done.row("flushes")), ("15", "15"));
    assert!(!done.row("commit").starts_with('–'));
    let done = forgotten.succeed(&["--input", &input, "--fire-and-forget"])?;
    assert_eq!(done.row("turns"), "15");
    assert!(done.row("commit").starts_with('–'));
    assert!(!done.row("submit").starts_with('–'));
    let logs = |folder: &Folder| Stored::read(&folder.url()).map(|stored| stored.logs);
    assert_eq!(logs(&acknowledged)?, logs(&forgotten)?);
    assert_eq!(
        acknowledged.dump(&input, &acknowledged.url())?,
        forgotten.dump(&input, &forgotten.url())?
    );
    Ok(())
}

#[test]
fn a_full_buffer_is_flushed_and_nothing_is_lost() -> Result<()> {
    let folder = Folder::new()?;
    let input = folder.write("game.jsonl", stream::short()?)?;
    let mut command = folder.command(&["--input", &input, "--fire-and-forget"]);
    // The first turn alone has 1,784 records.
    let output = command
        .env("PERSIST_MAX_PENDING_RECORDS", "2000")
        .output()?;
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout)?;
    assert!(stdout.contains("verified after reopening"), "{stdout}");
    Ok(())
}

#[test]
fn worlds_may_interleave_line_by_line() -> Result<()> {
    let folder = Folder::new()?;
    let input = folder.write("game.jsonl", stream::interleaved(40))?;
    let done = folder.succeed(&["--input", &input])?;
    assert_eq!(done.row("turns"), "160");
    let stored = Stored::read(&folder.url())?;
    assert_eq!(stored.worlds.len(), 40);
    assert_eq!(stored.heads().first(), Some(&("w00", 8)));
    let dump = folder.dump(&input, &folder.url())?;
    assert_eq!(dump.lines().count(), 80);
    assert!(dump.lines().is_sorted());
    Ok(())
}

#[test]
fn a_complete_store_has_nothing_left_to_resume() -> Result<()> {
    let folder = Folder::new()?;
    let input = folder.write("game.jsonl", stream::short()?)?;
    folder.succeed(&["--input", &input])?;
    let done = folder.succeed(&["--input", &input, "--resume"])?;
    assert_eq!(done.row("turns"), "0 (15 more were stored already)");
    assert!(done.row("verdict").starts_with("verified"));
    Ok(())
}

#[test]
fn a_longer_stream_is_played_behind_what_is_stored() -> Result<()> {
    let folder = Folder::new()?;
    let input = folder.write("game.jsonl", stream::short()?)?;
    folder.succeed(&["--input", &input])?;
    let done = folder.succeed(&["--resume"])?;
    assert_eq!(done.row("turns"), "86 (15 more were stored already)");
    assert!(done.row("verdict").starts_with("verified"));
    Ok(())
}

#[test]
fn a_store_that_ends_with_the_process_is_verified_before() -> Result<()> {
    let folder = Folder::new()?;
    let input = folder.write("game.jsonl", stream::interleaved(3))?;
    for store in ["memory:", "sqlite::memory:"] {
        let done =
            folder.succeed(&["--input", &input, "--store", store, "--dump", "dump.jsonl"])?;
        assert!(
            done.row("verdict").starts_with("verified before closing"),
            "{store}: {done:?}"
        );
        let dump = std::fs::read_to_string(folder.path("dump.jsonl"))?;
        assert_eq!(dump.lines().count(), 6);
    }
    let done = folder.succeed(&["--input", &input, "--store", "null:"])?;
    assert_eq!(
        done.row("verdict"),
        "not verified: this store keeps nothing"
    );
    Ok(())
}

#[test]
fn the_environment_names_the_store() -> Result<()> {
    let folder = Folder::new()?;
    let input = folder.write("game.jsonl", stream::interleaved(1))?;
    let mut command = folder.command(&["--input", &input]);
    let status = command
        .env("AQEVIA_SQLITE_PATH", "mine.sqlite")
        .output()?
        .status;
    assert!(status.success());
    assert!(folder.path("mine.sqlite").exists() && !folder.store().exists());
    assert!(shipped().exists());
    Ok(())
}
