//! Streams that are wrong, and arguments that are.

use anyhow::Result;
use examples::replay::input::LINE_BYTES_MAX;

use crate::program::{Folder, shipped};
use crate::stored::Stored;
use crate::stream;

/// Two complete turns, and a line of a third.
fn begun() -> Vec<u8> {
    let turns = [stream::turn("w", 1), stream::turn("w", 2)].concat();
    let third = stream::line("w", 3, "put", "k3", "3");
    [turns.concat(), third].concat().into_bytes()
}

fn ends_in(last: impl AsRef<[u8]>) -> Vec<u8> {
    [begun().as_slice(), last.as_ref()].concat()
}

#[test]
fn a_bad_line_is_named_and_the_turns_before_it_are_stored() -> Result<()> {
    let put = stream::line("w", 3, "put", "k4", "4");
    let key = "k".repeat(1025);
    for (last, reason) in [
        (
            b"{\"world\":".to_vec(),
            "EOF while parsing a value (column 9)",
        ),
        (b"\xff\n".to_vec(), "is not UTF-8 at byte 1"),
        (b"\n".to_vec(), "is not a JSON object"),
        (
            b"[\"w\",3,\"put\",\"puts\",\"k4\",4,3]\n".to_vec(),
            "is not a JSON object",
        ),
        (
            put.replace("\"ts\"", "\"when\"").into(),
            "unknown field `when`, expected one of",
        ),
        (
            put.replace("\"ts\":3,", "").into(),
            "missing field `ts` (column",
        ),
        (
            put.replace("\"put\"", "\"pat\"").into(),
            "unknown variant `pat`, expected one of `put`",
        ),
        (
            put.replace("\"put\"", "\"delete\"").into(),
            "a delete has a `payload`",
        ),
        (
            put.replace("\"payload\":4,", "").into(),
            "a put has no `payload`",
        ),
        (
            put.replace("\"turn\":3", "\"turn\":2").into(),
            "turn 2 of world \"w\" comes after turn 3",
        ),
        (
            put.replace("\"w\"", "\"_w\"").into(),
            "world id \"_w\": names that begin with `_`",
        ),
        (
            put.replace("\"puts\"", "\"Puts\"").into(),
            "collection \"Puts\": is not a lower-case",
        ),
        (
            put.replace("k4", &key).into(),
            "is 1025 bytes long, at most 1024 fit",
        ),
        (
            vec![b'x'; LINE_BYTES_MAX + 1],
            "is longer than 25165824 bytes",
        ),
        (format!("{put}{put}{{").into(), "EOF while parsing"),
    ] {
        let folder = Folder::new()?;
        let line = if reason == "EOF while parsing" {
            12
        } else {
            10
        };
        let input = folder.write("game.jsonl", ends_in(last))?;
        let done = folder.run(&["--input", &input])?;
        assert_eq!(done.code, Some(1), "{reason}");
        let named = format!("replay: {input}, line {line}: ");
        assert!(done.stderr.starts_with(&named), "{}", done.stderr);
        assert!(done.stderr.contains(reason), "{}", done.stderr);
        let next =
            "; stored up to turn 2 of world \"w\"; correct the stream and go on with --resume\n";
        assert!(done.stderr.ends_with(next), "{}", done.stderr);
        assert!(
            done.row("verdict").starts_with("verified"),
            "{}",
            done.stdout
        );
        let extent = "as in the turns that were read of the stream";
        assert!(done.row("verdict").ends_with(extent), "{}", done.stdout);
        assert_eq!(Stored::read(&folder.url())?.heads(), [("w", 8)], "{reason}");
        let input = folder.write("game.jsonl", begun())?;
        folder.succeed(&["--input", &input, "--resume"])?;
        assert_eq!(Stored::read(&folder.url())?.heads(), [("w", 9)], "{reason}");
    }
    Ok(())
}

#[test]
fn a_stream_that_breaks_off_before_the_end_of_the_store_is_not_compared() -> Result<()> {
    let folder = Folder::new()?;
    let whole: String = (1..=9)
        .flat_map(|number| stream::turn("w", number))
        .collect();
    let input = folder.write("game.jsonl", whole)?;
    folder.succeed(&["--input", &input])?;
    let input = folder.write("game.jsonl", ends_in("{"))?;
    let done = folder.run(&["--input", &input, "--resume"])?;
    assert_eq!(done.code, Some(1));
    assert_eq!(
        done.row("verdict"),
        "not verified: the replay was not finished"
    );
    Ok(())
}

#[test]
fn a_payload_over_its_limit_is_named() -> Result<()> {
    let folder = Folder::new()?;
    let payload = format!("\"{}\"", "p".repeat(16 << 20));
    let input = folder.write("game.jsonl", stream::line("w", 1, "put", "k", &payload))?;
    let done = folder.run(&["--input", &input])?;
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("line 1: "), "{}", done.stderr);
    assert!(
        done.stderr
            .contains("16777218 bytes long, at most 16777216 fit"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.len() < 400, "the payload is not shown");
    Ok(())
}

#[test]
fn a_compressed_file_that_breaks_off_can_be_resumed_with_the_whole() -> Result<()> {
    let folder = Folder::new()?;
    let whole = std::fs::read(shipped())?;
    let half = whole.get(..whole.len() / 2).unwrap_or_default();
    let input = folder.write("half", half)?;
    let done = folder.run(&["--input", &input])?;
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("/half, line "), "{}", done.stderr);
    let done = folder.succeed(&["--resume"])?;
    assert!(
        done.row("turns").ends_with("more were stored already)"),
        "{done:?}"
    );
    assert!(done.row("verdict").starts_with("verified"), "{done:?}");
    Ok(())
}

#[test]
fn a_window_over_its_limit_is_refused() -> Result<()> {
    let folder = Folder::new()?;
    // A frame without size or checksum and with a window of 2^27 bytes.
    let input = folder.write("game.jsonl.zst", b"\x28\xb5\x2f\xfd\x00\x88")?;
    let done = folder.run(&["--input", &input])?;
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr
            .contains("needs a window of 134217728 bytes, at most 16777216")
    );
    Ok(())
}

#[test]
fn a_stream_that_is_not_there_makes_no_store() -> Result<()> {
    let folder = Folder::new()?;
    let done = folder.run(&["--input", "nowhere.jsonl"])?;
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr
            .starts_with("replay: open recorded game nowhere.jsonl: "),
        "{done:?}"
    );
    let done = folder.run(&["--input", "."])?;
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("is not a file"), "{done:?}");
    assert!(!folder.store().exists());
    Ok(())
}

#[test]
fn wrong_arguments_are_told_with_exit_code_2() -> Result<()> {
    let folder = Folder::new()?;
    for arguments in [
        ["--rate", "0"],
        ["--rate", "-1"],
        ["--rate", "nan"],
        ["--rate", "fast"],
        ["--store", "storage.sqlite"],
        ["--speed", "1"],
    ] {
        assert_eq!(folder.run(&arguments)?.code, Some(2), "{arguments:?}");
    }
    for slip in [
        "postgres//me:hunter2@host/db",
        "postgres://me:hunter2@host/db?a=1&a=2",
        "postgres://me:hunter2@host/db?schema=%ff",
        "postgres://me:hunter2?x@host/db",
        "sqlite://me:hunter2@host/db",
        "postgress:me:hunter2@host/db",
        "engine:hunter2@host:51987/db",
        "engine:hunter2%40host/db",
        "engine:hunter2",
        "engine:hunter2?x@host/db",
        "engine:x?hunter2@host/db",
        "sqlite:postgres://engine:hunter2@host/db",
        "sled:postgres://engine:hunter2@host/db",
        "sqlite:///engine:hunter2@host/db",
        "sled:postgres%3A%2F%2Fengine:hunter2%40host/db",
    ] {
        let done = folder.run(&["--store", slip])?;
        assert_ne!(done.code, Some(0), "{slip}");
        assert!(!done.stderr.contains("hunter2"), "{done:?}");
    }
    let done = folder.run(&["--store", "mysql:here"])?;
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr
            .contains("there are memory, null, postgres, sled, sqlite"),
        "{done:?}"
    );
    Ok(())
}

#[test]
fn a_url_in_the_wrong_place_is_not_shown() -> Result<()> {
    const URL: &str = "postgres://me:hunter2@host/db";
    let folder = Folder::new()?;
    for arguments in [
        &[URL][..],
        &["--", URL],
        &["--store", "sqlite:a", URL],
        &["--store", "postgres://me:a", "hunter2"],
        &["--stor", URL],
        &["--resume", URL],
        &["--resume=postgres://me:hunter2@host/db"],
        &["--postgres://me:hunter2@host/db"],
        &["--rate", URL],
        &["--input", URL],
        &["--dump", URL],
    ] {
        let done = folder.run(arguments)?;
        assert_eq!(done.code, Some(2), "{arguments:?}");
        assert!(!done.stderr.contains("hunter2"), "{}", done.stderr);
        assert!(done.stderr.contains("try '--help'"), "{}", done.stderr);
    }
    let done = folder.run(&[URL])?;
    assert_eq!(
        done.stderr,
        "error: unexpected argument '…' found\n\n  tip: the URL of a store follows '--store'\n\n\
         Usage: replay [OPTIONS]\n\nFor more information, try '--help'.\n"
    );
    let done = folder.run(&["--rate", "fast"])?;
    assert!(done.stderr.contains("--rate <TURNS_PER_S>"), "{done:?}");
    assert!(done.stderr.contains("greater than zero"), "{done:?}");
    let done = folder.run(&["--speed", "1"])?;
    assert!(done.stderr.contains("'--speed'"), "{done:?}");
    let done = folder.run(&["--store"])?;
    assert!(done.stderr.contains("none was supplied"), "{done:?}");
    Ok(())
}
